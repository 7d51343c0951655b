"""`fobench compare`, `fobench baseline` and gates of a run, through the command line, with scripted systems and declared costs."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fobench.cli.main import main
from fobench.comparison import baseline_store

PLAIN = ["--suite", "controls", "--suite-args", "count=12", "--suite-args", "families=question", "--judge", "none"]
SCRIPTED = [*PLAIN, "--costs", "declared", "--system", "scripted:late"]
GATES = ("response_ms:10%", "endpoint_ms:50ms", "takeover_rate:-20pp")


def fobench(*arguments: object, expect: int = 0) -> str:
    result: Result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == expect, result.output + repr(result.exception)
    return result.output


def gates(*texts: str) -> list[str]:
    return [part for text in texts for part in ("--fail-on", text)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """`base`, `again` (a clean re-run) and `later` (200 ms added to its decision)."""
    folder = tmp_path_factory.mktemp("runs")
    for name, delay in (("base", 700), ("later", 900)):
        fobench("run", *SCRIPTED, "--system-args", f"delay_ms={delay}", "--output", folder / name)
    shutil.copytree(folder / "base", folder / "again")
    return folder


def test_a_clean_run_passes(runs):
    told = fobench("compare", runs / "base", runs / "again", *gates(*GATES))
    assert "No regression: 3 gates passed." in told


def test_200_ms_added_to_a_decision_are_caught_in_all_formats(runs, tmp_path):
    told = fobench("compare", runs / "base", runs / "later", *gates(*GATES), "--output", tmp_path, expect=1)
    assert "Regression: Response latency (voice to voice) p50 +28." in told
    data = json.loads((tmp_path / "comparison.json").read_text())
    assert [gate["verdict"] for gate in data["gates"]] == ["regression", "regression", "ok"]
    assert data["gates"][1]["harm"] == pytest.approx(200, abs=20)
    failures = [
        case.get("name")
        for case in ET.parse(tmp_path / "comparison.xml").iter("testcase")
        if case.find("failure") is not None
    ]
    assert failures == list(GATES[:2])
    assert "| response\\_ms:10% | regression | +28." in (tmp_path / "comparison.md").read_text()
    page = (tmp_path / "comparison.html").read_text()
    assert '<span class="chip bad">regression</span>' in page
    assert page.count("data:audio/mpeg;base64,") == 2 * 12  # each changed scenario, before and after


def test_without_gates_it_tells_what_changed(runs):
    assert "No gate was set. Of" in fobench("compare", runs / "base", runs / "later")


def test_several_runs_are_each_compared_with_the_base(runs, tmp_path):
    fobench("compare", runs / "base", runs / "again", runs / "later", *gates(*GATES), "-o", tmp_path, expect=1)
    assert json.loads((tmp_path / "again" / "comparison.json").read_text())["exit_code"] == 0
    assert json.loads((tmp_path / "later" / "comparison.json").read_text())["exit_code"] == 1


def test_runs_of_one_name_do_not_share_a_folder(runs, tmp_path):
    shutil.copytree(runs / "base", tmp_path / "other" / "again")
    fobench("compare", runs / "base", runs / "again", tmp_path / "other" / "again", "-o", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*/comparison.json"))) == 2


def test_gates_may_stand_in_the_runs_own_file(runs, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('system = "scripted:late"\nsuite = ["controls"]\nfail-on = ["response_ms:10%"]\n')
    fobench("compare", runs / "base", runs / "later", "--config", config, expect=1)
    config.write_text('fial-on = ["response_ms:10%"]\n')
    assert "Did you mean 'fail-on'" in fobench("compare", runs / "base", runs / "later", "--config", config, expect=2)


def test_a_run_holds_itself_to_a_baseline(runs, tmp_path):
    later = [*SCRIPTED, "--system-args", "delay_ms=900", "--baseline", runs / "base"]
    told = fobench("run", *later, *gates("response_ms:10%"), "--output", tmp_path / "gated", expect=1)
    assert "Regression: Response latency (voice to voice) p50" in told
    assert (tmp_path / "gated" / "comparison.md").is_file()


def test_a_gate_is_checked_before_a_run_begins(runs, tmp_path):
    told = fobench(
        "run", *SCRIPTED, "--baseline", runs / "base", *gates("respnse_ms:10%"), "-o", tmp_path / "no", expect=2
    )
    assert "Did you mean" in told
    assert not (tmp_path / "no").exists()
    assert "--baseline" in fobench("run", *SCRIPTED, *gates("response_ms:10%"), expect=2)


def test_unlike_runs_are_refused_and_may_be_allowed(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs / "base", other)
    run = json.loads((other / "run.json").read_text())
    run["config"]["seed"] = 7
    (other / "run.json").write_text(json.dumps(run))
    assert "seed: 0 in the first, 7 in the second" in fobench("compare", runs / "base", other, expect=2)
    assert "Difference: seed" in fobench("compare", runs / "base", other, "--allow-mismatch")


def test_what_is_no_run_is_told(tmp_path):
    assert "neither a run's folder nor a baseline" in fobench("compare", tmp_path / "a", tmp_path / "b", expect=2)
    assert "it has neither run.json nor a baseline" in fobench("compare", tmp_path, tmp_path, expect=2)


def copied(run: Path, to: Path, **files: str) -> Path:
    """A copy of a run with files of other texts, e.g. scores_json="[]"."""
    shutil.copytree(run, to)
    for name, text in files.items():
        (to / ".".join(name.rsplit("_", 1))).write_text(text)
    return to


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 1}', '{"version": 1, "scenarios": {"question-01": 3}, "totals": [{}]}']
)
def test_scores_that_no_scoring_wrote_are_told(text, runs, tmp_path):
    broken = copied(runs / "base", tmp_path / "broken", scores_json=text)
    assert f"Score it again: fobench score {broken}" in fobench("compare", runs / "base", broken, expect=2)


def test_a_run_of_which_nothing_is_left_has_nothing_to_compare(runs, tmp_path):
    empty = copied(runs / "base", tmp_path / "empty", traces_jsonl="")
    fobench("score", empty)
    assert "0 in the second, 0 in both" in fobench("compare", runs / "base", empty, expect=2)


def test_a_run_without_traces_is_compared_by_its_scores(runs, tmp_path):
    bare = copied(runs / "base", tmp_path / "bare")
    (bare / "traces.jsonl").unlink()
    fobench("compare", bare, runs / "later", *gates("response_ms:10%"), expect=1)


def test_a_run_without_scores_is_told_how_to_get_them(runs, tmp_path):
    shutil.copytree(runs / "base", tmp_path / "unscored")
    (tmp_path / "unscored" / "scores.json").unlink()
    told = fobench("compare", runs / "base", tmp_path / "unscored", expect=2)
    assert f"fobench score {tmp_path / 'unscored'}" in told


# ---- Baselines -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "branch"])
def store(request, tmp_path, monkeypatch) -> str:
    """An empty store, in an empty git repository that is the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    subprocess.run(["git", "init", "--quiet"], check=True)
    return "kept" if request.param == "folder" else "git:baselines"


