"""A comparison and a trend as they are shown: on a terminal, in Markdown, as JUnit for a parser, as pages in a browser."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import junitparser
import numpy as np
import pytest
from rich.console import Console

from fobench.api import registry
from fobench.comparison import Comparison, compare
from fobench.comparison.gates import Gate
from fobench.comparison.snapshot import Snapshot, SnapshotItem
from fobench.comparison.trend import Trend, trend
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.comparison.scenarios import changed_items
from fobench_plugins.reporters.terminal import TerminalReporter
from tests.support.results_sample import HOSTILE
from tests.support.snapshots import accuracy, latency, snapshot, wer

GATES = ("accuracy:3pp", "response_ms:10%", "understanding_wer:5pp", "response_ms.p90:200ms")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def talk(name: str, worse: bool = False, **settings) -> Snapshot:
    """60 questions; worse: 12 answers are lost, and 3 words more misheard. One question's texts mean harm."""
    right = np.array([0.0] * (12 if worse else 0) + [1.0] * (48 if worse else 60))
    made = snapshot(
        name,
        accuracy_s2t=accuracy(right),
        understanding_wer=wer([1.0 + 3 * (worse and i == 20) for i in range(60)], [10.0] * 60),
        response_ms=latency(np.linspace(900, 1500, 60)),
        **settings,
    )
    harmful = SnapshotItem("q-0", "speaker-0", "abc", {"asked": HOSTILE, "wrote": f"{name} {HOSTILE}"})
    return replace(made, items=(harmful, *made.items[1:]))


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compare(talk("before"), talk("now", worse=True), map(Gate.parse, GATES), resamples=1_000)


@pytest.fixture(scope="module")
def stretches() -> Trend:
    runs = [talk(f"run-{i}", worse=i in (2, 3), run={"machine": {"cpu": "A" if i < 4 else "B"}}) for i in range(5)]
    return trend(runs, resamples=500)


def written(reporter: str, comparison: Comparison, folder: Path) -> str:
    path: Path = registry.create("reporters", reporter).write_comparison(comparison, folder)
    return path.read_text(encoding="utf-8")


# ---- Content ---------------------------------------------------------------------------------------------------------


def test_the_sentence_names_what_became_worse_and_by_how_much(found):
    assert (
        view.summary(found) == "Regression: Speech in, text out (s2t) −20.0 pp (significantly worse by more than 3pp)."
    )


def test_a_row_has_before_now_change_interval_and_mark(found):
    row = next(row for row in view.rows(found) if row.figure == "accuracy_s2t")
    assert (row.base, row.new, row.change, row.n, row.mark, row.same) == (
        "100.0 %",
        "80.0 %",
        "−20.0 pp",
        "60",
        "worse",
        False,
    )
    assert re.fullmatch(r"−\d\d\.\d to −\d+\.\d", row.interval)
    assert "Response latency (voice to voice) p50" in view.unchanged(found)


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (12.24, "%", "+12.2 %"),
        (-3.0, "pp", "−3.0 pp"),
        (0.0, "ms", "0 ms"),
        (0.04, "mos", "+0.04 mos"),
        (float("nan"), "%", "–"),
    ],
)
def test_amounts_are_signed(value, unit, told):
    assert view.amount(value, unit) == told


def test_lost_answers_come_first_then_higher_wer(found):
    items = changed_items(found)
    assert [item.kind for item in items] == ["lost"] * 12 + ["worse"]
    assert items[-1].figures == (("ASR WER (user speech)", "10.0 %", "40.0 %"),)
    assert [said.text for said in items[1].now] == ["now 1"]


# ---- Outputs ---------------------------------------------------------------------------------------------------------


def test_a_parser_reads_the_junit(found, tmp_path):
    written("junit", found, tmp_path)
    suite = next(iter(junitparser.JUnitXml.fromfile(str(tmp_path / "comparison.xml"))))
    assert (suite.tests, suite.failures, suite.errors) == (4, 1, 0)
    cases = {case.name: case.result for case in suite}
    assert cases["accuracy:3pp"][0].type == "regression"
    assert not cases["response_ms:10%"]
    assert {p.name: p.value for p in suite.properties()}["accuracy_s2t"] == "100.0 % -> 80.0 % (−20.0 pp)"


def test_an_inconclusive_gate_is_an_error_in_junit(tmp_path):
    few = compare(talk("before"), talk("now"), [Gate.parse("accuracy:0.5pp")], resamples=500)
    written("junit", few, tmp_path)
    suite = next(iter(junitparser.JUnitXml.fromfile(str(tmp_path / "comparison.xml"))))
    assert (suite.failures, suite.errors) == (0, 1)


def test_markdown_holds_nothing_that_acts(found, tmp_path):
    text = written("markdown", found, tmp_path)
    assert "| accuracy:3pp | regression | −20.0 pp" in text
    assert "<script>" not in text and "<img" not in text
    assert "and 3 more: see comparison.html" in text


def test_a_p_below_what_is_shown_is_not_equal_to_it(found, tmp_path):
    text = written("html", found, tmp_path)
    assert "p &lt; 0.001, n = 60" in text and "p = &lt;" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_keeps_its_width_and_colours_nothing_unasked(found, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    TerminalReporter(console).write_comparison(found, None)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert "regression" in text and "and 8 more" in text and "\x1b" not in text


def test_a_trend_tells_where_a_figure_fell_and_where_it_recovered(stretches):
    points = [
        (p.index, p.kind, p.change and round(p.change.effect(), 3)) for p in stretches.series["accuracy_s2t"].points
    ]
    assert points == [(2, "change", -0.2), (4, "change", 0.2)]


def test_a_trend_breaks_where_times_are_of_another_machine(stretches):
    assert [(p.index, p.kind) for p in stretches.series["response_ms.p50"].points] == [(4, "unlike")]


# ---- In a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed, e.g. apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield launched
        launched.close()


@pytest.fixture(params=[(1280, 900), (375, 812)], ids=["laptop", "phone"])
def opened(request, browser):
    """`opened(path)` is the page; at the end it must have been quiet: no message, no error, no request but its own."""
    context = browser.new_context(viewport=dict(zip(("width", "height"), request.param, strict=True)))
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda asked: noise.append(asked.url))

    def open_page(path: Path):
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert [told for told in noise if not told.startswith(("file:", "data:"))] == []


def overflow(page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_the_page_of_a_comparison(found, opened, tmp_path):
    written("html", found, tmp_path)
    page = opened(tmp_path / "comparison.html")
    assert page.locator("#gates .chip").all_inner_texts()[0] == "regression"
    assert page.locator("#scenarios details").count() == 13
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert "a baseline has no audio" in page.locator("#item-1").inner_text()
    assert overflow(page) == 0


def test_the_page_of_a_trend(stretches, opened, tmp_path):
    page = opened(registry.create("reporters", "html").write_trend(stretches, tmp_path))
    first = page.locator("figure.curve").first
    assert first.locator("line.step.worse").count() == 1 and first.locator("line.step.better").count() == 1
    assert first.locator("circle").count() == 5
    assert overflow(page) == 0
