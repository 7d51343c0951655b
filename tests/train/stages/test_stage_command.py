"""The command of a stage: its options, its line a minute, and that it can be stopped at any step."""

import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from reference_model.train.engine import progress, trainer, training_log
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.progress import show_progress as watched
from reference_model.train.stages.stage_command import stage_command
from tests.train.engine.toy_stage import Toy

PROGRAM = [sys.executable, "-c", "from tests.train.stages.test_stage_command import command; command()"]


def sample(case):
    stage = Toy()
    return DryRunBatch(stage, stage.load(range(8), 0), case.describe_batch())


@stage_command(config="tiny", sample=sample, lr=0.02, steps=30, warmup=3, batch_s=8.0, batch_most=8)
def command(order):
    """Trains a toy."""
    order.train(Toy())


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


def stopped_outside(args, folder, number):
    """(exit code, standard error) of a process that gets a signal once it trains."""
    running = subprocess.Popen([*PROGRAM, *args], stderr=subprocess.PIPE, text=True)
    while not (folder / trainer.LOG).is_file():
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    return running.returncode, said


def stopped_inside(args, folder, number):
    """The same of a command in this process that sends itself the signal while it loads a batch."""
    with pytest.MonkeyPatch.context() as patch:
        load = Toy.load
        patch.setattr(Toy, "load", lambda stage, *at: signal.raise_signal(number) or load(stage, *at))
        result = run(*args, "--set", "workers=0")
    return result.exit_code, result.stderr


STOPS = [
    pytest.param(stopped_outside, signal.SIGTERM, marks=pytest.mark.slow),
    (stopped_inside, signal.SIGINT),
    (stopped_inside, signal.SIGHUP),
]


@pytest.mark.subprocess
@pytest.mark.parametrize(("stop", "number"), STOPS)
def test_a_signal_ends_it_after_the_step_in_hand_and_the_same_command_goes_on(tmp_path, stop, number):
    args = ["--config", "tiny", "--out", str(tmp_path), "--set", "steps=200000", "--set", "save_every_s=86400"]
    code, said = stop(args, tmp_path, number)
    assert code == 2
    assert "The same command resumes." in said
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
