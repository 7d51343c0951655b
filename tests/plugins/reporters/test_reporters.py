"""The built-in reporters: what they show, and that nothing of a run can break or enter them."""

from __future__ import annotations

import html
import io
import json
import re
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fobench.api import registry
from fobench.api.results import Results
from fobench.api.scenario import Expect
from fobench.api.trace import Failure
from fobench.api.types import Score
from fobench_plugins.reporters.html import charts
from fobench_plugins.reporters.html.report import render
from fobench_plugins.reporters.markdown_escape import escape
from fobench_plugins.reporters.terminal import TerminalReporter
from fobench_plugins.reporters.views import formatting, headline, metric_labels, provenance
from fobench_plugins.reporters.views.audio_clips import players
from fobench_plugins.reporters.views.outcome import Outcome, verdict, verdicts
from fobench_plugins.reporters.views.scenario_details import details
from fobench_plugins.reporters.views.tables import state_tables, tables
from fobench_plugins.reporters.views.tag_breakdown import by_tag
from tests.support.results_sample import CASES, HOSTILE, sample

NAMES = ("html", "junit", "markdown", "terminal")
BUDGET = 6_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def results(folder) -> Results:
    return sample(folder)


@pytest.fixture(scope="module")
def page(results) -> str:
    return render(results, BUDGET)


