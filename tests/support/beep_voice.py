"""A voice that says every letter as a tone of its own, all else as silence, and a recognizer that reads them: speech for tests."""

import json

import numpy as np
import soundfile

from fobench.api.types import AudioChunk, Transcript

SIGNS = " abcdefghijklmnopqrstuvwxyz"
RATE = 16_000
LENGTH = 800  # samples of a sign: two frames of the codec `tiny`
TONES = [300 * 2 ** (number / 9) for number in range(1, len(SIGNS))]  # Hz


class Beeps:
    speakers = ("beeps",)

    def __init__(self, rate_hz=RATE):
        self.rate_hz = rate_hz

    def about(self):
        return {"voice": "beeps"}

    def speak(self, text, seed, speaker=None):
        length = LENGTH * self.rate_hz // RATE
        time = np.arange(length) / self.rate_hz
        fade = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 0.5
        signs = [max(0, SIGNS.find(sign)) for sign in text.lower()]
        tones = [np.sin(2 * np.pi * TONES[i - 1] * time) * fade * 0.3 if i else np.zeros(length) for i in signs]
        return AudioChunk(np.concatenate([np.zeros(0), *tones]).astype(np.float32), self.rate_hz)


class Reader:
    def transcribe(self, audio):
        length = LENGTH * audio.rate_hz // RATE
        pieces = audio.samples[: len(audio.samples) // length * length].reshape(-1, length)
        return Transcript("".join(map(self._sign, pieces, [audio.rate_hz] * len(pieces))).strip())

    def _sign(self, piece, rate_hz):
        spectrum = np.abs(np.fft.rfft(piece, 16 * len(piece)))
        if np.sqrt(np.mean(piece**2)) < 0.02:
            return " "
        loudest = np.argmax(spectrum) * rate_hz / (16 * len(piece))
        return SIGNS[1 + int(np.argmin(np.abs(np.log(np.array(TONES) / max(loudest, 1)))))]


def manifest(folder, texts, rate_hz=RATE, **fields):
    """A manifest of these texts, spoken; returns its path."""
    folder.mkdir(exist_ok=True)
    lines = []
    for number, text in enumerate(texts):
        soundfile.write(folder / f"{number}.flac", Beeps(rate_hz).speak(text, 0).samples, rate_hz)
        lines.append(json.dumps({"audio": f"{number}.flac", "text": text, "id": f"clip-{number}", **fields}))
    path = folder / "manifest.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path
