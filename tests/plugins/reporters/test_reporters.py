"""The built-in reporters: what they write, and that nothing of a run can break or enter them."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from fobench.api import registry
from fobench.api.results import Results
from fobench.api.trace import Failure
from fobench.api.types import Score
from fobench_plugins.reporters.html.report import render
from fobench_plugins.reporters.markdown_escape import escape
from fobench_plugins.reporters.views import headline, provenance
from tests.plugins.reporters.reported import printed

NAMES = ("html", "junit", "markdown", "terminal")


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


def test_a_machine_that_was_busy_is_told_by_every_reporter(results, tmp_path):
    told = "Other programs used 0.8 of 2 cores during this run: latencies may be too high."
    load = {"seconds": 60.0, "cores": 2, "own_s": 70.0, "other_s": 48.0, "calibration_ms": [[9.8, 9.9], [9.8, 9.9]]}
    busy = replace(results, run={**results.run, "costs": "measured", "machine_load": [load]})
    assert told in render(busy, 0) and told not in render(results, 0)
    assert ("Other programs", "0.80 cores on average") in provenance.machine(busy)
    assert told in registry.create("reporters", "markdown").write(busy, tmp_path).read_text()
    assert told in " ".join(printed(busy, tmp_path, width=300).split())


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


def test_nothing_on_the_terminal_steers_it(results, folder):
    turned = replace(results.traces[9], failure=Failure("raised", "\u202eback\x1b[2J\x9b"))
    text = printed(replace(results, traces=[turned, *results.traces[1:]]), folder)
    assert "\\u202eback" in text
    assert not set(text) & {*map(chr, range(10)), *map(chr, range(11, 32)), *map(chr, range(127, 160)), "\u202e"}
