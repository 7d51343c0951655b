"""Each contract of recognizers and voices, broken once on purpose, is named."""

import numpy as np
import pytest

from fobench.api.types import AudioChunk, Transcript, Word
from fobench.errors import FobenchError

pytestmark = pytest.mark.usefixtures("home")


class Recognizer:
    def transcribe(self, audio):
        loud = len(audio.samples) and np.abs(audio.samples).max() > 0.01
        return Transcript("hello there", (Word("hello", 0, 500), Word("there", 500, 900))) if loud else Transcript("")


class Voice:
    rate_hz, speakers = 16_000, ("one", "two")

    def speak(self, text, seed, speaker=None):
        if speaker not in (None, *self.speakers):
            raise FobenchError(f"Unknown speaker {speaker!r}. Choices: one, two.")
        return AudioChunk(np.full(1_600 * len(text.strip(" .")), 0.1, np.float32), self.rate_hz)


def recognizer(**parts):
    return type("BrokenRecognizer", (Recognizer,), parts)()


def voice(**parts):
    return type("BrokenVoice", (Voice,), parts)()


def test_good_ears_and_mouths_have_no_findings(findings):
    assert findings("recognizers", Recognizer()) == {}
    assert findings("voices", Voice()) == {}


def hearing(*words):
    return {"transcribe": lambda self, audio: Transcript("you", tuple(words))}


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        (hearing(), "silence", "transcribed 3 s of digital silence as 'you'"),
        (hearing(), "0, 1 and 160 samples", "transcribed 0 samples of silence as 'you'"),
        (hearing(Word("you", 5, 9), Word("me", 1, 2)), "word times", "begins before the word before it"),
        (hearing(Word("you", 0, 10**12)), "word times", "is not within"),
        (hearing(Word("you", 0.0, 1.0)), "word times", "times must be int ns"),
        ({"transcribe": lambda self, audio: "you"}, "speech", "returned a str, not a Transcript"),
    ],
)
def test_what_is_wrong_with_a_recognizer_is_told(findings, parts, check, message):
    assert message in findings("recognizers", recognizer(**parts))[check]


def noise(self, text, seed, speaker=None):
    return AudioChunk(np.random.default_rng().uniform(-0.5, 0.5, 16_000).astype(np.float32), 16_000)


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"speakers": ["one"]}, "rate and speakers", "speakers must be a tuple"),
        ({"speak": lambda self, *a: AudioChunk(np.zeros(9, np.float32), 16_000)}, "speech", "no audible audio"),
        ({"speak": noise}, "same seed, same audio", "other audio the second time"),
        ({"speak": noise}, "unknown speaker", "must be refused with a FobenchError"),
        ({"rate_hz": 24_000, "speak": noise}, "speech", "16000 Hz, rate_hz is 24000"),
    ],
)
def test_what_is_wrong_with_a_voice_is_told(findings, parts, check, message):
    assert message in findings("voices", voice(**parts))[check]
