"""Targets of the trained model and measured values: a row per target, from the scores of runs and the state head's
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.comparison import compatibility
from fobench.console import counted
from fobench.errors import FobenchError
from fobench.formatting import DASH, interval, number, percent, with_unit

FREEZE_OMNI, CASCADE, QUESTIONS, RECORDINGS = "freeze-omni", "cascade", "spoken-qa", "manifest:"
NON_INFERIOR = "non-inferior"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Runs by their role, and the evaluation of the state head by input stage 3; None for a missing one."""

    freeze_omni: Results | None = None  # on the spoken questions
    freeze_omni_real: Results | None = None  # on recordings of human speakers
    cascade: Results | None = None
    cascade_real: Results | None = None
    states: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, runs: Sequence[Results], states: Mapping[str, Any] | None) -> Evidence:
        """Returns the evidence. Raises FobenchError for a run without a role, and for two runs of one role."""
        by_role: dict[str, Results] = {}
        for run in runs:
            role = _role(run)
            if role in by_role:
                raise FobenchError(
                    f"{run.folder} and {by_role[role].folder} have the same role ({role}): give one of them."
                )
            by_role[role] = run
        return cls(**by_role, states=states)

    @property
    def runs(self) -> list[Results]:
        values = (getattr(self, field.name) for field in fields(self))
        return [run for run in values if isinstance(run, Results)]


def _role(run: Results) -> str:
    config = run.run.get("config") or {}
    suites, system = tuple(config.get("suites") or ()), config.get("system")
    if system not in (FREEZE_OMNI, CASCADE) or len(suites) != 1 or not suites[0].startswith((QUESTIONS, RECORDINGS)):
        facts = f"system {system}, suites {', '.join(suites)}"
        raise FobenchError(
            f"{run.folder} ({facts}) is not usable here: it must be {FREEZE_OMNI} or {CASCADE} on {QUESTIONS} or {RECORDINGS}..."
        )
    if run.run.get("status") != "complete":
        raise FobenchError(f"{run.folder} is {run.run.get('status')}: fobench run --resume {run.folder}")
    name = "freeze_omni" if system == FREEZE_OMNI else "cascade"
    return name if suites[0] == QUESTIONS else f"{name}_real"


@dataclass(frozen=True, slots=True)
class MeasuredValue:
    """A value, its text and its count `n`; without a value, `text` is the reason."""

    value: float | None
    text: str
    n: str = ""


