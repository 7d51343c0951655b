"""CMU Flite by its command-line program: four American and British voices, about fifty times faster than real time."""

from __future__ import annotations

import io
import shutil
import subprocess
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from fobench.api.types import AudioChunk
from fobench.errors import FobenchError, PrerequisiteError, unknown
from fobench_plugins.voices.text_chunks import join_audio, speakable, split_text

RATE_HZ = 16000
SECONDS = 60  # time limit of a call
SPEAKERS = {"slt": "slt", "awb": "awb", "rms": "rms", "kal": "kal16"}  # {speaker: the program's voice at RATE_HZ}


class FliteVoice:
    """Deterministic: the same text gives the same audio.

    `seed` is ignored. Only ASCII letters and digits are spoken.
    """

    rate_hz = RATE_HZ
    speakers = tuple(SPEAKERS)

    def __init__(self, *, duration_stretch: float) -> None:
        """Raises PrerequisiteError if the program is not installed."""
        self._program = shutil.which("flite") or ""
        if not self._program:
            raise PrerequisiteError("flite is not installed. Get it: sudo apt-get install flite")
        if not duration_stretch > 0:
            raise FobenchError(f"duration_stretch={duration_stretch} must be above 0.")
        self._stretch = duration_stretch

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {"voice": "flite", "duration_stretch": self._stretch}

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk:
        """The text as speech, empty if it has no speakable character. Raises FobenchError for an unknown speaker."""
        speaker = speaker or self.speakers[0]
        if speaker not in SPEAKERS:
            raise unknown("speaker of flite", speaker, self.speakers)
        return join_audio([self._sound(part, SPEAKERS[speaker]) for part in split_text(_plain(text))], RATE_HZ)

    def _sound(self, text: str, voice: str) -> npt.NDArray[np.float32]:
        """[T] samples; the text is passed as the value of an option, so that it cannot be parsed as one."""
        import soundfile

        command = [self._program, "-voice", voice, "--setf", f"duration_stretch={self._stretch}"]
        command += ["-t", text, "-o", "/dev/stdout"]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        if done.returncode or not done.stdout:
            raise FobenchError(
                f"flite failed with {voice}: {done.stderr.decode(errors='replace').strip() or 'no audio output'}"
            )
        samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
        if rate != RATE_HZ:
            raise FobenchError(f"flite gives {rate} Hz with {voice} instead of {RATE_HZ} Hz.")
        sound: npt.NDArray[np.float32] = samples
        return sound


def _plain(text: str) -> str:
    """The speakable part of a text as ASCII, without accents."""
    return speakable(unicodedata.normalize("NFKD", speakable(text)).encode("ascii", "ignore").decode())
