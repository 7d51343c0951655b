"""Labelled situations for the state head: turns that end, pause, break off; murmurs, talk from afar, noise.

How the paper's authors made their state data is not published. Here each situation is made of clips of known kind:
    question      a clip and silence: the turn ends where the clip does, and wants an answer (state 1)
    real          the same with a recording of a person
    joined        two sentences with a breath between: one turn (state 0 between, then 1)
    paused        a clip with a pause between two of its words: to be waited out (state 0), then answered
    unfinished    the first part of a clip alone: nothing ends (state 0)
    interruption  "stop", "wait a second": short, and wants an answer at once (state 1)
    backchannel   a murmur such as "mm-hmm" (state 2)
    afar          speech across a room, to somebody else (state 2)
    noise         no speech at all (state 2), whether or not the noise goes on
Before each there is up to 1.6 s of what the room sounds like, sometimes with a noise in it, so that a turn begins, as it does
live, with what came before its onset.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.signal
import soxr

from fobench.errors import FobenchError
from reference_model.train.data.augmentation import Augmentation, Samples, Sounds, coloured, spoken
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.manifests import ClipEntry
from reference_model.turn_taking.state_head import TurnState

KINDS = {
    "question": 0.24,
    "real": 0.1,
    "joined": 0.06,
    "paused": 0.2,
    "unfinished": 0.14,
    "interruption": 0.05,
    "backchannel": 0.1,
    "afar": 0.06,
    "noise": 0.05,
}
STATES = {"unfinished": TurnState.KEEP_LISTENING} | dict.fromkeys(("backchannel", "afar", "noise"), TurnState.IGNORE)
ASKS = ("question", "command", "talk")  # kinds of text that want an answer
TELLS = 4  # one of so many statements is taken for a turn, too
BEFORE_S, AFTER_S = (0.1, 1.6), 1.6  # of quiet before the first word and after the last
PAUSE_S, BREATH_S = (0.4, 1.4), (0.1, 0.35)
NOISE_S, KNOWN_S = (0.3, 3.0), 0.8  # how long noises last; from when on they are known for noise
LEADING = 0.15  # chance of a noise before the first word
WORDS = 4  # a sentence that pauses or breaks off has as many
PAUSES_AT = (0.25, 0.75)  # of a sentence
AFAR_DB = (-24.0, -14.0)  # below the usual level
FLOOR_DB = (-80.0, -50.0)  # of the room's own noise, full scale
EDGE_S, FADE_S = 0.06, 0.01  # kept around speech; over which sound begins and ends where it is cut
LOUD_DB, ABOVE_DB = -34.0, 10.0  # speech is louder than: that below the loudest 20 ms, and that above the quietest
RULES = Augmentation(
    speed_chance=0.0, room_chance=0.2, noise_chance=0.5, noise_db=(8.0, 35.0), before_s=(0, 1e-6), after_s=(0, 1e-6)
)
LONGEST_S = 10.0  # a recording that is taken for a turn
HELD_OUT = 6  # one of so many speakers of real recordings is kept for validation


@dataclass(frozen=True, slots=True)
class TurnTakingExample:
    """Audio [T] at 16 kHz. From `end_s` on the state is `state` (State.KEEP_LISTENING: it never changes).

    `begin_s`: where the first sound that matters begins; `pauses`: (begin, end) of the silences inside the turn, in seconds;
    `text`: what was said, where that is one whole clip that wants an answer.
    """

    kind: str
    samples: Samples
    state: TurnState
    begin_s: float
    end_s: float
    pauses: tuple[tuple[float, float], ...] = ()
    text: str = ""


@dataclass(slots=True)
class ExampleTrack:
    """A situation in the making: sound after sound, all without the room and its noise."""

    rate_hz: int
    rng: np.random.Generator
    parts: list[Samples] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)  # s: where something is to be heard

    @property
    def seconds(self) -> float:
        return sum(map(len, self.parts)) / self.rate_hz

    def quiet(self, seconds: float, like: Samples) -> None:
        """Quiet as at the edges of a clip: a recording's own noise must not tell where it was cut."""
        self.parts.append(background(like, int(seconds * self.rate_hz), self.rng))

    def sound(self, samples: Samples, speech: tuple[int, int]) -> None:
        """A clip, of which `speech` (first and last sample) is to be heard."""
        begin = self.seconds
        self.parts.append(faded(samples, int(FADE_S * self.rate_hz)))
        self.spans.append((begin + speech[0] / self.rate_hz, begin + speech[1] / self.rate_hz))


