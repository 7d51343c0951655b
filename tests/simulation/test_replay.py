"""The runner and the simulated user, on systems small enough to know every answer."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile

from fobench.api.scenario import Anchor, Scenario, Turn
from fobench.api.trace import Trace, Utterance
from fobench.api.types import NS_PER_MS, NS_PER_S, Action, AudioChunk, Event, EventKind
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import recording as recording_module
from fobench.simulation import replay as runner
from fobench.simulation import text_routes
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import Cost, CostTable

MS = NS_PER_MS
RATE = 16_000
CHUNK = 320  # 20 ms


def noise(ms, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, RATE * ms // 1000).astype(np.float32)


@pytest.fixture
def turn(tmp_path):
    """Makes a turn of noise that lasts exactly `ms`."""

    def make(ms, **settings):
        path = tmp_path / f"{ms}-{len(list(tmp_path.iterdir()))}.wav"
        soundfile.write(path, noise(ms), RATE, subtype="FLOAT")
        return Turn(str(path), "", start_ns=0, end_ns=ms * MS, **settings)

    return make


class Replier:
    """Answers `after_ms` of media time with `reply_ms` of sound in one packet; counts what it heard."""

    input_rate_hz, output_rate_hz, chunk = RATE, RATE, CHUNK

    def __init__(self, after_ms: int, reply_ms: int = 500, tokens: int = 1) -> None:
        self.after_ms, self.reply_ms, self.tokens = after_ms, reply_ms, tokens
        self.received: list[AudioChunk] = []
        self.told: list[tuple[int, int]] = []

    def open(self, seed: int) -> "Replier":
        self.pending: list[Event] = []
        return self

    def __enter__(self) -> "Replier":
        return self

    def __exit__(self, *exc: object) -> None: ...

    def heard(self, reply: int, samples: int) -> None:
        self.told.append((reply, samples))

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        self.received.append(chunk)
        if chunk.start + CHUNK == self.after_ms * RATE // 1000:
            self.pending = [Event(EventKind.DECISION, {"action": Action.SPEAK})]
            self.pending += [Event(EventKind.TOKEN, {"text": f"w{i} "}) for i in range(self.tokens)]
            self.pending += [
                Event(EventKind.AUDIO, {"audio": AudioChunk(noise(self.reply_ms), RATE)}),
                Event(EventKind.REPLY_END),
            ]
        return self.work()

    def work(self) -> Iterator[Event]:
        while self.pending:
            yield self.pending.pop(0)

    def finish(self) -> Iterator[Event]:
        return iter(())


def driver_of(system):
    driver = object.__new__(LocalDriver)
    driver._system, driver._session, driver._work = system, None, iter(())
    return driver


def replay(system, *turns, costs=None, **settings):
    scenario = Scenario("s", "test", 0, turns, patience_ns=settings.pop("patience_ns", 2 * NS_PER_S))
    return runner.replay(scenario, driver_of(system), VirtualClock(CostTable(costs or {})), **settings)


def test_a_free_system_is_heard_in_the_moment_it_speaks(turn):
    trace = replay(Replier(after_ms=2000), turn(1000)).trace
    assert trace.user[0].end_ns == 1500 * MS
    assert trace.answer.audible_start_ns == 2000 * MS
    assert trace.answer.text == "w0 "
    assert trace.failure is None


def test_computing_delays_what_is_heard(turn):
    costs = {name: Cost() for name in ("idle", "decision", "reply_end")} | {
        "token": Cost(100 * MS),
        "audio": Cost(50 * MS),
    }
    trace = replay(Replier(after_ms=2000, tokens=3), turn(1000), costs=costs).trace
    assert trace.answer.audible_start_ns == (2000 + 3 * 100 + 50) * MS
    assert [event.compute_ns for event in trace.of(EventKind.TOKEN)] == [2100 * MS, 2200 * MS, 2300 * MS]
    assert trace.compute["output_ns"] == 350 * MS


def test_audio_queues_up_while_the_system_computes_and_none_is_lost(turn):
    slow = {"idle": Cost(30 * MS), "decision": Cost(), "token": Cost(), "audio": Cost(), "reply_end": Cost()}
    system = Replier(after_ms=2000)
    recording = replay(system, turn(1000), costs=slow)
    starts = [chunk.start for chunk in system.received]
    assert starts == list(range(0, CHUNK * len(starts), CHUNK))
    # A chunk of 20 ms takes 30 ms to hear. In each turn it hears all that had arrived by then, and works afterwards.
    heard, now = 0, 0
    while heard < 100:
        now = max(now, 20 * (heard + 1))
        due = now // 20 - heard
        heard, now = (
            heard + due,
            now + 30 * due - (30 if heard + due >= 100 else 0),
        )  # the last one's step is the decision
    assert recording.trace.of(EventKind.DECISION)[0].compute_ns == now * MS == 4160 * MS


def test_all_that_arrives_in_a_step_is_heard_before_the_next(turn):
    system, deaf = Replier(after_ms=2000, tokens=40), {"token": Cost(50 * MS), "audio": Cost(300 * MS)}
    heard = []

    def work():
        while system.pending:
            heard.append(len(system.received))
            yield system.pending.pop(0)

    system.work = work
    free = {name: Cost() for name in ("idle", "decision", "reply_end")}
    replay(system, turn(1000), costs=deaf | free, patience_ns=5 * NS_PER_S)
    # the decision, 40 tokens of 50 ms, the audio's 300 ms: at each of them it knows all that came before
    assert heard == [100, *(100 + 50 * done // 20 for done in range(40)), 200, 215]


def test_what_is_recorded_is_what_was_pushed(turn):
    system = Replier(after_ms=2000)
    recording = replay(system, turn(1000))
    assert np.array_equal(recording.user.samples, np.concatenate([chunk.samples for chunk in system.received]))
    assert np.array_equal(recording.user.samples[8000:24000], noise(1000))


def test_the_session_is_told_what_was_heard(turn):
    system = Replier(after_ms=2000, reply_ms=500)
    replay(system, turn(1000))
    assert system.told[0] == (0, RATE * 20 // 1000)
    assert system.told[-1] == (0, RATE * 500 // 1000)


def test_without_a_reply_the_user_waits_as_long_as_he_has_patience(turn):
    recording = replay(Replier(after_ms=999_999), turn(1000), patience_ns=3 * NS_PER_S)
    assert recording.trace.answer is None
    assert recording.trace.duration_ns == pytest.approx(4500 * MS, abs=40 * MS)


def test_a_turn_anchored_to_the_reply_begins_that_long_after_it_is_audible(turn):
    interrupt = turn(300, role="interrupt", anchor=Anchor("reply_audible", 400 * MS))
    trace = replay(Replier(after_ms=2000, reply_ms=1500), turn(1000), interrupt).trace
    assert trace.user[1].start_ns == pytest.approx(2400 * MS, abs=20 * MS)


def test_a_turn_anchored_to_the_replys_end_waits_for_silence(turn):
    following = turn(300, anchor=Anchor("reply_end", 600 * MS))
    trace = replay(Replier(after_ms=2000, reply_ms=800), turn(1000), following).trace
    assert trace.user[1].start_ns == pytest.approx(3400 * MS, abs=20 * MS)


def test_a_turn_anchored_to_the_replys_closing_begins_before_its_end(turn):
    last = turn(300, role="interrupt", anchor=Anchor("reply_closing", 250 * MS))
    trace = replay(Replier(after_ms=2000, reply_ms=800), turn(1000), last).trace
    assert trace.user[1].start_ns == 2550 * MS


def test_the_closing_of_a_reply_that_is_shorter_is_known_at_once(turn):
    last = turn(300, role="interrupt", anchor=Anchor("reply_closing", 900 * MS))
    trace = replay(Replier(after_ms=2000, reply_ms=800), turn(1000), last).trace
    assert trace.user[1].start_ns == pytest.approx(2000 * MS + 30 * MS, abs=20 * MS)  # 30 ms make it audible


@pytest.mark.parametrize(("after_ms", "start_ms"), [(1900, 2300), (9000, 2500)])
def test_a_turn_may_begin_without_the_reply_that_it_waits_for(turn, after_ms, start_ms):
    resumed = turn(300, role="interrupt", anchor=Anchor("reply_audible", 400 * MS, or_after_ns=1000 * MS))
    trace = replay(Replier(after_ms=after_ms), turn(1000, role="fragment"), resumed).trace
    assert trace.user[1].start_ns == pytest.approx(start_ms * MS, abs=20 * MS)


@pytest.mark.parametrize("role", ["noise", "stop"])
def test_where_nothing_is_to_be_said_it_is_watched_as_long_that_nothing_is(turn, role):
    trace = replay(Replier(after_ms=4000), turn(1000, role=role), patience_ns=3 * NS_PER_S).trace
    assert trace.replies[0].audible_start_ns == 4000 * MS  # 2.5 s after the sound's end
    none = replay(Replier(after_ms=9000), turn(1000, role=role), patience_ns=3 * NS_PER_S).trace
    assert none.duration_ns == pytest.approx(4500 * MS, abs=40 * MS)


class Resuming(Replier):
    """Stops its reply after `yield_ms` of media time, and goes on with it at `resume_ms`."""

    def __init__(self, yield_ms: int, resume_ms: int, **settings) -> None:
        super().__init__(**settings)
        self.yield_ms, self.resume_ms = yield_ms, resume_ms

    def push(self, chunk: AudioChunk) -> Iterator[Event]:
        reached = (chunk.start + CHUNK) * 1000 // RATE
        if reached == self.yield_ms:
            self.pending = [Event(EventKind.DECISION, {"action": Action.YIELD})]
        if reached == self.resume_ms:
            self.pending = [Event(EventKind.AUDIO, {"audio": AudioChunk(noise(500), RATE)}), Event(EventKind.REPLY_END)]
        return super().push(chunk)


def test_a_reply_that_was_stopped_may_go_on_as_long_as_the_user_has_patience(turn):
    click = turn(100, role="noise", anchor=Anchor("reply_audible", 200 * MS))
    system = Resuming(yield_ms=2400, resume_ms=5000, after_ms=2000, reply_ms=3000)
    (reply,) = replay(system, turn(1000), click, patience_ns=4 * NS_PER_S).trace.replies
    assert (reply.audible_end_ns, reply.stopped_ns, reply.underruns) == (5500 * MS, 2400 * MS, ())


@pytest.mark.parametrize("anchor", [Anchor("start", 6000 * MS), Anchor("turn_end", 4500 * MS)])
def test_a_turn_that_comes_in_any_case_outlives_patience(turn, anchor):
    trace = replay(Replier(after_ms=99_000), turn(1000), turn(300, anchor=anchor), patience_ns=NS_PER_S).trace
    assert trace.user[1].start_ns == 6000 * MS


def test_a_turn_after_an_interruption_waits_for_its_answer_not_for_the_tail_of_what_it_interrupted(turn):
    interrupt = turn(600, role="interrupt", anchor=Anchor("reply_audible", 400 * MS))
    following = turn(300, anchor=Anchor("reply_end", 500 * MS))
    system = Resuming(yield_ms=2600, resume_ms=5000, after_ms=2000, reply_ms=3000)
    trace = replay(system, turn(1000), interrupt, following, patience_ns=4 * NS_PER_S).trace
    assert trace.user[2].start_ns == pytest.approx(6000 * MS, abs=20 * MS)


class Endless(Replier):
    """Never says that its reply has ended."""

    def work(self) -> Iterator[Event]:
        return (event for event in super().work() if event.kind != EventKind.REPLY_END)


def test_the_closing_of_a_reply_that_is_never_said_to_end_is_its_last_sound(turn):
    last = turn(300, role="interrupt", anchor=Anchor("reply_closing", 250 * MS))
    trace = replay(Endless(after_ms=2000, reply_ms=800), turn(1000), last, patience_ns=9 * NS_PER_S).trace
    assert trace.user[1].start_ns == pytest.approx((2800 + 4000) * MS, abs=20 * MS)


def test_turns_follow_one_another(turn):
    trace = replay(Replier(after_ms=9000), turn(1000), turn(500, anchor=Anchor("turn_end", 250 * MS))).trace
    assert trace.user[1].start_ns == 1750 * MS


def test_a_system_that_raises_is_the_traces_failure(turn):
    class Broken(Replier):
        def push(self, chunk):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):  # in this process; over a host it becomes the trace's failure
        replay(Broken(after_ms=1), turn(1000))


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (AudioChunk(np.array([0.0, np.nan], np.float32), RATE), "not finite"),
        (AudioChunk(np.zeros(5, np.float32), 44_100), "44100 Hz"),
        (np.zeros(5, np.float32), "AudioChunk"),
        (AudioChunk(np.zeros((5, 2), np.float32), RATE), "AudioChunk"),
    ],
)
def test_audio_that_no_loudspeaker_could_play_is_the_traces_failure(turn, audio, message):
    class Bad(Replier):
        def push(self, chunk):
            yield Event(EventKind.AUDIO, {"audio": audio})

    failure = replay(Bad(after_ms=1), turn(1000)).trace.failure
    assert failure.kind == "bad_audio"
    assert message in failure.message


def test_the_same_declared_costs_give_the_same_trace(turn):
    question, costs = turn(1000), {n: Cost(7 * MS) for n in ("idle", "decision", "token", "audio", "reply_end")}
    first, second = (replay(Replier(after_ms=2000), question, costs=costs).trace for _ in range(2))
    assert first.to_json() == second.to_json()


def test_a_trace_survives_json(turn):
    trace = replay(Replier(after_ms=2000), turn(1000)).trace
    assert Trace.from_json(json.loads(json.dumps(trace.to_json()))) == trace


def test_stereo_has_the_user_left_and_the_system_right(turn):
    both = recording_module.stereo(replay(Replier(after_ms=2000), turn(1000)))
    assert np.abs(both[8000:24000, 0]).max() > 0.2
    assert not both[: 2 * RATE, 1].any()
    assert np.abs(both[2 * RATE : 2 * RATE + 8000, 1]).max() > 0.2


# ---- By text ---------------------------------------------------------------------------------------------------------


class Answering:
    """A driver whose answers number the questions; it notes what it was asked."""

    def __init__(self):
        self.asked = []

    def answer(self, history, seed):
        self.asked.append([message["content"] for message in history])
        return f"answer to {history[-1]['content']}"


def dialogue(*turns, heard=()):
    """A trace of turns (role, text), one every 10 s, and transcripts (second, text)."""
    said = tuple(Turn("a.wav", "", text, role=role) for role, text in turns)
    begun = tuple(Utterance(i, 10 * i * NS_PER_S, (10 * i + 2) * NS_PER_S) for i in range(len(turns)))
    events = [Event(EventKind.TRANSCRIPT, {"text": t}, compute_ns=at * NS_PER_S) for at, t in heard]
    return Trace(Scenario("s", "test", 0, said), "virtual", "measured", 0, tuple(events), begun)


def by_text(trace):
    driver = Answering()
    return text_routes.text_routes(trace, driver), driver.asked


def test_one_question_is_asked_as_it_is():
    routes, asked = by_text(dialogue(("question", "why?"), heard=[(3, "while")]))
    assert routes == {"t2t": "answer to why?", "a2t2t": "answer to while"}
    assert asked == [["why?"], ["while"]]


def test_a_later_question_comes_after_the_earlier_ones_and_the_systems_own_answers():
    trace = dialogue(
        ("question", "one?"), ("backchannel", "mhm"), ("interrupt", "two?"), heard=[(3, "won"), (23, "to")]
    )
    routes, asked = by_text(trace)
    assert routes == {"t2t": "answer to two?", "a2t2t": "answer to to"}
    assert asked == [["one?"], ["one?", "answer to one?", "two?"], ["won"], ["won", "answer to won", "to"]]


def test_what_both_routes_ask_is_asked_once():
    trace = dialogue(("question", "one?"), ("question", "two?"), heard=[(3, "one?"), (13, "to")])
    assert by_text(trace)[1] == [["one?"], ["one?", "answer to one?", "two?"], ["one?", "answer to one?", "to"]]


def test_a_route_without_a_text_is_not_asked():
    routes, asked = by_text(dialogue(("question", "one?"), ("question", None)))
    assert routes == {"t2t": None, "a2t2t": None}
    assert asked == []
    assert by_text(dialogue(("noise", None), heard=[(3, "hm")]))[1] == []
