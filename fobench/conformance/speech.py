"""Conformance of recognizers (ASR) and voices (TTS), and the test audio of all probes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from fobench import audio
from fobench.api import registry
from fobench.api.components import Recognizer, Voice
from fobench.api.types import AudioChunk, Samples, Transcript
from fobench.conformance.checks import ContractViolation, Probe, need
from fobench.errors import FobenchError

SYNTHETIC_HZ = 16_000
SYNTHETIC_S = 2.0
SENTENCE = "The quick brown fox jumps over the lazy dog."
SLACK_NS = 100_000_000  # tolerance of word times beyond the audio: recognizers work in frames


@cache
def speech() -> tuple[AudioChunk, str | None]:
    """(a clean utterance, its text or None): the first spoken question of `spoken-qa`, or a synthetic buzz without words."""
    try:
        turn = next(registry.create("suites", "spoken-qa").scenarios(0)).turns[0]
        return audio.load(Path(turn.audio)), turn.text
    except FobenchError:
        return synthetic(), None


def synthetic() -> AudioChunk:
    """Two seconds of a voiced buzz, modulated at four syllables per second."""
    t = np.arange(int(SYNTHETIC_S * SYNTHETIC_HZ)) / SYNTHETIC_HZ
    buzz = np.sum([np.cos(2 * np.pi * 130 * n * t) / n for n in range(1, 24)], axis=0)
    wave = 0.08 * buzz * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * t))
    return AudioChunk(wave.astype(np.float32), SYNTHETIC_HZ)


def need_sound(samples: object, what: str) -> Samples:
    """The samples, if they are float32 [T], finite and in [-1, 1]; raises `ContractViolation` naming `what` otherwise."""
    if not isinstance(samples, np.ndarray):
        raise ContractViolation(f"{what}: samples must be a numpy array, not {type(samples).__name__}")
    need(samples.ndim == 1, f"{what}: samples must be [T], not {list(samples.shape)}")
    need(samples.dtype == np.float32, f"{what}: samples must be float32, not {samples.dtype}")
    need(np.isfinite(samples).all(), f"{what}: holds values that are not finite (NaN or infinite)")
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    need(peak <= 1.0, f"{what}: must lie in [-1, 1]; its peak is {peak:.3g}")
    return samples


def need_count(value: object, what: str) -> None:
    """Raises `ContractViolation` unless `value` is a positive int."""
    need(
        isinstance(value, int) and not isinstance(value, bool) and value > 0,
        f"{what} must be an int > 0, not {value!r}",
    )


def recognizer_probes(recognizer: Recognizer) -> Sequence[tuple[str, Probe]]:
    subject = _RecognizerProbes(recognizer)
    return (
        ("speech", subject.speech),
        ("word times", subject.times),
        ("same audio, same words", subject.repeatable),
        ("other rates", subject.rates),
        ("silence", subject.silence),
        ("0, 1 and 160 samples", subject.short_input),
    )


class _RecognizerProbes:
    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    @cached_property
    def transcript(self) -> Transcript:
        return self.recognizer.transcribe(speech()[0])

    def speech(self) -> str:
        need(
            isinstance(self.transcript, Transcript),
            f"transcribe() returned a {type(self.transcript).__name__}, not a Transcript",
        )
        text = speech()[1]
        if text is None:
            return f"transcribed a buzz without words as {self.transcript.text!r}"
        need(self.transcript.text.strip(), f"empty transcript of {text!r}")
        return f"transcribed {text!r} as {self.transcript.text!r}"

    def times(self) -> str:
        """Words in order, each within the audio."""
        latest, limit = 0, speech()[0].duration_ns + SLACK_NS
        for word in self.transcript.words:
            span = f"word {word.text!r} at {word.start_ns} to {word.end_ns} ns"
            need(isinstance(word.start_ns, int) and isinstance(word.end_ns, int), f"{span}: times must be int ns")
            need(0 <= word.start_ns <= word.end_ns <= limit, f"{span} is not within 0 to {limit} ns")
            need(word.start_ns >= latest, f"{span} begins before the word before it ({latest} ns)")
            latest = word.start_ns
        return f"{len(self.transcript.words)} words" if self.transcript.words else "no word times"

    def repeatable(self) -> str:
        again = self.recognizer.transcribe(speech()[0])
        need(
            again == self.transcript,
            f"the same audio was transcribed as {self.transcript.text!r}, then as {again.text!r}",
        )
        return "equal twice"

    def rates(self) -> str:
        for rate in (8_000, 44_100):
            transcript = self.recognizer.transcribe(audio.resample(speech()[0], rate))
            need(
                isinstance(transcript, Transcript), f"at {rate} Hz transcribe() returned a {type(transcript).__name__}"
            )
        return "8 and 44.1 kHz are accepted"

    def silence(self) -> str:
        text = self.recognizer.transcribe(AudioChunk(np.zeros(3 * SYNTHETIC_HZ, np.float32), SYNTHETIC_HZ)).text
        need(not text.strip(), f"transcribed 3 s of digital silence as {text!r}")
        return "empty transcript"

    def short_input(self) -> str:
        for length in (0, 1, SYNTHETIC_HZ // 100):
            text = self.recognizer.transcribe(AudioChunk(np.zeros(length, np.float32), SYNTHETIC_HZ)).text
            need(not text.strip(), f"transcribed {length} samples of silence as {text!r}")
        return "empty transcripts of 0, 1 and 160 samples"


def voice_probes(voice: Voice) -> Sequence[tuple[str, Probe]]:
    subject = _VoiceProbes(voice)
    return (
        ("rate and speakers", subject.rate),
        ("speech", subject.speech),
        ("same seed, same audio", subject.repeatable),
        ("every speaker", subject.speakers),
        ("unknown speaker", subject.unknown_speaker),
        ("empty text", subject.empty),
    )


class _VoiceProbes:
    def __init__(self, voice: Voice) -> None:
        self.voice = voice

    @cached_property
    def utterance(self) -> AudioChunk:
        return self.voice.speak(SENTENCE, 0)

    def rate(self) -> str:
        need_count(getattr(self.voice, "rate_hz", None), "rate_hz")
        names = getattr(self.voice, "speakers", None)
        need(isinstance(names, tuple) and names, f"speakers must be a tuple with at least one name, not {names!r}")
        need(all(isinstance(name, str) for name in self.voice.speakers), f"speakers must be names, not {names!r}")
        return f"{self.voice.rate_hz} Hz, {len(self.voice.speakers)} speakers"

    def speech(self) -> str:
        return f"{self._audible(self.utterance, SENTENCE):.2f} s for {SENTENCE!r}"

    def repeatable(self) -> str:
        again = self.voice.speak(SENTENCE, 0)
        same = again.samples.shape == self.utterance.samples.shape and bool(
            (again.samples == self.utterance.samples).all()
        )
        need(same, "the same text and seed gave other audio the second time")
        return "equal twice"

    def speakers(self) -> str:
        for name in self.voice.speakers:
            self._audible(self.voice.speak("Good morning.", 0, name), f"speaker {name!r}")
        return ", ".join(self.voice.speakers)

    def unknown_speaker(self) -> str:
        try:
            self.voice.speak("Hello.", 0, "nobody of that name")
        except FobenchError as error:
            return f"refused: {error}"
        raise ContractViolation(
            "a speaker that does not exist must be refused with a FobenchError that names the choices"
        )

    def empty(self) -> str:
        """Empty text gives no audio, silence or a FobenchError."""
        try:
            utterance = [self.voice.speak(text, 0) for text in ("", " ", "...")]
        except FobenchError as error:
            return f"refused: {error}"
        for chunk in utterance:
            need_sound(chunk.samples, "empty text")
        return f"{utterance[0].duration_ns / 1e9:.2f} s of audio"

    def _audible(self, chunk: AudioChunk, what: str) -> float:
        """The audible seconds; raises `ContractViolation` if there are none."""
        need(isinstance(chunk, AudioChunk), f"speak() must return an AudioChunk, not a {type(chunk).__name__}")
        need(chunk.rate_hz == self.voice.rate_hz, f"{what}: {chunk.rate_hz} Hz, rate_hz is {self.voice.rate_hz}")
        bounds = audio.audible_bounds(need_sound(chunk.samples, what), chunk.rate_hz)
        if bounds is None:
            raise ContractViolation(f"{what}: no audible audio (over {audio.AUDIBLE_DBFS:g} dBFS for 30 ms)")
        return (bounds[1] - bounds[0]) / chunk.rate_hz