@dataclass(frozen=True, slots=True)
class ClipPools:
    """The clips of each kind of situation; a kind without any does not come up."""

    corpus: Corpus
    sounds: Sounds
    clips: dict[str, Sequence[int]]

    @classmethod
    def of(cls, corpus: Corpus, sounds: Sounds, real: Sequence[ClipEntry] = ()) -> ClipPools:
        """`real`: recordings of people, whole sentences; long ones are left out."""
        real = [entry for entry in real if entry.seconds <= LONGEST_S]
        both = Corpus([*corpus.entries, *real], corpus.rate_hz, corpus.faults)
        kinds = [entry.info.get("kind", "statement") for entry in corpus.entries]
        tells = [i for i, kind in enumerate(kinds) if kind == "statement"][::TELLS]
        asks = [i for i, kind in enumerate(kinds) if kind in ASKS]
        recorded = list(range(len(corpus), len(both)))
        turns = asks + tells
        long = [i for i in turns + recorded if len(both.entries[i].text.split()) >= WORDS]
        short = {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in ("backchannel", "interruption")}
        clips = {"question": turns, "real": recorded, "joined": asks, "afar": turns + recorded, "noise": [0], **short}
        return cls(both, sounds, {**clips, "paused": long, "unfinished": long})

    def asking(self, known: Callable[[str], bool]) -> ClipPools:
        """Only what is asked, in one go or with a pause, in words that are `known`. FobenchError where there is no such clip."""
        whole = ("question", "paused")
        kept = {
            kind: [i for i in self.clips[kind] if known(self.corpus.entries[i].text)] if kind in whole else []
            for kind in KINDS
        }
        if not any(kept.values()):
            raise FobenchError("No clip asks a question that there is a reply to: give --replies of --data's texts.")
        return replace(self, clips=kept)

    @property
    def chances(self) -> dict[str, float]:
        """How likely each kind is; where there are no clips of a kind, the others are likelier."""
        found = {kind: share for kind, share in KINDS.items() if self.clips[kind]}
        return {kind: share / sum(found.values()) for kind, share in found.items()}

    def situation(self, rng: np.random.Generator) -> TurnTakingExample:
        """One, drawn; clips that cannot be read are passed over, and listed in the corpus's faults."""
        chances = self.chances
        kind = str(rng.choice(list(chances), p=list(chances.values())))
        track = ExampleTrack(self.sounds.rate_hz, rng)
        if kind == "noise":
            self._noise(track, rng.uniform(*NOISE_S))
            begin, end = track.spans[0]
            return self._recorded(kind, track, min(end, begin + KNOWN_S), rng)
        drawn = [self._clip(int(rng.choice(self.clips[kind])), rng) for _ in range(2 if kind == "joined" else 1)]
        clips = [clip for clip in drawn if clip is not None]
        if len(clips) < len(drawn):
            return self.situation(rng)
        self._before(track, clips[0][0], rng)
        for number, (samples, text) in enumerate(clips):
            if number:
                track.quiet(rng.uniform(*BREATH_S), samples)
            self._say(track, samples, text, kind)
        track.quiet(AFTER_S, clips[-1][0])
        made = self._recorded(kind, track, track.spans[-1][1], rng)
        return replace(made, text=clips[0][1]) if made.state is TurnState.ANSWER and len(clips) == 1 else made

    def _say(self, track: ExampleTrack, samples: Samples, text: str, kind: str) -> None:
        """A clip, or the part of it that is said, or its two parts."""
        begin, end = speech(samples, track.rate_hz)
        edge = int(EDGE_S * track.rate_hz)
        first, last = max(0, begin - edge), min(len(samples), end + edge)
        if kind not in ("paused", "unfinished"):
            return track.sound(samples[first:last], (begin - first, end - first))
        cut = between_words(samples[:end], begin, text, track.rate_hz, track.rng)
        track.sound(samples[first:cut], (begin - first, cut - first))
        if kind == "paused":
            track.quiet(track.rng.uniform(*PAUSE_S), samples)
            track.sound(samples[cut:last], (0, end - cut))
        return None

    def _clip(self, index: int, rng: np.random.Generator) -> tuple[Samples, str] | None:
        """A clip, faster or slower, and its text."""
        samples = self.corpus.samples(index)
        if samples is None or not samples.any():
            return None
        if rng.random() < 0.3:
            samples = soxr.resample(samples, self.sounds.rate_hz, self.sounds.rate_hz / rng.uniform(*RULES.speed), "MQ")
        return samples, self.corpus.entries[index].text

    def _before(self, track: ExampleTrack, like: Samples, rng: np.random.Generator) -> None:
        seconds = rng.uniform(*BEFORE_S)
        if seconds > 0.5 and rng.random() < LEADING:
            self._burst(track, rng.uniform(0.1, seconds - 0.3), like, rng)
            seconds = rng.uniform(0.1, 0.3)
        track.quiet(seconds, like)

    def _burst(self, track: ExampleTrack, seconds: float, like: Samples, rng: np.random.Generator) -> None:
        """A noise that is not to be heard."""
        noise = self.sounds.noise(int(seconds * track.rate_hz), rng)
        loudness = like.std() * 10 ** (rng.uniform(-20.0, 0.0) / 20) / (noise.std() + 1e-9)
        track.parts.append(faded((noise * loudness).astype(np.float32), int(FADE_S * track.rate_hz)))

    def _noise(self, track: ExampleTrack, seconds: float) -> None:
        noise = self.sounds.noise(int(seconds * track.rate_hz), track.rng)
        noise = (noise / (np.abs(noise).max() + 1e-9)).astype(np.float32)
        track.parts.append(np.zeros(int(track.rng.uniform(*BEFORE_S) * track.rate_hz), np.float32))
        track.sound(noise, (0, len(noise)))
        track.parts.append(np.zeros(int(AFTER_S * track.rate_hz), np.float32))

    def _recorded(self, kind: str, track: ExampleTrack, end_s: float, rng: np.random.Generator) -> TurnTakingExample:
        """As it would be recorded."""
        heard, _ = spoken(np.concatenate(track.parts), RULES, self.sounds, rng)
        if kind == "afar":
            heard = scipy.signal.fftconvolve(heard, self.sounds.room(rng))[: len(heard)].astype(np.float32)
            heard = heard * np.float32(10 ** (rng.uniform(*AFAR_DB) / 20))
        floor = coloured(len(heard), rng.uniform(-2.0, 0.0), rng) * np.float32(10 ** (rng.uniform(*FLOOR_DB) / 20))
        state, spans = STATES.get(kind, TurnState.ANSWER), track.spans
        pauses = tuple((before[1], after[0]) for before, after in itertools.pairwise(spans))
        return TurnTakingExample(kind, np.clip(heard + floor, -1.0, 1.0), state, spans[0][0], end_s, pauses)


