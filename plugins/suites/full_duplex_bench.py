"""`full-duplex-bench:PATH`: folders laid out as Full-Duplex-Bench has them (v1: arXiv 2503.04721, v1.5: 2507.23159).

PATH holds tasks, a task holds samples, a sample is a folder with `input.wav`, the user's whole channel, and where things happen
in it, in seconds: v1 `pause.json`, `turn_taking.json`, `interrupt.json` ([{"timestamp": [start, end], "text" | "interrupt"}]);
v1.5 `metadata.json` ({"timestamps": [start, end], "context_text", "current_turn_text"}). PATH may also be a task, or a sample.
Their user does not react: every turn begins at its own second, whatever the system does. The channel is cut where things happen,
and every sample of it is played.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import soundfile

from fobench import audio
from fobench.api.scenario import Anchor, Expect, Scenario, Turn
from fobench.api.types import NS_PER_S, AudioChunk, samples_to_ns
from fobench.assets.store import home
from fobench.errors import FobenchError
from fobench_plugins.suites.audio_turns import item_seed, made

INPUT = "input.wav"
HAPPENINGS = ("pause.json", "turn_taking.json", "interrupt.json", "metadata.json")


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """A task of theirs: the family that it is here, and the role of what happens in it ("": a pause)."""

    family: str
    role: str | None = None  # None: nothing happens but the whole input


TASKS = {  # by how the folder's name ends
    "pause_handling": BenchmarkTask("pause", ""),
    "turn_taking": BenchmarkTask("turn_taking"),
    "user_interruption": BenchmarkTask("interruption", "interrupt"),
    "user_backchannel": BenchmarkTask("backchannel", "backchannel"),
    "talking_to_other": BenchmarkTask("side_talk", "side_talk"),
    "background_speech": BenchmarkTask("background", "background"),
    "backchannel": BenchmarkTask("listening"),  # v1: when the system should murmur; no metric of ours
}


class FullDuplexBenchSuite:
    """Scenarios of all samples under a path, in the order of their names."""

    def __init__(self, path: str) -> None:
        self.root = Path(path).expanduser()
        if not self.root.is_dir():
            raise FobenchError(f"Full-Duplex-Bench folder {path} does not exist. Give the folder that holds its tasks.")
        self.samples = sorted(found.parent for found in self.root.rglob(INPUT))
        if not self.samples:
            raise FobenchError(f"{path} holds no {INPUT}: its layout is TASK/SAMPLE/{INPUT}.")
        for sample in self.samples:
            task_of(sample)

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        for sample in self.samples:
            name, task = task_of(sample)
            own = f"{name}/{sample.name}"
            yield Scenario(
                id=own,
                suite="full-duplex-bench",
                seed=item_seed(seed, own),
                turns=tuple(_turns(sample, task)),
                expect=Expect(family=task.family),
                tags={"task": name},
            )


def task_of(sample: Path) -> tuple[str, BenchmarkTask]:
    """(the folder's name, the task) of a sample. Raises `FobenchError` for a folder that is none of theirs."""
    for folder in (sample.parent.absolute(), *sample.parent.absolute().parents[:1]):
        for ending, task in TASKS.items():
            if folder.name.endswith(ending):
                return folder.name, task
    raise FobenchError(f"{sample}: {sample.parent.name!r} is no task of Full-Duplex-Bench ({', '.join(TASKS)}).")


def happenings(sample: Path) -> list[tuple[int, int, str | None]]:
    """[(start_ns, end_ns, text)] of what happens in a sample, in order. Raises `FobenchError` for what cannot be read."""
    path = next((sample / name for name in HAPPENINGS if (sample / name).is_file()), None)
    if path is None:
        return []
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        entries = data if isinstance(data, list) else [data]
        return sorted(_happening(entry) for entry in entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FobenchError(f"{path} cannot be read: {error!r}. It holds timestamps [start, end] in seconds.") from error


def _happening(entry: dict[str, Any]) -> tuple[int, int, str | None]:
    start, end = entry["timestamps"] if "timestamps" in entry else entry["timestamp"]
    text = next((entry[key] for key in ("interrupt", "current_turn_text", "text") if entry.get(key)), None)
    if not 0 <= start < end:
        raise ValueError(f"timestamps {start!r} to {end!r}")
    return round(start * NS_PER_S), round(end * NS_PER_S), text


def _turns(sample: Path, task: BenchmarkTask) -> Iterator[Turn]:
    """The channel in pieces, one behind the other."""
    chunk = audio.load(sample / INPUT)
    happened = [] if task.role is None else happenings(sample)
    if task.role and not happened:
        raise FobenchError(
            f"{sample} says nowhere when the {task.role} comes: it needs one of {', '.join(HAPPENINGS)}."
        )
    if task.role == "":
        yield from _with_pauses(sample, chunk, [(start, end) for start, end, _ in happened])
        return
    edges = [0, *(start for start, _, _ in happened), chunk.duration_ns]
    for index, (start, end) in enumerate(pairwise(edges)):
        role = "question" if index == 0 else str(task.role)
        text = happened[index - 1][2] if index else None
        until = happened[index - 1][1] if index else None
        yield _piece(sample, chunk, start, end, role, text, until)


def _with_pauses(sample: Path, chunk: AudioChunk, pauses: list[tuple[int, int]]) -> Iterator[Turn]:
    """Fragments up to each pause, and what comes after the last one; the pause is the silence at a fragment's end."""
    starts = [0, *(end for _, end in pauses)]
    ends = [*(end for _, end in pauses), chunk.duration_ns]
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        last = index == len(pauses)
        until = None if last else pauses[index][0]
        follows = Anchor("turn_end", 0) if index else None
        yield _piece(sample, chunk, start, end, "question" if last else "fragment", None, until, follows)


def _piece(
    sample: Path,
    chunk: AudioChunk,
    start_ns: int,
    end_ns: int,
    role: str,
    text: str | None,
    until_ns: int | None,
    anchor: Anchor | None = None,
) -> Turn:
    """The channel from `start_ns` to `end_ns` as a turn at its own second; its speech ends at `until_ns`, if that is known."""
    first, last = (round(bound * chunk.rate_hz / NS_PER_S) for bound in (start_ns, end_ns))
    samples = chunk.samples[first:last]
    if not len(samples):
        raise FobenchError(f"{sample / INPUT} ends at {chunk.duration_ns / 1e9:g} s, before {start_ns / 1e9:g} s.")
    digest = audio.sha256(samples, chunk.rate_hz)
    path = made(
        home() / "full_duplex_bench" / f"{digest[:24]}.wav", lambda p: _write(p, AudioChunk(samples, chunk.rate_hz))
    )
    length, bounds = samples_to_ns(len(samples), chunk.rate_hz), audio.speech_bounds(AudioChunk(samples, chunk.rate_hz))
    end = bounds[1] if until_ns is None else min(length, until_ns - start_ns)
    begin = bounds[0] if bounds[0] < end else 0
    return Turn(str(path), digest, text, None, role, anchor or Anchor("start", start_ns), begin, end)


def _write(path: Path, chunk: AudioChunk) -> None:
    soundfile.write(path, chunk.samples, chunk.rate_hz, format="WAV", subtype="FLOAT")
