"""Builds the shipped archive of the users' lines: `python -m fobench_plugins.suites.duplex.render_clips`.

Every line is synthesized once; a line whose text and speaker are unchanged keeps its clip.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from fobench.api import registry
from fobench.api.components import Voice
from fobench.atomic_files import file_name
from fobench_plugins.suites.duplex.lines import lines, speaker_of
from fobench_plugins.suites.scenario_builder import LINES
from fobench_plugins.suites.scenario_spec import SPEAKERS, VOICE
from fobench_plugins.suites.spoken_qa.clip_archive import SUFFIX, ArchivedClip, encode, open_archive, pack
from fobench_plugins.suites.spoken_qa.suite import speak


def render(voice_name: str = "kokoro", archive: Path = LINES) -> None:
    """Synthesizes all lines and writes the archive; prints the progress to stderr."""
    voice: Voice = registry.create("voices", voice_name)
    all_lines = [line for same_kind in lines().values() for line in same_kind]
    archived, clips = open_archive(archive), dict[str, ArchivedClip]()
    with tempfile.TemporaryDirectory() as folder:
        for done, line in enumerate(all_lines, start=1):
            speaker = speaker_of(line, SPEAKERS if voice_name == VOICE else voice.speakers)
            digest, path = hashlib.sha256(line.say.encode()).hexdigest(), Path(folder) / f"{file_name(line.id)}{SUFFIX}"
            clip = archived.clips.get(line.id)
            if archived.voice == voice_name and clip and (clip.text_sha256, clip.speaker) == (digest, speaker):
                shutil.copyfile(archived.folder / clip.file, path)
            else:
                chunk, bounds_ns = speak(voice, line.say, speaker)
                encode(path, chunk)
                clip = ArchivedClip(path.name, digest, speaker, *bounds_ns)
            clips[line.id] = clip
            print(f"\r{done}/{len(all_lines)} ", end="", file=sys.stderr, flush=True)
        pack(archive, voice_name, voice.rate_hz, clips, Path(folder))
    print(f"\n{archive}: {archive.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    render()
