"""Turn taking on hand-made timelines."""

import pytest
from traces import duplex_trace, qa_trace

from fobench import plugins

ASKED = ("question", 500, 2000)


def score(metric, trace):
    return plugins.create("metrics", metric).score(trace, trace.scenario)


def total(metric, traces):
    made = plugins.create("metrics", metric)
    return made.aggregate([made.score(trace, trace.scenario) for trace in traces])[0]


@pytest.mark.parametrize(
    ("replies", "heard", "taken"),
    [
        ([(2700, 3700)], None, True),  # a second
        ([(2700, 3690)], "Well I never did", True),  # four words
        ([(2700, 3690)], "Well I never", False),
        ([], None, False),
    ],
)
def test_takeover(replies, heard, taken):
    assert score("takeover_rate", duplex_trace([ASKED], replies, heard=heard)).value == float(taken)


@pytest.mark.parametrize(
    ("replies", "success", "over"),
    [
        ([(2700, 4000)], True, False),
        ([], False, False),  # never speaks
        ([(0, 9000)], False, False),  # speaks all the time, but began before the user did
        ([(1500, 4000)], False, True),
        ([(1990, 2100), (2700, 4000)], False, True),
        ([(2000, 4000)], True, False),
    ],
)
def test_one_question(replies, success, over):
    trace = duplex_trace([ASKED], replies)
    assert score("turn_success", trace).value == float(success)
    assert score("interrupts_user_rate", trace).value == float(over)


def test_a_reply_that_the_user_interrupts_does_not_interrupt_the_user():
    trace = duplex_trace([ASKED, ("interrupt", 4000, 5500)], [(2700, 4350), (6300, 7000)], yields=[4200])
    assert score("turn_success", trace).value == 1.0
    assert score("interrupts_user_rate", trace).value == 0.0


def test_speaking_over_a_backchannel_is_no_interruption():
    trace = duplex_trace([ASKED, ("backchannel", 3000, 3400)], [(2700, 2900), (3100, 5000)])
    assert score("interrupts_user_rate", trace).value == 0.0


def test_noise_alone_holds_no_floor():
    trace = duplex_trace([("noise", 500, 2000)])
    assert score("interrupts_user_rate", trace).reason == "the user never holds the floor"
    assert score("turn_success", trace).reason == "no question was asked"


@pytest.mark.parametrize(("at", "yielded"), [(4200, True), (6000, True), (6001, False), (None, False)])
def test_yield_within_two_seconds(at, yielded):
    trace = duplex_trace([ASKED, ("stop", 4000, 4500)], [(2700, 9000)], yields=[at] if at else [])
    assert score("yield_rate", trace).value == float(yielded)


def test_there_is_nothing_to_yield_in_silence():
    assert score("yield_rate", duplex_trace([ASKED, ("stop", 4000, 4500)])).reason == "nothing was audible then"
    assert score("yield_rate", duplex_trace([ASKED])).reason == "no such sound"


def test_false_yields_by_role():
    def run(role, at, n):
        trace = [ASKED, (role, 4000, 4500)], [(2700, 9000)]
        return [duplex_trace(*trace, yields=[at] if at else [], id=f"{role}-{at}-{i}") for i in range(n)]

    traces = [
        *run("backchannel", 4300, 1),
        *run("backchannel", None, 3),
        *run("noise", 6400, 1),
        *run("noise", 6600, 1),
    ]
    found = total("false_yield_rate", [*traces, *run("interrupt", 4200, 2)])
    assert (found.value, found.n, found.better) == (pytest.approx(2 / 6), 6, "lower")
    assert found.detail["by_role"]["backchannel"]["value"] == 0.25
    assert (found.detail["by_role"]["noise"]["hits"], found.detail["by_role"]["noise"]["n"]) == (1, 2)
    assert found.detail["reasons"] == {"no such sound": 2}


def test_a_stop_for_the_next_question_is_no_false_yield():
    user = [ASKED, ("backchannel", 4000, 4300), ("interrupt", 5000, 6000)]
    assert score("false_yield_rate", duplex_trace(user, [(2700, 5400)], yields=[5200])).value == 0.0


def test_rates_of_a_run():
    traces = [qa_trace("fine"), qa_trace("silent", said=None), qa_trace("died", failure="died")]
    found = total("turn_success", traces)
    assert (found.value, found.n, found.detail["n_failed"]) == (0.5, 2, 1)
    assert found.ci[0] < 0.5 < found.ci[1]