def printed(results: Results, folder: Path, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    TerminalReporter(console).write(results, folder)
    return console.file.getvalue()  # type: ignore[attr-defined]


def data_of(page: str) -> dict[str, Any]:
    """The data from which the page's script makes the list of scenarios."""
    found: dict[str, Any] = json.loads(
        page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    )
    return found


def with_total(results: Results, **changes) -> Results:
    """The results with the total named `metric` replaced or added."""
    kept = [score for score in results.totals if score.metric != changes["metric"]]
    return replace(results, totals=[*kept, Score(**{"version": 1, "unit": "share", "n": 0, **changes})])


# ---- All of them -----------------------------------------------------------------------------------------------------


def test_names_and_files(results, tmp_path):
    assert set(NAMES) <= set(registry.factories("reporters"))
    written = {name: registry.create("reporters", name).write(results, tmp_path) for name in NAMES}
    assert written["terminal"] is None
    assert {path.name for path in written.values() if path} == {"report.html", "summary.md", "junit.xml"}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_run_is_reported(name, tmp_path):
    registry.create("reporters", name).write(Results(tmp_path, {}, [], [], []), tmp_path)


@pytest.mark.parametrize("name", ["html", "junit", "markdown"])
def test_lone_surrogates_are_written(name, results, tmp_path):
    broken = replace(results, run={**results.run, "notes": ["a\ud800b"], "config": {"system": "\udfff"}})
    path = registry.create("reporters", name).write(broken, tmp_path)
    path.read_text(encoding="utf-8")


def test_reporters_agree_on_the_headline(results, folder, page):
    said = headline.headline(results)
    assert said.startswith(
        "cascade retains 64 % of its text accuracy from speech to speech (95 % interval 40\u2013100 %)"
    )
    assert said.endswith(
        "10 % of replies began before the user's end (1 of 10) and 1 of 11 questions got no reply. 1 of 12 scenarios failed."
    )
    for text in (html.unescape(page), printed(results, folder)):
        assert said in " ".join(text.split())


@pytest.mark.parametrize(
    ("totals", "said"),
    [
        ([], "x was run on 0 scenarios."),
        ([Score("response_ms", 1, 240.0, "ms", 3)], "x responds with a median latency of 240 ms."),
        ([Score("response_ms", 1, -240.0, "ms", 3)],
         "x was run on 0 scenarios. Half of the replies or more began before the user's end."),
        ([Score("accuracy_s2s", 1, 0.5, "share", 8, ci=(0.2, 0.8))],
         "x answers 50 % of 8 questions correctly from speech to speech (95 % interval 20\u201380 %)."),
        ([Score("parity_s2t", 1, 0.9, "ratio", 8)], "x retains 90 % of its text accuracy from speech to text."),
    ],
)  # fmt: skip
def test_headline_without_parity(totals, said, tmp_path):
    assert headline.headline(Results(tmp_path, {"config": {"system": "x"}}, [], [], totals)) == said


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


# ---- The page --------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(page):
    assert not re.search(r"""(src|href)=["'](https?:)?//|@import|url\((?!data:)""", page)
    assert "default-src 'none'" in page


def test_nothing_of_a_run_becomes_markup(page):
    assert page.count("<script") == page.count("</script>") == 2  # its data, and what shows them
    assert HOSTILE.split("\u2028")[0].strip() not in page
    assert "<img" not in page and "onerror=alert(2)\\u003e" in page
    assert "\x00" not in page and "\x1b" not in page
    assert '<option value="&lt;/select&gt;&lt;b&gt;">' in page


def test_each_scenario_is_there_once(page):
    items = data_of(page)["items"]
    assert sorted(item["anchor"] for item in items) == sorted(f"scenario-{i + 1}" for i in range(len(CASES)))
    assert len({item["id"] for item in items}) == len(CASES)


def test_page_has_no_absolute_path(page, folder):
    assert str(folder) not in page


def test_audio_is_spent_on_failures_and_wrong_answers_first(results):
    shown = details(results, 120_000)
    embedded = [bool(each.player.embedded) for each in shown if each.player.link]
    assert embedded == sorted(embedded, reverse=True) and True in embedded and False in embedded
    assert sum(len(each.player.embedded) for each in shown) <= 120_000


def test_audio_outside_the_run_folder_is_not_read(results, tmp_path):
    (tmp_path / "secret.flac").write_bytes((results.folder / "audio/000.flac").read_bytes())
    inside = tmp_path / "run"
    inside.mkdir()
    stray = [
        replace(results.traces[0], audio=name) for name in ("../secret.flac", str(tmp_path / "secret.flac"), "no.flac")
    ]
    assert [player.why for player in players(stray, inside, BUDGET)] == ["its audio file is missing"] * 3


def test_audio_that_is_no_audio(results, tmp_path):
    (tmp_path / "broken.flac").write_bytes(b"not audio")
    found = players([replace(results.traces[0], audio="broken.flac")], tmp_path, BUDGET)
    assert found[0].why == "its audio file cannot be read"


@pytest.mark.slow
def test_240_scenarios_take_less_than_10_s(tmp_path):
    many = sample(tmp_path, 240)
    start = time.process_time()
    registry.create("reporters", "html").write(many, tmp_path)
    assert time.process_time() - start < 10
    assert (tmp_path / "report.html").stat().st_size < 10_000_000


# ---- Terminal, Markdown, JUnit ---------------------------------------------------------------------------------------


def test_terminal_fits_80_columns_and_ends_with_unbroken_paths(results, folder):
    registry.create("reporters", "markdown").write(results, folder)
    deep = folder / ("deep" * 20)
    deep.mkdir()
    (deep / "report.html").write_text("")
    lines = printed(results, deep).splitlines()
    assert lines[-1] == str(deep / "report.html")
    assert max(len(line) for line in lines[:-1]) <= 80


def test_terminal_is_given_no_control_characters_and_no_markup(results, folder):
    named = replace(results, run={**results.run, "config": {"system": "[red]x[/red]\x1b[2J\x07"}})
    text = printed(named, folder)
    assert "[red]x[/red]" in text and "\x1b" not in text and "\x07" not in text


def test_markdown_rows_keep_their_columns(results, tmp_path):
    text = registry.create("reporters", "markdown").write(results, tmp_path).read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) > 8
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "<script" not in text and "<b>" not in text


def test_markdown_escapes():
    assert escape("a|b\n*c* <d> [e](f) @g") == "a\\|b \\*c\\* &lt;d&gt; \\[e\\](f) @\u200bg"


def test_junit_counts_errors_and_failures(results, tmp_path):
    path = registry.create("reporters", "junit").write(results, tmp_path)
    suite = ET.parse(path).getroot()[0]
    assert {key: suite.get(key) for key in ("name", "tests", "errors", "failures", "skipped")} == {
        "name": "spoken-qa", "tests": "12", "errors": "1", "failures": "4", "skipped": "0",
    }  # fmt: skip
    cases = suite.findall("testcase")
    assert {case.get("classname") for case in cases} == {"spoken-qa"}
    failed = next(case for case in cases if case.find("error") is not None)
    assert failed.get("name") == "physics-08" and failed.find("error").get("type") == "raised"  # type: ignore[union-attr]
    hostile = next(case for case in cases if case.get("name") == "hostile-<b>09</b>")
    assert "</script><script>alert(1)</script>" in hostile.find("failure").text  # type: ignore[operator, union-attr]


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


