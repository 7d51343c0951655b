"""A signal that asks a command to end is heard from its first moment, and its exit code says which it was."""

import os
import signal
import subprocess
import sys
import threading

import click
import pytest
from click.testing import CliRunner

from fobench.api import registry
from fobench.cli import stop_signals
from fobench.cli.main import CommandGroup
from fobench.errors import FobenchError, Stopped

CODES = [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
SLOW_CLICK = "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"  # stands for modules that take time to load


pytestmark = pytest.mark.usefixtures("hang_up")


@pytest.mark.subprocess
@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_signal_while_the_program_is_loaded_ends_it_with_a_word(tmp_path, number, code):
    (tmp_path / "click.py").write_text(SLOW_CLICK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    process = subprocess.Popen([sys.executable, "-m", "fobench", "train", "input-1"], **pipes)
    assert process.stdout.readline() == "loading\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    word = "Interrupted" if number == signal.SIGINT else f"Stopped by {number.name}"
    assert (process.returncode, said) == (code, f"\n{word}.\n")


@pytest.mark.parametrize(("number", "code"), CODES)
@pytest.mark.parametrize("where", ["the command", "its options"])
def test_a_signal_in_a_command_ends_it_with_its_code(number, code, where):
    def stop(*_: object) -> None:
        signal.raise_signal(number)

    option = click.Option(["--at"], callback=stop if where == "its options" else None)
    group = CommandGroup("main", params=[option], callback=lambda at: None)
    group.add_command(click.Command("wait", callback=stop))
    before = [signal.getsignal(each) for each, _ in CODES]
    result = CliRunner().invoke(group, ["wait"])
    assert (result.exit_code, result.stderr.strip().rstrip(".")) == (
        code,
        "Interrupted" if number == signal.SIGINT else f"Stopped by {number.name}",
    )
    assert [signal.getsignal(each) for each, _ in CODES] == before


def test_a_hang_up_stays_ignored_as_nohup_asks():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals.raised():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_that_come_together_count_as_one(monkeypatch):
    with stop_signals.raised():
        with pytest.raises(Stopped) as raised:
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert stop_signals.exit_code(raised.value) == 129
        monkeypatch.setattr(stop_signals, "APART_S", 0.0)
        with pytest.raises(Stopped, match="SIGTERM"):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.subprocess
def test_in_a_fork_a_signal_has_its_default_effect():
    with stop_signals.raised():
        child = os.fork()
        if not child:
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_a_signal_while_a_plugin_is_imported_is_no_fault_of_the_plugin():
    with stop_signals.raised():
        with pytest.raises(Stopped, match="SIGTERM"), registry._plugin_code("The plugin x"):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(FobenchError, match="The plugin x"), registry._plugin_code("The plugin x"):
            raise KeyboardInterrupt


def test_outside_the_main_thread_nothing_changes():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def look():
        with stop_signals.raised():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