@pytest.mark.subprocess
def test_baselines_are_numbered_listed_compared_with_and_pruned(runs, store):
    for name in ("base", "later", "base"):
        fobench("baseline", "save", runs / name, "--store", store, "--name", name)
    listed = [line.split()[:2] for line in fobench("baseline", "ls", "--store", store).splitlines()]
    assert [row for row in listed if row and re.fullmatch(r"\d{4}", row[0])] == [
        ["0001", "base"],
        ["0002", "later"],
        ["0003", "base"],
    ]
    fobench("compare", f"{store}#base", runs / "again", *gates(*GATES))
    fobench("compare", f"{store}#1", f"{store}#2", *gates(*GATES), expect=1)
    fobench("compare", store, runs / "later", *gates(*GATES), expect=1)
    assert "1 baseline removed." in fobench("baseline", "prune", "--store", store, "--keep", 1)
    assert "Choices: 0002, 0003, base, later" in fobench("compare", f"{store}#1", runs / "again", expect=2)
    assert subprocess.run(["git", "status", "--short"], capture_output=True, text=True, check=True).stdout in (
        "",
        "?? kept/\n",
    )


@pytest.mark.subprocess
def test_an_empty_store_says_how_to_fill_it(runs, store):
    fobench("baseline", "prune", "--store", store)
    assert f"fobench baseline save RUN --store {store}" in fobench("baseline", "ls", "--store", store, expect=2)
    told = fobench("baseline", "trend", "--store", store, "--name", "base", expect=2)
    assert f"fobench baseline save RUN --store {store}" in told


