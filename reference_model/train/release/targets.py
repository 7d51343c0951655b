"""What the trained model reaches of what it was to reach: a row a target, each figure from a run's scores or the head's verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.console import counted
from fobench.errors import FobenchError

OURS, BASELINE, QUESTIONS, RECORDINGS = "freeze-omni", "cascade", "spoken-qa", "manifest:"
ALIKE = ("clock", "costs", "scenarios_sha256", "machine")  # of two runs whose times are compared
NON_INFERIOR = "non-inferior"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Runs by what they show, and what input stage 3 says of the state head; None where it was not given."""

    ours: Results | None = None  # the spoken questions
    ours_real: Results | None = None  # recordings of people
    cascade: Results | None = None
    cascade_real: Results | None = None
    states: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, runs: Sequence[Results], states: Mapping[str, Any] | None) -> Evidence:
        """Raises FobenchError for a run that shows none of these, or what another one shows already."""
        found: dict[str, Results] = {}
        for run in runs:
            role = _role(run)
            if role in found:
                raise FobenchError(f"{run.folder} and {found[role].folder} show the same ({role}): give one of them.")
            found[role] = run
        return cls(**found, states=states)

    @property
    def runs(self) -> list[Results]:
        given = (getattr(self, field.name) for field in fields(self))
        return [run for run in given if isinstance(run, Results)]


def _role(run: Results) -> str:
    config = run.run.get("config") or {}
    suites, system = tuple(config.get("suites") or ()), config.get("system")
    if system not in (OURS, BASELINE) or len(suites) != 1 or not suites[0].startswith((QUESTIONS, RECORDINGS)):
        told = f"system {system}, suites {', '.join(suites)}"
        raise FobenchError(
            f"{run.folder} ({told}) is of no use here: it must be {OURS} or {BASELINE} on {QUESTIONS} or {RECORDINGS}..."
        )
    if run.run.get("status") != "complete":
        raise FobenchError(f"{run.folder} is {run.run.get('status')}: fobench run --resume {run.folder}")
    name = "ours" if system == OURS else "cascade"
    return name if suites[0] == QUESTIONS else f"{name}_real"


@dataclass(frozen=True, slots=True)
class MeasuredValue:
    """A figure: its value, its text, what it rests on; without a value, `text` says why."""

    value: float | None
    text: str
    n: str = ""


NOTHING = MeasuredValue(None, "–")


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A target, and what became of it. `reached`: "stretch", "target", "no", or "not measured"."""

    what: str
    target: str
    stretch: str
    found: MeasuredValue
    beside: MeasuredValue  # the cascade's
    reached: str


def rows(found: Evidence) -> list[TargetRow]:
    """A row for each target, also for those that nothing was measured of."""
    heard, heard_by_cascade = _both(found.ours, found.cascade, "understanding_wer")
    real, real_by_cascade = _both(found.ours_real, found.cascade_real, "understanding_wer")
    said, said_by_cascade = _both(found.ours, found.cascade, "speech_text_wer")
    f1, delay = _f1(found.states), _delay(found.states)
    questions = _at_most(heard, 0.08, heard_by_cascade.value)
    people, speech = _at_most(real, 0.27, 0.15), _at_most(said, 0.08, 0.04)
    decided, late = _at_least(f1, 0.90, 0.97), _at_most(delay, 320, 160)
    return [
        TargetRow("Misheard, spoken questions (WER)", "≤ 8 %", "≤ the cascade's", heard, heard_by_cascade, questions),
        TargetRow("Misheard, recordings of people (WER)", "≤ 27 %", "≤ 15 %", real, real_by_cascade, people),
        _parity(found),
        TargetRow("Speech against its own text (WER)", "≤ 8 %", "≤ 4 %", said, said_by_cascade, speech),
        TargetRow("States 0/1/2, macro F1", "≥ 0.90", "≥ 0.97", f1, NOTHING, decided),
        TargetRow("Delay of the decision to answer, p50", "≤ 320 ms", "≤ 160 ms", delay, NOTHING, late),
        _response(found),
        _frozen(found),
    ]


def _parity(found: Evidence) -> TargetRow:
    own, beside = _both(found.ours, found.cascade, "parity_s2t")
    total = found.ours.total("parity_s2t") if found.ours else None
    verdict = str(total.detail.get("verdict", "")) if total else ""
    reached = _at_least(own, 0.90, beside.value if verdict == NON_INFERIOR else None)
    told = replace(own, text=f"{own.text}, {verdict}") if own.value is not None and verdict else own
    return TargetRow("Parity, acc(s2t) / acc(t2t)", "≥ 90 %", "≥ the cascade's, non-inferior", told, beside, reached)


def _response(found: Evidence) -> TargetRow:
    """The ratio of the medians, of two runs that are alike."""
    own, beside = _both(found.ours, found.cascade, "response_ms")
    ratio = MeasuredValue(None, own.text if own.value is None else beside.text)
    if found.ours and found.cascade and own.value is not None and beside.value is not None:
        unlike = [key for key in ALIKE if found.ours.run.get(key) != found.cascade.run.get(key)]
        ratio = MeasuredValue(own.value / beside.value, f"{own.value / beside.value:.2f}: {own.text}", own.n)
        ratio = MeasuredValue(None, f"the runs are unlike: {', '.join(unlike)}") if unlike else ratio
    reached = _at_most(ratio, 0.7, 0.4)
    return TargetRow("Response, p50, as a share of the cascade's", "≤ 0.7", "≤ 0.4", ratio, beside, reached)


def _frozen(found: Evidence) -> TargetRow:
    """A run hashes the backbone's parameters when it begins and when it ends, and fails where the two differ."""
    runs = [run.run.get("components") or {} for run in (found.ours, found.ours_real) if run]
    told = [(components.get("system") or {}).get("parameter_hash") for components in runs]
    hashes = {str(value) if value else "" for value in told}
    if len(hashes) != 1 or "" in hashes:
        changed = MeasuredValue(None, "the runs are of unlike backbones" if len(hashes) > 1 else "no run tells")
    else:
        changed = MeasuredValue(0.0, f"0 (SHA-256 {hashes.pop()[:12]} before and after)", counted(len(told), "run"))
    return TargetRow("Backbone parameters changed", "0", "0", changed, NOTHING, _at_most(changed, 0, 0))


