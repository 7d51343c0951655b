"""What all reporters show: tables of metrics, outcomes of scenarios, values, and how they were measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fobench.api import registry
from fobench.api.scenario import Expect
from fobench.api.types import Score
from fobench_plugins.reporters.html.report import render
from fobench_plugins.reporters.views import formatting, metric_labels, provenance
from fobench_plugins.reporters.views.outcome import Outcome, verdict, verdicts
from fobench_plugins.reporters.views.scenario_details import details
from fobench_plugins.reporters.views.tables import state_tables, tables
from fobench_plugins.reporters.views.tag_breakdown import by_tag
from tests.plugins.reporters.reported import printed, with_total


def test_a_missing_value_is_a_dash_with_its_reason(results, folder, page):
    """Never 0: neither a total without a value nor one that is not a number."""
    broken = with_total(results, metric="dnsmos", value=float("nan"), unit="mos", reason="no model")
    row = tables(results)["latency"].rows[-1]
    assert (row.name, row.cells[0], row.note) == ("audible_stop_ms", "\u2013", "no interruption")
    assert tables(broken)["quality"].rows[0].cells[0] == "\u2013"
    assert "no interruption" in page
    assert "Barge-in stop latency: no interruption" in printed(results, folder)


def test_what_was_not_measured_is_said_once(results):
    bare = replace(results, totals=[score for score in results.totals if score.metric != "dnsmos"])
    assert tables(bare)["quality"].empty
    assert "<strong>Speech quality</strong>: not measured in this run." in render(bare, 0)


def test_rates_carry_count_and_interval(results):
    route = tables(results)["routes"].rows[0]
    assert route.cells == ("91.7 %", "64.6\u201398.5 %", "12")


def test_parity_tells_verdict_margin_and_test(results, page):
    table = tables(results)["parity"]
    assert table.rows[2].cells == ("63.6 %", "40.0\u2013100.0 %", "12", "inconclusive")
    assert table.rows[2].note.startswith("McNemar p = 0.125 (4 lost, 0 gained)")
    assert "margin: 3 pp" in table.caption
    assert "too few questions to tell whether the loss is smaller than the margin of 3" in page


def test_hidden_percentiles_are_dashes(results):
    """Of nine replies in time, after 980 to 2,250 ms, and an early one."""
    p50, _, p90, p99, n, early = tables(results)["latency"].rows[3].cells
    assert (p50, p90, p99, n, early) == ("1,330", "\u2013", "\u2013", "9", "10 %")


def test_third_party_metrics_are_shown(results, folder, page):
    row = tables(results)["other"].rows[0]
    assert (row.label, row.cells[0]) == ("plugin_laughter", "0.25 laughs/min")
    assert "plugin_laughter" in page and "plugin_laughter" in printed(results, folder)


def test_false_barge_ins_are_shown_by_role(results):
    parts = {role: {"value": 0.5, "n": 2, "hits": 1, "ci": (0.1, 0.9)} for role in ("backchannel", "side_talk")}
    table = tables(with_total(results, metric="false_yield_rate", value=0.5, n=4, detail={"by_role": parts}))["turns"]
    assert [(row.label, row.cells[0]) for row in table.rows[-2:]] == [
        ("… backchannel", "50.0 %"),
        ("… side talk", "50.0 %"),
    ]


def test_asr_and_reference_asr_are_named(results, folder, page):
    for text in (page, printed(results, folder)):
        assert "whisper-base.en" in text and "whisper-small.en" in text
        assert "Reference-ASR WER, clean prompts" in text


def test_the_registered_metrics_are_all_catalogued(results):
    """The names that the built-in metrics give to their totals are those that the reports know."""
    totals = []
    for name in registry.factories("metrics"):
        metric = registry.create("metrics", f"{name}some-model" if name.endswith(":") else name)
        totals += metric.aggregate([metric.score(trace, trace.scenario) for trace in results.traces])
    known = {total.metric for total in totals} & {
        *metric_labels.METRICS,
        *metric_labels.LLM_JUDGE,
        *metric_labels.COSTS,
    }
    assert {total.metric for total in totals if total.metric not in known} == set()
    assert tables(replace(results, totals=totals))["parity"].rows[0].cells[3] == "inconclusive"


@pytest.mark.parametrize("cell", ["many", None, [], float("nan")])
def test_an_edited_confusion_matrix_is_left_out(results, cell):
    """A saved score may have been edited: what is no number is not shown, and the report is written."""
    states = Score("state_f1", 2, 0.5, "ratio", 3, "higher", detail={"confusion": [[1, 0, 0], [0, 1, 0], [0, 0, cell]]})
    edited = replace(results, totals=(*(t for t in results.totals if t.metric != "state_f1"), states))
    assert state_tables(edited) == []
    whole = replace(states, detail={"confusion": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "support": {"0": cell}, "f1": cell})
    edited = replace(results, totals=(*(t for t in results.totals if t.metric != "state_f1"), whole))
    assert len(state_tables(edited)) == 1


# ---- Outcomes --------------------------------------------------------------------------------------------------------


def test_failures_come_first_then_wrong_answers(results):
    found = [each.verdict.outcome for each in details(results, 0)]
    assert found == [Outcome.FAILED, *[Outcome.WRONG] * 4, *[Outcome.RIGHT] * 7]


def test_why_an_answer_is_wrong(results):
    assert verdicts(results)[2].why == "expected the Sun; spoken: The earth travels around the son."
    assert verdicts(results)[8].why == "expected Danube; spoken: nothing"


def test_outcome_of_a_duplex_scenario(results):
    """Turn-taking counts where the scenario is about it; an ordinary question is judged by its answer."""
    trace = results.traces[0]
    scores = [
        Score("accuracy_s2s", 1, 1.0, "share", 1, "higher"),
        Score("false_yield_rate", 1, 1.0, "share", 1, "lower"),
    ]
    duplex = replace(trace, scenario=replace(trace.scenario, expect=Expect(family="backchannel")))
    assert verdict(trace, scores).outcome == Outcome.RIGHT
    assert verdict(duplex, scores).outcome == Outcome.WRONG
    assert verdict(duplex, scores).why == "false barge-in"
    assert verdict(duplex, []).outcome == Outcome.UNSCORED


def test_accuracy_by_tag(results):
    found = by_tag(results, "accuracy_s2s", "level")
    assert {name: (score.value, score.n) for name, score in found.items()} == {"easy": (0.5, 6), "hard": (4 / 6, 6)}
    assert all(score.ci for score in found.values())


# ---- Text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.917, "rate", "91.7 %"),
        (1284.6, "ms", "1,285 ms"),
        (-240.0, "ms", "\u2212240 ms"),
        (-0.2, "ms", "0 ms"),
        (None, "rate", "\u2013"),
        (float("inf"), "ms", "\u2013"),
        (0.123456, "plain", "0.1235"),
        (1234567.0, "plain", "1,234,567"),
    ],
)
def test_values(value, kind, text):
    assert formatting.metric_value(value, kind) == text


def test_intervals():
    assert formatting.metric_interval((0.85, 0.98), "rate") == "85.0\u201398.0 %"
    assert formatting.metric_interval((-4.1, 25.0), "points") == "\u22124.1 to 25.0 pp"
    assert formatting.metric_interval(None, "rate") == ""


def test_command_runs_it_again(results):
    command = provenance.command(results)
    assert command.startswith("fobench run --system cascade --system-args recognizer=whisper-base.en")
    assert "--suite spoken-qa --limit 12" in command and "--device" not in command
    assert provenance.command(replace(results, run={"command": ["fobench", "run", "a b"]})) == "fobench run 'a b'"


def test_caveats(results):
    said = provenance.caveats(replace(results, run={**results.run, "status": "interrupted", "git": {"dirty": True}}))
    assert any("interrupted" in line for line in said) and any("uncommitted" in line for line in said)
    assert any("Only 12 questions" in line for line in said)
    assert said[-1].startswith("The judge and the system's recognizer are of one family")
