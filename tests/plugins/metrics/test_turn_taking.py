"""Turn taking on hand-made timelines."""

from dataclasses import replace

import pytest

from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_MS as MS
from tests.plugins.metrics.scoring import score, total
from tests.support.traces import duplex_trace, qa_trace

ASKED = ("question", 500, 2000)


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
    assert (
        score("interrupts_user_rate", duplex_trace([("noise", 500, 2000)])).reason == "the user never holds the floor"
    )


@pytest.mark.parametrize(("replies", "success"), [([], True), ([(2500, 3000)], True), ([(2500, 3600)], False)])
def test_where_nothing_is_asked_the_floor_is_not_taken(replies, success):
    assert score("turn_success", duplex_trace([("noise", 500, 2000)], replies)).value == float(success)


@pytest.mark.parametrize(("replies", "success"), [([], False), ([(2700, 6000)], True)])
def test_where_the_question_was_not_reached_what_was_asked_before_it_is_to_be_answered(replies, success):
    trace = duplex_trace([ASKED, ("interrupt", 4000, 5500)], replies)
    trace = replace(trace, user=trace.user[:1])
    assert score("turn_success", trace).value == float(success)
    assert trace.question is None
    assert score("response_ms", trace).value is None
    assert "not asked" in score("response_after_interrupt", trace).reason


def test_a_false_start_is_not_the_answer():
    trace = duplex_trace([("question", 500, 2500)], [(1500, 1530), (3200, 6000)], yields=[1530])
    false, right = replace(trace.replies[0], text="", stopped_ns=1530 * MS), replace(trace.replies[1], text="Paris.")
    trace = replace(trace, replies=(false, right))
    assert trace.answer is right
    assert score("accuracy_s2t", trace).value == 1.0
    assert score("response_ms", trace).value == -1000.0  # early, and kept


def test_a_question_that_was_not_reached_is_no_success():
    trace = duplex_trace([ASKED])
    trace = replace(trace, user=())
    assert score("turn_success", trace).reason == "no question was asked"


@pytest.mark.parametrize(
    ("replies", "success"),
    [
        ([(2700, 4400)], True),  # yields
        ([(2700, 4400), (6500, 7000)], True),  # and says "okay"
        ([(2700, 4400), (6500, 8000)], False),  # and takes the floor again
        ([(2700, 6100)], False),  # goes on for more than 2 s
        ([(2700, 4400), (5000, 9000)], False),  # answers at once, at length
        ([(2700, 4400), (5000, 5900)], True),  # at once, and it is said within the 2 s
    ],
)
def test_after_stop_the_floor_is_the_users(replies, success):
    trace = duplex_trace([ASKED, ("stop", 4000, 4500)], replies, yields=[4200])
    assert score("turn_success", trace).value == float(success)


@pytest.mark.parametrize(("end", "success"), [(5900, True), (6100, False)])
def test_an_interrupted_reply_ends_in_time(end, success):
    trace = duplex_trace([ASKED, ("interrupt", 4000, 5500)], [(2700, end), (7000, 8000)])
    assert score("turn_success", trace).value == float(success)


PAUSED = [("fragment", 500, 1500), ("question", 2700, 4000)]


@pytest.mark.parametrize(
    ("replies", "taken", "over", "success"),
    [
        ([(4700, 6000)], False, False, True),
        ([(2200, 3300), (4700, 6000)], True, True, False),  # from the pause on, for more than a second
        ([(2200, 2600), (4700, 6000)], False, True, False),  # a murmur takes no floor, and is heard all the same
        (
            [(1400, 2400), (4700, 6000)],
            False,
            True,
            False,
        ),  # over the fragment, and for less than a second in the pause
        ([(1400, 2500), (4700, 6000)], True, True, False),  # and for a second
    ],
)
def test_a_pause_inside_a_turn(replies, taken, over, success):
    trace = paused(duplex_trace(PAUSED, replies))
    assert score("pause_takeover_rate", trace).value == float(taken)
    assert score("interrupts_user_rate", trace).value == float(over)
    assert score("turn_success", trace).value == float(success)


def test_in_a_pause_four_heard_words_take_the_floor():
    def said(text):
        trace = paused(duplex_trace(PAUSED, [(2200, 2600)]))
        return replace(trace, replies=(replace(trace.replies[0], text=text),))

    assert score("pause_takeover_rate", said("What is it you want?")).value == 1.0
    assert score("pause_takeover_rate", said("Yes, go on?")).value == 0.0


def test_a_fragment_that_waits_for_the_system_has_no_pause():
    trace = duplex_trace([("fragment", 500, 1500), ("interrupt", 3500, 5000)], [(2700, 3900), (5700, 7000)])
    assert score("pause_takeover_rate", trace).reason == "no pause inside a turn"
    assert score("interrupts_user_rate", trace).value == 0.0
    assert score("turn_success", trace).value == 1.0


def paused(trace):
    """The trace with its second turn following by the clock."""
    first, second = trace.scenario.turns
    turns = (first, replace(second, anchor=Anchor("turn_end", 1200 * 10**6)))
    return replace(trace, scenario=replace(trace.scenario, turns=turns))


@pytest.mark.parametrize(("at", "yielded"), [(4200, True), (6000, True), (6001, False), (None, False)])
def test_yield_within_two_seconds(at, yielded):
    trace = duplex_trace([ASKED, ("stop", 4000, 4500)], [(2700, 9000)], yields=[at] if at else [])
    assert score("yield_rate", trace).value == float(yielded)


def test_a_reply_that_ends_by_itself_leaves_nothing_to_yield():
    trace = duplex_trace([ASKED, ("interrupt", 4000, 5500)], [(2700, 5900)])
    assert score("yield_rate", trace).reason == "the reply ended by itself"


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


@pytest.mark.parametrize(
    ("replies", "yields", "kept"),
    [
        ([(2700, 9000)], [], 1.0),
        ([(2700, 4400)], [], 1.0),  # it ended by itself
        ([(2700, 4400)], [4300], 0.0),
        ([(2700, 4400), (5000, 9000)], [4300], 0.0),  # another reply is not the same
        ([(2700, 9000)], [4300], 1.0),  # the same reply, heard after the stop
    ],
)
def test_a_reply_is_kept_or_resumed(replies, yields, kept):
    trace = duplex_trace([ASKED, ("backchannel", 4000, 4300)], replies, yields=yields)
    assert score("resume_rate", trace).value == kept
    assert score("turn_success", trace).value == kept


@pytest.mark.parametrize(("heard", "right"), [("It is Paris.", 1.0), ("It is Rome.", 0.0), ("", 0.0)])
def test_the_new_question_is_answered(heard, right):
    user = [ASKED, ("interrupt", 4000, 5500)]
    trace = duplex_trace(user, [(2700, 4400), (6300, 7000)], heard=heard)
    assert score("response_after_interrupt", trace).value == right


def test_without_a_new_question_there_is_no_answer_to_it():
    assert score("response_after_interrupt", duplex_trace([ASKED])).reason == "no interruption by a question"
