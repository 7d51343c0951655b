"""`full-duplex-bench:PATH`: folders in the layout of Full-Duplex-Bench (v1: arXiv 2503.04721, v1.5: arXiv 2507.23159).

PATH contains tasks, a task contains samples, and a sample is a folder with `input.wav`, the user's channel, and the
times of its events in seconds: v1 `pause.json`, `turn_taking.json`, `interrupt.json` ([{"timestamp": [start, end],
"text" | "interrupt"}]); v1.5 `metadata.json` ({"timestamps": [start, end], "context_text", "current_turn_text"}). PATH
may also be a task, or a sample. The recorded user does not react: every turn begins at its own time, whatever the
system does. The channel is cut at the events, and all of it is played.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import soundfile

from fobench import audio
from fobench.api.scenario import LISTENING, Anchor, Expect, Scenario, Turn
from fobench.api.typed import shown
from fobench.api.types import NS_PER_S, AudioChunk, samples_to_ns
from fobench.assets.store import home
from fobench.audio.limits import MAX_DURATION_S
from fobench.errors import FobenchError
from fobench.outside_files import read_json
from fobench_plugins.suites.audio_turns import audible_facts, cached_file, item_seed

INPUT = "input.wav"
EVENT_FILES = ("pause.json", "turn_taking.json", "interrupt.json", "metadata.json")


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """A task of the benchmark: the category it belongs to here, and the role of its events ("": a pause)."""

    family: str
    role: str | None = None  # None: no events, the input is one turn


TASKS = {  # by the ending of the folder name
    "pause_handling": BenchmarkTask("pause", ""),
    "turn_taking": BenchmarkTask("turn_taking"),
    "user_interruption": BenchmarkTask("interruption", "interrupt"),
    "user_backchannel": BenchmarkTask("backchannel", "backchannel"),
    "talking_to_other": BenchmarkTask("side_talk", "side_talk"),
    "background_speech": BenchmarkTask("background", "background"),
    "backchannel": BenchmarkTask(LISTENING),  # v1: the system's own backchannels, which no metric here measures
}


class FullDuplexBenchSuite:
    """Scenarios of all samples under a path, sorted by path. Raises `FobenchError` for a folder without samples."""

    def __init__(self, path: str) -> None:
        self.root = Path(path).expanduser()
        if not self.root.is_dir():
            raise FobenchError(f"Full-Duplex-Bench folder {path} does not exist. Give the folder that holds its tasks.")
        self.samples = sorted(path.parent for path in self.root.rglob(INPUT))
        if not self.samples:
            raise FobenchError(f"{path} holds no {INPUT}: its layout is TASK/SAMPLE/{INPUT}.")
        for sample in self.samples:
            task_of(sample)

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        for sample in self.samples:
            name, task = task_of(sample)
            scenario_id = f"{name}/{sample.name}"
            yield Scenario(
                id=scenario_id,
                suite="full-duplex-bench",
                seed=item_seed(seed, scenario_id),
                turns=tuple(_turns(sample, task)),
                expect=Expect(family=task.family),
                tags={"task": name},
            )


def task_of(sample: Path) -> tuple[str, BenchmarkTask]:
    """(folder name, task) of a sample. Raises `FobenchError` if the folder is not a task of the benchmark."""
    for folder in (sample.parent.absolute(), *sample.parent.absolute().parents[:1]):
        for ending, task in TASKS.items():
            if folder.name.endswith(ending):
                return folder.name, task
    raise FobenchError(f"{sample}: {sample.parent.name!r} is not a task of Full-Duplex-Bench ({', '.join(TASKS)}).")


def read_events(sample: Path) -> list[tuple[int, int, str | None]]:
    """[(start_ns, end_ns, text)] of a sample's events, sorted. Raises `FobenchError` for a file that cannot be read."""
    path = next((sample / name for name in EVENT_FILES if (sample / name).is_file()), None)
    if path is None:
        return []
    try:
        data = read_json(path)
        entries = data if isinstance(data, list) else [data]
        return sorted(_parse_event(entry) for entry in entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise FobenchError(
            f"{path} cannot be read: {problem}. Expected: timestamps [start, end] in seconds."
        ) from error


def _parse_event(entry: dict[str, Any]) -> tuple[int, int, str | None]:
    start, end = entry["timestamps"] if "timestamps" in entry else entry["timestamp"]
    text = next((entry[key] for key in ("interrupt", "current_turn_text", "text") if entry.get(key)), None)
    if not all(type(time) in (int, float) for time in (start, end)) or not 0 <= start < end <= MAX_DURATION_S:
        raise ValueError(f"timestamps {shown(start)} to {shown(end)}")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"the words of an event are {shown(text)}, not a text")
    return round(start * NS_PER_S), round(end * NS_PER_S), text


