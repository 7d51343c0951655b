"""The command of a stage: its options, its line a minute, and that it can be stopped at any step."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from reference_model.train.engine import progress, trainer, training_log
from reference_model.train.engine.progress import watching as watched
from tests.support.toy_stage import command

ROOT = Path(__file__).parents[3]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
PROGRAM = [sys.executable, "-c", "from tests.support.toy_stage import command; command()"]


def run(*args):
    return CliRunner().invoke(command, list(args))


def test_it_trains_as_it_is_told(tmp_path):
    result = run("--config", "tiny", "--out", str(tmp_path), "--set", "steps=5", "--set", "batch_most=4")
    assert result.exit_code == 0, result.output
    assert "toy: step 5 of 5, loss " in result.stderr
    assert training_log.read(tmp_path)["loss"][-1][0] == 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--config", "tinny"], "Unknown configuration 'tinny'. Did you mean 'tiny'"),
        (["--set", "step=3"], "Unknown setting of the loop 'step'. Did you mean 'steps'"),
        (["--set", "precision=fp8"], "--set precision=fp8: it must be one of no, bf16, fp16"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, args, message):
    result = run("--out", str(tmp_path), *args)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"fobench: {message}")
    assert "Traceback" not in result.output


def test_its_help_fits_80_columns():
    lines = run("--help").output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "lr=0.02" in "".join(lines).replace(" ", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_step_in_hand_and_the_same_command_goes_on(tmp_path, number):
    args = [*PROGRAM, "--config", "tiny", "--out", str(tmp_path), "--set", "steps=200000", "--set", "save_every_s=9e9"]
    running = subprocess.Popen(args, env=ENV, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / trainer.LOG).is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 2
    assert "The same command goes on." in said
    kept = trainer.checkpoints(tmp_path)[-1].name
    assert int(kept.removeprefix("step-")) == max(step for step, _ in training_log.read(tmp_path)["loss"])


def test_a_line_says_how_far_it_is_and_what_was_skipped(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    with watched("toy", 1200) as watch:
        watch({"step": 1, "loss": 2.5, "lr": 0.001, "skipped": 1.0, "clips_skipped": 4.0})
        watch({"step": 2, "loss": 1.25, "lr": 0.002, "skipped": 0.0, "valid_wer": 0.125})
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("toy: step 1 of 1,200, loss 2.5, lr 0.001, 1 steps and 4 clips skipped, eta 0:")
    assert second.endswith("; wer 0.125")


def test_between_two_lines_is_a_minute_unless_there_are_scores(capsys):
    with watched("toy", 3) as watch:
        for step, more in ((1, {}), (2, {"valid_wer": 0.5}), (3, {})):
            watch({"step": step, "loss": 1.0, "lr": 0.1, "skipped": 0.0, **more})
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "toy: step 1 of 3",
        "toy: step 2 of 3",
        "toy: step 3 of 3",
    ]


def test_other_processes_say_nothing(capsys):
    with watched("toy", 1, shown=False) as watch:
        watch({"step": 1, "loss": 1.0, "lr": 0.1, "skipped": 0.0})
    assert capsys.readouterr().err == ""


def test_a_bar_shows_loss_and_rate(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with watched("toy", 2) as watch:
        watch({"step": 1, "loss": 1.5, "lr": 0.1, "skipped": 0.0, "valid_wer": 0.25})
    shown = capsys.readouterr().err
    assert "loss 1.5, lr 0.1" in shown
    assert "toy: step 1: wer 0.25" in shown
