"""Latencies, real-time factors and underruns: every planted value comes back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.scenario import Anchor
from tests.plugins.metrics.scoring import score, total
from tests.support.traces import duplex_trace, qa_trace


@pytest.mark.parametrize(
    ("metric", "planted"), [("endpoint_ms", 300.0), ("ttft_ms", 100.0), ("ttfa_ms", 300.0), ("response_ms", 700.0)]
)
def test_planted_latencies(metric, planted):
    """Asked until 2000, decided at 2300, first token at 2400, first packet at 2600, audible from 2700."""
    assert score(metric, qa_trace()).value == planted


def test_speaking_before_the_user_ended_is_negative_and_early():
    traces = [qa_trace("q-1", audible=(1900, 3000)), qa_trace("q-2")]
    found = total("response_ms", traces)
    assert [score("response_ms", trace).value for trace in traces] == [-100.0, 700.0]
    assert (found.value, found.n, found.detail["min"]) == (700.0, 1, 700.0)
    assert (found.detail["early"], found.detail["early_share"]) == (1, 0.5)


def test_replies_in_time_make_the_latency_and_failures_are_counted_beside_it():
    """In time after 500, 600 ... 1400; two early, one silent, one crash: a median of 950, or 1150 of all 14."""
    traces = [qa_trace(f"q-{i}", audible=(2500 + 100 * i, 5000)) for i in range(10)]
    traces += [qa_trace(f"e-{i}", audible=(1000 + i, 5000)) for i in range(2)]
    traces += [qa_trace("silent", said=None), qa_trace("dead", failure="died")]
    found = total("response_ms", traces)
    assert (found.value, found.n, found.detail["p90"]) == (950.0, 10, pytest.approx(1310.0))
    assert (found.detail["early"], found.detail["early_share"]) == (2, pytest.approx(1 / 6))
    assert (found.detail["unanswered"], found.detail["failed_due"], found.detail["p50_all"]) == (2, 1, 1150.0)
    assert (total("early_reply_rate", traces).value, total("early_reply_rate", traces).n) == (pytest.approx(1 / 6), 12)
    assert (total("no_reply_rate", traces).value, total("no_reply_rate", traces).n) == (pytest.approx(1 / 13), 13)


def test_replies_that_are_all_early_have_no_latency():
    found = total("response_ms", [qa_trace(f"q-{i}", audible=(1900, 3000)) for i in range(3)])
    assert (found.value, found.reason) == (None, "every reply began before the end of the user's speech")
    assert (found.detail["early"], found.detail["early_share"]) == (3, 1.0)


def test_a_reply_in_a_pause_of_the_users_turn_is_early():
    """The turn is 500 to 4000, with a pause from 1500; a reply in it is not made good by one after the turn."""
    paused = [("fragment", 500, 1500), ("question", 2700, 4000)]
    trace = duplex_trace(paused, [(1700, 3000), (4500, 6000)], speaks=[1600, 4300])
    trace = follows(trace)
    assert score("response_ms", trace).value == -2300.0
    assert score("endpoint_ms", trace).value == -2400.0
    assert score("early_reply_rate", trace).value == 1.0


@given(st.lists(st.integers(2000, 6000), min_size=1, max_size=40), st.data())
def test_neither_barging_in_nor_silence_makes_the_median_of_all_replies_better(starts, data):
    """What the headline prints: an early, missing or crashed reply is later than any."""
    whole = {f"q-{i}": start for i, start in enumerate(starts)}
    spoiled = data.draw(st.sampled_from(sorted(whole)))
    kind = data.draw(st.sampled_from(["early", "silent", "dead"]))
    worse = {"early": {"audible": (1500, 5000)}, "silent": {"said": None}, "dead": {"failure": "died"}}[kind]
    before = [qa_trace(name, audible=(start, 9000)) for name, start in whole.items()]
    after = [qa_trace(n, **worse) if n == spoiled else t for n, t in zip(whole, before, strict=True)]
    old, new = (total("response_ms", traces).detail["p50_all"] for traces in (before, after))
    assert old is not None
    assert new is None or new >= old


def test_no_reply_is_due_where_the_system_has_to_listen():
    trace = duplex_trace([("question", 500, 2000)], [(2700, 4000)])
    expect = replace(trace.scenario.expect, family="listening")
    trace = replace(trace, scenario=replace(trace.scenario, expect=expect))
    assert score("response_ms", trace).reason == "no reply is due"
    crashed = replace(trace, failure=qa_trace("dead", failure="died").failure)
    assert [total("response_ms", [t]).detail["unanswered"] for t in (trace, crashed)] == [0, 0]
    assert score("no_reply_rate", trace).value is None


def follows(trace):
    """The trace with each turn following the end of the one before."""
    turns = [replace(turn, anchor=Anchor("turn_end")) for turn in trace.scenario.turns]
    return replace(trace, scenario=replace(trace.scenario, turns=tuple(turns)))


def test_a_token_before_the_decision_is_negative():
    assert score("ttft_ms", qa_trace(token=2250)).value == -50.0


@pytest.mark.parametrize(
    ("metric", "trace", "reason"),
    [
        ("endpoint_ms", qa_trace(decided=None), "the system never decided to speak"),
        ("ttft_ms", qa_trace(decided=None), "the system never decided to speak"),
        ("ttft_ms", qa_trace(token=None), "the system reports no tokens"),
        ("ttfa_ms", qa_trace(said=None), "no reply"),
        ("response_ms", qa_trace(audible=None), "no audible reply"),
        ("response_ms", qa_trace(failure="died"), "failure: died"),
        ("yield_decision_ms", qa_trace(), "no interruption"),
    ],
)
def test_what_did_not_happen_says_so(metric, trace, reason):
    found = score(metric, trace)
    assert (found.value, found.reason) == (None, reason)


def test_percentiles_and_absences_of_a_run():
    """700, 710, ... 1690 ms and a silent one."""
    traces = [qa_trace(f"q-{i}", audible=(2700 + 10 * i, 5000), speaker=f"s{i % 10}") for i in range(100)]
    found = total("response_ms", [*traces, qa_trace("silent", said=None)])
    assert (found.value, found.n, found.unit) == (pytest.approx(1195.0), 100, "ms")
    assert found.detail["p90"] == pytest.approx(1591.0)
    assert found.detail["p99"] == pytest.approx(1680.1)
    assert (found.detail["mean"], found.detail["max"]) == (pytest.approx(1195.0), 1690.0)
    assert found.ci[0] < found.value < found.ci[1]
    assert (found.detail["n_missing"], found.detail["blocked_by"]) == (1, "group")


def test_small_runs_hide_high_percentiles():
    found = total("response_ms", [qa_trace(f"q-{i}") for i in range(9)])
    assert (found.detail["p90"], found.detail["p99"]) == (None, None)


def test_nothing_measured_is_no_latency():
    found = total("response_ms", [qa_trace(said=None), qa_trace("q-2", failure="died")])
    assert (found.value, found.n, found.detail["n_failed"], found.detail["n_missing"]) == (None, 0, 1, 1)


INTERRUPTED = [("question", 500, 2000), ("interrupt", 4000, 5500)]


def test_yielding_and_falling_silent():
    """Interrupted at 4000, decided at 4200, silent from 4350."""
    trace = duplex_trace(INTERRUPTED, [(2700, 4350)], yields=[4200])
    assert score("yield_decision_ms", trace).value == 200.0
    assert score("audible_stop_ms", trace).value == 350.0


def test_never_yielding():
    """The reply goes on to its end at 9000."""
    trace = duplex_trace(INTERRUPTED, [(2700, 9000)])
    assert score("yield_decision_ms", trace).reason == "never yielded"
    assert score("audible_stop_ms", trace).value == 5000.0


def test_an_interruption_of_silence_stops_nothing():
    trace = duplex_trace(INTERRUPTED, [(2700, 3900)], yields=[4100])
    assert score("audible_stop_ms", trace).reason == "nothing was audible then"


def test_two_interruptions_have_a_yield_each():
    user = [*INTERRUPTED, ("stop", 8000, 8500)]
    trace = duplex_trace(user, [(2700, 4350), (6000, 8500)], yields=[4200, 8400])
    assert score("yield_decision_ms", trace).detail["values_ms"] == [200.0, 400.0]
    found = total("audible_stop_ms", [trace])
    assert (found.n, found.detail["min"], found.detail["max"]) == (2, 350.0, 500.0)


def test_a_yield_to_the_second_interruption_is_not_one_to_the_first():
    trace = duplex_trace([*INTERRUPTED, ("stop", 8000, 8500)], [(2700, 8450)], yields=[8400])
    found = score("yield_decision_ms", trace)
    assert (found.detail["values_ms"], found.detail["absent"]) == ([400.0], ["never yielded"])


def test_the_answer_to_an_interruption_is_timed_from_the_interruption():
    trace = duplex_trace(INTERRUPTED, [(2700, 4350), (6300, 7000)], yields=[4200], speaks=[2300, 5900])
    assert score("endpoint_ms", trace).value == 400.0
    assert score("response_ms", trace).value == 800.0


def test_real_time_factors():
    """250 ms for 5 s of user audio; 750 ms for 1.5 s of reply."""
    assert score("rtf_input", qa_trace()).value == 0.05
    assert score("rtf_output", qa_trace()).value == 0.5
    assert score("rtf_output", qa_trace(said=None)).reason == "no audio was generated"


def test_real_time_factors_are_pooled():
    traces = [
        qa_trace("q-1", compute=(0, 1000), audible=(2700, 3700)),
        qa_trace("q-2", compute=(0, 1000), audible=(2700, 5700)),
    ]
    found = total("rtf_output", traces)
    assert (found.value, found.n, found.detail["max"]) == (0.5, 2, 1.0)
    assert (found.detail["compute_s"], found.detail["media_s"]) == (2.0, 4.0)


def test_underruns():
    trace = qa_trace(gaps=[120, 80])
    assert (score("underruns", trace).value, score("underrun_ms", trace).value) == (2.0, 200.0)
    assert score("underruns", qa_trace()).value == 0.0
    assert score("underruns", qa_trace(audible=None)).reason == "no reply"
    found = total("underrun_ms", [trace, qa_trace("q-2"), qa_trace("q-3", said=None)])
    assert (found.value, found.n, found.detail["total"], found.detail["n_missing"]) == (100.0, 2, 200.0, 1)