@pytest.mark.parametrize("done", [0, 2])
def test_a_run_that_is_not_complete_says_so_everywhere(results, tmp_path, done):
    planned = [trace.id for trace in results.traces]
    part = {"traces": results.traces[:done], "scores": results.scores[:done]}
    told = f"{done} of 12 scenarios are done. Complete the run with: fobench run --resume {tmp_path}"
    stopped = replace(results, **part, folder=tmp_path, run={**results.run, "scenarios": planned})
    for name in ("html", "markdown"):
        assert told in registry.create("reporters", name).write(stopped, tmp_path).read_text().replace("\\_", "_")
    assert " ".join(told.split()) in " ".join(printed(stopped, tmp_path, width=300).split())
    assert not any("Complete the run with" in warning for warning in provenance.caveats(results))


def test_strips_of_many_latencies_are_thinned_by_rank():
    values = [float(i) for i in range(5000)]
    thinned = charts._thinned(values)
    assert len(thinned) == charts.MOST_DOTS
    assert (thinned[0], thinned[-1]) == (0.0, 4999.0)
    assert charts._thinned(values[:600]) == values[:600]


def test_recordings_that_are_gone_are_told(results, tmp_path):
    kept = sum(trace.audio is not None for trace in results.traces)
    elsewhere = render(replace(results, folder=tmp_path), 0)
    assert f"{kept} recordings of 12 cannot be played: not in {tmp_path / 'audio'}." in elsewhere
    assert not any("link" in item["player"] for item in data_of(elsewhere)["items"])
    assert "cannot be played: not in" not in render(results, 0)


def test_nothing_on_the_terminal_steers_it(results, folder):
    turned = replace(results.traces[9], failure=Failure("raised", "\u202eback\x1b[2J\x9b"))
    text = printed(replace(results, traces=[turned, *results.traces[1:]]), folder)
    assert "\\u202eback" in text
    assert not set(text) & {*map(chr, range(10)), *map(chr, range(11, 32)), *map(chr, range(127, 160)), "\u202e"}


def test_caveats(results):
    said = provenance.caveats(replace(results, run={**results.run, "status": "interrupted", "git": {"dirty": True}}))
    assert any("interrupted" in line for line in said) and any("uncommitted" in line for line in said)
    assert any("Only 12 questions" in line for line in said)
    assert said[-1].startswith("The judge and the system's recognizer are of one family")


def test_a_machine_that_was_busy_is_told_by_every_reporter(results, tmp_path):
    told = "Other programs used 0.8 of 2 cores during this run: latencies may be too high."
    load = {"seconds": 60.0, "cores": 2, "own_s": 70.0, "other_s": 48.0, "calibration_ms": [[9.8, 9.9], [9.8, 9.9]]}
    busy = replace(results, run={**results.run, "costs": "measured", "machine_load": [load]})
    assert told in render(busy, 0) and told not in render(results, 0)
    assert ("Other programs", "0.80 cores on average") in provenance.machine(busy)
    assert told in registry.create("reporters", "markdown").write(busy, tmp_path).read_text()
    assert told in " ".join(printed(busy, tmp_path, width=300).split())


@pytest.mark.parametrize("cell", ["many", None, [], float("nan")])
def test_an_edited_confusion_matrix_is_left_out(results, cell):
    """A saved score may have been edited: what is no number is not shown, and the report is written."""
    states = Score("state_f1", 2, 0.5, "ratio", 3, "higher", detail={"confusion": [[1, 0, 0], [0, 1, 0], [0, 0, cell]]})
    edited = replace(results, totals=(*(t for t in results.totals if t.metric != "state_f1"), states))
    assert state_tables(edited) == []
    whole = replace(states, detail={"confusion": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "support": {"0": cell}, "f1": cell})
    edited = replace(results, totals=(*(t for t in results.totals if t.metric != "state_f1"), whole))
    assert len(state_tables(edited)) == 1
