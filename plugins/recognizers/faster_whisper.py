"""Whisper through CTranslate2: the fast recogniser for CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fobench.api.types import NS_PER_S, AudioChunk, Transcript, Word
from fobench.audio import audible_bounds, resample

RATE_HZ = 16000  # of Whisper's input
WINDOW = 30 * RATE_HZ  # samples that Whisper takes at a time
GLIMPSE = 10 * RATE_HZ  # ... that `glimpse` takes: a third of the encoder's work; shorter, it begins to make words up
FRAMES_PER_S = 100  # of the spectrogram
GLIMPSE_TOKENS = 6


class FasterWhisper:
    """A Whisper model in CTranslate2's format, greedy by default, without fallback to other temperatures.

    `transcribe` gives an empty transcript for audio in which nothing is audible: Whisper would make words up.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str,
        device: str = "cpu",
        compute_type: str = "int8",
        threads: int = 0,
        language: str = "en",
        beam_size: int = 1,
        word_timestamps: bool = False,
        offline: bool = True,
    ) -> None:
        """`folder`: a local model, or a name that faster-whisper knows. `threads`: 0 is CTranslate2's choice."""
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer

        self._model = WhisperModel(
            str(folder), device=device, compute_type=compute_type, cpu_threads=threads, local_files_only=offline
        )
        self._about = {
            "recognizer": f"faster-whisper {name}",
            "model": f"whisper {name}",
            "compute_type": compute_type,
            "device": device,
        }
        multilingual = self._model.model.is_multilingual
        self._tokens = Tokenizer(
            self._model.hf_tokenizer, multilingual, task="transcribe", language=language if multilingual else None
        )
        self._options = {"language": language, "beam_size": beam_size, "word_timestamps": word_timestamps}

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {**self._about, **self._options}

    def transcribe(self, audio: AudioChunk) -> Transcript:
        """The words of the whole clip; their times, in ns from its first sample, only with `word_timestamps`."""
        if audible_bounds(audio.samples, audio.rate_hz) is None:
            return Transcript("")
        samples = np.ascontiguousarray(resample(audio, RATE_HZ).samples, dtype=np.float32)
        # Filled up with silence, as OpenAI's code does: faster-whisper would fill up the spectrogram with zeros, which are no silence.
        samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
        segments, _ = self._model.transcribe(
            samples,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=len(samples) == WINDOW,  # longer audio is cut where the model puts time stamps
            vad_filter=False,
            **self._options,
        )
        seconds = audio.duration_ns / NS_PER_S
        found = [
            segment for segment in segments if segment.start < seconds
        ]  # beyond, words would be made up of silence
        text = "".join(segment.text for segment in found).strip()
        return Transcript(text, tuple(_word(word) for segment in found for word in segment.words or ()))

    def glimpse(self, audio: AudioChunk) -> Transcript:
        """The first words of a clip of up to 10 s, sooner and less surely than `transcribe`: for speech that still goes on."""
        if audible_bounds(audio.samples, audio.rate_hz) is None:
            return Transcript("")
        samples = np.asarray(resample(audio, RATE_HZ).samples[-GLIMPSE:], dtype=np.float32)
        padded = np.pad(samples, (0, GLIMPSE - len(samples)))
        features = self._model.feature_extractor(padded)[:, : GLIMPSE // RATE_HZ * FRAMES_PER_S]
        encoded = self._model.encode(np.ascontiguousarray(features))
        prompt = [self._tokens.sot, *self._language_tokens(), self._tokens.no_timestamps]
        found = self._model.model.generate(encoded, [prompt], beam_size=1, max_length=len(prompt) + GLIMPSE_TOKENS)[0]
        said = [token for token in found.sequences_ids[0] if token < self._tokens.eot]
        return Transcript(self._tokens.decode(said).strip())

    def _language_tokens(self) -> list[int]:
        tokens = self._tokens
        return [tokens.language, tokens.task] if self._model.model.is_multilingual else []


def _word(word: Any) -> Word:
    return Word(word.word.strip(), round(word.start * NS_PER_S), round(word.end * NS_PER_S))