@pytest.mark.subprocess
def test_a_baseline_that_is_broken_is_named(runs, store):
    for _ in range(2):
        fobench("baseline", "save", runs / "base", "--store", store)
    baseline_store.BaselineStore(store).files.add("0003-broken.json", '{"version": 1, "run": {')
    Path("kept/0004-folder.json").mkdir(parents=True)
    for command in (("ls",), ("trend",)):
        assert "0003-broken.json is not a baseline" in fobench("baseline", *command, "--store", store, expect=2)
    fobench("compare", f"{store}#2", runs / "again")


@pytest.mark.subprocess
def test_a_branch_that_only_the_origin_has_is_read_there_and_goes_on_here(runs, store, tmp_path, monkeypatch):
    if not store.startswith("git:"):
        pytest.skip("a folder has no origin")
    fobench("baseline", "save", runs / "base", "--store", store)
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", ".", "clone"], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    fobench("compare", store, runs / "later", *gates(*GATES), expect=1)
    fobench("baseline", "save", runs / "later", "--store", store)
    listed = subprocess.run(["git", "log", "--format=%s", "baselines"], capture_output=True, text=True, check=True)
    assert [line.split("-")[0] for line in listed.stdout.splitlines()] == ["Baseline 0002", "Baseline 0001"]


@pytest.mark.subprocess
def test_a_branch_that_is_not_there_is_told_with_how_to_fetch_it(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    told = fobench("compare", "git:kept", runs / "base", expect=2)
    assert "or fetch the branch: git fetch origin kept:kept" in told


@pytest.mark.subprocess
def test_a_trend_marks_where_a_figure_changed(runs, store):
    for name in ("base", "base", "later", "later"):
        fobench("baseline", "save", runs / name, "--store", store)
    told = fobench("baseline", "trend", "--store", store, "--output", "trend")
    assert "3: Response latency (voice to voice) p50 worse: +28." in told
    assert "2: " not in told and "4: " not in told
    assert Path("trend/trend.html").read_text().count('class="step worse"') >= 2


def test_a_baseline_outside_of_a_repository_is_told(tmp_path, monkeypatch, runs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not in a git repository" in fobench("baseline", "save", runs / "base", "--store", "git:baselines", expect=2)


WHOLE = {"version": 1, "run": {}, "items": [{"id": "a", "group": "a"}]}
COLUMN = {"version": 1, "unit": "ms", "better": "lower", "spread": True}


def baseline(**rows) -> str:
    return json.dumps({**WHOLE, "columns": {"response_ms": {**COLUMN, **rows}}})


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "{broken", "\x00", '{"version": 9}', json.dumps({**WHOLE, "columns": []})),
        *(json.dumps({**WHOLE, "run": 3, "columns": {}}), json.dumps({**WHOLE, "items": {"a": 1}, "columns": {}})),
        *(baseline(items=[1], tops=[5], bottoms=[1]), baseline(items=[0], tops=[5, 6], bottoms=[1])),
        *(baseline(items=[0], tops=[None], bottoms=[1]), baseline(items=[0], tops=[math.nan], bottoms=[1])),
    ],
)
def test_what_is_no_baseline_is_told(text, runs, tmp_path):
    (tmp_path / "0001-base.json").write_text(text)
    told = fobench("compare", tmp_path / "0001-base.json", runs / "base", expect=2)
    assert "is not a baseline" in told or "save it again" in told
