"""Labeled turn-taking examples for the state head: turns that end, pause or break off; backchannels, far speech, noise.

The paper (section 3.4) does not say how its state data was made. Here each example is assembled from clips of a known kind:
    question      a clip and silence: the turn ends with the clip and is answered (state 1)
    real          the same with a real recording
    joined        two sentences with a short pause: one turn (state 0 between them, then 1)
    paused        a clip with a pause between two words: keep listening in the pause (state 0), then answer (state 1)
    hesitation    the same with a real recording, in which the speaker paused there; the silence is extended
    unfinished    the first part of a clip: the turn does not end (state 0)
    interruption  "stop", "wait a second": short, answered at once (state 1)
    backchannel   such as "mm-hmm" (state 2)
    afar          far-field speech addressed to somebody else (state 2)
    noise         no speech (state 2)
Each starts with up to 1.6 s of room noise, sometimes with a noise burst, because a live turn includes the audio before its onset.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import scipy.signal
import soxr

from fobench.errors import FobenchError
from reference_model.train.data.augmentation import Augmentation, Samples, Sounds, augment, colored_noise
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.manifests import ClipEntry
from reference_model.turn_taking.state_head import TurnState

KINDS = {
    "question": 0.2,
    "real": 0.12,
    "joined": 0.05,
    "paused": 0.12,
    "hesitation": 0.12,
    "unfinished": 0.14,
    "interruption": 0.05,
    "backchannel": 0.1,
    "afar": 0.05,
    "noise": 0.05,
}
STATES = {"unfinished": TurnState.KEEP_LISTENING} | dict.fromkeys(("backchannel", "afar", "noise"), TurnState.IGNORE)
ANSWERED_KINDS = ("question", "command", "talk")  # kinds of text that are answered
STATEMENT_STEP = 4  # every fourth statement is used as a turn as well
BEFORE_S, AFTER_S = (0.1, 1.6), 1.6  # silence before the first word and after the last, s
PAUSE_S, BREATH_S = (0.4, 1.4), (0.1, 0.35)
HESITATION_S = 0.2  # shortest silence inside a recording that counts as a pause of its speaker
HESITATION_TRIES = 20  # recordings that are searched for such a pause
SENTENCE_END = re.compile(r"[.?!]\s")  # inside a transcript: behind it, a pause may be the end of a turn
NOISE_S, NOISE_RECOGNIZED_S = (0.3, 3.0), 0.8  # duration of noises; time after which a noise can be recognized as such
LEAD_IN_NOISE_PROBABILITY = 0.15  # probability of a noise burst before the first word
WORDS = 4  # minimum words of a sentence that pauses or breaks off
PAUSES_AT = (0.25, 0.75)  # range of the pause's position in a sentence, as a fraction
FAR_SPEECH_DB = (-24.0, -14.0)  # level of far speech relative to near speech
ROOM_NOISE_DB = (-80.0, -50.0)  # level of the room noise, dBFS
EDGE_S, FADE_S = 0.06, 0.01  # margin kept around speech; fade at cuts
BELOW_PEAK_DB, ABOVE_NOISE_DB = -34.0, 10.0  # speech threshold relative to the loudest and the quietest 20-ms frames
RULES = Augmentation(
    speed_chance=0.0, room_chance=0.2, noise_chance=0.5, noise_db=(8.0, 35.0), before_s=(0, 1e-6), after_s=(0, 1e-6)
)
LONGEST_S = 10.0  # longest recording that is used as a turn
HELD_OUT = 6  # one of six speakers of real recordings is held out for validation


@dataclass(frozen=True, slots=True)
class TurnTakingExample:
    """Audio [T] at 16 kHz. From `end_s` on the expected state is `state` (TurnState.KEEP_LISTENING: the turn does not end).

    `begin_s`: where the first relevant sound begins; `pauses`: (begin, end) of the silences inside the turn, s; `text`: the
    transcript, where the example is one complete clip that is answered.
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
    """An example under construction: a sequence of sounds without room reverberation and noise."""

    rate_hz: int
    rng: np.random.Generator
    parts: list[Samples] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)  # bounds of speech or noise, s

    @property
    def seconds(self) -> float:
        return sum(map(len, self.parts)) / self.rate_hz

    def add_silence(self, seconds: float, reference: Samples) -> None:
        """Adds silence with the background noise of the clip `reference`, so that the noise does not reveal a cut."""
        self.parts.append(background_noise(reference, int(seconds * self.rate_hz), self.rng))

    def add_sound(self, samples: Samples, speech: tuple[int, int]) -> None:
        """Adds a clip with its `speech` bounds (first and last sample)."""
        begin = self.seconds
        self.parts.append(fade(samples, int(FADE_S * self.rate_hz)))
        self.spans.append((begin + speech[0] / self.rate_hz, begin + speech[1] / self.rate_hz))