def _turns(sample: Path, task: BenchmarkTask) -> Iterator[Turn]:
    """The channel, cut into consecutive turns at the events."""
    audible_facts(sample / INPUT)
    chunk = audio.load(sample / INPUT)
    events = [] if task.role is None else read_events(sample)
    if task.role and not events:
        raise FobenchError(f"{sample} has no times of the {task.role}: it needs one of {', '.join(EVENT_FILES)}.")
    if task.role == "":
        yield from _with_pauses(sample, chunk, [(start, end) for start, end, _ in events])
        return
    edges = [0, *(start for start, _, _ in events), chunk.duration_ns]
    for index, (start, end) in enumerate(pairwise(edges)):
        role = "question" if index == 0 else str(task.role)
        text = events[index - 1][2] if index else None
        speech_end = events[index - 1][1] if index else None
        yield _segment_turn(sample, chunk, start, end, role, text, speech_end)


def _with_pauses(sample: Path, chunk: AudioChunk, pauses: list[tuple[int, int]]) -> Iterator[Turn]:
    """A fragment up to the end of each pause, and the rest as the question; the pause is the silence at a fragment's
    end.
    """
    starts = [0, *(end for _, end in pauses)]
    ends = [*(end for _, end in pauses), chunk.duration_ns]
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        last = index == len(pauses)
        speech_end = None if last else pauses[index][0]
        follows = Anchor("turn_end", 0) if index else None
        yield _segment_turn(sample, chunk, start, end, "question" if last else "fragment", None, speech_end, follows)


def _segment_turn(
    sample: Path,
    chunk: AudioChunk,
    start_ns: int,
    end_ns: int,
    role: str,
    text: str | None,
    speech_end_ns: int | None,
    anchor: Anchor | None = None,
) -> Turn:
    """The channel from `start_ns` to `end_ns` as a turn at that time.

    `speech_end_ns` is the end of its speech in the channel, if known.
    """
    first, last = (round(bound * chunk.rate_hz / NS_PER_S) for bound in (start_ns, end_ns))
    samples = chunk.samples[first:last]
    if not len(samples):
        raise FobenchError(f"{sample / INPUT} ends at {chunk.duration_ns / 1e9:g} s, before {start_ns / 1e9:g} s.")
    digest = audio.sha256(samples, chunk.rate_hz)
    path = cached_file(
        home() / "full_duplex_bench" / f"{digest[:24]}.wav", lambda p: _write(p, AudioChunk(samples, chunk.rate_hz))
    )
    length, bounds = samples_to_ns(len(samples), chunk.rate_hz), audio.speech_bounds(AudioChunk(samples, chunk.rate_hz))
    end = bounds[1] if speech_end_ns is None else min(length, speech_end_ns - start_ns)
    begin = bounds[0] if bounds[0] < end else 0
    return Turn(str(path), digest, text, None, role, anchor or Anchor("start", start_ns), begin, end)


def _write(path: Path, chunk: AudioChunk) -> None:
    soundfile.write(path, chunk.samples, chunk.rate_hz, format="WAV", subtype="FLOAT")