# ---- figures -----------------------------------------------------------------------------------------------------------


def _score(run: Results | None, metric: str) -> MeasuredValue:
    if run is None:
        return MeasuredValue(None, "no run was given")
    total = run.total(metric)
    if total is None or total.value is None:
        return MeasuredValue(None, (total.reason if total else "") or "not measured in this run")
    return MeasuredValue(total.value, _shown(total), f"{total.n:,}")


def _shown(total: Score) -> str:
    scale, decimals, unit = (1.0, 0, " ms") if total.unit == "ms" else (100.0, 1, " %")
    text = f"{total.value * scale:,.{decimals}f}{unit}"  # type: ignore[operator]
    if total.ci is None:
        return text
    low, high = (f"{end * scale:,.{decimals}f}" for end in total.ci)
    return f"{text} ({low}–{high})"


def _both(ours: Results | None, cascade: Results | None, metric: str) -> tuple[MeasuredValue, MeasuredValue]:
    return _score(ours, metric), _score(cascade, metric)


def _f1(states: Mapping[str, Any] | None) -> MeasuredValue:
    value, n = _within(states, "macro_f1"), _within(states, "situations")
    return (
        MeasuredValue(None, "not judged")
        if value is None or n is None
        else MeasuredValue(value, f"{value:.3f}", f"{n:,.0f}")
    )


def _delay(states: Mapping[str, Any] | None) -> MeasuredValue:
    value, n = _within(states, "answer_delay_ms", "p50"), _within(states, "answer_delay_ms", "n")
    return (
        MeasuredValue(None, "not judged")
        if value is None or n is None
        else MeasuredValue(value, f"{value:,.0f} ms", f"{n:,.0f}")
    )


def _within(data: Mapping[str, Any] | None, *path: str) -> float | None:
    found: Any = data
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else None


def _at_most(found: MeasuredValue, target: float, stretch: float | None) -> str:
    return _reached(found, target, stretch, lambda value, limit: value <= limit)


def _at_least(found: MeasuredValue, target: float, stretch: float | None) -> str:
    return _reached(found, target, stretch, lambda value, limit: value >= limit)


def _reached(found: MeasuredValue, target: float, stretch: float | None, holds: Callable[[float, float], bool]) -> str:
    """The stretch counts only where the target is reached, too."""
    if found.value is None:
        return "not measured"
    if not holds(found.value, target):
        return "no"
    return "stretch" if stretch is not None and holds(found.value, stretch) else "target"