@dataclass(frozen=True, slots=True)
class ClipPools:
    """The clips of each kind of example; a kind without clips is not drawn."""

    corpus: Corpus
    sounds: Sounds
    clips: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, corpus: Corpus, sounds: Sounds, real: Sequence[ClipEntry] = ()) -> ClipPools:
        """Groups clips by kind. `real`: real recordings of complete sentences; long ones are skipped."""
        real = [entry for entry in real if entry.seconds <= LONGEST_S]
        both = Corpus([*corpus.entries, *real], corpus.rate_hz, corpus.faults)
        kinds = [entry.info.get("kind", "statement") for entry in corpus.entries]
        statements = [i for i, kind in enumerate(kinds) if kind == "statement"][::STATEMENT_STEP]
        answered = [i for i, kind in enumerate(kinds) if kind in ANSWERED_KINDS]
        recordings = list(range(len(corpus), len(both)))
        turns = answered + statements
        long = [i for i in turns + recordings if len(both.entries[i].text.split()) >= WORDS]
        short = {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in ("backchannel", "interruption")}
        clips = {
            "question": turns,
            "real": recordings,
            "joined": answered,
            "hesitation": [i for i in recordings if not SENTENCE_END.search(both.entries[i].text)],
            "afar": turns + recordings,
            "noise": [0],
            **short,
        }
        return cls(both, sounds, {**clips, "paused": long, "unfinished": long})

    def answerable(self, is_known: Callable[[str], bool]) -> ClipPools:
        """Returns pools of questions alone, with or without a pause, whose text `is_known`.

        FobenchError where there is none.
        """
        single_clip = ("question", "paused")
        clips = {
            kind: [i for i in self.clips[kind] if is_known(self.corpus.entries[i].text)] if kind in single_clip else []
            for kind in KINDS
        }
        if not any(clips.values()):
            raise FobenchError(
                "No clip is a question with a known reply. Give --replies made from the texts of --data."
            )
        return replace(self, clips=clips)

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of each kind, normalized over the kinds that have clips."""
        available = {kind: fraction for kind, fraction in KINDS.items() if self.clips[kind]}
        return {kind: fraction / sum(available.values()) for kind, fraction in available.items()}

    def draw_example(self, rng: np.random.Generator) -> TurnTakingExample:
        """Draws an example; unreadable clips are skipped and listed in the corpus's faults."""
        probabilities = self.probabilities
        kind = str(rng.choice(list(probabilities), p=list(probabilities.values())))
        track = ExampleTrack(self.sounds.rate_hz, rng)
        if kind == "noise":
            self._add_noise(track, rng.uniform(*NOISE_S))
            begin, end = track.spans[0]
            return self._render(kind, track, min(end, begin + NOISE_RECOGNIZED_S), rng)
        drawn = [self._draw_clip(kind, rng) for _ in range(2 if kind == "joined" else 1)]
        clips = [clip for clip in drawn if clip is not None]
        if len(clips) < len(drawn):
            return self.draw_example(rng)
        self._add_lead_in(track, clips[0][0], rng)
        for number, (samples, text) in enumerate(clips):
            if number:
                track.add_silence(rng.uniform(*BREATH_S), samples)
            self._add_clip(track, samples, text, kind)
        track.add_silence(AFTER_S, clips[-1][0])
        example = self._render(kind, track, track.spans[-1][1], rng)
        return replace(example, text=clips[0][1]) if example.state is TurnState.ANSWER and len(clips) == 1 else example

    def _add_clip(self, track: ExampleTrack, samples: Samples, text: str, kind: str) -> None:
        """Adds a clip: complete, its first part ("unfinished"), or both parts with a pause ("paused", "hesitation")."""
        begin, end = speech_bounds(samples, track.rate_hz)
        edge = int(EDGE_S * track.rate_hz)
        first, last = max(0, begin - edge), min(len(samples), end + edge)
        if kind not in ("paused", "unfinished", "hesitation"):
            return track.add_sound(samples[first:last], (begin - first, end - first))
        if kind == "hesitation" and (silence := find_silence(samples[:end], begin, track.rate_hz)):
            before, after = silence
            cut = (before + after) // 2
        else:
            before = after = cut = find_word_gap(samples[:end], begin, text, track.rate_hz, track.rng)
        track.add_sound(samples[first:cut], (begin - first, before - first))
        if kind != "unfinished":
            track.add_silence(max(0.0, track.rng.uniform(*PAUSE_S) - (after - before) / track.rate_hz), samples)
            track.add_sound(samples[cut:last], (after - cut, end - cut))
        return None

    def _draw_clip(self, kind: str, rng: np.random.Generator) -> tuple[Samples, str] | None:
        """Draws a clip for an example of a kind: audio and text, None for one that cannot be read or does not suit."""
        for _ in range(HESITATION_TRIES if kind == "hesitation" else 1):
            clip = self._load_clip(int(rng.choice(self.clips[kind])), rng)
            if clip is None or kind != "hesitation":
                return clip
            begin, end = speech_bounds(clip[0], self.sounds.rate_hz)
            if find_silence(clip[0][:end], begin, self.sounds.rate_hz):
                return clip
        return None

    def _load_clip(self, index: int, rng: np.random.Generator) -> tuple[Samples, str] | None:
        """Loads a clip, sometimes at another speed, and its text."""
        samples = self.corpus.samples(index)
        if samples is None or not samples.any():
            return None
        if rng.random() < 0.3:
            samples = soxr.resample(samples, self.sounds.rate_hz, self.sounds.rate_hz / rng.uniform(*RULES.speed), "MQ")
        return samples, self.corpus.entries[index].text

    def _add_lead_in(self, track: ExampleTrack, reference: Samples, rng: np.random.Generator) -> None:
        seconds = rng.uniform(*BEFORE_S)
        if seconds > 0.5 and rng.random() < LEAD_IN_NOISE_PROBABILITY:
            self._add_noise_burst(track, rng.uniform(0.1, seconds - 0.3), reference, rng)
            seconds = rng.uniform(0.1, 0.3)
        track.add_silence(seconds, reference)

    def _add_noise_burst(
        self, track: ExampleTrack, seconds: float, reference: Samples, rng: np.random.Generator
    ) -> None:
        """Adds a noise burst that is not part of the turn."""
        noise = self.sounds.noise(int(seconds * track.rate_hz), rng)
        gain = reference.std() * 10 ** (rng.uniform(-20.0, 0.0) / 20) / (noise.std() + 1e-9)
        track.parts.append(fade((noise * gain).astype(np.float32), int(FADE_S * track.rate_hz)))

    def _add_noise(self, track: ExampleTrack, seconds: float) -> None:
        noise = self.sounds.noise(int(seconds * track.rate_hz), track.rng)
        noise = (noise / (np.abs(noise).max() + 1e-9)).astype(np.float32)
        track.parts.append(np.zeros(int(track.rng.uniform(*BEFORE_S) * track.rate_hz), np.float32))
        track.add_sound(noise, (0, len(noise)))
        track.parts.append(np.zeros(int(AFTER_S * track.rate_hz), np.float32))

    def _render(self, kind: str, track: ExampleTrack, end_s: float, rng: np.random.Generator) -> TurnTakingExample:
        """Renders the track as recorded: reverberation, noise, distance and level."""
        audio, _ = augment(np.concatenate(track.parts), RULES, self.sounds, rng)
        if kind == "afar":
            audio = scipy.signal.fftconvolve(audio, self.sounds.room(rng))[: len(audio)].astype(np.float32)
            audio = audio * np.float32(10 ** (rng.uniform(*FAR_SPEECH_DB) / 20))
        room_noise = colored_noise(len(audio), rng.uniform(-2.0, 0.0), rng) * np.float32(
            10 ** (rng.uniform(*ROOM_NOISE_DB) / 20)
        )
        state, spans = STATES.get(kind, TurnState.ANSWER), track.spans
        pauses = tuple((before[1], after[0]) for before, after in itertools.pairwise(spans))
        return TurnTakingExample(kind, np.clip(audio + room_noise, -1.0, 1.0), state, spans[0][0], end_s, pauses)


