"""Whatever a system does is its scenario's recorded failure: the next scenario is done, the trace can be read and scored."""

import json
import os
import signal
import time
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

from fobench.api import registry
from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, Action, AudioChunk, Event, EventKind
from fobench.errors import SystemFailure
from fobench.execution.remote_driver import RemoteDriver
from fobench.execution.system_driver import LocalDriver
from fobench.process_host import TAG, ProcessHost
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable
from fobench.simulation.event_check import checked_event
from fobench.storage.run_folder import LINE_BYTES
from tests.execution import misbehaving_system as misbehaving
from tests.execution.misbehaving_system import FAST, WAYS

LIMIT_S = 3.0


@pytest.fixture
def scenario(tmp_path):
    def make(seed):
        path = tmp_path / "question.wav"
        soundfile.write(path, np.random.default_rng(0).uniform(-0.3, 0.3, 16_000), 16_000)
        turn = Turn(str(path), "", "What is it?", start_ns=0, end_ns=NS_PER_S)
        return Scenario(f"s-{seed}", "test", seed, (turn,), Expect(("it",)), patience_ns=NS_PER_S)

    return make


def read_back(trace: Trace) -> Trace:
    """The trace as a run folder gives it back."""
    line = json.dumps(trace.to_json(), allow_nan=False, ensure_ascii=False).encode()
    assert len(line) < LINE_BYTES
    return Trace.from_json(json.loads(line))


def score(trace: Trace) -> None:
    for name in registry.factories("metrics"):
        metric = registry.create("metrics", f"{name}some-model" if name.endswith(":") else name)
        metric.aggregate([metric.score(trace, trace.scenario)])


def processes_with(tag: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[1-9]*"):
        try:
            if f"{TAG}={tag}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.subprocess
@pytest.mark.parametrize(
    "way", [way if way in FAST else pytest.param(way, marks=pytest.mark.slow) for way in WAYS], ids=str
)
def test_it_is_the_failure_of_its_scenario_alone(way, scenario, tmp_path):
    host = ProcessHost(misbehaving.driver, (way,), time_limit_s=LIMIT_S, log=tmp_path / "log")
    driver = RemoteDriver(host)
    try:
        traces = [replay.replay(scenario(seed), driver, VirtualClock(CostTable())).trace for seed in (0, 1)]
    finally:
        host.stop()
    first, second = map(read_back, traces)
    assert (first.failure.kind if first.failure else "") == WAYS[way]
    assert first.failure is None or 0 < len(first.failure.message) < 3_000
    assert second.failure is None or way == "may open no file"
    score(first)
    time.sleep(0.1)
    assert not processes_with(host._tag)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.just({1}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["text", "reply", "action", "work", "path", "p0", "p1", "duration_ns", "other"])
SAMPLES = st.lists(st.floats(width=32), max_size=5).map(lambda values: np.array(values, np.float32))
AUDIO = st.builds(AudioChunk, SAMPLES, st.sampled_from([24_000, 24_000, 24_000, 16_000, 0]))
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(max_size=8),
        "reply": st.integers(0, 3),
        "action": st.sampled_from(list(Action)),
        "audio": AUDIO,
        "p0": st.floats(0, 1),
    },
)
DATA = LIKELY | st.dictionaries(KEYS, PLAIN, max_size=4) | PLAIN
EVENT = st.builds(
    Event, st.sampled_from(list(EventKind)) | st.text(max_size=5), DATA, st.none() | st.integers() | st.floats()
)


class Speaker:
    """Yields the events it was given in its 5th chunk."""

    input_rate_hz, output_rate_hz, chunk = 16_000, 24_000, 1_280

    def __init__(self, events):
        self.events, self.chunks = events, 0

    def open(self, seed):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc): ...

    def heard(self, reply, samples): ...

    def push(self, chunk):
        self.chunks += 1
        return iter(self.events if self.chunks == 5 else ())

    def finish(self):
        return iter(())


@hypothesis.given(events=st.lists(EVENT, max_size=6))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_events_are_a_failure_or_a_trace_that_is_read_and_scored(events, scenario):
    driver = object.__new__(LocalDriver)
    driver._system, driver._session, driver._work = Speaker(events), None, iter(())
    trace = read_back(replay.replay(scenario(1), driver, VirtualClock(CostTable())).trace)
    assert trace.failure is None or trace.failure.kind.startswith("bad_")
    score(trace)


@hypothesis.given(EVENT)
def test_a_checked_event_is_as_it_is_checked_again(event):
    try:
        once = checked_event(event, 24_000)
    except SystemFailure as failure:
        assert failure.kind in ("bad_event", "bad_audio")
        return
    again = checked_event(once, 24_000)
    assert {**once.data, "audio": None} == {**again.data, "audio": None}
    assert (once.kind, once.media_ns) == (again.kind, again.media_ns)


@pytest.mark.subprocess
def test_what_a_lost_parent_leaves_ends_with_it(tmp_path):
    import subprocess
    import sys

    code = (
        "from fobench.process_host import ProcessHost\nfrom tests.execution import misbehaving_system as misbehaving\n"
        "host = ProcessHost(misbehaving.driver, ('raises',)); host.start(); print(host._tag, flush=True)\n"
        "import time; time.sleep(600)"
    )
    command = ["-c", f"import __main__; __main__.__file__ = None\nif __name__ == '__main__':\n exec({code!r})"]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as parent:
        tag = parent.stdout.readline().strip()
        assert processes_with(tag)
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while processes_with(tag) and time.monotonic() < until:
        time.sleep(0.05)
    assert not processes_with(tag)
