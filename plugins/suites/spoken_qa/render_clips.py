"""Builds the shipped archive: `python -m fobench_plugins.suites.spoken_qa.render_clips` (minutes).

`... check` measures its WER.

Every question is synthesized once, by its assigned speaker. Clips are never selected by an ASR model: the suite
measures ASR, and would favor the model that selected. The check only reports the WER.
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
from fobench.atomic_files import file_name
from fobench_plugins.suites.scenario_spec import SPEAKERS, VOICE
from fobench_plugins.suites.spoken_qa.clip_archive import ARCHIVE, SUFFIX, ArchivedClip, encode, open_archive, pack
from fobench_plugins.suites.spoken_qa.questions import Question, assign_speakers, read_questions
from fobench_plugins.suites.spoken_qa.suite import speak


def render(voice_name: str = "kokoro", archive: Path = ARCHIVE) -> None:
    """Synthesizes all questions and writes the archive; prints the progress to stderr."""
    voice: Voice = registry.create("voices", voice_name)
    questions = read_questions()
    speakers = assign_speakers(questions, SPEAKERS if voice_name == VOICE else voice.speakers)
    clips, start = {}, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for done, question in enumerate(questions, start=1):
            clips[question.id] = _render(voice, question, speakers[question.id], Path(folder))
            left_s = (time.monotonic() - start) / done * (len(questions) - done)
            print(f"\r{done}/{len(questions)}, {left_s:.0f} s left ", end="", file=sys.stderr, flush=True)
        pack(archive, voice_name, voice.rate_hz, clips, Path(folder))
    print(f"\n{archive}: {archive.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


def _render(voice: Voice, question: Question, speaker: str, folder: Path) -> ArchivedClip:
    chunk, (start_ns, end_ns) = speak(voice, question.text, speaker)
    name = file_name(question.id) + SUFFIX
    encode(folder / name, chunk)
    return ArchivedClip(name, question.text_sha256, speaker, start_ns, end_ns)


def errors(recognizer: str = "faster-whisper") -> Iterator[tuple[Question, str, str, int, int]]:
    """(question, speaker, ASR transcript, word errors, reference words) of each shipped clip."""
    import jiwer

    from fobench.scoring.text_normalization import normalize_for_wer

    asr, rendering = registry.create("recognizers", recognizer), open_archive()
    for question in read_questions():
        clip = rendering.clips[question.id]
        transcript = asr.transcribe(audio.load(rendering.folder / clip.file)).text
        aligned = jiwer.process_words(
            normalize_for_wer(question.text), normalize_for_wer(transcript, transcript=True) or "nothing"
        )
        wrong = aligned.substitutions + aligned.deletions + aligned.insertions
        yield question, clip.speaker, transcript, wrong, len(normalize_for_wer(question.text).split())


def check() -> None:
    """Prints each clip with ASR errors, and the WER over all clips and per speaker."""
    found = list(errors())
    for question, speaker, transcript, wrong, _ in found:
        if wrong:
            print(f"{question.id} {speaker}: {wrong}: {question.text!r} transcribed as {transcript!r}")
    for speaker in ["", *sorted({speaker for _, speaker, *_ in found})]:
        part = [(wrong, words) for _, who, _, wrong, words in found if speaker in ("", who)]
        wrong, words = map(sum, zip(*part, strict=True))
        print(f"{speaker or 'all'}: {wrong} / {words} words = {100 * wrong / words:.2f} %")


if __name__ == "__main__":
    check() if sys.argv[1:] == ["check"] else render()
