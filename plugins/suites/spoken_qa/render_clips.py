"""Makes the shipped archive: `python -m fobench_plugins.suites.spoken_qa.render_clips` (minutes), `... render check` to hear it.

Every question gets one take, by the speaker whose turn it is. Takes are never chosen by what a recogniser hears: the suite
measures recognisers, and would flatter the one that chose. The check only tells the floor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fobench import audio
from fobench.api import registry
from fobench.api.components import Voice
from fobench_plugins.suites.spoken_qa.clip_archive import ARCHIVE, SUFFIX, ArchivedClip, encode, pack, unpacked
from fobench_plugins.suites.spoken_qa.questions import Question, cast, read
from fobench_plugins.suites.spoken_qa.suite import speak


def render(voice_name: str = "kokoro", archive: Path = ARCHIVE) -> None:
    """Speaks all questions and writes the archive. Prints its progress."""
    voice: Voice = registry.create("voices", voice_name)
    questions = read()
    roles = cast(questions, voice.speakers)
    clips, start = {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for done, question in enumerate(questions, start=1):
            clips[question.id] = _render(voice, question, roles[question.id], Path(folder))
            left_s = (time.monotonic() - start) / done * (len(questions) - done)
            print(f"\r{done}/{len(questions)}, {left_s:.0f} s left ", end="", file=sys.stderr, flush=True)
        pack(archive, voice_name, voice.rate_hz, clips, Path(folder))
    print(f"\n{archive}: {archive.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


def _render(voice: Voice, question: Question, speaker: str, folder: Path) -> ArchivedClip:
    chunk = speak(voice, question.text, speaker)
    start_ns, end_ns = audio.speech_bounds(chunk)
    encode(folder / f"{question.id}{SUFFIX}", chunk)
    return ArchivedClip(question.id + SUFFIX, question.text_sha256, speaker, start_ns, end_ns)


def errors(recognizer: str = "faster-whisper") -> Iterator[tuple[Question, str, str, int, int]]:
    """(question, speaker, what was heard, word errors, words) of each shipped clip."""
    import jiwer

    from fobench.scoring.text_normalization import normalise

    listener, rendering = registry.create("recognizers", recognizer), unpacked()
    for question in read():
        clip = rendering.clips[question.id]
        heard = listener.transcribe(audio.load(rendering.folder / clip.file)).text
        aligned = jiwer.process_words(normalise(question.text), normalise(heard) or "nothing")
        wrong = aligned.substitutions + aligned.deletions + aligned.insertions
        yield question, clip.speaker, heard, wrong, len(normalise(question.text).split())


def check() -> None:
    """Prints each clip that was not heard exactly, and the word error rate of all and of each speaker."""
    found = list(errors())
    for question, speaker, heard, wrong, _ in found:
        if wrong:
            print(f"{question.id} {speaker}: {wrong}: {question.text!r} heard as {heard!r}")
    for speaker in ["", *sorted({speaker for _, speaker, *_ in found})]:
        part = [(wrong, words) for _, who, _, wrong, words in found if speaker in ("", who)]
        wrong, words = map(sum, zip(*part, strict=True))
        print(f"{speaker or 'all'}: {wrong} / {words} words = {100 * wrong / words:.2f} %")


if __name__ == "__main__":
    check() if sys.argv[1:] == ["check"] else render()