def speech_bounds(samples: Samples, rate_hz: int) -> tuple[int, int]:
    """Returns the bounds of speech in a clip (samples), by a level threshold relative to its loudest and quietest
    frames."""
    loud, hop = _loud_frames(samples, rate_hz)
    return int(loud[0]) * hop, int(loud[-1] + 1) * hop


def find_silence(samples: Samples, begin: int, rate_hz: int) -> tuple[int, int] | None:
    """Returns the bounds of the longest silence inside speech that spans `begin` to the end (samples); None where none
    lasts HESITATION_S."""
    loud, hop = _loud_frames(samples[begin:], rate_hz)
    gaps = np.diff(loud) - 1
    if not len(gaps) or gaps.max() * hop < HESITATION_S * rate_hz:
        return None
    longest = int(gaps.argmax())
    return begin + int(loud[longest] + 1) * hop, begin + int(loud[longest + 1]) * hop


def _loud_frames(samples: Samples, rate_hz: int) -> tuple[npt.NDArray[np.intp], int]:
    """Returns the numbers of the frames that are loud enough to be speech, and the length of a frame (samples)."""
    hop = rate_hz // 50
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    level = 10 * np.log10((frames.astype(np.float64) ** 2).mean(1) + 1e-12)
    bound = max(
        level.max() + BELOW_PEAK_DB, min(np.percentile(level, 5) + ABOVE_NOISE_DB, level.max() - ABOVE_NOISE_DB)
    )
    return np.flatnonzero(level >= bound), hop