NO_VALUE = MeasuredValue(None, DASH)


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A target and its result. `reached`: "stretch", "target", "no", or "not measured"."""

    metric: str
    target: str
    stretch: str
    value: MeasuredValue
    cascade: MeasuredValue  # the cascade's value
    reached: str


def rows(evidence: Evidence) -> list[TargetRow]:
    """Returns a row for each target, measured or not."""
    asr, cascade_asr = _both(evidence.freeze_omni, evidence.cascade, "understanding_wer")
    real_asr, cascade_real_asr = _both(evidence.freeze_omni_real, evidence.cascade_real, "understanding_wer")
    tts, cascade_tts = _both(evidence.freeze_omni, evidence.cascade, "speech_text_wer")
    f1, delay = _f1(evidence.states), _delay(evidence.states)
    asr_reached = _at_most(asr, 0.08, cascade_asr.value)
    real_asr_reached, tts_reached = _at_most(real_asr, 0.27, 0.15), _at_most(tts, 0.08, 0.04)
    f1_reached, delay_reached = _at_least(f1, 0.90, 0.97), _at_most(delay, 320, 160)
    return [
        TargetRow("ASR WER, spoken questions", "≤ 8 %", "≤ the cascade's", asr, cascade_asr, asr_reached),
        TargetRow(
            "ASR WER, recordings of human speakers", "≤ 27 %", "≤ 15 %", real_asr, cascade_real_asr, real_asr_reached
        ),
        _parity(evidence),
        TargetRow("TTS WER (speech against its own text)", "≤ 8 %", "≤ 4 %", tts, cascade_tts, tts_reached),
        TargetRow("Turn states 0/1/2, macro F1", "≥ 0.90", "≥ 0.97", f1, NO_VALUE, f1_reached),
        TargetRow("Delay of the answer state, p50", "≤ 320 ms", "≤ 160 ms", delay, NO_VALUE, delay_reached),
        _response(evidence),
        _frozen(evidence),
    ]


def _parity(evidence: Evidence) -> TargetRow:
    """Returns the row of parity; the stretch goal requires a verdict of non-inferiority."""
    own, cascade = _both(evidence.freeze_omni, evidence.cascade, "parity_s2t")
    total = evidence.freeze_omni.total("parity_s2t") if evidence.freeze_omni else None
    verdict = str(total.detail.get("verdict", "")) if total else ""
    reached = _at_least(own, 0.90, cascade.value if verdict == NON_INFERIOR else None)
    shown = replace(own, text=f"{own.text}, {verdict}") if own.value is not None and verdict else own
    return TargetRow("Parity, acc(s2t) / acc(t2t)", "≥ 90 %", "≥ the cascade's, non-inferior", shown, cascade, reached)


def _response(evidence: Evidence) -> TargetRow:
    """Returns the row of the ratio of median latencies, if the times of the two runs are comparable."""
    own, cascade = _both(evidence.freeze_omni, evidence.cascade, "response_ms")
    ratio = MeasuredValue(None, own.text if own.value is None else cascade.text)
    if evidence.freeze_omni and evidence.cascade and own.value is not None and cascade.value is not None:
        different = _differences(evidence.freeze_omni.run, evidence.cascade.run)
        ratio = MeasuredValue(own.value / cascade.value, f"{number(own.value / cascade.value, 2)}: {own.text}", own.n)
        if different:
            ratio = MeasuredValue(None, f"the runs are not comparable: {', '.join(different)}")
    reached = _at_most(ratio, 0.7, 0.4)
    return TargetRow("Response latency, p50, as a ratio to the cascade's", "≤ 0.7", "≤ 0.4", ratio, cascade, reached)


def _differences(*runs: Mapping[str, Any]) -> list[str]:
    """Returns the facts in which two runs differ, so that their times are not comparable."""
    facts = {**compatibility.FOR_ALL_METRICS, **compatibility.time_facts(runs)}
    different = [*compatibility.differences(facts, runs)]
    same_scenarios = len({run.get("scenarios_sha256") for run in runs}) == 1
    return different if same_scenarios else [*different, "scenarios"]


def _frozen(evidence: Evidence) -> TargetRow:
    """Returns the row of changed backbone parameters: a run hashes them at its start and end, and fails if the hashes
    differ.
    """
    runs = [run.run.get("components") or {} for run in (evidence.freeze_omni, evidence.freeze_omni_real) if run]
    reported = [(components.get("system") or {}).get("parameter_hash") for components in runs]
    hashes = {str(value) if value else "" for value in reported}
    if len(hashes) != 1 or "" in hashes:
        changed = MeasuredValue(None, "the runs have different backbones" if len(hashes) > 1 else "no run records it")
    else:
        changed = MeasuredValue(0.0, f"0 (SHA-256 {hashes.pop()[:12]} before and after)", counted(len(reported), "run"))
    return TargetRow("Backbone parameters changed", "0", "0", changed, NO_VALUE, _at_most(changed, 0, 0))


# ---- values ------------------------------------------------------------------------------------------------------------


def _score(run: Results | None, metric: str) -> MeasuredValue:
    if run is None:
        return MeasuredValue(None, "no run was given")
    total = run.total(metric)
    if total is None or total.value is None:
        return MeasuredValue(None, (total.reason if total else "") or "not measured in this run")
    return MeasuredValue(total.value, _text(total), f"{total.n:,}")


def _text(total: Score) -> str:
    in_ms = total.unit == "ms"
    value = with_unit(total.value, 0, "ms") if in_ms else percent(total.value)
    ends = interval(total.ci, 0) if in_ms else interval(total.ci, 1, scale=100)
    return f"{value} ({ends})" if ends else value


def _both(ours: Results | None, cascade: Results | None, metric: str) -> tuple[MeasuredValue, MeasuredValue]:
    return _score(ours, metric), _score(cascade, metric)


def _f1(states: Mapping[str, Any] | None) -> MeasuredValue:
    value, n = _number_at(states, "macro_f1"), _number_at(states, "situations")
    return (
        MeasuredValue(None, "not evaluated")
        if value is None or n is None
        else MeasuredValue(value, number(value, 3), number(n, 0))
    )


def _delay(states: Mapping[str, Any] | None) -> MeasuredValue:
    value, n = _number_at(states, "answer_delay_ms", "p50"), _number_at(states, "answer_delay_ms", "n")
    return (
        MeasuredValue(None, "not evaluated")
        if value is None or n is None
        else MeasuredValue(value, with_unit(value, 0, "ms"), number(n, 0))
    )


def _number_at(data: Mapping[str, Any] | None, *path: str) -> float | None:
    value: Any = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _at_most(measured: MeasuredValue, target: float, stretch: float | None) -> str:
    return _reached(measured, target, stretch, lambda value, limit: value <= limit)


def _at_least(measured: MeasuredValue, target: float, stretch: float | None) -> str:
    return _reached(measured, target, stretch, lambda value, limit: value >= limit)


def _reached(
    measured: MeasuredValue, target: float, stretch: float | None, holds: Callable[[float, float], bool]
) -> str:
    """Returns `TargetRow.reached`; the stretch goal counts only if the target is reached, too."""
    if measured.value is None:
        return "not measured"
    if not holds(measured.value, target):
        return "no"
    return "stretch" if stretch is not None and holds(measured.value, stretch) else "target"
