"""Makes the shipped archive of the users' lines: `python -m fobench_plugins.suites.duplex.render`. One take each."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from fobench import audio, plugins
from fobench.types import Voice
from fobench_plugins.suites.duplex.lines import lines, speaker_of
from fobench_plugins.suites.spoken_qa.archive import SUFFIX, Clip, encode, pack
from fobench_plugins.suites.spoken_qa.suite import speak
from fobench_plugins.suites.stage import LINES


def render(voice_name: str = "kokoro", archive: Path = LINES) -> None:
    """Speaks all lines and writes the archive. Prints its progress."""
    voice: Voice = plugins.create("voices", voice_name)
    every = [line for of_kind in lines().values() for line in of_kind]
    clips: dict[str, Clip] = {}
    with tempfile.TemporaryDirectory() as folder:
        for done, line in enumerate(every, start=1):
            speaker = speaker_of(line, voice.speakers)
            chunk = speak(voice, line.say, speaker)
            encode(Path(folder) / f"{line.id}{SUFFIX}", chunk)
            digest = hashlib.sha256(line.say.encode()).hexdigest()
            clips[line.id] = Clip(line.id + SUFFIX, digest, speaker, *audio.speech_bounds(chunk))
            print(f"\r{done}/{len(every)} ", end="", file=sys.stderr, flush=True)
        pack(archive, voice_name, voice.rate_hz, clips, Path(folder))
    print(f"\n{archive}: {archive.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    render()
