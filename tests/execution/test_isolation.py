"""The guard: a system gets audio frames, a seed and how much of it was heard. What scorers know never reaches its process."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from fobench.api import registry
from fobench.api.scenario import Expect, Scenario
from fobench.api.types import AudioChunk
from fobench.execution.remote_driver import RemoteDriver
from fobench.process_host import ProcessHost
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable
from tests.execution.spying_system import Spy, marker

SECRETS = ["id", "suite", "text", "speaker", "answer", "choice", "family", "tag", "file"]
FRAMES = {"rates", "about", "open", "push", "step", "finish", "close", "where", "found"}
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def annotated(tmp_path):
    """An interruption in which everything that scorers may know bears a mark."""
    suite = registry.create("suites", "duplex", {"sound": "tones", "families": "interruption", "count": 1})
    made = next(suite.scenarios(0))
    turns = []
    for index, turn in enumerate(made.turns):
        path = tmp_path / f"{marker('file')}-{index}.wav"
        path.write_bytes(Path(turn.audio).read_bytes())
        turns.append(replace(turn, audio=str(path), text=marker("text"), speaker=marker("speaker")))
    expect = Expect((marker("answer"),), (marker("choice"),), marker("family"))
    return Scenario(marker("id"), marker("suite"), 5, tuple(turns), expect, {marker("tag"): marker("tag")})


class Watched(ProcessHost):
    """A host that keeps what it sends."""

    sent: list[tuple[str, tuple]]

    def call(self, method, *args):
        self.sent = [*getattr(self, "sent", []), (method, args)]
        return super().call(method, *args)


def hosted(*args):
    host = Watched(Spy, args)
    host.start()
    return host


@pytest.mark.subprocess
def test_annotations_never_reach_the_systems_process(annotated):
    host = hosted()
    try:
        trace = replay.replay(annotated, RemoteDriver(host), VirtualClock(CostTable())).trace
        assert trace.answer is not None  # it was a conversation
        assert len(trace.user) == 2
        assert host.call("where") != os.getpid()
        assert host.call("found", SECRETS) == []
    finally:
        host.stop()


@pytest.mark.subprocess
def test_what_is_sent_is_audio_a_seed_and_what_was_heard(annotated):
    host = hosted()
    try:
        replay.replay(annotated, RemoteDriver(host), VirtualClock(CostTable()))
    finally:
        host.stop()
    assert {method for method, _ in host.sent} <= FRAMES
    sent = pickle.dumps(host.sent)
    assert not [name for name in SECRETS if marker(name).encode() in sent]
    for method, args in host.sent:
        if method == "push":
            chunk, heard, more = args
            assert type(chunk) is AudioChunk and type(more) is bool
            assert heard is None or [type(part) for part in heard] == [int, int]
        else:
            assert args == ((annotated.seed,) if method == "open" else ())


@pytest.mark.subprocess
def test_the_search_finds_what_is_there():
    host = hosted(marker("answer"))
    try:
        assert host.call("found", SECRETS) == ["answer"]
    finally:
        host.stop()


@pytest.mark.subprocess
def test_a_process_that_has_ended_is_not_started_again_to_be_closed():
    host = hosted()
    try:
        RemoteDriver(host).open(0)
        host.stop()
        RemoteDriver(host).close()
        assert not host.is_running
    finally:
        host.stop()
