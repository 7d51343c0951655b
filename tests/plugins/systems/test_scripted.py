"""The scripted controls keep their timing, chunk by chunk, and in the harness with the suite `controls`."""

import numpy as np
import pytest

from fobench.api import registry
from fobench.api.components import TextRoute
from fobench.api.types import NS_PER_MS, Action, AudioChunk, EventKind
from fobench.errors import FobenchError
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable

RATE, CHUNK = 16_000, 320
OUT = 24_000
MS = NS_PER_MS
PACKET_MS = 20


def create(name, **options):
    return registry.create("systems", f"scripted:{name}", options)


def user(ms, *sounds):
    """`ms` of user audio with a tone in each span (first sample, last + 1)."""
    wave = np.zeros(RATE * ms // 1000, dtype=np.float32)
    for first, last in sounds:
        wave[first:last] = 0.2 * np.cos(2 * np.pi * 220 * np.arange(last - first) / RATE)
    return wave


def feed(system, wave, seed=0):
    """[(media time in ms at which it is available, event)] of a whole conversation."""
    events = []
    with system.open(seed) as session:
        for start in range(0, len(wave) - CHUNK + 1, CHUNK):
            at = (start + CHUNK) * 1000 / RATE
            events += [(at, event) for event in session.push(AudioChunk(wave[start : start + CHUNK], RATE, start))]
        events += [(at, event) for event in session.finish()]
    return events


def of(events, kind):
    return [(at, event) for at, event in events if event.kind == kind]


def decisions(events, action):
    return [at for at, event in of(events, EventKind.DECISION) if event.data["action"] == action]


def sound(events, reply=0):
    """(media ms of the first packet, the reply's whole wave)."""
    packets = [(at, e.data["audio"]) for at, e in of(events, EventKind.AUDIO) if e.data["reply"] == reply]
    return packets[0][0], np.concatenate([chunk.samples for _, chunk in packets])


def first_sound_ms(events, reply=0):
    at, wave = sound(events, reply)
    return at + np.flatnonzero(np.abs(wave) > 0.01)[0] * 1000 / OUT


SECOND = (8_000, 24_137)  # a sound from 500 ms to 1508.5625 ms
END_MS = SECOND[1] * 1000 / RATE


def test_silent_never_speaks():
    events = feed(create("silent"), user(4000, SECOND))
    assert [event.kind for _, event in events] == [EventKind.SPEECH_START, EventKind.SPEECH_END]


@pytest.mark.parametrize("delay", [80, 250, 700, 2000])
@pytest.mark.parametrize("last", [24_000, 24_001, 24_137, 24_319])
def test_late_sounds_exactly_its_delay_after_the_true_end(delay, last):
    events = feed(create("late", delay_ms=delay), user(5000, (8_000, last)))
    assert first_sound_ms(events) == pytest.approx(last * 1000 / RATE + delay, abs=0.1)
    assert last * 1000 / RATE + delay - PACKET_MS < decisions(events, Action.SPEAK)[0] <= last * 1000 / RATE + delay


def test_late_speaks_for_reply_ms_in_real_time():
    events = feed(create("late", reply_ms=1000), user(5000, SECOND))
    packets = of(events, EventKind.AUDIO)
    assert len(sound(events)[1]) == pytest.approx(OUT, abs=OUT * 0.02)
    # made 100 ms ahead of playback, and then 20 ms every 20 ms
    ahead = [e.data["audio"].start * 1000 / OUT - (at - packets[0][0]) for at, e in packets]
    assert max(ahead) == pytest.approx(80)
    assert min(ahead) >= 0
    assert of(events, EventKind.REPLY_END)[0][0] == packets[-1][0]


def test_at_once_sends_the_complete_reply_in_one_push():
    events = feed(create("late", pace="at_once"), user(5000, SECOND))
    assert len({at for at, _ in of(events, EventKind.AUDIO)}) == 1


def test_the_decision_can_come_before_the_sound():
    events = feed(create("late", delay_ms=700, decide_ms=200, writes="Well yes."), user(5000, SECOND))
    decided = decisions(events, Action.SPEAK)[0]
    assert END_MS + 200 - PACKET_MS < decided <= END_MS + 200
    assert [(at, e.data["text"]) for at, e in of(events, EventKind.TOKEN)] == [(decided, "Well "), (decided, "yes. ")]
    assert first_sound_ms(events) == pytest.approx(END_MS + 700, abs=0.1)


def test_a_reply_voices_its_words_in_order():
    events = feed(create("late", writes="one two three"), user(5000, SECOND))
    words = [e.data["text"] for _, e in of(events, EventKind.AUDIO) if "text" in e.data]
    assert words == ["one", "two", "three"]


def test_a_gap_shorter_than_the_hangover_is_no_end():
    wave = user(6000, (8_000, 16_000), (16_000 + 4_800, 32_000))  # a gap of 300 ms
    assert len(decisions(feed(create("late", hangover_ms=400), wave), Action.SPEAK)) == 1
    assert len(decisions(feed(create("late", hangover_ms=60, delay_ms=100), wave), Action.SPEAK)) == 1
    assert first_sound_ms(feed(create("late", hangover_ms=60, delay_ms=100), wave)) == pytest.approx(1100, abs=0.1)


def test_the_transcript_can_be_set():
    events = feed(create("late", hears="who are you"), user(4000, SECOND))
    assert [e.data["text"] for _, e in of(events, EventKind.TRANSCRIPT)] == ["who are you"]


def test_talking_talks_from_the_first_chunk_to_the_last():
    events = feed(create("talking"), user(3000, SECOND))
    at, wave = sound(events)
    assert at == PACKET_MS
    assert len(wave) * 1000 / OUT >= 3000 - PACKET_MS
    assert np.abs(wave).reshape(-1, 240).max(axis=1).min() > 0.1
    assert [at for at, _ in of(events, EventKind.REPLY_END)] == [3000]


def test_echo_plays_the_user_back():
    events = feed(create("echo", delay_ms=300), user(5000, SECOND))
    _, wave = sound(events)
    heard = wave[np.flatnonzero(np.abs(wave) > 0.01)[0] :]
    assert len(heard) * 1000 / OUT == pytest.approx((SECOND[1] - SECOND[0]) * 1000 / RATE, abs=1)
    crossings = np.count_nonzero(np.diff(np.signbit(heard)))
    assert crossings / 2 / (len(heard) / OUT) == pytest.approx(220, abs=2)


def over_reply(ms, onset_ms=3000):
    """A question whose reply lasts from 2209 to 4209 ms, and a sound of `ms` over it."""
    return user(9000, SECOND, (onset_ms * 16, (onset_ms + ms) * 16))


@pytest.mark.parametrize("delay", [100, 400, 650])
@pytest.mark.parametrize("onset", [3000, 3005, 3019])
def test_yields_stops_its_delay_after_the_onset(delay, onset):
    events = feed(create("yields", delay_ms=delay), over_reply(1500, onset))
    (stopped,) = decisions(events, Action.YIELD)
    assert stopped == pytest.approx(onset + delay, abs=PACKET_MS / 2)
    assert not [at for at, e in of(events, EventKind.AUDIO) if e.data["reply"] == 0 and at > stopped]
    assert first_sound_ms(events, reply=1) == pytest.approx(onset + 1500 + 700, abs=0.1)


def test_yields_talks_on_through_a_short_sound():
    events = feed(create("yields", delay_ms=400), over_reply(300))
    assert not decisions(events, Action.YIELD)
    assert len(sound(events)[1]) >= 2 * OUT
    assert len(decisions(events, Action.SPEAK)) == 1


def test_yields_always_stops_for_a_short_sound_too():
    (stopped,) = decisions(feed(create("yields-always", delay_ms=400), over_reply(100)), Action.YIELD)
    assert stopped == pytest.approx(3400, abs=PACKET_MS / 2)


def test_never_yields_talks_on_and_answers_afterwards():
    events = feed(create("never-yields"), over_reply(1500))
    assert not decisions(events, Action.YIELD)
    assert first_sound_ms(events, reply=1) == pytest.approx(4500 + 700, abs=0.1)


def test_a_sound_that_ends_within_the_reply_gets_no_answer():
    assert len(decisions(feed(create("never-yields"), over_reply(500)), Action.SPEAK)) == 1


def test_gibberish_writes_a_sentence_and_utters_noise():
    events = feed(create("gibberish"), user(5000, SECOND))
    assert "".join(e.data["text"] for _, e in of(events, EventKind.TOKEN)).strip() == "The capital of France is Paris."
    wave = sound(events)[1][-OUT:]
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    flatness = np.exp(np.mean(np.log(spectrum + 1e-12))) / np.mean(spectrum)
    assert flatness > 0.3  # a tone's is 0


class FakeVoice:
    rate_hz, speakers = 22_050, ("one",)

    def speak(self, text, seed, speaker=None):
        wave = np.zeros(self.rate_hz, dtype=np.float32)
        wave[5_000:15_000] = 0.1 * len(text) / 100
        return AudioChunk(wave, self.rate_hz)


def test_two_faced_says_one_thing_and_writes_another(monkeypatch):
    spoken = []
    monkeypatch.setattr(registry, "create", lambda kind, name, *options: spoken.append((kind, name)) or FakeVoice())
    from fobench_plugins.systems.scripted.systems import TwoFaced

    system = TwoFaced(says="It is London, I would say, by all means.", writes="Paris.", voice="any")
    assert spoken == [("voices", "any")]
    events = feed(system, user(5000, SECOND))
    assert [e.data["text"] for _, e in of(events, EventKind.TOKEN)] == ["Paris. "]
    assert first_sound_ms(events) == pytest.approx(END_MS + 700, abs=10)  # the voice's leading silence is cut
    assert system.answer([{"role": "user", "content": "?"}], 0) == "Paris."


def test_every_control_has_a_text_route():
    assert isinstance(create("silent"), TextRoute)
    assert create("late", writes="Yes.").answer([], 0) == "Yes."
    assert create("silent").answer([], 0) == ""


def test_raises_at_its_chunk_only_in_its_conversation():
    system = create("raises", at_chunk=3, at_scenario=1)
    feed(system, user(200))
    with pytest.raises(RuntimeError, match="chunk 3"):
        feed(system, user(200))
    feed(system, user(200))


def test_a_failure_can_follow_the_seed():
    system = create("nan", at_chunk=0, at_seed=7)
    assert not of(feed(system, user(200), seed=6), EventKind.AUDIO)
    ((at, event),) = of(feed(system, user(200), seed=7), EventKind.AUDIO)
    assert at == PACKET_MS
    assert np.isnan(event.data["audio"].samples).all()


def test_hangs_blocks_for_hang_s():
    feed(create("hangs", hang_s=0.01), user(1000))


def test_dropped_iterators_lose_nothing():
    wave, system = user(5000, SECOND), create("late", writes="one two three")
    whole = [event for _, event in feed(system, wave)]
    taken = []
    with system.open(0) as session:
        for start in range(0, len(wave), CHUNK):
            work = session.push(AudioChunk(wave[start : start + CHUNK], RATE, start))
            taken += [event for event in [next(work, None)] if event]
        taken += list(session.finish())
    assert [e.kind for e in taken] == [e.kind for e in whole]


def test_conversations_do_not_mix():
    system = create("echo", delay_ms=100)
    first, second = system.open(0), system.open(0)
    waves = user(3000, SECOND), user(3000)
    events = ([], [])
    for start in range(0, 48_000, CHUNK):
        for session, wave, kept in zip((first, second), waves, events, strict=True):
            kept += session.push(AudioChunk(wave[start : start + CHUNK], RATE, start))
    assert any(event.kind == EventKind.AUDIO for event in events[0])
    assert not events[1]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("late", {"delay_ms": 50}, "80 ms"),
        ("late", {"decide_ms": 900}, "decides at 900 ms, answers at 700 ms"),
        ("late", {"hangover_ms": 700}, "720 ms"),
        ("late", {"pace": "fast"}, "realtime, at_once"),
        ("yields", {"delay_ms": 0}, "20 ms"),
        ("yields", {"delay": 3}, "delay_ms"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(FobenchError, match=message):
        create(name, **options)


# ---- Over the runner, with the controls suite --------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FOBENCH_HOME", str(tmp_path_factory.getbasetemp() / "home"))


def traces(name, families, count=3, **options):
    suite = registry.create("suites", "controls", {"families": families, "count": count})
    for scenario in suite.scenarios(0):
        driver = LocalDriver(registry.spec("systems", f"scripted:{name}", options))
        yield replay.replay(scenario, driver, VirtualClock(CostTable())).trace


@pytest.mark.parametrize("pace", ["realtime", "at_once"])
def test_the_runner_measures_the_planted_delay(pace):
    for trace in traces("late", "question", delay_ms=700, pace=pace):
        assert trace.answer.audible_start_ns - trace.question.end_ns == pytest.approx(700 * MS, abs=10 * MS)
        assert not trace.answer.underruns


@pytest.mark.parametrize("pace", ["realtime", "at_once"])
def test_the_runner_measures_the_planted_yield(pace):
    for trace in traces("yields", "interruption", delay_ms=300, pace=pace):
        onset = trace.user[1].start_ns
        assert onset - trace.replies[0].audible_start_ns == pytest.approx(1000 * MS, abs=20 * MS)
        assert trace.decisions(Action.YIELD)[0].compute_ns - onset == pytest.approx(300 * MS, abs=10 * MS)
        assert trace.replies[0].audible_end_ns - onset == pytest.approx(300 * MS, abs=20 * MS)
        assert trace.answer.reply == 1
        assert trace.answer.audible_start_ns - trace.question.end_ns == pytest.approx(700 * MS, abs=10 * MS)


def test_the_runner_sees_who_yields_to_what():
    families = "interruption,backchannel,noise"
    yielded = {
        name: [bool(trace.decisions(Action.YIELD)) for trace in traces(name, families)]
        for name in ("yields", "never-yields", "yields-always")
    }
    assert yielded == {
        "yields": [True, False, False],
        "never-yields": [False, False, False],
        "yields-always": [True, True, True],
    }


def test_the_runner_hears_nothing_of_silent_and_always_hears_talking():
    (silent,) = traces("silent", "question", count=1)
    assert silent.answer is None
    (talking,) = traces("talking", "question", count=1)
    assert talking.replies[0].audible_start_ns < talking.question.start_ns < talking.replies[0].audible_end_ns


def test_late_takes_a_pause_for_an_end_only_if_it_is_longer():
    (hasty,) = traces("late", "pause", count=1, delay_ms=700)
    assert hasty.replies[0].audible_start_ns < hasty.question.end_ns
    (patient,) = traces("late", "pause", count=1, delay_ms=1500)
    assert patient.replies[0].audible_start_ns - patient.question.end_ns == pytest.approx(1500 * MS, abs=10 * MS)
