"""The suite: shipped clips where they fit the text and the voice asked for; the rest is rendered once and kept."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fobench import audio
from fobench.api import registry
from fobench.api.components import Voice
from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.types import NS_PER_MS, AudioChunk, ns_to_samples
from fobench.assets.store import home
from fobench.errors import FobenchError
from fobench_plugins.suites.audio_turns import item_seed, made, turn
from fobench_plugins.suites.spoken_qa.clip_archive import ClipArchive, unpacked
from fobench_plugins.suites.spoken_qa.questions import Question, cast, read

if TYPE_CHECKING:
    from rich.progress import Progress

MARGIN_NS = 100 * NS_PER_MS  # of silence that is kept around the speech


class SpokenQASuite:
    """One scenario a question. See the factory for the options."""

    def __init__(self, voice: str, speakers: str | None, questions: Path | None) -> None:
        self.questions = read(questions) if questions else read()
        self.voice_name = voice
        self._asked_speakers = tuple(name.strip() for name in speakers.split(",")) if speakers else ()
        registry.find("voices", voice)

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        roles = self._roles()
        stage = _RenderProgress(sum(not self._shipped(question, roles) for question in self.questions))
        with stage:
            for question in self.questions:
                spoken = self._turn(question, roles, stage)
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
        return unpacked()

    @cached_property
    def voice(self) -> Voice:
        voice: Voice = registry.create("voices", self.voice_name)
        return voice

    def _roles(self) -> dict[str, str]:
        """{question id: speaker}: those of the shipped clips, unless other speakers are asked for."""
        shipped = {name: clip.speaker for name, clip in self.rendering.clips.items()}
        if self.voice_name == self.rendering.voice and not self._asked_speakers:
            known = {q.id: shipped[q.id] for q in self.questions if q.id in shipped}
            rest = [q for q in self.questions if q.id not in known]
            return {**known, **(cast(rest, self.voice.speakers) if rest else {})}
        return cast(self.questions, self._asked_speakers or self.voice.speakers)

    def _shipped(self, question: Question, roles: dict[str, str]) -> bool:
        """Whether the shipped clip is this text by this speaker of this voice."""
        clip = self.rendering.clips.get(question.id)
        same_voice = self.voice_name == self.rendering.voice
        return bool(
            clip and same_voice and clip.text_sha256 == question.text_sha256 and clip.speaker == roles[question.id]
        )

    def _turn(self, question: Question, roles: dict[str, str], stage: _RenderProgress) -> Turn:
        speaker = roles[question.id]
        if self._shipped(question, roles):
            clip = self.rendering.clips[question.id]
            path = str(self.rendering.folder / clip.file)
            return Turn(path, clip.sha256, question.text, speaker, start_ns=clip.start_ns, end_ns=clip.end_ns)
        key = hashlib.sha256(f"{self.voice_name}\n{speaker}\n{question.text}".encode()).hexdigest()[:24]
        path = home() / "spoken_qa" / f"{key}.flac"
        if not path.exists():
            stage.announce(question.id)
            made(path, lambda partial: _write(partial, speak(self.voice, question.text, speaker)))
        return turn(path, text=question.text, speaker=speaker)


def speak(voice: Voice, text: str, speaker: str) -> AudioChunk:
    """`text` spoken, with 100 ms of silence around the speech at most. Raises `FobenchError` if nothing can be heard."""
    spoken = voice.speak(text, seed=0, speaker=speaker)
    if audio.audible_bounds(spoken.samples, spoken.rate_hz) is None:
        raise FobenchError(f"Speaker {speaker!r} says {text!r} without a sound.")
    start_ns, end_ns = audio.speech_bounds(spoken)
    first = ns_to_samples(max(0, start_ns - MARGIN_NS), spoken.rate_hz)
    return AudioChunk(spoken.samples[first : ns_to_samples(end_ns + MARGIN_NS, spoken.rate_hz)], spoken.rate_hz)


def _write(path: Path, chunk: AudioChunk) -> None:
    import soundfile

    soundfile.write(path, chunk.samples, chunk.rate_hz, format="FLAC", subtype="PCM_16")


def _tags(**tags: str) -> dict[str, str]:
    return {name: value for name, value in tags.items() if value}


class _RenderProgress:
    """Shows the progress of rendering, if there is any: a bar with an ETA in a terminal, a line now and then elsewhere."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._bar: Progress | None = None

    def __enter__(self) -> _RenderProgress:
        return self

    def announce(self, name: str) -> None:
        """`name` is rendered next."""
        if sys.stderr.isatty():
            self._bar = self._bar or self._started()
            self._bar.update(self._bar.task_ids[0], completed=self._done, description=f"speaking {name}")
        elif self._done % 20 == 0:
            print(f"speaking questions: {self._done} of up to {self._total}", file=sys.stderr, flush=True)
        self._done += 1

    def _started(self) -> Progress:
        from rich.console import Console
        from rich.progress import Progress

        bar = Progress(console=Console(stderr=True), transient=True)
        bar.add_task("", total=self._total)
        bar.start()
        return bar

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()
