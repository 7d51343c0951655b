"""Whisper by CTranslate2: the fast ASR for CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fobench.api.types import NS_PER_S, AudioChunk, Transcript, Word
from fobench.audio import audible_bounds, resample

RATE_HZ = 16000  # of Whisper's input
WINDOW = 30 * RATE_HZ  # samples of Whisper's input window
PARTIAL_WINDOW = 10 * RATE_HZ  # a third of the encoder's work of `transcribe`; shorter windows cause hallucinations
FRAMES_PER_S = 100  # frame rate of the log-mel spectrogram
PARTIAL_TOKENS = 6


class FasterWhisper:
    """A Whisper model in CTranslate2's format; greedy by default, temperature 0 without fallback.

    `transcribe` gives an empty transcript for inaudible audio, where Whisper hallucinates.
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
        """`folder`: a local model, or a model name of faster-whisper. `threads`: 0 for CTranslate2's default."""
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
        """The transcript of a clip; with `word_timestamps` also the words' times in ns from the first sample."""
        if audible_bounds(audio.samples, audio.rate_hz) is None:
            return Transcript("")
        samples = np.ascontiguousarray(resample(audio, RATE_HZ).samples, dtype=np.float32)
        # Padded with silence as in OpenAI's code; faster-whisper pads the spectrogram with zeros, which are not silence.
        samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
        segments, _ = self._model.transcribe(
            samples,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=len(samples) == WINDOW,  # longer audio is segmented at the predicted timestamps
            vad_filter=False,
            **self._options,
        )
        seconds = audio.duration_ns / NS_PER_S
        # Later segments are hallucinated from the padding.
        kept = [segment for segment in segments if segment.start < seconds]
        text = "".join(segment.text for segment in kept).strip()
        return Transcript(text, tuple(_word(word) for segment in kept for word in segment.words or ()))

    def transcribe_partial(self, audio: AudioChunk) -> Transcript:
        """A partial hypothesis: the first words of the last 10 s of ongoing speech, faster and less accurate than
        `transcribe`.
        """
        if audible_bounds(audio.samples, audio.rate_hz) is None:
            return Transcript("")
        samples = np.asarray(resample(audio, RATE_HZ).samples[-PARTIAL_WINDOW:], dtype=np.float32)
        padded = np.pad(samples, (0, PARTIAL_WINDOW - len(samples)))
        features = self._model.feature_extractor(padded)[:, : PARTIAL_WINDOW // RATE_HZ * FRAMES_PER_S]
        encoded = self._model.encode(np.ascontiguousarray(features))
        prompt = [self._tokens.sot, *self._language_tokens(), self._tokens.no_timestamps]
        result = self._model.model.generate(encoded, [prompt], beam_size=1, max_length=len(prompt) + PARTIAL_TOKENS)[0]
        tokens = [token for token in result.sequences_ids[0] if token < self._tokens.eot]
        return Transcript(self._tokens.decode(tokens).strip())

    def _language_tokens(self) -> list[int]:
        tokens = self._tokens
        return [tokens.language, tokens.task] if self._model.model.is_multilingual else []


def _word(word: Any) -> Word:
    return Word(word.word.strip(), round(word.start * NS_PER_S), round(word.end * NS_PER_S))
