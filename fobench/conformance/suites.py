"""Conformance of suites, metrics and reporters."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import click

from fobench import __version__, audio
from fobench.api.results import Results
from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.trace import Failure, Reply, Trace, Utterance
from fobench.api.types import NS_PER_S, Action, Event, EventKind, Metric, Reporter, Score, Suite
from fobench.conformance import Broken, Probe, need

SEED = 7
LOOKED_AT = 40  # scenarios of a suite

# ---- Suites ----------------------------------------------------------------------------------------------------------


def suite_probes(suite: Suite) -> Sequence[tuple[str, Probe]]:
    subject = _Playing(suite)
    return (
        ("scenarios", subject.count),
        ("audio", subject.audio),
        ("JSON and back", subject.json),
        ("same seed, same scenarios", subject.repeatable),
    )


class _Playing:
    def __init__(self, suite: Suite) -> None:
        self.suite = suite

    @cached_property
    def scenarios(self) -> list[Scenario]:
        return list(islice(self.suite.scenarios(SEED), LOOKED_AT))

    def count(self) -> str:
        need(self.scenarios, "holds no scenario")
        for scenario in self.scenarios:
            need(isinstance(scenario, Scenario), f"yields a {type(scenario).__name__}, not a Scenario")
            need(isinstance(scenario.id, str) and scenario.id, f"id must be text, not {scenario.id!r}")
            need(scenario.turns, f"{scenario.id}: has no turn")
        ids = [scenario.id for scenario in self.scenarios]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        need(not twice, f"ids occur twice: {', '.join(twice[:5])}")
        return f"{len(ids)} looked at" + (" (there are more)" if len(ids) == LOOKED_AT else "")

    def audio(self) -> str:
        """Readable, its hash right, its speech inside."""
        total = 0
        for scenario in self.scenarios:
            for index, turn in enumerate(scenario.turns):
                where = f"{scenario.id}, turn {index}"
                chunk = audio.load(turn.audio)
                digest = audio.sha256(chunk.samples, chunk.rate_hz)
                need(
                    digest == turn.sha256, f"{where}: sha256 is {turn.sha256[:12]!r}, that of the sound {digest[:12]!r}"
                )
                start, end = turn.start_ns or 0, chunk.duration_ns if turn.end_ns is None else turn.end_ns
                need(0 <= start < end <= chunk.duration_ns + 1, f"{where}: speech {start} to {end} ns leaves the file")
                total += chunk.duration_ns
        return f"{total / NS_PER_S:.0f} s"

    def json(self) -> str:
        for scenario in self.scenarios:
            back = Scenario.from_json(json.loads(json.dumps(scenario.to_json())))
            need(back == scenario, f"{scenario.id}: is another after JSON (use text, tuples and numbers only)")
        return "unchanged"

    def repeatable(self) -> str:
        again = list(islice(self.suite.scenarios(SEED), LOOKED_AT))
        for one, other in zip(self.scenarios, again, strict=False):
            need(one == other, f"{one.id}: differs the second time with the same seed")
        need(len(again) == len(self.scenarios), f"{len(self.scenarios)} scenarios became {len(again)}")
        return "twice the same"


# ---- Metrics ---------------------------------------------------------------------------------------------------------


def traces() -> dict[str, Trace]:
    """Traces that a metric must bear: a failed one, an empty one, one without a turn, and an answered question."""
    turn = Turn("question.wav", "", "What is the capital of France?", start_ns=0, end_ns=NS_PER_S)
    scenario = Scenario("conformance", "conformance", 0, (turn,), Expect(("Paris",)))
    empty = Trace(scenario, "virtual", "measured", 5 * NS_PER_S, compute={"input_ns": 1, "output_ns": 1})
    user = (Utterance(0, NS_PER_S // 2, 3 * NS_PER_S // 2),)
    reply = Reply(0, "It is Paris.", 2 * NS_PER_S, 2 * NS_PER_S, 3 * NS_PER_S, NS_PER_S, NS_PER_S)
    events = (
        Event(EventKind.TRANSCRIPT, {"text": "what is the capital of france"}, 0, 2 * NS_PER_S - 2),
        Event(EventKind.DECISION, {"action": str(Action.SPEAK)}, 0, 2 * NS_PER_S - 2),
        Event(EventKind.TOKEN, {"text": "It is Paris.", "reply": 0}, 0, 2 * NS_PER_S - 1),
        Event(EventKind.AUDIO, {"reply": 0, "duration_ns": NS_PER_S}, 0, 2 * NS_PER_S, 2 * NS_PER_S),
        Event(EventKind.REPLY_END, {"reply": 0}, NS_PER_S, 2 * NS_PER_S),
    )
    said = {"routes": {"t2t": "Paris.", "a2t2t": "Paris."}, "judge": {"reply": "it is paris", "floor": "what is the"}}
    return {
        "a failed trace": replace(empty, failure=Failure("raised", "for the test")),
        "an empty trace": empty,
        "a trace without a turn": replace(empty, scenario=replace(scenario, turns=())),
        "an answered question": replace(empty, user=user, replies=(reply,), events=events, **said),  # type: ignore[arg-type]
    }


def metric_probes(metric: Metric) -> Sequence[tuple[str, Probe]]:
    subject = _Scoring(metric)
    return (
        ("name, version, unit", subject.labels),
        *((f"scores {name}", lambda trace=trace: subject.score(trace)) for name, trace in traces().items()),
        ("a failure has no score", subject.failure),
        ("aggregates", subject.aggregate),
        ("aggregates nothing", subject.nothing),
    )


class _Scoring:
    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def labels(self) -> str:
        metric = self.metric
        need(isinstance(metric.name, str) and metric.name, f"name must be text, not {metric.name!r}")
        need(isinstance(metric.version, int), f"version must be an int, not {metric.version!r}")
        need(isinstance(metric.unit, str), f"unit must be text, not {metric.unit!r}")
        need(
            metric.better in ("higher", "lower", "none"), f"better must be higher, lower or none, not {metric.better!r}"
        )
        return f"{metric.name} v{metric.version}, {metric.unit or 'no unit'}, better: {metric.better}"

    def score(self, trace: Trace) -> str:
        """A sound score, the same twice, and the trace as it was."""
        before = json.dumps(trace.to_json(), sort_keys=True)
        score = self.metric.score(trace, trace.scenario)
        again = self.metric.score(trace, trace.scenario)
        need(score == again, f"not pure: {score} became {again}")
        need(json.dumps(trace.to_json(), sort_keys=True) == before, "the trace was changed")
        need_score(score, "score()")
        for name in ("name", "version", "unit"):
            told = score.metric if name == "name" else getattr(score, name)
            need(
                told == getattr(self.metric, name),
                f"score has {name} {told!r}, the metric {getattr(self.metric, name)!r}",
            )
        return _value(score)

    def failure(self) -> str:
        trace = traces()["a failed trace"]
        score = self.metric.score(trace, trace.scenario)
        wrong = self.metric.better == "higher" and score.value == 0
        need(score.value is None or wrong, f"must be None and a reason, or 0 where more is better; is {score.value}")
        return score.reason or "counts as wrong"

    def aggregate(self) -> str:
        scores = [self.metric.score(trace, trace.scenario) for trace in traces().values()]
        totals = self.metric.aggregate(scores)
        need(totals, "aggregate() gave no score")
        for total in totals:
            need_score(total, "aggregate()")
        need(self.metric.aggregate(scores) == totals, "aggregate() is not pure: it differs the second time")
        return "; ".join(f"{total.metric} {_value(total)}" for total in totals)

    def nothing(self) -> str:
        for total in self.metric.aggregate([]):
            need_score(total, "aggregate([])")
            need(total.value is None, f"aggregate([]) gave {total.metric} the value {total.value}, must be None")
        return "no value"


def need_score(score: object, what: str) -> None:
    """Raises `Broken` unless it is a `Score` with a finite value, or None and a reason."""
    if not isinstance(score, Score):
        raise Broken(f"{what} must give a Score, not {type(score).__name__}")
    if score.value is None:
        need(score.reason, f"{what}: {score.metric} is None without a reason")
    else:
        need(math.isfinite(score.value), f"{what}: {score.metric} is {score.value}")
    need(isinstance(score.n, int) and score.n >= 0, f"{what}: {score.metric} rests on n={score.n!r}")
    json.dumps(dict(score.detail))


def _value(score: Score) -> str:
    return f"None ({score.reason})" if score.value is None else f"{score.value:g} {score.unit} (n={score.n})"


# ---- Reporters -------------------------------------------------------------------------------------------------------


def reporter_probes(reporter: Reporter) -> Sequence[tuple[str, Probe]]:
    some = list(traces().values())
    scores = [[Score("example", 1, 0.5, "share", 1, "higher")] for _ in some]
    totals = [Score("example", 1, 0.5, "share", 4, "higher"), Score("other", 1, None, "ms", 0, reason="no reply")]
    return (
        ("an empty result", lambda: _write(reporter, [], [], [])),
        ("failed and answered scenarios", lambda: _write(reporter, some, scores, totals)),
    )


def _write(
    reporter: Reporter, some: Sequence[Trace], scores: Sequence[Sequence[Score]], totals: Sequence[Score]
) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = Results(folder, _run([trace.id for trace in some]), some, scores, totals)
        with contextlib.redirect_stdout(io.StringIO()):
            written = reporter.write(results, folder)
        if written is None:
            return "prints only"
        need(Path(written).is_file(), f"returned {written}, where there is no file")
        need(Path(written).resolve().is_relative_to(folder.resolve()), f"wrote outside of the folder: {written}")
        size = Path(written).stat().st_size
        need(size, f"wrote {Path(written).name}, empty")
        return f"{Path(written).name}, {size} bytes"


def _run(ids: Sequence[str]) -> Mapping[str, Any]:
    """A run.json as `fobench run` writes it."""
    from fobench.storage import environment
    from fobench.storage.run_config import Config

    return {
        "version": 1,
        "fobench": __version__,
        "status": "complete",
        "config": json.loads(json.dumps(Config().to_json())),
        "scenarios": list(ids),
        "scenarios_sha256": "",
        "seed": SEED,
        "clock": "virtual",
        "costs": "measured",
        "machine": environment.about(),
        "packages": {},
        "git": {},
        "started": "2025-01-01T00:00:00+00:00",
        "duration_s": 0.0,
    }


# ---- Checkpoints -----------------------------------------------------------------------------------------------------


def checkpoint_probes(path: Path) -> Sequence[tuple[str, Probe]]:
    def is_path() -> str:
        need(isinstance(path, Path), f"the factory must return the path of the weights, not {path!r}")
        return str(path.name)

    return (("path", is_path),)


# ---- Trainers --------------------------------------------------------------------------------------------------------


def trainer_probes(command: click.Command) -> Sequence[tuple[str, Probe]]:
    def is_command() -> str:
        need(isinstance(command, click.Command), f"the factory must return a click command, not {command!r}")
        return str(command.name)

    def helps() -> str:
        with click.Context(command, info_name="trainer", max_content_width=80) as context:
            text = command.get_help(context)
        need(command.help, "it has no help: say in its docstring what it trains")
        need(all(len(line) <= 80 for line in text.splitlines()), "its help is wider than 80 columns")
        return f"{len(text.splitlines())} lines"

    return (("command", is_command), ("help", helps))
