"""The reply's path of a run, by part: from the user's last sample to the first audible one, and the gaps within replies.

python tests/bench/reply_path.py RUN_FOLDER ...
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fobench.api.trace import Reply, Trace
from fobench.api.types import NS_PER_MS, Action, Event, EventKind
from fobench.console import markdown_table
from fobench.simulation.costs import step_name
from fobench.storage.run_folder import RunFolder

ENDPOINT, WAITING, QUIET, TOTAL = "end of turn", "waiting", "silence in the audio", "response"


@dataclass(frozen=True, slots=True)
class ReplyPath:
    """The parts of one question's response latency, ns, which add up to `TOTAL`; and what was computed before the verdict, ns."""

    parts: Mapping[str, int]
    early: Mapping[str, int]  # compute by step, from the user's last sample to the decision


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap in a reply: audio of the reply before it, and its length, ns."""

    question: str
    after_ns: int
    gap_ns: int


@dataclass(slots=True)
class RunProfile:
    """All that is told of a run."""

    paths: list[ReplyPath] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    replies: int = 0


def reply_path(trace: Trace) -> ReplyPath | None:
    """The parts of the response to the trace's question; None without an audible answer to it."""
    question, answer = trace.question, trace.answer
    if question is None or answer is None or answer.audible_start_ns is None or answer.start_ns is None:
        return None
    first = next(i for i, e in enumerate(trace.events) if e.kind is EventKind.AUDIO and e.data["reply"] == answer.reply)
    decided = max(
        (i for i, e in enumerate(trace.events[:first]) if e.data.get("action") == Action.SPEAK), default=first
    )
    at = trace.events[decided].compute_ns or 0
    parts = _by_step(trace.events[decided + 1 : first + 1])
    heard = (trace.events[first].compute_ns or 0) - at
    parts[WAITING] = heard - sum(parts.values()) + answer.start_ns - (trace.events[first].compute_ns or 0)
    parts[QUIET] = answer.audible_start_ns - answer.start_ns
    parts[ENDPOINT] = at - question.end_ns
    parts[TOTAL] = answer.audible_start_ns - question.end_ns
    early = [e for e in trace.events[: decided + 1] if (e.compute_ns or 0) > question.end_ns]
    return ReplyPath(parts, _by_step(early))


def _by_step(events: Iterable[Event]) -> dict[str, int]:
    costs: dict[str, int] = defaultdict(int)
    for event in events:
        costs[step_name(event)] += event.cost_ns
    return dict(costs)


def gaps(trace: Trace, reply: Reply) -> list[Gap]:
    """The gaps of a reply, each with the reply's audio before it."""
    found: list[Gap] = []
    for underrun in reply.underruns:
        played = underrun.at_ns - (reply.start_ns or 0) - sum(gap.gap_ns for gap in found)
        found.append(Gap(trace.id, played, underrun.gap_ns))
    return found


def profile(traces: Iterable[Trace]) -> RunProfile:
    """The profile of a run's traces."""
    made = RunProfile()
    for trace in traces:
        if (path := reply_path(trace)) is not None:
            made.paths.append(path)
        for reply in trace.replies:
            made.replies += reply.start_ns is not None
            made.gaps.extend(gaps(trace, reply))
    return made


def table(paths: Sequence[ReplyPath]) -> list[list[str]]:
    """Rows (part, share of questions with it, p50, p90, mean over all), ms; parts of the response first, then what ran before."""
    rows: list[list[str]] = []
    columns = [([path.parts for path in paths], ""), ([path.early for path in paths], "before the decision: ")]
    for group, prefix in columns:
        means = {name: sum(parts.get(name, 0) for parts in group) for name in sorted({n for p in group for n in p})}
        for name in sorted(means, key=lambda name: (name == TOTAL, -means[name])):
            values = np.array([parts.get(name, 0) for parts in group]) / NS_PER_MS
            p50, p90 = np.percentile(values, [50, 90])
            share = np.mean([name in parts for parts in group])
            rows.append([prefix + name, f"{share:.0%}", f"{p50:.0f}", f"{p90:.0f}", f"{values.mean():.0f}"])
    return rows


def report(name: str, made: RunProfile) -> str:
    """A run's profile as Markdown."""
    lines = [f"## {name}: {len(made.paths)} questions, {made.replies} replies", ""]
    if made.paths:
        lines += [*markdown_table(("part", "questions", "p50, ms", "p90, ms", "mean, ms"), table(made.paths)), ""]
    lengths = [gap.gap_ns / NS_PER_MS for gap in made.gaps]
    median = f", median {statistics.median(lengths):.0f} ms" if lengths else ""
    lines.append(f"{len(made.gaps) / max(1, made.replies):.3f} gaps a reply{median}")
    lines += [
        f"- {gap.question}: {gap.gap_ns / NS_PER_MS:.0f} ms after {gap.after_ns / NS_PER_MS:.0f} ms of audio"
        for gap in made.gaps
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    for run in parser.parse_args().runs:
        print(report(run.name, profile(RunFolder(run).traces())))


if __name__ == "__main__":
    main()
