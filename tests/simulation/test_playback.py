"""The playback buffer: when a listener hears what, and what a stop drops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.trace import Underrun
from fobench.api.types import NS_PER_MS, NS_PER_S
from fobench.simulation.playback import PlaybackBuffer

RATE = 24_000
MS = NS_PER_MS


def tone(ms, level=0.5):
    return np.full(RATE * ms // 1000, level, dtype=np.float32)


def test_a_packet_plays_when_available_and_the_next_right_behind():
    buffer = PlaybackBuffer(RATE)
    assert buffer.add(0, tone(500), 1000 * MS) == 1000 * MS
    assert buffer.add(0, tone(500), 1100 * MS) == 1500 * MS
    assert buffer.end_ns == 2000 * MS
    (reply,) = buffer.replies({0: "hi"})
    assert (reply.audible_start_ns, reply.audible_end_ns) == (1000 * MS, 2000 * MS)
    assert (reply.generated_ns, reply.heard_ns, reply.underruns) == (NS_PER_S, NS_PER_S, ())


def test_the_end_of_a_reply_is_known_once_it_is_complete():
    buffer = PlaybackBuffer(RATE)
    assert buffer.closing_ns is None
    buffer.add(0, tone(500), 0)
    assert buffer.closing_ns is None
    buffer.complete(0)
    assert buffer.closing_ns == 500 * MS
    buffer.add(1, tone(100), 0)
    assert buffer.closing_ns is None


def test_a_late_packet_leaves_a_gap():
    buffer = PlaybackBuffer(RATE)
    buffer.add(0, tone(100), 0)
    buffer.add(0, tone(100), 250 * MS)
    assert buffer.replies({})[0].underruns == (Underrun(100 * MS, 150 * MS),)


def test_a_pause_between_replies_is_no_underrun():
    buffer = PlaybackBuffer(RATE)
    buffer.add(0, tone(100), 0)
    buffer.add(1, tone(100), 250 * MS)
    assert [reply.underruns for reply in buffer.replies({})] == [(), ()]


def test_a_stop_drops_what_is_not_yet_played():
    buffer = PlaybackBuffer(RATE)
    buffer.add(0, tone(1000), 0)
    buffer.flush(300 * MS)
    (reply,) = buffer.replies({0: "x"})
    assert (reply.heard_ns, reply.generated_ns, reply.stopped_ns) == (300 * MS, 1000 * MS, 300 * MS)
    assert reply.audible_end_ns == 300 * MS


def test_what_was_stopped_and_goes_on_later_has_no_gap_there():
    buffer = PlaybackBuffer(RATE)
    buffer.add(0, tone(1000), 0)
    assert not buffer.was_stopped
    buffer.flush(300 * MS)
    assert buffer.was_stopped
    buffer.add(0, tone(700), 2000 * MS)
    assert not buffer.was_stopped
    buffer.add(0, tone(100), 2900 * MS)
    assert buffer.replies({})[0].underruns == (Underrun(2700 * MS, 200 * MS),)


def test_a_stop_after_the_end_changes_nothing():
    buffer = PlaybackBuffer(RATE)
    buffer.add(0, tone(100), 0)
    buffer.flush(300 * MS)
    assert buffer.replies({})[0].stopped_ns is None


def test_a_device_buffer_delays_the_start_and_outlives_a_stop():
    buffer = PlaybackBuffer(RATE, delay_ns=80 * MS)
    assert buffer.add(0, tone(1000), 0) == 80 * MS
    buffer.flush(300 * MS)
    assert buffer.replies({})[0].audible_end_ns == 380 * MS


def test_leading_silence_counts_until_sound():
    buffer = PlaybackBuffer(RATE)
    buffer.add(0, np.concatenate([tone(200, 0.0), tone(200)]), 0)
    assert buffer.replies({})[0].audible_start_ns == 200 * MS


def test_a_silent_reply_was_never_audible():
    buffer = PlaybackBuffer(RATE)
    buffer.add(0, tone(200, 0.0), 0)
    reply = buffer.replies({})[0]
    assert (reply.start_ns, reply.audible_start_ns) == (0, None)


def test_a_reply_of_text_alone_is_a_reply():
    (reply,) = PlaybackBuffer(RATE).replies({0: "only text"})
    assert (reply.text, reply.start_ns, reply.heard_ns) == ("only text", None, 0)


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 400)), min_size=1, max_size=8), st.integers(0, 4000))
def test_what_was_heard_is_what_was_rendered(packets, stop_ms):
    buffer = PlaybackBuffer(RATE)
    for available, length in sorted(packets):
        buffer.add(0, tone(length), available * MS)
    before = buffer.position(stop_ms * MS)
    buffer.flush(stop_ms * MS)
    rendered = buffer.render(0, RATE * 10)
    assert np.count_nonzero(rendered) == (before[1] if before else 0)
    assert not rendered[RATE * stop_ms // 1000 :].any()
