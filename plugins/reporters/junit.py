"""junit.xml: a test case per scenario and per absolute limit, for CI.

A failed trace is an error, a wrong answer and a limit that is not kept are failures.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from fobench.api.results import LimitOutcome, Results
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S
from fobench.atomic_files import write_text
from fobench.comparison import Comparison
from fobench.formatting import one_line, printable
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.comparison.view import GateRow
from fobench_plugins.reporters.views import headline
from fobench_plugins.reporters.views.formatting import finite_value
from fobench_plugins.reporters.views.outcome import Outcome, OutcomeLine, verdicts

GATED = {"regression": "failure", "inconclusive": "error"}
RESULTS = {Outcome.FAILED: "error", Outcome.WRONG: "failure", Outcome.UNSCORED: "skipped"}


class JunitReporter:
    """Writes junit.xml, or comparison.xml for a comparison."""

    def write(self, results: Results, folder: Path) -> Path:
        return _write(document(results), folder / "junit.xml")

    def write_comparison(self, comparison: Comparison, folder: Path) -> Path:
        return _write(gates(comparison), folder / "comparison.xml")


def _write(tree: ET.Element, path: Path) -> Path:
    ET.indent(tree)
    text = ET.tostring(tree, encoding="unicode")
    return write_text(path, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n', errors="replace", parents=True)


def document(results: Results) -> ET.Element:
    """<testsuites> with a <testsuite> per suite of scenarios; its properties are the totals."""
    cases: dict[str, list[tuple[Trace, OutcomeLine]]] = {}
    for trace, verdict in zip(results.traces, verdicts(results), strict=True):
        cases.setdefault(trace.scenario.suite, []).append((trace, verdict))
    root = _element("testsuites", {"name": f"fobench: {headline.title(results)}"})
    for suite, found in cases.items():
        root.append(_suite(suite, found, results))
    if results.limits:
        root.append(_limits(results.limits))
    return root


def _limits(outcomes: Sequence[LimitOutcome]) -> ET.Element:
    """The suite of the absolute limits, a test case each."""
    failures = str(sum(not outcome.kept for outcome in outcomes))
    suite = _element("testsuite", {"name": "limits", "tests": str(len(outcomes)), "failures": failures, "errors": "0"})
    for outcome in outcomes:
        value = "" if outcome.value is None else f"value: {outcome.value:.6g} {outcome.unit}".strip()
        suite.append(_verdict("limits", outcome.name, "" if outcome.kept else "failure", "limit", outcome.why, value))
    return suite


def _verdict(classname: str, name: str, kind: str, type_: str, message: str, text: str) -> ET.Element:
    """The test case of a gate or a limit. `kind`: failure, error, or empty for one that passed."""
    case = _element("testcase", {"classname": classname, "name": one_line(name)})
    if kind:
        result = _element(kind, {"type": type_, "message": one_line(message)})
        result.text = printable(text)
        case.append(result)
    return case


def _suite(name: str, cases: list[tuple[Trace, OutcomeLine]], results: Results) -> ET.Element:
    outcomes = [verdict.outcome for _, verdict in cases]
    attributes = {
        "name": name,
        "tests": str(len(cases)),
        "errors": str(outcomes.count(Outcome.FAILED)),
        "failures": str(outcomes.count(Outcome.WRONG)),
        "skipped": str(outcomes.count(Outcome.UNSCORED)),
        "time": _time(sum(trace.duration_ns for trace, _ in cases)),
    }
    suite = _element("testsuite", attributes)
    suite.append(_properties(results))
    suite.extend([_case(trace, verdict) for trace, verdict in cases])
    return suite


def _properties(results: Results) -> ET.Element:
    properties = _element("properties", {})
    for score in results.totals:
        if (value := finite_value(score)) is not None:
            properties.append(_element("property", {"name": score.metric, "value": f"{value:.6g}"}))
        for key in ("early_share", "unanswered"):  # what a latency leaves out
            if isinstance(part := score.detail.get(key), int | float):
                properties.append(_element("property", {"name": f"{score.metric}.{key}", "value": f"{part:.6g}"}))
    return properties


def _case(trace: Trace, verdict: OutcomeLine) -> ET.Element:
    scenario = trace.scenario
    case = _element("testcase", {"classname": scenario.suite, "name": scenario.id, "time": _time(trace.duration_ns)})
    kind = RESULTS.get(verdict.outcome)
    if kind is None:
        return case
    attributes = {"message": one_line(verdict.why)}
    if kind != "skipped":
        attributes["type"] = trace.failure.kind if trace.failure else "wrong"
    result = _element(kind, attributes)
    result.text = _texts(trace)
    case.append(result)
    return case


def _texts(trace: Trace) -> str:
    """Question, transcripts, reply and accepted answers, a line each."""
    question = trace.scenario.question
    texts = {
        "question": question.text if question else None,
        "ASR transcript": trace.transcript(),
        "reply text": trace.answer.text if trace.answer else None,
        "reference-ASR transcript": trace.judge.get("reply"),
        "accepted answers": " / ".join(trace.scenario.expect.answers),
        "failure": trace.failure.message if trace.failure else None,
    }
    return printable("\n".join(f"{name}: {text}" for name, text in texts.items() if text))


def gates(comparison: Comparison) -> ET.Element:
    """<testsuites> with a test case per gate: a regression is a failure, an inconclusive gate an error; changes are properties."""
    rows, count = view.gate_rows(comparison), str(len(comparison.verdicts))
    found = [row.verdict for row in rows]
    totals = {"failures": str(found.count("regression")), "errors": str(found.count("inconclusive"))}
    root = _element("testsuites", {"name": f"fobench: {view.title(comparison)}", "tests": count, **totals})
    suite = _element("testsuite", {"name": "gates", "tests": count, **totals})
    properties = _element("properties", {})
    for row in view.rows(comparison):
        properties.append(
            _element("property", {"name": row.figure, "value": f"{row.base} -> {row.new} ({row.change})"})
        )
    suite.append(properties)
    suite.extend([_gate(row) for row in rows])
    root.append(suite)
    return root


def _gate(row: GateRow) -> ET.Element:
    message = f"{row.label}: {row.change}; {row.why}"
    text = f"change: {row.change} ({row.interval})\np: {row.p}\npairs: {row.n}"
    return _verdict("gates", row.gate, GATED.get(row.verdict, ""), row.verdict, message, text)


def _element(tag: str, attributes: Mapping[str, str]) -> ET.Element:
    return ET.Element(tag, {name: printable(value) for name, value in attributes.items()})


def _time(ns: int) -> str:
    return f"{ns / NS_PER_S:.3f}"
