"""The suite `spoken-qa`: shipped clips where text, voice and speaker match; other questions are synthesized once and
cached, and so are the sounds of other conditions than the clean one.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from fobench import audio
from fobench.api import registry
from fobench.api.components import Voice
from fobench.api.scenario import CONDITION, Expect, Scenario, Turn
from fobench.api.types import NS_PER_MS, AudioChunk, ns_to_samples, samples_to_ns
from fobench.assets.store import home
from fobench.errors import FobenchError
from fobench.progress_bars import ProgressBars
from fobench_plugins.suites import conditions
from fobench_plugins.suites.audio_turns import cached_file, item_seed, turn_from_audio
from fobench_plugins.suites.scenario_spec import SPEAKERS, VOICE
from fobench_plugins.suites.spoken_qa.clip_archive import ClipArchive, open_archive
from fobench_plugins.suites.spoken_qa.questions import Question, assign_speakers, read_questions

MARGIN_NS = 100 * NS_PER_MS  # of silence kept around the speech
NOISE_PERCENTILE, NOISE_MARGIN_DB = 8.0, 9.0  # see `bounds_above_noise`


class SpokenQASuite:
    """One scenario per question and condition. See the factory for the options.

    Raises `FobenchError` for a questions file that is not usable, an unknown voice or an unknown condition.
    """

    def __init__(self, voice: str, speakers: str | None, questions: Path | None, condition: str | None = None) -> None:
        self.questions = read_questions(questions) if questions else read_questions()
        self.voice_name = voice
        self._requested_speakers = tuple(name.strip() for name in speakers.split(",")) if speakers else ()
        registry.find("voices", voice)
        self.conditions = conditions.parse(condition, voice)

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        """The questions in order, each under all conditions before the next, so that every prefix is paired."""
        speakers = self._speakers()
        wanted = [(question, condition) for question in self.questions for condition in self.conditions or ("",)]
        missing = sum(not self._shipped(q, self._speaker(q, speakers, condition)) for q, condition in wanted)
        asked = itertools.count()
        with ProgressBars(transient=True) as bars:

            def report_progress(name: str) -> None:
                done = next(asked)
                line = f"synthesizing questions: {done} of up to {missing}" if done % 20 == 0 else ""
                bars.update("synthesizing", done, missing, name, line=line)

            for question, condition in wanted:
                spoken = self._turn(question, self._speaker(question, speakers, condition), report_progress)
                scenario_seed = item_seed(seed, question.id)
                tags = {"subject": question.subject, "level": question.level, "voice": spoken.speaker or ""}
                yield Scenario(
                    id=conditions.paired_id(question.id, condition),
                    suite="spoken-qa",
                    seed=scenario_seed,
                    turns=conditions.turns_under(condition, (spoken,), scenario_seed),
                    expect=Expect(answers=question.answers),
                    tags={name: value for name, value in {**tags, CONDITION: condition}.items() if value},
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
            return {**known, **(assign_speakers(rest, SPEAKERS) if rest else {})}
        own = SPEAKERS if self.voice_name == VOICE else ()
        return assign_speakers(self.questions, self._requested_speakers or own or self.voice.speakers)

    def _speaker(self, question: Question, speakers: dict[str, str], condition: str) -> str:
        return conditions.speaker_under(condition, speakers[question.id], sorted({*speakers.values()}))

    def _shipped(self, question: Question, speaker: str) -> bool:
        """Whether the shipped clip has this text, speaker and voice."""
        clip = self.rendering.clips.get(question.id)
        same_voice = self.voice_name == self.rendering.voice
        return bool(clip and same_voice and clip.text_sha256 == question.text_sha256 and clip.speaker == speaker)

    def _turn(self, question: Question, speaker: str, report_progress: Callable[[str], None]) -> Turn:
        if self._shipped(question, speaker):
            clip = self.rendering.clips[question.id]
            shipped = str(self.rendering.folder / clip.file)
            return Turn(shipped, clip.sha256, question.text, speaker, start_ns=clip.start_ns, end_ns=clip.end_ns)
        key = hashlib.sha256(f"{self.voice_name}\n{speaker}\n{question.text}".encode()).hexdigest()[:24]
        path = home() / "spoken_qa" / f"{key}.flac"
        if not path.exists():
            report_progress(question.id)
            cached_file(path, lambda partial: _write(partial, speak(self.voice, question.text, speaker)[0]))
        return turn_from_audio(path, text=question.text, speaker=speaker)


def speak(voice: Voice, text: str, speaker: str) -> tuple[AudioChunk, tuple[int, int]]:
    """`text` synthesized, with at most 100 ms of silence around the speech, and the speech's bounds in ns.

    Raises `FobenchError` if nothing is audible.
    """
    spoken = voice.speak(text, seed=0, speaker=speaker)
    if audio.audible_bounds(spoken.samples, spoken.rate_hz) is None:
        raise FobenchError(f"Speaker {speaker!r} gives no audible speech for {text!r}.")
    spoken, _ = _cut(spoken, audio.speech_bounds(spoken))
    return _cut(spoken, bounds_above_noise(spoken))


def bounds_above_noise(chunk: AudioChunk) -> tuple[int, int]:
    """(start_ns, end_ns) of the speech in a synthesized clip whose voice has a noise of its own.

    Some speakers' noise is above the -45 dBFS of `audio.speech_bounds` and goes on for half a second after the last word.
    Speech is what is 9 dB above the level that 8 % of the frames do not exceed, if that is the higher threshold.
    """
    levels = audio.frame_levels(chunk.samples, chunk.rate_hz)
    threshold = max(audio.AUDIBLE_DBFS, levels.max() - 40.0, np.percentile(levels, NOISE_PERCENTILE) + NOISE_MARGIN_DB)
    bounds = audio.audible_bounds(chunk.samples, chunk.rate_hz, float(threshold)) or (0, len(chunk.samples))
    return samples_to_ns(bounds[0], chunk.rate_hz), samples_to_ns(bounds[1], chunk.rate_hz)


def _cut(chunk: AudioChunk, bounds_ns: tuple[int, int]) -> tuple[AudioChunk, tuple[int, int]]:
    """The chunk with at most `MARGIN_NS` around the bounds, and the bounds in it."""
    first = ns_to_samples(max(0, bounds_ns[0] - MARGIN_NS), chunk.rate_hz)
    cut = AudioChunk(chunk.samples[first : ns_to_samples(bounds_ns[1] + MARGIN_NS, chunk.rate_hz)], chunk.rate_hz)
    before_ns = samples_to_ns(first, chunk.rate_hz)
    return cut, (bounds_ns[0] - before_ns, bounds_ns[1] - before_ns)


def _write(path: Path, chunk: AudioChunk) -> None:
    import soundfile

    soundfile.write(path, chunk.samples, chunk.rate_hz, format="FLAC", subtype="PCM_16")