def speech(samples: Samples, rate_hz: int) -> tuple[int, int]:
    """Where speech begins and ends in a clip, by its loudness against the clip's loudest and quietest parts."""
    hop = rate_hz // 50
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    level = 10 * np.log10((frames.astype(np.float64) ** 2).mean(1) + 1e-12)
    bound = max(level.max() + LOUD_DB, min(np.percentile(level, 5) + ABOVE_DB, level.max() - ABOVE_DB))
    loud = np.flatnonzero(level >= bound)
    return int(loud[0]) * hop, int(loud[-1] + 1) * hop


def between_words(samples: Samples, begin: int, text: str, rate_hz: int, rng: np.random.Generator) -> int:
    """A place between two words of speech that lasts from `begin` to the end: where the letters say, at the quietest nearby."""
    words = text.split()
    letters = np.cumsum([len(word) + 1 for word in words]) / (len(text) + 1)
    inside = letters[:-1][(letters[:-1] > PAUSES_AT[0]) & (letters[:-1] < PAUSES_AT[1])]
    share = float(rng.choice(inside)) if len(inside) else float(rng.uniform(*PAUSES_AT))
    middle, near = begin + int(share * (len(samples) - begin)), int(0.12 * rate_hz)
    energy = scipy.signal.fftconvolve(samples**2, np.ones(int(0.04 * rate_hz)), "same")
    low, high = max(begin + 1, middle - near), min(len(samples) - 1, middle + near)
    return low + int(energy[low:high].argmin())


def background(samples: Samples, length: int, rng: np.random.Generator) -> Samples:
    """Noise [length] with the loudness and the spectrum of the quietest 0.1 s of a clip."""
    size = 1600
    if len(samples) < 2 * size or not length:
        return np.zeros(length, np.float32)
    parts = samples[: len(samples) // size * size].reshape(-1, size)
    quietest = parts[(parts.astype(np.float64) ** 2).mean(1).argmin()]
    if not quietest.any():
        return np.zeros(length, np.float32)
    shape = np.abs(np.fft.rfft(quietest))
    white = np.fft.rfft(rng.standard_normal(length))
    noise = np.fft.irfft(white * np.interp(np.linspace(0, 1, len(white)), np.linspace(0, 1, len(shape)), shape), length)
    return (noise / (noise.std() + 1e-12) * quietest.std()).astype(np.float32)


def faded(samples: Samples, length: int) -> Samples:
    """With a ramp of `length` at both ends."""
    length = min(length, len(samples) // 2)
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    samples = samples.copy()
    samples[:length] *= ramp
    samples[len(samples) - length :] *= ramp[::-1]
    return samples


def by_speaker(entries: Sequence[ClipEntry], held_out: bool) -> list[ClipEntry]:
    """Of recordings of people: those of the speakers kept for validation, or the others."""
    return [e for e in entries if (zlib.crc32(_speaker(e).encode()) % HELD_OUT == 0) == held_out]


def _speaker(entry: ClipEntry) -> str:
    return str(entry.info.get("speaker", entry.id))


def kept_apart(sounds: Sounds, held_out: bool) -> Sounds:
    """Of recorded noises and rooms: every fifth, kept for validation, or the others."""
    pick = [[x for i, x in enumerate(found) if (i % 5 == 0) == held_out] for found in (sounds.noises, sounds.rooms)]
    return Sounds(sounds.rate_hz, *pick)
