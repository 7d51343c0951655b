"""Whose turn it is in a conversation with the cascade: its session on parts whose every word is known.

A recognizer that knows lines by their pitch, a language model that counts, a voice of 200 ms a word, activity by loudness.
"""

from dataclasses import replace

import numpy as np
import pytest

from fobench.api.types import Action, AudioChunk, EventKind, Transcript
from fobench_plugins.systems.cascade.components import Components
from fobench_plugins.systems.cascade.system import Cascade
from fobench_plugins.systems.cascade.turn_state import CascadeTiming
from reference_model.turn_taking import lexical_rules
from reference_model.turn_taking.energy_vad import EnergyVAD

RATE, WINDOW = 16_000, 512
WORDS = tuple(f"word-{letter}" for letter in "abcdefghijkl")
MS = RATE // 1000
LINES = {
    200: "Tell me about the sea.",
    300: "Uh-huh.",
    400: "Stop, please.",
    500: "Which city is the capital of France?",
    600: "So I was wondering, um",
    700: "Oh, really?",
    800: "",
}
PITCH = {line: hz for hz, line in LINES.items()}
TIMING = CascadeTiming(onset=3, eager=6, end=19, unfinished=62, looks=(8, 16, 24), barge_in=40, near_db=5.0)


class Ears:
    def transcribe(self, audio):
        loud = [frame for frame in np.array_split(audio.samples, len(audio.samples) // 400) if np.std(frame) > 1e-3]
        pitches = [int(round(np.argmax(np.abs(np.fft.rfft(f, RATE))) / 100) * 100) for f in loud]
        heard = dict.fromkeys(hz for hz in pitches if pitches.count(hz) > 2)
        return Transcript(" ".join(LINES.get(hz, "") for hz in heard).strip())


class Counter:
    """Twelve words in three sentences, whatever it is told; it notes what that was."""

    def __init__(self):
        self.told = []

    def chat(self, messages):
        return [len(m["content"]) for m in messages]

    def stream(self, messages, *, max_tokens, seed, temperature=0.0):
        self.told.append([(m["role"], m["content"]) for m in messages])
        for first in (0, 4, 8):
            yield " ".join(WORDS[first : first + 4]) + ". "

    def parameter_hash(self):
        return ""


class Drone:
    rate_hz, speakers = RATE, ("one",)

    def speak(self, text, seed, speaker=None):
        draw = np.random.default_rng(len(text))
        return AudioChunk(draw.uniform(-0.2, 0.2, 200 * MS * len(text.split())).astype(np.float32), RATE)


def say(line, ms, level=0.2):
    return (level * np.sin(2 * np.pi * PITCH[line] * np.arange(ms * MS) / RATE)).astype(np.float32)


def quiet(ms):
    return np.zeros(ms * MS, np.float32)


class Listener:
    """Talks to a session in real time and hears its audio as it plays."""

    def __init__(self, echo=0.0, mind=None, timing=TIMING):
        self.mind = mind or Counter()
        self.echo, self.line = echo, np.zeros(80 * MS, np.float32)  # what is on its way to the microphone
        self.waiting = np.zeros(0, np.float32)
        components = Components(self.mind, Ears(), Drone(), "", 48)
        self.system = Cascade(components, EnergyVAD, timing, {})
        self.session = self.system.open(0)
        self.events, self.now, self.queue, self.played, self.reply = [], 0, 0, 0, -1

    def hear(self, *waves):
        wave = np.concatenate(waves)
        for start in range(0, len(wave) - WINDOW + 1, WINDOW):
            played = min(self.queue, WINDOW)
            self.queue, self.played = self.queue - played, self.played + played
            if self.reply >= 0:
                self.session.heard(self.reply, self.played)
            self.now += WINDOW
            heard = wave[start : start + WINDOW] + self.echo * self.echoed(played)
            for event in self.session.push(AudioChunk(heard.astype(np.float32), RATE, start)):
                self.note(event)
        return self

    def echoed(self, played):
        loud, self.waiting = self.waiting[:played], self.waiting[played:]
        self.line = np.concatenate([self.line, loud, np.zeros(WINDOW - played, np.float32)])
        arrived, self.line = self.line[:WINDOW], self.line[WINDOW:]
        return arrived

    def note(self, event):
        self.events.append((self.now * 1000 // RATE, event))
        if event.kind is EventKind.AUDIO:
            if event.data["reply"] != self.reply:
                self.reply, self.queue, self.played = event.data["reply"], 0, 0
            self.queue += len(event.data["audio"].samples)
            self.waiting = np.concatenate([self.waiting, event.data["audio"].samples])
        elif event.data.get("action") == Action.YIELD:
            self.queue, self.waiting = 0, np.zeros(0, np.float32)

    def did(self):
        return [str(e.data["action"]) for _, e in self.events if e.kind is EventKind.DECISION]

    def when(self, action):
        return next(at for at, e in self.events if e.data.get("action") == action)

    def voiced(self):
        return " ".join(e.data["text"].strip() for _, e in self.events if e.kind is EventKind.AUDIO)


@pytest.fixture
def asked():
    """1.0 s into the reply, which lasts 2.4 s."""
    listener = Listener().hear(say("Tell me about the sea.", 1000), quiet(1640))
    assert listener.did() == ["speak"]
    assert 0 < listener.queue < 2000 * MS
    return listener


def test_a_new_question_stops_the_reply_and_is_answered(asked):
    onset = asked.now * 1000 // RATE
    asked.hear(say("Which city is the capital of France?", 1200), quiet(700))
    assert asked.did() == ["speak", "yield", "speak"]
    assert asked.when(Action.YIELD) - onset <= 400
    history = asked.mind.told[-1]
    assert history[0] == ("user", "Tell me about the sea.")
    assert history[2] == ("user", "Which city is the capital of France?")
    heard = history[1][1]
    assert heard.startswith("word-a word-b")
    assert "word-i" not in heard  # of what was made, only what was heard


def test_a_short_sound_does_not_stop_it(asked):
    asked.hear(say("Uh-huh.", 300), quiet(2000))
    assert asked.did() == ["speak", "ignore"]
    assert asked.played == 2400 * MS
    assert len(asked.mind.told) == 1


def test_a_longer_backchannel_does_not_stop_it(asked):
    asked.hear(say("Oh, really?", 900), quiet(2000))
    assert asked.did() == ["speak", "ignore"]


def test_a_reply_that_a_listeners_words_stopped_goes_on(asked):
    asked.hear(say("Oh, really?", 1400), quiet(3500))
    assert asked.did() == ["speak", "yield", "ignore"]
    words = asked.voiced().replace(".", "").split()
    assert set(words) == set(WORDS)  # each was voiced, and what was not heard again
    ends = [e.data["reply"] for _, e in asked.events if e.kind is EventKind.REPLY_END]
    assert ends == [0, 0]
    asked.hear(say("Which city is the capital of France?", 1000), quiet(700))
    assert asked.mind.told[-1][1][1].replace(".", "").split() == list(WORDS)


@pytest.mark.parametrize("ms", [300, 700])
def test_stop_is_obeyed_and_not_answered(asked, ms):
    asked.hear(say("Stop, please.", ms), quiet(2000))
    assert asked.did() == ["speak", "yield", "ignore"]
    assert len(asked.mind.told) == 1
    asked.hear(say("Which city is the capital of France?", 1000), quiet(700))
    assert asked.did()[-1] == "speak"
    assert "word-l" not in asked.mind.told[-1][1][1]


def test_softer_speech_is_that_of_others(asked):
    asked.hear(say("Which city is the capital of France?", 1000, level=0.08), quiet(3000))
    assert "yield" not in asked.did()
    assert asked.played == 2400 * MS
    asked.hear(say("Which city is the capital of France?", 1000, level=0.08), quiet(1000))
    assert asked.did()[-1] == "ignore"
    assert len(asked.mind.told) == 1


def test_noise_without_a_word_does_not_stop_it(asked):
    asked.hear(say("", 1360), quiet(2000))
    assert "yield" not in asked.did()
    assert asked.played == 2400 * MS


def test_an_open_sentence_is_waited_for():
    listener = Listener().hear(say("So I was wondering, um", 900), quiet(1500))
    assert listener.did() == []
    listener.hear(say("Which city is the capital of France?", 1000), quiet(700))
    assert listener.did() == ["speak"]
    assert listener.mind.told[-1] == [("user", "So I was wondering, um Which city is the capital of France?")]


def test_an_open_sentence_is_not_waited_for_without_end():
    assert Listener().hear(say("So I was wondering, um", 900), quiet(2200)).did() == ["speak"]


@pytest.mark.parametrize("echo", [0.1, 0.5])
def test_an_echo_does_not_stop_the_reply(echo):
    listener = Listener(echo).hear(say("Tell me about the sea.", 1000), quiet(4500))
    assert listener.did() == ["speak"]
    assert listener.played == 2400 * MS


@pytest.mark.parametrize("echo", [0.1, 0.5])
def test_a_question_is_recognized_through_an_echo(echo):
    listener = Listener(echo).hear(say("Tell me about the sea.", 1000), quiet(1800))
    listener.hear(say("Which city is the capital of France?", 1200), quiet(700))
    assert listener.did() == ["speak", "yield", "speak"]
    assert listener.mind.told[-1][-1] == ("user", "Which city is the capital of France?")


def test_silence_is_left_alone():
    assert Listener().hear(quiet(5000)).events == []


@pytest.mark.parametrize(
    ("text", "since"),  # the look from which on it claims the floor
    [
        ("Which", 1),
        ("How many", 1),
        ("Stop", 1),
        ("Help me", 1),
        ("In which", 1),
        ("English", 3),
        ("What?", 2),
        ("What do", 1),
        ("In it", 3),
        ("In it in it in", 3),
        ("Animals of", 3),
        ("Animals of the", 2),
        ("Uh", 9),
        ("", 9),
    ],
)
def test_partial_hypotheses_are_checked_with_care(text, since):
    assert [lexical_rules.claiming(text, look) for look in (1, 2, 3)] == [look >= since for look in (1, 2, 3)]


@pytest.mark.parametrize(
    ("text", "listening", "stopping", "unfinished"),
    [
        ("Uh-huh.", True, False, False),
        ("Mm-hmm", True, False, False),
        ("Oh, I see.", True, False, False),
        ("Right, right.", True, False, False),
        ("Right, so what is it?", False, False, False),
        ("Stop.", False, True, False),
        ("Wait, wait a moment.", False, True, False),
        ("That's enough, thank you.", False, True, False),
        ("Stop the car, which city is that?", False, False, False),
        ("What is the capital of", False, False, True),
        ("What is it made of?", False, False, False),
        ("Could you please tell me?", False, False, True),
        ("I have a question for you.", False, False, True),
        ("My name is Anna...", False, False, True),
        ("My name is Anna.", False, False, False),
        ("", False, False, False),
    ],
)
def test_what_the_words_of_a_turn_say(text, listening, stopping, unfinished):
    assert lexical_rules.listening(text) is listening
    assert lexical_rules.stopping(text) is stopping
    assert lexical_rules.unfinished(text) is unfinished


@pytest.mark.parametrize(
    ("text", "calling"),
    [
        ("Anna, have you seen my keys?", True),
        ("Hey Tom, dinner is ready.", True),
        ("Sorry Peter, just a minute.", True),
        ("No, Max, down.", True),
        ("kids, come here", True),
        ("Anna have you seen my keys?", False),  # not told apart from a question without the comma
        ("Okay, which city is it?", False),
        ("Actually, which city is it?", False),
        ("No, wait, which one?", False),
        ("Wait, stop.", False),
        ("Tell me about Paris, please.", False),
        ("", False),
    ],
)
def test_who_calls_somebody_speaks_to_them(text, calling):
    assert lexical_rules.calling(text) is calling
    assert not (calling and any(lexical_rules.claiming(text, look) for look in (1, 2, 3)))


class Reasoner(Counter):
    """Thinks first, its tags cut over tokens; `opened`: its prompt ends with the opening tag."""

    def __init__(self, opened=False):
        super().__init__()
        self.opened = opened

    def detokenizer(self):
        return Characters()

    def chat(self, messages):
        return [ord(c) for c in "Answer: <think>\n" if self.opened or c != "<"]

    def stream(self, messages, *, max_tokens, seed, temperature=0.0):
        opening = [] if self.opened else ["<th", "ink>"]
        yield from [*opening, "Is it ", "London? No, no.", "</thi", "nk>", "It is ", "Paris, of course."]


class Characters:
    def push(self, token):
        return chr(token)

    def flush(self):
        return ""


@pytest.mark.parametrize("opened", [False, True])
def test_thoughts_are_written_and_not_spoken(opened):
    listener = Listener(mind=Reasoner(opened)).hear(say("Tell me about the sea.", 1000), quiet(3000))
    assert listener.voiced() == "It is Paris, of course."
    written = "".join(event.data["text"] for _, event in listener.events if event.kind is EventKind.TOKEN)
    assert written == "<think>Is it London? No, no.</think>It is Paris, of course."
    assert listener.system.answer([{"role": "user", "content": "Where?"}], 0) == written


# ---- Replies begun before the turn is known to be over -----------------------------------------------------------------


def works(listener):
    return [str(event.data.get("work", event.kind)) for _, event in listener.events]


def test_a_reply_is_ready_when_the_turn_is_over():
    """Nothing is computed after the decision, and the reply is that of a session that did not speculate."""
    patient = Listener(timing=replace(TIMING, speculate=False))
    eager = Listener()
    for listener in (patient, eager):
        listener.hear(say("Tell me about the sea.", 1000), quiet(700))
    after = works(eager)[works(eager).index("speech_end") :]
    assert after == ["speech_end", "transcript", "decision", *["adopted"] * 7]  # three tokens, their audio, the end
    assert "speculative first_token" in works(eager)
    assert {"adopted", "speculative first_token"}.isdisjoint(works(patient))
    assert eager.when(Action.SPEAK) == patient.when(Action.SPEAK)
    assert eager.mind.told == patient.mind.told
    emitted = [
        [(e.kind, e.data["reply"], e.data.get("text")) for _, e in one.events if "reply" in e.data]
        for one in (eager, patient)
    ]
    assert sorted(emitted[0], key=str) == sorted(emitted[1], key=str)
    assert (eager.queue, eager.voiced()) == (patient.queue, patient.voiced())


def test_a_reply_to_half_a_turn_is_discarded():
    listener = Listener().hear(
        say("Tell me about the sea.", 600), quiet(400), say("Which city is the capital of France?", 900)
    )
    assert "speculative audio" in works(listener)
    assert "adopted" not in works(listener)
    assert listener.did() == []
    listener.hear(quiet(700))
    assert listener.did() == ["speak"]
    whole = "Tell me about the sea. Which city is the capital of France?"
    assert [told[-1] for told in listener.mind.told] == [("user", "Tell me about the sea."), ("user", whole)]
    assert {e.data["reply"] for _, e in listener.events if e.kind is EventKind.AUDIO} == {0}
    assert listener.voiced().replace(".", "").split() == list(WORDS)


@pytest.mark.parametrize("words", ["So I was wondering, um", ""])
def test_no_reply_is_begun_to_an_open_sentence_or_to_none(words):
    listener = Listener().hear(say(words, 900), quiet(1200))
    assert listener.mind.told == []


def test_none_is_begun_to_a_stop_request_or_a_softer_voice(asked):
    asked.hear(say("Stop, please.", 700), quiet(1000), say("Oh, really?", 800, level=0.02), quiet(1000))
    assert not any(work.startswith("speculative") for work in works(asked)[works(asked).index("decision") + 1 :])
    assert len(asked.mind.told) == 1


def test_the_second_question_is_answered_with_what_was_heard_of_the_first_reply():
    """The history of a speculative reply is that of an ordinary one, also after a barge-in."""
    patient = Listener(timing=replace(TIMING, speculate=False))
    eager = Listener()
    for listener in (patient, eager):
        listener.hear(say("Tell me about the sea.", 1000), quiet(1640))
        listener.hear(say("Which city is the capital of France?", 1200), quiet(700))
    assert works(eager)[-1] == "adopted"
    assert [len(told) for told in eager.mind.told] == [1, 3]
    assert eager.mind.told[-1][-1] == patient.mind.told[-1][-1]
    assert eager.session._history[::2] == patient.session._history[::2]


class Talker(Counter):
    """One long sentence, a word a token, after a short one."""

    def stream(self, messages, *, max_tokens, seed, temperature=0.0):
        yield from ["Yes, it is. ", *[f"{word} and " for word in WORDS], "so on. "]


class InPackets(Drone):
    """The voice, 200 ms at a time."""

    def __init__(self):
        self.made = 0

    def stream(self, text, seed):
        audio = self.speak(text, seed).samples
        for start in range(0, len(audio), 200 * MS):
            self.made += 1
            yield AudioChunk(audio[start : start + 200 * MS], RATE)


def steps(reply_played):
    """The work and the audio of a talker's reply, of which all audio is played at once, or none."""
    listener = Listener(mind=Talker(), timing=replace(TIMING, speculate=False))
    components = listener.system.components
    components.voice = InPackets()
    listener.hear(say("Tell me about the sea.", 1000), quiet(500))
    pushed = listener.session.push(AudioChunk(np.tile(quiet(32), 5), RATE))
    found = []
    for event in pushed:
        found.append(event)
        if reply_played and event.kind is EventKind.AUDIO:
            listener.session.heard(0, listener.session._reply.spoken.samples)
    return [event for event in found if event.kind in (EventKind.TOKEN, EventKind.AUDIO)]


def test_audio_comes_in_packets_each_a_step_of_its_own():
    audio = [event.data for event in steps(False) if event.kind is EventKind.AUDIO]
    assert {len(data["audio"].samples) for data in audio} == {200 * MS}
    texts = [data["text"] for data in audio]
    assert texts[:4] == ["Yes, it is. ", "", "", "word-a and word-b and word-c "]
    assert "".join(texts) == "Yes, it is. " + "".join(f"{word} and " for word in WORDS) + "so on. "


def test_a_sentence_is_cut_only_if_the_player_runs_empty():
    clauses = [
        [e.data["text"] for e in steps(played) if e.data.get("audio") and e.data["text"]] for played in (True, False)
    ]
    assert len(clauses[0]) > len(clauses[1])
    assert "".join(clauses[0]) == "".join(clauses[1])
