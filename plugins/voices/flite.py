"""CMU Flite through its program: four clear American and British voices, about fifty times faster than real time."""

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
from fobench_plugins.voices.text_chunks import joined, portions, speakable

RATE_HZ = 16000
SECONDS = 60  # longest a call may take
SPEAKERS = {"slt": "slt", "awb": "awb", "rms": "rms", "kal": "kal16"}  # {speaker: the program's voice of RATE_HZ}


class FliteVoice:
    """The same text gives the same sound; `seed` is not used. What has no ASCII letter or digit is not spoken."""

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
        """The text spoken; of no length if nothing in it can be said. Raises FobenchError for an unknown speaker."""
        speaker = speaker or self.speakers[0]
        if speaker not in SPEAKERS:
            raise unknown("speaker of flite", speaker, self.speakers)
        return joined([self._sound(portion, SPEAKERS[speaker]) for portion in portions(_plain(text))], RATE_HZ)

    def _sound(self, text: str, voice: str) -> npt.NDArray[np.float32]:
        """[T]; `text` is the value of an option, so that none in it is taken for another."""
        import soundfile

        command = [self._program, "-voice", voice, "--setf", f"duration_stretch={self._stretch}"]
        command += ["-t", text, "-o", "/dev/stdout"]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        if done.returncode or not done.stdout:
            raise FobenchError(
                f"flite failed with {voice}: {done.stderr.decode(errors='replace').strip() or 'no sound came'}"
            )
        samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
        if rate != RATE_HZ:
            raise FobenchError(f"flite gives {rate} Hz with {voice} instead of {RATE_HZ} Hz.")
        sound: npt.NDArray[np.float32] = samples
        return sound


def _plain(text: str) -> str:
    """What of a text the program can read: ASCII, accents dropped."""
    return speakable(unicodedata.normalize("NFKD", speakable(text)).encode("ascii", "ignore").decode())
