"""The suite `spoken-qa`: shipped clips where text, voice and speaker match; other questions are synthesized once and
cached.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from fobench import audio
from fobench.api import registry
from fobench.api.components import Voice
from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.types import NS_PER_MS, AudioChunk, ns_to_samples
from fobench.assets.store import home
from fobench.errors import FobenchError
from fobench.progress_bars import ProgressBars
from fobench_plugins.suites.audio_turns import cached_file, item_seed, turn_from_audio
from fobench_plugins.suites.spoken_qa.clip_archive import ClipArchive, open_archive
from fobench_plugins.suites.spoken_qa.questions import Question, assign_speakers, read_questions

MARGIN_NS = 100 * NS_PER_MS  # of silence kept around the speech


class SpokenQASuite:
    """One scenario per question. See the factory for the options."""

    def __init__(self, voice: str, speakers: str | None, questions: Path | None) -> None:
        self.questions = read_questions(questions) if questions else read_questions()
        self.voice_name = voice
        self._requested_speakers = tuple(name.strip() for name in speakers.split(",")) if speakers else ()
        registry.find("voices", voice)

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        speakers = self._speakers()
        missing, asked = sum(not self._shipped(question, speakers) for question in self.questions), itertools.count()
        with ProgressBars(transient=True) as bars:

            def report_progress(name: str) -> None:
                done = next(asked)
                line = f"synthesizing questions: {done} of up to {missing}" if done % 20 == 0 else ""
                bars.update("synthesizing", done, missing, name, line=line)

            for question in self.questions:
                spoken = self._turn(question, speakers, report_progress)
                yield Scenario(
                    id=question.id,
                    suite="spoken-qa",
                    seed=item_seed(seed, question.id),
                    turns=(spoken,),
                    expect=Expect(answers=question.answers),
                    tags=_tags(subject=question.subject, level=question.level, voice=spoken.speaker or ""),
                )

    @cached_property
    def rendering(self) -> ClipArchive:
        return open_archive()

    @cached_property
    def voice(self) -> Voice:
        voice: Voice = registry.create("voices", self.voice_name)
        return voice

    def _speakers(self) -> dict[str, str]:
        """{question id: speaker}: the speakers of the shipped clips, unless others are requested."""
        shipped = {name: clip.speaker for name, clip in self.rendering.clips.items()}
        if self.voice_name == self.rendering.voice and not self._requested_speakers:
            known = {q.id: shipped[q.id] for q in self.questions if q.id in shipped}
            rest = [q for q in self.questions if q.id not in known]
            return {**known, **(assign_speakers(rest, self.voice.speakers) if rest else {})}
        return assign_speakers(self.questions, self._requested_speakers or self.voice.speakers)

    def _shipped(self, question: Question, speakers: dict[str, str]) -> bool:
        """Whether the shipped clip has this text, speaker and voice."""
        clip = self.rendering.clips.get(question.id)
        same_voice = self.voice_name == self.rendering.voice
        return bool(
            clip and same_voice and clip.text_sha256 == question.text_sha256 and clip.speaker == speakers[question.id]
        )

    def _turn(self, question: Question, speakers: dict[str, str], report_progress: Callable[[str], None]) -> Turn:
        speaker = speakers[question.id]
        if self._shipped(question, speakers):
            clip = self.rendering.clips[question.id]
            shipped = str(self.rendering.folder / clip.file)
            return Turn(shipped, clip.sha256, question.text, speaker, start_ns=clip.start_ns, end_ns=clip.end_ns)
        key = hashlib.sha256(f"{self.voice_name}\n{speaker}\n{question.text}".encode()).hexdigest()[:24]
        path = home() / "spoken_qa" / f"{key}.flac"
        if not path.exists():
            report_progress(question.id)
            cached_file(path, lambda partial: _write(partial, speak(self.voice, question.text, speaker)))
        return turn_from_audio(path, text=question.text, speaker=speaker)


def speak(voice: Voice, text: str, speaker: str) -> AudioChunk:
    """`text` synthesized, with at most 100 ms of silence around the speech.

    Raises `FobenchError` if nothing is audible.
    """
    spoken = voice.speak(text, seed=0, speaker=speaker)
    if audio.audible_bounds(spoken.samples, spoken.rate_hz) is None:
        raise FobenchError(f"Speaker {speaker!r} gives no audible speech for {text!r}.")
    start_ns, end_ns = audio.speech_bounds(spoken)
    first = ns_to_samples(max(0, start_ns - MARGIN_NS), spoken.rate_hz)
    return AudioChunk(spoken.samples[first : ns_to_samples(end_ns + MARGIN_NS, spoken.rate_hz)], spoken.rate_hz)


def _write(path: Path, chunk: AudioChunk) -> None:
    import soundfile

    soundfile.write(path, chunk.samples, chunk.rate_hz, format="FLAC", subtype="PCM_16")


def _tags(**tags: str) -> dict[str, str]:
    return {name: value for name, value in tags.items() if value}
