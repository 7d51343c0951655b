"""Several runs in one table: `fobench report A B`, in a terminal, in Markdown and as a page."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from fobench.api import registry
from fobench.api.components import MultiRunReporter
from fobench.api.results import Results
from fobench.api.types import Score
from fobench.cli.main import main
from fobench_plugins.reporters.html.report import render_runs
from fobench_plugins.reporters.terminal import TerminalReporter
from fobench_plugins.reporters.views import comparability, run_table
from tests.support.results_sample import HOSTILE, sample


@pytest.fixture(scope="module")
def cascade(tmp_path_factory) -> Results:
    return sample(tmp_path_factory.mktemp("cascade"))


@pytest.fixture(scope="module")
def ours(cascade, tmp_path_factory) -> Results:
    """The same scenarios, by another system."""
    return replace(cascade, folder=tmp_path_factory.mktemp("ours"), run=changed(cascade.run, system="freeze-omni"))


def changed(run: Any, **config: Any) -> dict[str, Any]:
    return {**run, "config": {**run["config"], **config}}


def without(results: Results, *ids: str) -> Results:
    """The run before it came to these scenarios."""
    kept = [i for i, trace in enumerate(results.traces) if trace.id not in ids]
    return replace(results, traces=[results.traces[i] for i in kept], scores=[results.scores[i] for i in kept])


def with_total(results: Results, metric: str, **changes: Any) -> Results:
    totals = [replace(total, **changes) if total.metric == metric else total for total in results.totals]
    return replace(results, totals=totals)


def lines(runs: list[Results]) -> dict[str, run_table.RunTableRow]:
    return {line.name: line for group in run_table.groups(runs) for line in group.rows}


def printed(runs: list[Results], folder: Path, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    TerminalReporter(console).write_several(runs, folder)
    return console.file.getvalue()  # type: ignore[attr-defined]


# ---- the figures -----------------------------------------------------------------------------------------------------


def test_each_figure_has_value_interval_and_count(cascade, ours):
    found = lines([cascade, with_total(ours, "accuracy_s2s", value=0.25, n=8, ci=(0.071, 0.591))])
    assert [(c.value, c.interval, c.n) for c in found["accuracy_s2s"].cells] == [
        ("58.3 %", "32.0–80.7 %", "12"),
        ("25.0 %", "7.1–59.1 %", "8"),
    ]


def test_it_shows_what_the_question_of_the_project_needs(cascade, ours):
    """Accuracy by route, parity, understanding, speech against text, and the times to decision, first audio and response."""
    routes = {f"accuracy_{route}" for route in ("t2t", "a2t2t", "s2t", "s2s")}
    parities = {f"parity_{route}" for route in ("a2t2t", "s2t", "s2s")}
    assert routes | parities <= lines([cascade, ours]).keys()
    words = {"understanding_wer", "speech_text_wer", "judge_floor_wer"}
    assert words | {"endpoint_ms", "ttfa_ms", "response_ms"} <= lines([cascade, ours]).keys()


def test_the_latency_is_the_median(cascade, ours):
    """Of the replies in time, with the share of the others beside it."""
    cell = lines([cascade, ours])["response_ms"].cells[0]
    assert (cell.value, cell.early) == ("1,330 ms", "10 % early")
    assert cell.rest.endswith("n = 9, 10 % early".replace(" ", run_table.GLUE).replace(f",{run_table.GLUE}", ", "))


def test_what_one_run_has_no_value_of_is_a_dash_with_its_reason(cascade, ours):
    found = lines(
        [cascade, with_total(ours, "understanding_wer", value=None, reason="the system reports no transcript")]
    )
    cell = found["understanding_wer"].cells[1]
    assert (cell.value, cell.rest) == ("–", "the system reports no transcript")


def test_what_no_run_has_a_value_of_is_left_out(cascade, ours):
    assert "false_yield_rate" not in lines([cascade, ours])


def test_a_third_partys_metric_is_shown_also_where_one_run_lacks_it(cascade, ours):
    bare = replace(ours, totals=[total for total in ours.totals if total.metric != "plugin_laughter"])
    line = lines([cascade, bare])["plugin_laughter"]
    assert [cell.rest for cell in line.cells] == ["n\u00a0=\u00a011", "not measured in this run"]


# ---- what is common --------------------------------------------------------------------------------------------------


def test_common_counts_the_scenarios_that_have_a_value_in_every_run(cascade, ours):
    """12 scenarios; two have no response in either run, and one of the others is yet to be run by one of them."""
    found = lines([cascade, without(ours, "space-05")])
    assert found["accuracy_s2s"].common == 11
    assert found["response_ms"].common == 9
    assert found["plugin_laughter"].common == 10


def test_a_paritys_common_scenarios_have_both_routes_in_every_run(cascade, ours):
    unscored = list(ours.scores)
    unscored[0] = [replace(s, value=None, reason="x") if s.metric == "accuracy_t2t" else s for s in unscored[0]]
    assert lines([cascade, replace(ours, scores=unscored)])["parity_s2t"].common == 11


def test_a_figure_without_single_values_has_no_common_count(cascade, ours):
    assert lines([cascade, ours])["understanding_wer"].shared == "–"


# ---- names -----------------------------------------------------------------------------------------------------------


def test_runs_are_named_by_what_tells_them_apart(cascade, ours):
    other = changed(cascade.run)
    other["components"] = {**other["components"], "system": {"backbone": "qwen2-7b"}}
    assert run_table.run_names([cascade, ours]) == ["cascade", "freeze-omni"]
    assert run_table.run_names([cascade, replace(cascade, run=other)]) == [
        "cascade with smollm2-360m",
        "cascade with qwen2-7b",
    ]
    again = replace(cascade, folder=cascade.folder / "again")
    assert run_table.run_names([cascade, again])[1] == "cascade with smollm2-360m (again)"


def test_the_sentence_gives_no_verdict(cascade, ours):
    in_time = {"early": 0, "early_share": 0.0, "unanswered": 0, "p50_all": 1250.0}
    said = run_table.summary([cascade, with_total(ours, "response_ms", value=1250.0, detail=in_time)])
    assert said == (
        "cascade answers 58 % of 12 questions correctly from speech to speech, while 10 % of replies began before the user's end "
        "(1 of 10) and 1 of 11 questions got no reply; freeze-omni answers 58 % of 12 questions correctly from speech to speech "
        "and responds with a median latency of 1.2 s."
    )


def test_many_runs_are_counted_instead_of_named(cascade, tmp_path):
    many = [replace(cascade, folder=tmp_path / str(number)) for number in range(4)]
    assert (run_table.title(many), run_table.summary(many)) == ("4 runs", "4 runs side by side.")


# ---- differences ----------------------------------------------------------------------------------------------------


def test_comparable_runs_have_no_differences(cascade, ours):
    assert comparability.differences([cascade, ours]) == []


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"suites": ["controls"]}, "Difference: suites: spoken-qa (cascade); controls (freeze-omni)."),
        ({"clock": "wall"}, "Difference: clock: virtual (cascade); wall (freeze-omni)."),
        ({"echo_db": -30.0, "echo_delay_ms": 80}, "Difference: echo: none (cascade); -30.0, 80 (freeze-omni)."),
        ({"seed": 1}, "Difference: seed: 0 (cascade); 1 (freeze-omni)."),
        (
            {"judge_args": {"model": "base"}},
            "Difference: reference ASR options: none (cascade); model=base (freeze-omni).",
        ),
    ],
)
def test_another_suite_clock_or_seed_is_said(cascade, ours, config, told):
    assert comparability.differences([cascade, replace(ours, run=changed(ours.run, **config))]) == [told]


def test_another_judge_or_machine_is_said(cascade, ours):
    judge = {"components": {**ours.run["components"], "judge": {"name": "vosk"}}}
    machine = {"machine": {**ours.run["machine"], "cores": 64}}
    said = comparability.differences([cascade, replace(ours, run={**ours.run, **judge, **machine})])
    assert said == [
        "Difference: reference ASR: name=whisper-small.en, weights=0123abcd (cascade); name=vosk (freeze-omni).",
        "Difference: machine: Example CPU at 2.5 GHz (avx2), 2 cores (cascade); Example CPU at 2.5 GHz (avx2), 64 cores (freeze-omni).",
    ]


def test_another_latency_profile_is_said(cascade, ours):
    said = comparability.differences([cascade, replace(ours, run={**ours.run, "costs": "declared:0123"})])
    assert said == ["Difference: latency profile: measured (cascade); declared:0123 (freeze-omni)."]


def test_another_version_of_a_metric_is_said(cascade, ours):
    said = comparability.differences([cascade, with_total(ours, "speech_text_wer", version=2)])
    assert said == ["Difference: metric speech_text_wer: version 1 (cascade); version 2 (freeze-omni)."]


def test_scenarios_that_one_run_lacks_are_counted(cascade, ours):
    said = comparability.differences([cascade, without(ours, "space-05", "history-06")])
    assert said == [
        "Difference: 10 scenarios in common; cascade has 2 more. Each value covers its own run's scenarios.",
    ]


def test_scenarios_of_one_name_with_other_audio_are_counted(cascade, ours):
    traces = list(ours.traces)
    turn = replace(traces[0].scenario.turns[0], sha256="1" * 64)
    traces[0] = replace(traces[0], scenario=replace(traces[0].scenario, turns=(turn,)))
    said = comparability.differences([cascade, replace(ours, traces=traces)])
    assert said == ["Difference: 1 scenario of one name with different audio, text or answers."]


def test_each_runs_own_warnings_are_told_under_its_name(cascade, ours):
    untrained = {**ours.run, "components": {**ours.run["components"], "system": {"trained": False}}}
    said = comparability.caveats([cascade, replace(ours, run=untrained)])
    assert "freeze-omni: The system's weights are random: its latency is real, its replies are noise." in said
    assert sum("1 of 12 scenarios failed" in warning for warning in said) == 1


# ---- what is written -------------------------------------------------------------------------------------------------


def test_the_terminal_fits_80_columns_and_more_runs_go_below(cascade, ours, tmp_path):
    third = replace(ours, folder=tmp_path / "third", run=changed(ours.run, system="realtime"))
    text = printed([cascade, ours, third], tmp_path)
    assert max(map(len, text.splitlines()[:-1])) <= 80
    heads = [line.split() for line in text.splitlines() if line.endswith("Common")]
    assert heads == [["cascade", "freeze-omni", "Common"], ["realtime", "Common"]]
    assert len([line for line in printed([cascade, ours], tmp_path, 60).splitlines() if line.endswith("Common")]) == 2


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_markdown_rows_keep_their_columns(cascade, runs, tmp_path):
    many = [replace(cascade, folder=tmp_path / str(i)) for i in range(runs)]
    text = registry.create("reporters", "markdown").write_several(many, tmp_path).read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) == 2
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_nothing_of_a_run_becomes_markup(cascade, ours, tmp_path):
    hostile = changed(ours.run, system=HOSTILE)
    odd = Score("</td><script>", 1, 1.0, HOSTILE, 1)
    runs = [cascade, replace(ours, run={**hostile, "notes": [HOSTILE]}, totals=[*ours.totals, odd])]
    page = render_runs(runs, tmp_path)
    assert "<script" not in page and "<img" not in page and "\x1b" not in page
    assert "\x1b" not in printed(runs, tmp_path)
    text = registry.create("reporters", "markdown").write_several(runs, tmp_path).read_text()
    assert "<script" not in re.sub("^    .*", "", text, flags=re.MULTILINE)  # a block of code is shown as it is


def test_the_page_links_to_the_runs_own_pages_by_relative_paths(cascade, ours, tmp_path):
    inside, outside = tmp_path / "table" / "a b", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("")
    page = render_runs([replace(cascade, folder=inside), replace(ours, folder=outside)], tmp_path / "table")
    assert re.findall(r'class="run"><a href="([^"]+)"', page) == ["a%20b/report.html", "../elsewhere/report.html"]
    assert str(tmp_path) not in page
    assert '<a href="' not in render_runs([cascade, ours], tmp_path).partition('<table class="several">')[2]


def test_runs_without_anything_are_shown(tmp_path):
    bare = [Results(tmp_path / name, {}, [], [], []) for name in "ab"]
    assert "2 runs without a metric" in printed(bare, tmp_path)
    for name in ("markdown", "html"):
        assert registry.create("reporters", name).write_several(bare, tmp_path).is_file()


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """Two scored runs of scripted systems, one of 3 scenarios and one of 2."""
    made = [tmp_path_factory.mktemp("runs") / name for name in ("late", "silent")]
    for path, limit in zip(made, ("3", "2"), strict=True):
        options = [
            "--system",
            f"scripted:{path.name}",
            "-s",
            "controls",
            "-L",
            limit,
            "--judge",
            "none",
            "-o",
            str(path),
        ]
        result = CliRunner().invoke(main, ["run", "--costs", "declared", *options])
        assert result.exit_code == 0, result.output
    return made


def report(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["report", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.subprocess
def test_two_folders_make_one_table(folders, tmp_path):
    code, output = report(*folders, "-o", tmp_path / "table")
    assert code == 0
    assert "scripted:late and scripted:silent" in output and "2 scenarios in common; scripted:late has 1 more" in output
    assert {path.name for path in (tmp_path / "table").iterdir()} == {"report.html", "summary.md"}


def test_the_runs_themselves_stay_as_they_are(folders, tmp_path):
    before = {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
    report(*folders, "-o", tmp_path / "table")
    assert before == {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_one_folder_is_reported_as_before(folders):
    (folders[0] / "report.html").unlink()
    assert report(folders[0])[0] == 0
    assert (folders[0] / "report.html").is_file()


def test_only_some_reporters_take_several(folders, tmp_path):
    able = {
        name
        for name in registry.factories("reporters")
        if isinstance(registry.create("reporters", name), MultiRunReporter)
    }
    assert able == {"terminal", "markdown", "html"}
    code, output = report(*folders, "-r", "junit", "-o", tmp_path / "table")
    assert code == 2 and "'junit' shows one run at a time. Those that take several: markdown, html" in output
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (lambda a, b, to: (a, a / ".", "-o", to), "A run is given twice"),
        (lambda a, b, to: (a, b, "-o", a), "holds a run with its own report"),
        (lambda a, b, to: (a, "-o", to), "--output is for the table of several runs"),
        (lambda a, b, to: (a, to.parent, "-o", to), "is not a run folder"),
        (lambda a, b, to: (), "Missing argument"),
    ],
)
def test_wrong_use_is_told_and_nothing_is_written(folders, tmp_path, arguments, told):
    code, output = report(*arguments(*folders, tmp_path / "table"))
    assert code == 2 and told in output
    assert not (tmp_path / "table").exists()


def test_a_run_that_is_not_scored_yet_is_told(folders, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("run.json", "traces.jsonl"):
        (bare / name).write_bytes((folders[0] / name).read_bytes())
    code, output = report(bare, folders[1], "-o", tmp_path / "table")
    assert code == 2 and f"Score it: fobench score {bare}" in output
