"""eSpeak NG by its command-line program: small and robotic, many accents; speakers are its voice names."""

from __future__ import annotations

import io
import shutil
import subprocess
from typing import Any

from fobench.api.types import AudioChunk
from fobench.errors import FobenchError, PrerequisiteError, unknown
from fobench_plugins.voices.text_chunks import join_audio, speakable

RATE_HZ = 22050  # eSpeak's output rate
SECONDS = 60  # time limit of a call
SPEAKERS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us+f3", "en-us+m3", "en-gb+f2", "en-029")


class EspeakVoice:
    """Deterministic: the same text gives the same audio; `seed` is ignored."""

    rate_hz = RATE_HZ
    speakers = SPEAKERS

    def __init__(self, *, words_per_minute: int, pitch: int) -> None:
        """`pitch`: 0 to 99. Raises PrerequisiteError if the program is not installed."""
        self._program = shutil.which("espeak-ng") or shutil.which("espeak") or ""
        if not self._program:
            raise PrerequisiteError(
                "espeak-ng is not installed. Get it: sudo apt-get install espeak-ng (macOS: brew install espeak-ng)"
            )
        self._options = {"words_per_minute": words_per_minute, "pitch": pitch}

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {"voice": "espeak-ng", **self._options}

    def speak(self, text: str, seed: int, speaker: str | None = None) -> AudioChunk:
        """The text as speech, empty if it has no speakable character. Raises FobenchError for an unknown speaker."""
        import soundfile

        speaker, text = speaker or SPEAKERS[0], speakable(text)
        if speaker not in SPEAKERS:
            raise unknown("speaker of espeak", speaker, SPEAKERS)
        if not text:
            return join_audio([], RATE_HZ)
        speed, pitch = (str(value) for value in self._options.values())
        command = [self._program, "--stdin", "--stdout", "-v", speaker, "-s", speed, "-p", pitch]
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=SECONDS, check=False)
        if done.returncode or not done.stdout:
            raise FobenchError(
                f"espeak-ng failed with {speaker}: {done.stderr.decode(errors='replace').strip() or 'no audio output'}"
            )
        header = bytearray(done.stdout)  # sizes in the header of a streamed WAV are not valid
        header[4:8], header[40:44] = (len(header) - 8).to_bytes(4, "little"), (len(header) - 44).to_bytes(4, "little")
        samples, rate = soundfile.read(io.BytesIO(header), dtype="float32")
        if rate != RATE_HZ:
            raise FobenchError(f"espeak-ng gives {rate} Hz instead of {RATE_HZ} Hz.")
        return join_audio([samples], RATE_HZ)
