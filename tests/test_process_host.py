"""A component in its own process: what it may do to itself without harming the run."""

import io
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fobench import process_host
from fobench.errors import FobenchError, SystemFailure
from fobench.process_host import ForeignType, Lane, ProcessHost
from fobench.process_host.host import _Answer


class Component:
    """Does what a plugin might do."""

    def __init__(self, greeting: str = "hello", broken: str = "") -> None:
        if broken == "refuses":
            raise FobenchError("install this first")
        if broken == "raises":
            raise ValueError("typo")
        self.greeting = greeting

    def greet(self, name):
        print("working on", name)
        return f"{self.greeting} {name}"

    def raises(self):
        raise KeyError("lost")

    def hangs(self):
        time.sleep(60)

    def dies(self):
        os._exit(7)

    def process(self):
        return os.getpid()

    def twin(self):
        return Component(self.greeting + " too,")

    def naps(self, seconds):
        start = time.monotonic()
        time.sleep(seconds)
        return start, time.monotonic()

    def niceness(self):
        return os.nice(0)

    def close(self): ...

    def converts(self, notes):
        for number in range(notes):
            process_host.note(f"converting {number} {'x' * 300}")
        return "done"

    def chatters(self):
        while True:
            process_host.note("still at it")


@pytest.fixture
def host(tmp_path):
    hosted = ProcessHost(Component, ("hi",), log=tmp_path / "log")
    yield hosted
    hosted.stop()


@pytest.mark.subprocess
def test_notes_are_handed_on_before_the_answer_and_are_no_answer():
    notes: list[str] = []
    hosted = ProcessHost(Component, notes=notes.append, time_limit_s=1.0)
    assert hosted.call("converts", 2) == "done"
    assert [text[:12] for text in notes] == ["converting 0", "converting 1"] and len(notes[0]) == 200
    with pytest.raises(SystemFailure, match="no answer from chatters within 1 s"):
        hosted.call("chatters")


def test_a_note_of_a_process_without_a_host_goes_nowhere():
    process_host.note("converting")


@pytest.mark.subprocess
def test_calls_are_answered(host):
    assert host.call("greet", "you") == "hi you"


@pytest.mark.subprocess
def test_what_it_prints_goes_to_the_log(host, tmp_path):
    host.call("greet", "Ada")
    host.stop()
    assert "working on Ada" in (tmp_path / "log").read_text()


@pytest.mark.subprocess
def test_it_may_raise_and_lives_on(host):
    with pytest.raises(SystemFailure, match=r"KeyError: 'lost' \(test_process_host.py:\d+\)") as failure:
        host.call("raises")
    assert failure.value.kind == "raised"
    assert host.call("greet", "you") == "hi you"


@pytest.mark.subprocess
def test_it_may_hang_and_is_started_again():
    host = ProcessHost(Component, ("hi",), time_limit_s=2.0)
    try:
        before = host.call("process")
        with pytest.raises(SystemFailure, match="no answer from hangs within 2 s") as failure:
            host.call("hangs")
        assert failure.value.kind == "hung"
        assert host.call("process") != before
    finally:
        host.stop()


@pytest.mark.subprocess
def test_it_may_die_and_is_started_again(host):
    with pytest.raises(SystemFailure, match="exit code 7") as failure:
        host.call("dies")
    assert failure.value.kind == "died"
    assert host.call("greet", "you") == "hi you"


@pytest.mark.subprocess
def test_it_may_be_killed_and_is_started_again(host):
    os.kill(host.call("process"), signal.SIGKILL)
    with pytest.raises(SystemFailure):
        host.call("greet", "you")
    assert host.call("greet", "you") == "hi you"


@pytest.mark.subprocess
def test_a_missing_prerequisite_is_told_as_it_is():
    with pytest.raises(FobenchError, match=r"^install this first$"):
        ProcessHost(Component, ("hi", "refuses")).start()


@pytest.mark.subprocess
def test_a_component_that_cannot_be_made_is_a_failure():
    with pytest.raises(SystemFailure, match="ValueError: typo"):
        ProcessHost(Component, ("hi", "raises")).start()


@pytest.mark.subprocess
def test_once_closed_it_is_not_started_again(host):
    host.call("greet", "you")
    host.close()
    with pytest.raises(SystemFailure, match="its process ended"):
        host.call("greet", "you")
    with pytest.raises(SystemFailure, match="ended for good"):
        host.call("greet", "you")


@pytest.mark.subprocess
def test_closed_from_another_thread_a_call_ends(host):
    threading.Timer(0.5, host.close).start()
    with pytest.raises(SystemFailure):
        host.call("hangs")


@pytest.mark.subprocess
def test_it_goes_with_its_parent(host):
    process = host.call("process")
    host.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.subprocess
def test_losses_are_counted_in_succession_although_it_loads_each_time(host):
    for losses in (1, 2):
        with pytest.raises(SystemFailure):
            host.call("dies")
        assert host.losses == losses
    host.call("greet", "you")
    assert host.losses == 0


@pytest.mark.subprocess
def test_the_calls_of_lanes_are_answered_at_the_same_time_by_one_process(host):
    lanes = [Lane(host) for _ in range(3)]
    assert {lane.call("process") for lane in lanes} == {host.call("process")}
    assert lanes[0].call("greet", "Ada") == "hi too, Ada" and host.call("greet", "Ada") == "hi Ada"
    with ThreadPoolExecutor(3) as threads:
        naps = list(threads.map(lambda lane: lane.call("naps", 0.2), lanes))
    assert max(start for start, _ in naps) < min(end for _, end in naps)


@pytest.mark.subprocess
def test_a_lane_that_hangs_leaves_the_others_and_their_process():
    host = ProcessHost(Component, ("hi",), time_limit_s=0.5)
    stuck, other = Lane(host), Lane(host)
    try:
        process = other.call("process")
        with pytest.raises(SystemFailure, match="no answer from hangs within") as failure:
            stuck.call("hangs")
        assert failure.value.kind == "hung"
        assert stuck.call("process") == other.call("process") == process
    finally:
        host.stop()


@pytest.mark.subprocess
def test_a_process_that_ends_takes_its_lanes_along_and_is_started_once(host):
    dying, other = Lane(host), Lane(host)
    before = other.call("process")
    with ThreadPoolExecutor(1) as threads:
        napping = threads.submit(other.call, "naps", 60)
        time.sleep(0.1)
        for call in (lambda: dying.call("dies"), napping.result):
            with pytest.raises(SystemFailure, match="exit code 7"):
                call()
    assert dying.call("process") == other.call("process") != before
    host.close()
    with pytest.raises(SystemFailure):
        other.call("greet", "you")
    with pytest.raises(SystemFailure, match="ended for good"):
        other.call("greet", "you")


@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform != "linux", reason="the priorities of threads")
def test_a_process_that_steps_back_does_so_with_each_start(host):
    assert host.call("niceness") == os.nice(0)
    host.step_back()
    lane = Lane(host)
    assert host.call("niceness") == lane.call("niceness") == max(10, os.nice(0))
    with pytest.raises(SystemFailure):
        host.call("dies")
    assert host.call("niceness") == max(10, os.nice(0))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("fobench.process_host.host", "os.system"),
        ("fobench.process_host.host", "_bearers"),
        ("fobench.process_host.host", "ProcessHost"),
        ("numpy.testing", "rundocs"),
        ("os", "system"),
        ("builtins", "eval"),
    ],
)
def test_an_answer_calls_nothing(module, name):
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    with pytest.raises(ForeignType, match=name):
        _Answer(io.BytesIO(b"\x80\x04" + words + b"\x93\x8c\x01x\x85R.")).load()
