"""Several conversations at once with a system in real time: a server of planted delays, whose connections are counted."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from fobench.api.live import LiveSystem, declares_real_time
from fobench.api.types import NS_PER_MS
from fobench.errors import FobenchError
from fobench.execution import conversations, worker_pool
from fobench.execution.run import Run
from fobench.storage.run_config import RunConfig
from tests.support.live.realtime_server import serving

RATE_HZ = 16_000
IDS = [f"q{number}" for number in range(4)]


@pytest.fixture(autouse=True)
def brief(monkeypatch, short_tail):
    """Conversations begin soon after each other, and end soon after their last sound."""
    monkeypatch.setattr(conversations, "STAGGER_S", 0.05)


@pytest.fixture
def configured(tmp_path, home):
    """`configured(server, workers, ...)`: a run of four questions, each 400 ms of tone."""
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.cos(np.arange(RATE_HZ * 4 // 10) * 0.1), RATE_HZ, subtype="FLOAT")

    def configure(server, workers, questions=IDS, **options):
        lines = [{"id": name, "audio": "tone.wav", "text": f"Which city, {name}?"} for name in questions]
        (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        suites = (f"manifest:{tmp_path / 'questions.jsonl'}",)
        settings = {"judge": "none", "workers": workers, **options}
        return RunConfig(system=f"realtime:{server.url}", suites=suites, **settings)

    return configure


def executed(config, path, watch=lambda progress: None):
    begun = Run.begin(config, path)
    begun.execute(watch)
    return begun


def contents(folder):
    """What was said on both sides of each scenario, without its times."""
    return {
        trace.id: (trace.transcripts(), [(r.text, r.heard_ns) for r in trace.replies], trace.routes, trace.failure)
        for trace in folder.traces()
    }


@pytest.mark.subprocess
def test_all_are_held_at_once_by_one_system(configured, tmp_path):
    with serving(answer_ms=100, reply_ms=200) as server:
        run = executed(configured(server, 4), tmp_path / "run")
        assert server.most_open == 4
        assert server.opened == 1 + 4 * 3  # to warm up; each conversation, and its two questions by text
    found = contents(run.folder)
    assert sorted(found) == IDS
    says, hears = "The capital of France is Paris.", "What is the capital of France?"
    for transcripts, replies, routes, failure in found.values():
        assert failure is None
        assert transcripts == (hears,)
        assert replies == [(says, 200 * NS_PER_MS)]
        assert routes == {"t2t": says + " ", "a2t2t": says + " "}
    for trace in run.folder.traces():
        delay_ms = (trace.replies[0].audible_start_ns - trace.user[0].end_ns) / NS_PER_MS
        assert delay_ms == pytest.approx(200 + 100, abs=100)
    record = run.folder.read_run()
    assert (record["clock"], record["conversations_at_once"], record["judging"]) == ("wall", 4, None)
    assert any(note.startswith("4 conversations were held at once") for note in record["notes"])


@pytest.mark.slow
def test_where_the_factory_does_not_tell_the_first_system_does(configured, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_pool, "declares_real_time", lambda factory: None)
    with serving() as server:
        live = executed(configured(server, 3, text_routes=False), tmp_path / "live")
        assert (server.most_open, server.opened) == (3, 1 + 4)
        settings = replace(live.config, system="scripted:late", system_args={"reply_ms": 200})
        computed = executed(settings, tmp_path / "computed")
    assert live.folder.read_run()["conversations_at_once"] == 3
    assert "conversations_at_once" not in computed.folder.read_run()
    for run in (live, computed):
        assert [trace.failure for trace in run.folder.traces()] == [None] * 4


@pytest.mark.slow
def test_one_that_fails_leaves_the_others(configured, tmp_path):
    with serving(closes_after=12, closes_only=2) as server:  # the first one warms up
        run = executed(configured(server, 4, text_routes=False), tmp_path / "run")
    failures = [trace.failure for trace in run.folder.traces()]
    assert len(failures) == 4
    (failure,) = filter(None, failures)
    assert (failure.kind, "out of service" in failure.message) == ("died", True)


@pytest.mark.slow
def test_ctrl_c_in_the_midst_and_resumed(configured, tmp_path):
    def interrupt(progress):
        if progress.trace is not None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)  # until it is delivered

    with serving() as server:
        with pytest.raises(KeyboardInterrupt):
            executed(configured(server, 2, text_routes=False), tmp_path / "run", interrupt)
        kept = list(Run.resume(tmp_path / "run").folder.traces())
        assert 1 <= len(kept) < 4
        deadline = time.monotonic() + 5
        while server.open and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.open == 0
        with pytest.raises(FobenchError, match="Resume it with --workers 2, or begin another run"):
            Run.resume(tmp_path / "run", {"workers": 3})
        resumed = Run.resume(tmp_path / "run", {"workers": 2})
        resumed.execute(lambda progress: None)
    assert sorted(contents(resumed.folder)) == IDS
    record = resumed.folder.read_run()
    assert record["status"] == "complete"
    assert [note.partition(" ")[0] for note in record["notes"] if "at once" in note] == ["2"]


@pytest.mark.slow
def test_four_at_once_take_about_a_quarter_of_the_time(configured, tmp_path):
    questions, seconds, found = [f"q{number}" for number in range(16)], {}, {}
    with serving(answer_ms=1000) as server:
        for workers in (1, 4):
            run = executed(configured(server, workers, questions), tmp_path / str(workers))
            record = run.folder.read_run()
            seconds[workers] = record["duration_s"] - run.times.loading_ns / 1e9
            found[workers] = contents(run.folder)
            assert record["conversations_at_once"] == workers
    print(f"1 at a time: {seconds[1]:.1f} s; 4 at a time: {seconds[4]:.1f} s")
    assert found[1] == found[4]
    assert seconds[4] < 0.4 * seconds[1]


def test_each_holder_takes_the_next_when_it_is_free():
    waiting = queue.SimpleQueue()
    for number in range(6):
        waiting.put(number)
    held = ([], [])

    def holder(mine, seconds):
        return lambda item: (mine.append(item), time.sleep(seconds))

    conversations.hold(waiting, [holder(held[0], 0.25), holder(held[1], 0.02)], threading.Event())
    assert sorted(held[0] + held[1]) == list(range(6))
    assert held[0] == [0] and held[1] == sorted(held[1])


def test_after_an_error_and_after_a_stop_nothing_more_is_begun():
    waiting, stopping, held = queue.SimpleQueue(), threading.Event(), []
    for number in range(6):
        waiting.put(number)

    def fail(item):
        held.append(item)
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        conversations.hold(waiting, [fail], stopping)
    conversations.hold(waiting, [lambda item: (held.append(item), stopping.set())], stopping)
    assert held == [0, 1]


class Talk(LiveSystem):
    async def converse(self, call): ...


class Computes:
    def open(self, seed): ...


def makes_talk() -> Talk: ...


def makes_none() -> object: ...


def makes_nonsense() -> Nonsense:  # noqa: F821
    ...


@pytest.mark.parametrize(
    ("factory", "declared"),
    [(Talk, True), (makes_talk, True), (Computes, False), (makes_none, None), (makes_nonsense, None), (len, None)],
)
def test_what_a_factory_declares(factory, declared):
    assert declares_real_time(factory) is declared