def find_word_gap(samples: Samples, begin: int, text: str, rate_hz: int, rng: np.random.Generator) -> int:
    """Returns a position between two words of speech that spans `begin` to the end: by letter counts, at the lowest
    energy nearby."""
    words = text.split()
    letters = np.cumsum([len(word) + 1 for word in words]) / (len(text) + 1)
    inside = letters[:-1][(letters[:-1] > PAUSES_AT[0]) & (letters[:-1] < PAUSES_AT[1])]
    fraction = float(rng.choice(inside)) if len(inside) else float(rng.uniform(*PAUSES_AT))
    middle, search_range = begin + int(fraction * (len(samples) - begin)), int(0.12 * rate_hz)
    energy = scipy.signal.fftconvolve(samples**2, np.ones(int(0.04 * rate_hz)), "same")
    low, high = max(begin + 1, middle - search_range), min(len(samples) - 1, middle + search_range)
    return low + int(energy[low:high].argmin())


def background_noise(samples: Samples, length: int, rng: np.random.Generator) -> Samples:
    """Returns noise [length] with the level and spectrum of the quietest 0.1 s of a clip."""
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


def fade(samples: Samples, length: int) -> Samples:
    """Returns the samples with a linear fade of `length` samples at both ends."""
    length = min(length, len(samples) // 2)
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    samples = samples.copy()
    samples[:length] *= ramp
    samples[len(samples) - length :] *= ramp[::-1]
    return samples


def split_speakers(entries: Sequence[ClipEntry], held_out: bool) -> list[ClipEntry]:
    """Returns the recordings of the held-out speakers, or those of the others."""
    return [e for e in entries if (zlib.crc32(_speaker(e).encode()) % HELD_OUT == 0) == held_out]


def _speaker(entry: ClipEntry) -> str:
    return str(entry.info.get("speaker", entry.id))


def split_sounds(sounds: Sounds, held_out: bool) -> Sounds:
    """Returns every fifth noise and room, which are held out for validation, or the others."""
    selection = [
        [x for i, x in enumerate(recordings) if (i % 5 == 0) == held_out]
        for recordings in (sounds.noises, sounds.rooms)
    ]
    return Sounds(sounds.rate_hz, *selection)
