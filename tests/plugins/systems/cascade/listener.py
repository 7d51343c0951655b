"""A listener in conversation with a cascade of parts whose every word is known.

A recognizer that knows lines by their pitch, a language model that counts, a voice of 200 ms a word, activity by loudness.
"""

import numpy as np

from fobench.api.types import Action, AudioChunk, EventKind, Transcript
from fobench_plugins.systems.cascade.components import Components
from fobench_plugins.systems.cascade.system import Cascade
from fobench_plugins.systems.cascade.turn_state import CascadeTiming
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


def in_a_reply():
    """A listener 1.0 s into the reply to its question, which lasts 2.4 s."""
    listener = Listener().hear(say("Tell me about the sea.", 1000), quiet(1640))
    assert listener.did() == ["speak"]
    assert 0 < listener.queue < 2000 * MS
    return listener
