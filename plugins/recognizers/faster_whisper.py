"""Whisper by CTranslate2: the fast ASR for CPUs.

Short audio is encoded in a window that is shorter than Whisper's 30 s, which cuts its position embeddings and takes a third of the
time. In such a window the model sometimes repeats the text instead of ending it; what looks like that is decoded again in the whole
window.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from fobench.api.types import NS_PER_S, AudioChunk, Samples, Transcript, Word
from fobench.audio import audible_bounds, resample

RATE_HZ = 16000  # of Whisper's input
WINDOW_S = 30  # Whisper's input window
WINDOW = WINDOW_S * RATE_HZ
SILENCE_S = 1  # at the end of a shorter window, at least
PARTIAL_WINDOW = 10 * RATE_HZ  # shorter windows cause hallucinations
FRAMES_PER_S = 100  # frame rate of the log-mel spectrogram
PARTIAL_TOKENS = 6
MOST_TOKENS, MOST_TOKENS_PER_S = 10, 5  # of a text in a shorter window; fast speech has 4.5 tokens/s
REPEATED = 4  # so many tokens in a row that occur twice are a repetition


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
        threads: int = 1,
        language: str = "en",
        beam_size: int = 1,
        word_timestamps: bool = False,
        window_s: float = WINDOW_S,
        offline: bool = True,
    ) -> None:
        """`folder`: a local model, or a model name of faster-whisper. `window_s`: the shortest window."""
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
        self._options: dict[str, Any] = {
            "language": language,
            "beam_size": beam_size,
            "word_timestamps": word_timestamps,
        }
        self._window_s = WINDOW_S if word_timestamps else window_s

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {**self._about, **self._options, "window_s": self._window_s}

    def transcribe(self, audio: AudioChunk) -> Transcript:
        """The transcript of a clip; with `word_timestamps` also the words' times in ns from the first sample."""
        if audible_bounds(audio.samples, audio.rate_hz) is None:
            return Transcript("")
        samples = np.ascontiguousarray(resample(audio, RATE_HZ).samples, dtype=np.float32)
        window_s = max(self._window_s, math.ceil(len(samples) / RATE_HZ) + SILENCE_S)
        if window_s < WINDOW_S and (text := self._transcribe_short(samples, window_s)) is not None:
            return Transcript(text)
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
        tokens = self._decode(samples, PARTIAL_WINDOW // RATE_HZ, PARTIAL_TOKENS, beam_size=1)
        return Transcript(self._tokens.decode(tokens).strip())

    def _transcribe_short(self, samples: Samples, window_s: float) -> str | None:
        """The text of samples [T], in a window of `window_s`; None if it may be a repetition."""
        most = round(MOST_TOKENS + MOST_TOKENS_PER_S * len(samples) / RATE_HZ)
        tokens = self._decode(samples, window_s, most, beam_size=self._options["beam_size"])
        if len(tokens) >= most or _repeats(tokens):
            return None
        return str(self._tokens.decode(tokens).strip())

    def _decode(self, samples: Samples, window_s: float, most: int, *, beam_size: int) -> list[int]:
        """At most `most` tokens of samples [T], padded with silence to `window_s`."""
        padded = np.pad(samples, (0, max(0, round(window_s * RATE_HZ) - len(samples))))
        features = self._model.feature_extractor(padded)[:, : round(window_s * FRAMES_PER_S)]
        encoded = self._model.encode(np.ascontiguousarray(features))
        prompt = [self._tokens.sot, *self._language_tokens(), self._tokens.no_timestamps]
        result = self._model.model.generate(encoded, [prompt], beam_size=beam_size, max_length=len(prompt) + most)[0]
        return [token for token in result.sequences_ids[0] if token < self._tokens.eot]

    def _language_tokens(self) -> list[int]:
        tokens = self._tokens
        return [tokens.language, tokens.task] if self._model.model.is_multilingual else []


def _repeats(tokens: list[int]) -> bool:
    """Whether some `REPEATED` tokens in a row occur twice."""
    runs = [tuple(tokens[at : at + REPEATED]) for at in range(len(tokens) - REPEATED + 1)]
    return len(set(runs)) < len(runs)


def _word(word: Any) -> Word:
    return Word(word.word.strip(), round(word.start * NS_PER_S), round(word.end * NS_PER_S))
