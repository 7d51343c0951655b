"""Judging beside and between the dialogues: order, waiting, and what a failing judge leaves."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from fobench.api.types import AudioChunk, Transcript
from fobench.errors import SystemFailure
from fobench.execution.judge import Judge
from fobench.execution.judging import JUDGE_LOSSES, JUDGE_PROBLEM, Judging, ScenarioOutcome
from fobench.execution.run import RunTimes
from fobench.execution.worker import judges_beside
from fobench.storage.run_config import RunConfig
from tests.support.traces import qa_trace

REPLY = AudioChunk(np.zeros(160, np.float32), 16_000)
LIMIT_S = 10.0


class HeldJudge:
    """Stands for the judge's process: hears a reply when it is let."""

    losses = 0

    def __init__(self) -> None:
        self.let, self.heard = threading.Event(), 0

    def start(self) -> None: ...

    def call(self, method, audio):
        assert self.let.wait(LIMIT_S)
        if method == "measure":
            return {"dnsmos": {"ovrl": 3.0}}, {}, 4
        self.heard += 1
        return f"reply {self.heard}", 3


def outcome(name):
    trace = qa_trace(name)
    trace = replace(trace, scenario=replace(trace.scenario, turns=()), judge={}, measured={})  # no prompt to hear
    return ScenarioOutcome(trace, np.zeros((160, 2), np.float32), 16_000, 5, 2, 0, 8)


def judge_all(judging, names):
    for name in names:
        done = outcome(name)
        judging.complete(done, judging.begin(done.trace.scenario, REPLY))


def test_beside_the_dialogues_one_scenario_is_judged_while_the_next_is_played():
    judge, delivered = HeldJudge(), []
    judging = Judging(judge, "whisper", delivered.append, beside=True)
    judge_all(judging, ["a"])  # it returns although the judge has heard nothing
    assert not delivered
    judge.let.set()
    judge_all(judging, ["b", "c"])
    judging.wait()
    judging.end()
    assert [done.trace.id for done in delivered] == ["a", "b", "c"]
    assert [done.trace.judge["reply"] for done in delivered] == ["reply 1", "reply 2", "reply 3"]
    assert delivered[0].trace.measured == {"dnsmos": {"ovrl": 3.0}} and delivered[0].judge_ns == 7


def test_between_the_dialogues_the_next_one_waits_for_the_judge():
    judge, delivered = HeldJudge(), []
    judging = Judging(judge, "whisper", delivered.append, beside=False)
    threading.Timer(0.05, judge.let.set).start()
    judge_all(judging, ["a"])
    assert [done.trace.id for done in delivered] == ["a"]
    judging.end()


def test_a_failing_judge_is_recorded_and_given_up_after_some_losses():
    judge, delivered = HeldJudge(), []

    def fail(method, audio):
        raise SystemFailure("died", "killed")

    judge.call = fail
    judging = Judging(judge, "whisper", delivered.append, beside=False)
    judge_all(judging, ["a"])
    judge.losses = JUDGE_LOSSES
    judge_all(judging, ["b"])
    judging.end()
    first, second = (done.trace.judge[JUDGE_PROBLEM] for done in delivered)
    assert first == "the judge 'whisper' failed: killed" and "is not asked again" in second


def test_what_goes_wrong_in_the_harness_is_raised_where_the_worker_waits():
    judge = HeldJudge()
    judge.let.set()
    judging = Judging(judge, "whisper", lambda done: 1 / 0, beside=True)
    judge_all(judging, ["a"])
    with pytest.raises(ZeroDivisionError):
        judging.wait()
    judging.end()


def test_a_judge_that_cannot_be_loaded_is_told_at_the_start():
    judge = HeldJudge()
    judge.start = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        Judging(judge, "whisper", lambda done: None, beside=True).wait()


def test_a_measured_system_has_the_machine_to_itself():
    assert judges_beside(RunConfig()) == "between the dialogues"
    assert judges_beside(RunConfig(costs="declared")) == "beside the dialogues"


def test_the_times_of_a_run_by_part():
    times = RunTimes(loading_ns=6 * 10**9)
    times.add(
        replace(outcome("a"), system_ns=20 * 10**9, routes_ns=4 * 10**9, judge_ns=9 * 10**9, worker_ns=25 * 10**9)
    )
    kept = times.to_json()
    assert (kept["system_s"], kept["text_routes_s"], kept["judge_s"], kept["overhead_s"]) == (20.0, 4.0, 9.0, 1.0)
    assert kept["overhead_fraction"] == 0.04 and kept["first_result_s"] <= kept["total_s"]
    assert "loading models 6, dialogues 20, text routes 4, judge 9 s" in times.sentence()


def test_a_prompt_that_comes_again_is_heard_once(monkeypatch):
    heard = []

    class Counting:
        def transcribe(self, audio):
            heard.append(len(audio.samples))
            return Transcript(f"{len(audio.samples)} samples")

    monkeypatch.setattr("fobench.execution.judge.registry.create", lambda *_: Counting())
    judge = Judge(None)
    tone = np.sin(np.arange(16_000) / 8).astype(np.float32)
    one, other = AudioChunk(tone, 16_000), AudioChunk(tone[:8_000], 16_000)
    assert [judge.hear_prompt(audio)[0] for audio in (one, other, one)] == [
        "16000 samples",
        "8000 samples",
        "16000 samples",
    ]
    assert heard == [16_000, 8_000]
    assert judge.hear(one)[0] == "16000 samples" and heard == [16_000, 8_000, 16_000]
