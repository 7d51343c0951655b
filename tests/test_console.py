"""What reaches a terminal: harmless text, at a usable width, or a word on why not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fobench.api.scenario import Scenario
from fobench.api.trace import Failure, Trace
from fobench.cli.progress_bar import outcome
from fobench.console import console, counted, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ä 🙂", "plain, ä 🙂"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\u202eback", r"\u202eback"),
        ("half \ud800", r"half \ud800"),
        ("\x9b2J", r"\x9b2J"),
    ],
)
def test_what_would_steer_a_terminal_is_escaped(text, shown):
    assert visible(text) == shown


def test_a_progress_line_is_one_harmless_line():
    trace = Trace(Scenario("a\x1b[2J", "s", 0, ()), "virtual", "measured", 0, failure=Failure("raised", "x\ny\x07"))
    assert outcome(trace) == r"a\x1b[2J: FAILED, raised: x\ny\x07"


@pytest.mark.parametrize(("columns", "width"), [("0", 80), ("5", 80), ("60", 60)])
def test_a_width_that_cannot_be_is_not_believed(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert console().width == width


def test_counts_have_their_number():
    assert [counted(n, "scenario") for n in (0, 1, 1000)] == ["0 scenarios", "1 scenario", "1,000 scenarios"]


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_told_for_what_it_is(unbuffered):
    command = [sys.executable, "-m", "fobench", "ls", "voices"]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env)
    assert done.returncode == 2
    assert done.stderr == "fobench: the output cannot be written: No space left on device.\n"
