"""`fobench ... | head`: every command ends with 141, without a traceback; 1 means that a gate failed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.subprocess


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a manifest of one clip and a run on it."""
    folder = tmp_path_factory.mktemp("pipe")
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(folder / "a.wav", noise, 16_000)
    (folder / "m.jsonl").write_text('{"audio": "a.wav", "text": "Hello?", "answers": ["yes"]}\n')
    done = piped(folder, "run", *RUN, "-o", "run")
    assert done.returncode == 141, done.stderr
    return folder


RUN = ("--system", "scripted:late", "--judge", "none", "--suite", "manifest:m.jsonl")


def piped(folder: Path, *arguments: str, errors: bool = False) -> subprocess.CompletedProcess:
    """The command with an output that nobody reads (`errors`: its standard error, too)."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fobench", *arguments]
    stderr = writing if errors else subprocess.PIPE
    environment = {**os.environ, "FOBENCH_HOME": str(folder / "home")}
    try:
        return subprocess.run(command, cwd=folder, stdout=writing, stderr=stderr, text=True, env=environment)
    finally:
        os.close(writing)


COMMANDS = (
    "--help",
    "--version",
    "run --help",
    "ls",
    "ls systems",
    "report run",
    "score run",
    "compare run run",
    "assets ls",
)
# One of each kind: a command's help, a list, a report of rich; without standard error.
QUICK = [("run --help", False), ("ls systems", False), ("report run", False), ("report run", True)]


@pytest.mark.parametrize(
    ("command", "errors"),
    [
        pytest.param(
            command,
            errors,
            marks=() if (command, errors) in QUICK else pytest.mark.slow,
            id=f"{command}-{'both' if errors else 'stdout'}",
        )
        for command in COMMANDS
        for errors in (False, True)
    ],
)
def test_a_command_whose_output_nobody_reads_ends_with_141(runs, command, errors):
    done = piped(runs, *command.split(), errors=errors)
    assert done.returncode == 141
    assert "Traceback" not in (done.stderr or "")
    assert "BrokenPipe" not in (done.stderr or "")


def test_a_run_is_complete_though_nobody_reads_its_report(runs):
    done = piped(runs, "run", *RUN, "-o", "other")
    assert done.returncode == 141
    assert (runs / "other" / "scores.json").is_file()
