"""Kokoro-82M (int8 ONNX): natural TTS voices and mixtures of them, about 2.5 times faster than real time on two
cores.

The model's own five speakers (jf_, jm_: English with a Japanese accent) come with it; the English ones (af_, am_:
American, bf_, bm_: British; f: female, m: male) are in two further assets, each fetched when one of its speakers is first
asked for.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fobench import compute_threads
from fobench.api.types import AudioChunk
from fobench.assets import catalog, store
from fobench.errors import FobenchError, PrerequisiteError, unknown
from fobench_plugins.voices.text_chunks import join_audio, speakable, split_text

RATE_HZ = 24000
MAX_TOKENS = 509  # the style table has 510 rows, one per number of tokens
TIMBRE_SIZE = 128  # leading values of a style: timbre; the others: prosody
PAUSE_S = 0.2  # between parts of a text
INSTALL = "Kokoro needs the espeak-ng phonemizer of Piper ({}). Get it (license GPL-3.0): pip install 'fobench[piper]'"
MODEL = "kokoro-82m-int8"
ENGLISH = ("kokoro-training-voices", "kokoro-evaluation-voices")  # assets with a file of one style table per speaker
LANGUAGES = {"b": "en"}  # of a speaker, by the first letter of its name: "en" is British in Piper's espeak-ng data
LANGUAGE = "en-us"  # of all others
PHONEME_SUBSTITUTIONS = str.maketrans({"ɝ": "ɜɹ", "g": "ɡ", "ɫ": "l"})  # symbols that the vocabulary lacks

Style = npt.NDArray[np.float32]  # [510, 256], a row per number of tokens


class KokoroVoice:
    """Deterministic: the same text gives the same audio; `seed` is ignored.

    A speaker is a name, or a mixture such as "jf_alpha:0.3+jm_kumo:0.7" (equal weights by default); "jf_alpha/jm_kumo"
    has the timbre of the first (a name or mixture) and the prosody of the second. A mixture is pronounced in the accent of
    the first speaker of its timbre.
    """

    rate_hz = RATE_HZ

    def __init__(
        self, folder: Path, *, speed: float, language: str | None, threads: int | None, offline: bool = False
    ) -> None:
        """`language`: espeak-ng's language code; None for that of each speaker's accent.

        Raises PrerequisiteError if a package is not installed, FobenchError for a speed of 0 or less.
        """
        try:
            import onnxruntime
            from piper.phonemize_espeak import EspeakPhonemizer
        except ImportError as error:
            raise PrerequisiteError(INSTALL.format(error)) from error
        if speed <= 0:
            raise FobenchError(f"speed={speed} must be above 0.")
        self._session = compute_threads.onnx_session(onnxruntime, str(next(iter(folder.glob("*.onnx")))), threads)
        self._phonemizer, self._language, self._speed = EspeakPhonemizer(), language, speed
        self._vocabulary: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with np.load(folder / "voices_ja.npz") as styles:
            self._styles = {name: styles[name].reshape(-1, 256).astype(np.float32) for name in styles.files}
        self._english = {name: asset for asset in ENGLISH for name in catalog.stems(asset)}
        self._offline = offline
        self.speakers = (*self._styles, *sorted(self._english))

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {"voice": "kokoro-82m int8", "speed": self._speed, "language": self._language or "of the speaker"}

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk:
        """The text as speech, empty if it has no speakable character. Raises FobenchError for an unknown speaker."""
        speaker = speaker or self.speakers[0]
        style, language = self.style(speaker), self._language or LANGUAGES.get(speaker.strip()[:1], LANGUAGE)
        pieces: list[Any] = []
        for part in split_text(speakable(text)):
            for start in range(0, len(tokens := self._tokens(part, language)), MAX_TOKENS):
                pieces += [np.zeros(round(PAUSE_S * RATE_HZ))] if pieces else []
                pieces.append(self._synthesize(tokens[start : start + MAX_TOKENS], style))
        return join_audio(pieces, RATE_HZ)

    def style(self, speaker: str) -> Style:
        """The style table of a speaker or mixture, with weights normalized.

        Raises FobenchError for an unknown name or invalid weight, PrerequisiteError for a table that cannot be fetched.
        """
        sound, _, prosody = speaker.partition("/")
        mixed = self._mix_styles(sound)
        return (
            np.concatenate([mixed[:, :TIMBRE_SIZE], self._mix_styles(prosody)[:, TIMBRE_SIZE:]], 1)
            if prosody
            else mixed
        )

    def _mix_styles(self, speaker: str) -> Style:
        parts = [part.strip().partition(":") for part in speaker.split("+")]
        mixed, total = np.zeros_like(next(iter(self._styles.values()))), 0.0
        for name, _, weight in parts:
            if name not in self.speakers:
                raise unknown("speaker of kokoro", name, self.speakers)
            if weight and not re.fullmatch(r"\d*\.?\d+", weight):
                raise FobenchError(
                    f"Speaker {speaker!r}: {weight!r} is not a weight; write e.g. jf_alpha:0.3+jm_kumo:0.7."
                )
            share = float(weight or 1)
            mixed, total = mixed + np.float32(share) * self._table(name), total + share
        if total <= 0:
            raise FobenchError(f"Speaker {speaker!r}: the weights sum to zero.")
        return mixed / np.float32(total)

    def _table(self, name: str) -> Style:
        """The style table of one speaker; an English one is fetched, with the others of its asset, at first use."""
        if name not in self._styles:
            folder = store.get(self._english[name], offline=self._offline or None)
            self._styles[name] = np.fromfile(folder / f"{name}.bin", np.dtype("<f4")).reshape(-1, 256)
        return self._styles[name]

    def _tokens(self, text: str, language: str) -> list[int]:
        sentences = self._phonemizer.phonemize(language, text)
        phonemes = " ".join("".join(sentence) for sentence in sentences).translate(PHONEME_SUBSTITUTIONS)
        return [self._vocabulary[phoneme] for phoneme in phonemes if phoneme in self._vocabulary]

    def _synthesize(self, tokens: list[int], style: Style) -> npt.NDArray[np.float32]:
        inputs = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": style[len(tokens)][None],
            "speed": np.array([self._speed], dtype=np.float32),
        }
        sound: npt.NDArray[np.float32] = self._session.run(None, inputs)[0]
        return sound.ravel()
