"""What a client has heard, by the time: replies one after the other, stopped and truncated."""

from hypothesis import given
from hypothesis import strategies as st

from fobench.api.types import NS_PER_MS, NS_PER_S
from fobench.server.playout import Playout

RATE = 1_000  # samples are milliseconds


def at(ms):
    return ms * NS_PER_MS


def two_buffered():
    """A reply of 2 s that is played from 0 on, and one of 1 s behind it."""
    playout = Playout(RATE)
    playout.add(0, 2_000, at(0))
    playout.add(1, 1_000, at(100))
    return playout


def test_an_interruption_stops_the_reply_that_is_heard_and_the_one_behind_it():
    playout = two_buffered()
    playout.stop(at(500))
    assert not playout.is_playing(at(501))
    assert [playout.position(at(ms)) for ms in (501, 1_900, 2_500)] == [(0, 500)] * 3


def test_a_reply_after_an_interruption_begins_at_once():
    playout = two_buffered()
    playout.stop(at(500))
    playout.add(2, 1_000, at(700))
    assert playout.position(at(800)) == (2, 100)


def test_a_second_interruption_leaves_what_was_stopped_before():
    playout = two_buffered()
    playout.stop(at(500))
    playout.add(2, 1_000, at(700))
    playout.stop(at(900))
    assert playout.position(at(3_000)) == (2, 200)
    playout.stop(at(4_000))
    assert playout.position(at(5_000)) == (2, 200)


def test_a_truncation_is_of_the_reply_that_it_names():
    playout = two_buffered()
    playout.truncate(0, 300, at(500))
    assert playout.position(at(700)) == (1, 200)  # what waited behind it has moved up
    playout.truncate(1, 0, at(800))
    assert playout.position(at(900)) == (1, 0)
    assert not playout.is_playing(at(900))


def test_the_first_of_three_buffered_replies_is_not_forgotten():
    playout = two_buffered()
    playout.add(2, 1_000, at(200))
    assert playout.position(at(1_000)) == (0, 1_000)
    playout.truncate(0, 1_000, at(1_000))
    assert [playout.position(at(ms)) for ms in (1_500, 2_400)] == [(1, 500), (2, 400)]


@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.sampled_from(["add", "new", "stop", "truncate"]), st.integers(0, 900)),
        max_size=30,
    )
)
def test_positions_lie_within_replies_and_nothing_plays_after_a_stop(steps):
    playout, now, number, sent = Playout(RATE), 0, 0, {}
    for passed, what, samples in steps:
        now += at(passed)
        if what == "stop":
            playout.stop(now)
            heard = playout.position(now + 1)
            assert playout.position(now + 10 * NS_PER_S) == heard
            assert not playout.is_playing(now)
            number += 1
        elif what == "truncate":
            playout.truncate(number, samples, now)
        else:
            number += what == "new"
            playout.add(number, samples, now)
            sent[number] = sent.get(number, 0) + samples
        if (found := playout.position(now)) is not None:
            assert 0 <= found[1] <= sent[found[0]]
