"""A run in the output format of Full-Duplex-Bench, for its own scripts, and its TOR and latency by its definitions.

`full-duplex-bench/TASK/SAMPLE/`: `input.wav`, `output.wav` (the system as heard, as long as the scenario) and `output.json`:
{"text", "chunks": [{"text": word, "timestamp": [start, end]}]}, in seconds. The words are those that the system reports as
spoken, spread evenly over the audio of their event; for the words of a speech recognizer, run their script on output.wav.

`summary.json` holds, by task, the metrics that their scripts compute from the chunks (arXiv 2503.04721, section 4):
- TOR: a sample is a takeover if its chunks span 1 s or more, or if there are more than 3.
- latency: first chunk - end of the user's turn, over takeovers, **clamped at 0**: a reply that comes too early looks
  perfect. `early` counts those; the metric `response_ms` keeps the negative value. If a sample has several user turns, their
  scripts keep the result of the last one only (each overwrites the one before), and so does this reporter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from fobench.api.results import Results
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, Action, Event, EventKind

FOLDER = "full-duplex-bench"
SECONDS, WORDS = 1.0, 3  # a takeover lasts at least so long, or has more words


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word with its start and end in the audible output, in seconds."""

    text: str
    start_s: float
    end_s: float

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "timestamp": [round(self.start_s, 3), round(self.end_s, 3)]}


class FullDuplexBenchReporter:
    """Writes the folder of samples and its summary; returns the summary's path."""

    def write(self, results: Results, folder: Path) -> Path:
        by_task: dict[str, list[Trace]] = {}
        for trace in results.traces:
            task = trace.scenario.tags.get("task", trace.scenario.expect.family)
            by_task.setdefault(task, []).append(trace)
            _write_sample(results.folder, trace, folder / FOLDER / task / trace.id.rpartition("/")[2])
        summary = folder / FOLDER / "summary.json"
        summary.parent.mkdir(parents=True, exist_ok=True)  # also for a run without samples
        found = {task: task_metrics(traces) for task, traces in sorted(by_task.items())}
        summary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return summary


def task_metrics(traces: Sequence[Trace]) -> dict[str, Any]:
    """TOR, mean latency (s), and the number of early replies that are clamped to 0.

    `wordless`: samples that are left out because the system spoke without reporting its words.
    """
    words = [(trace, list(chunks(trace))) for trace in traces]
    scored = [
        (trace, heard) for trace, heard in words if heard or all(r.audible_start_ns is None for r in trace.replies)
    ]
    taken = [(trace, heard) for trace, heard in scored if takes_over(heard)]
    delays = [delay for trace, heard in taken if (delay := delay_s(trace, heard)) is not None]
    clamped = [max(0.0, delay) for delay in delays]
    return {
        "n": len(scored),
        "wordless": len(words) - len(scored),
        "tor": round(len(taken) / len(scored), 4) if scored else None,
        "latency_s": round(sum(clamped) / len(clamped), 4) if clamped else None,
        "early": sum(delay < 0 for delay in delays),
    }


def takes_over(heard: Sequence[TimedWord]) -> bool:
    """Whether a sample is a takeover by their definition."""
    return bool(heard) and (heard[-1].end_s - heard[0].start_s >= SECONDS or len(heard) > WORDS)


def delay_s(trace: Trace, heard: Sequence[TimedWord]) -> float | None:
    """From the end of the user's last question to the first chunk heard since its start."""
    asked = trace.question
    if asked is None:
        return None
    first = next((c.start_s for c in heard if c.start_s * NS_PER_S >= asked.start_ns), None)
    return None if first is None else first - asked.end_ns / NS_PER_S


def chunks(trace: Trace) -> Iterator[TimedWord]:
    """The audible words with their times; of a reply that was cut off, those that start before the cut."""
    stops = {reply.reply: reply for reply in trace.replies}
    for event in trace.of(EventKind.AUDIO):
        reply, words = stops.get(int(event.data.get("reply", 0))), str(event.data.get("text", "")).split()
        if not words or event.playback_ns is None or reply is None or reply.audible_end_ns is None:
            continue
        each, last = int(event.data.get("duration_ns", 0)) / len(words), _cut_ns(trace, event, reply.audible_end_ns)
        for index, word in enumerate(words):
            start, end = event.playback_ns + index * each, event.playback_ns + (index + 1) * each
            if start < last:
                yield TimedWord(word, start / NS_PER_S, min(end, last) / NS_PER_S)


def _cut_ns(trace: Trace, event: Event, end_ns: int) -> int:
    """The latest end of an event's audio: the end of its reply, or the system's stop after it was generated."""
    made = event.compute_ns or 0
    return min(
        [end_ns, *(y.compute_ns for y in trace.decisions(Action.YIELD) if y.compute_ns and y.compute_ns >= made)]
    )


def _write_sample(run: Path, trace: Trace, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    heard = list(chunks(trace))
    text = " ".join(chunk.text for chunk in heard)
    output = {"text": text, "chunks": [chunk.to_json() for chunk in heard]}
    (folder / "output.json").write_text(json.dumps(output, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    source = run / trace.audio if trace.audio else None
    if source is not None and source.is_file():
        both, rate = soundfile.read(source, dtype="float32", always_2d=True)
        soundfile.write(folder / "input.wav", both[:, 0], rate)
        soundfile.write(folder / "output.wav", both[:, -1], rate)
