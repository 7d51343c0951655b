"""One writer per run folder: who is refused, what is taken over, and that a lock ends with its process."""

import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from fobench.errors import FobenchError
from fobench.storage import run_lock

HOLD = (
    "import sys; from pathlib import Path; from fobench.storage import run_lock; run_lock.acquire(Path(sys.argv[1]));"
)
WAIT = " print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock of the folder `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD + WAIT, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.subprocess
def test_a_second_process_is_refused_with_the_name_of_the_first(other, tmp_path):
    told = rf"run is being written by process {other.pid} on {platform.node()} since 20.*\+00:00: wait until that ends"
    with pytest.raises(FobenchError, match=told), run_lock.locked(tmp_path / "run"):
        pass
    other.communicate("")


@pytest.mark.subprocess
def test_the_lock_of_a_killed_process_is_taken_over(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / "run/.lock").exists()
    with run_lock.locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run/.lock").read_text())["pid"] == os.getpid()
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.subprocess
def test_a_fork_does_not_hold_the_lock_of_its_dead_parent(tmp_path):
    fork = HOLD + " import os, time; os.fork() or (print(os.getpid(), flush=True), time.sleep(60)); os._exit(0)"
    process = subprocess.Popen([sys.executable, "-c", fork, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        assert process.wait() == 0
        with run_lock.locked(tmp_path / "run"):
            pass
        os.kill(child, 0)  # it is still there
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


def test_the_process_that_holds_a_lock_may_take_it_again(tmp_path):
    with run_lock.locked(tmp_path):
        with run_lock.locked(tmp_path / "." / ""):
            pass
        assert (tmp_path / ".lock").exists()
        run_lock.check(tmp_path)
    assert not (tmp_path / ".lock").exists()
    run_lock.release(tmp_path)


def left_by(folder, **owner):
    this = {"pid": 1, "host": platform.node(), "boot": run_lock._boot(), "since": "2026-01-01T00:00:00+00:00"}
    (folder / ".lock").write_text(json.dumps({**this, **owner}))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "7",
        '{"pid": "x"}',
        '{"pid": 1e400, "host": "a", "boot": "b", "since": "c"}',
        "\0" * 100,
        "9" * 9999,
    ],
)
def test_a_file_that_names_nobody_is_taken_over(tmp_path, content):
    (tmp_path / ".lock").write_text(content)
    with run_lock.locked(tmp_path):
        pass
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("owner", [{}, {"boot": "earlier"}, {"host": "a container of this machine"}])
def test_a_file_of_this_machine_without_a_lock_is_taken_over(tmp_path, owner):
    left_by(tmp_path, **owner)
    with run_lock.locked(tmp_path):
        pass


def test_a_file_of_another_machine_says_what_to_remove(tmp_path):
    left_by(tmp_path, host="node-7", boot="another")
    told = r"written by process 1 on node-7 since 2026-01-01.* If it has ended, remove .*/\.lock and repeat"
    with pytest.raises(FobenchError, match=told):
        run_lock.acquire(tmp_path)
    (tmp_path / ".lock").unlink()
    with run_lock.locked(tmp_path):
        pass


@pytest.fixture
def without_locks(monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("without_locks")
def test_where_a_disk_has_no_locks_the_named_process_counts_as_long_as_it_runs(tmp_path):
    left_by(tmp_path, pid=os.getppid())
    with pytest.raises(FobenchError, match=rf"written by process {os.getppid()} "):
        run_lock.acquire(tmp_path)
    ended = subprocess.Popen(["true"])
    ended.wait()
    left_by(tmp_path, pid=ended.pid)
    with run_lock.locked(tmp_path):
        pass
    assert not (tmp_path / ".lock").exists()


def test_a_symbolic_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(FobenchError, match="Cannot write to"):
        run_lock.acquire(tmp_path / "run")
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.subprocess
def test_a_writer_whose_lock_was_removed_by_hand_stops(tmp_path):
    with run_lock.locked(tmp_path):
        (tmp_path / ".lock").unlink()
        with pytest.raises(FobenchError, match=r"\.lock was removed while this process wrote to .*: nothing more"):
            run_lock.check(tmp_path)
        left_by(tmp_path, pid=77)
        with pytest.raises(FobenchError, match=r"which process 77 on .* took over"):
            run_lock.check(tmp_path)
    assert (tmp_path / ".lock").exists()  # that of the other


@pytest.mark.subprocess
def test_of_many_processes_that_come_at_once_one_has_the_lock_at_a_time(tmp_path):
    script = HOLD.replace("run_lock.acquire(Path(sys.argv[1]));", "") + (
        "import time, os; from fobench.errors import FobenchError\n"
        "folder, done = Path(sys.argv[1]), 0\n"
        "while done < 5:\n"
        "    try:\n"
        "        with run_lock.locked(folder):\n"
        "            os.close(os.open(folder / 'alone', os.O_CREAT | os.O_EXCL)); time.sleep(0.002)\n"
        "            (folder / 'alone').unlink(); done += 1\n"
        "    except FobenchError:\n"
        "        time.sleep(0.001)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    deadline = time.monotonic() + 60
    assert [process.wait(deadline - time.monotonic()) for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
