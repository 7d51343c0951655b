"""Absolute limits of `fobench run` and `fobench score`: refused before the run, judged, reported, and the exit code."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from fobench.cli.main import main
from fobench.scoring.scorer import check_limits

PLAIN = ("--suite", "controls", "--judge", "none", "--costs", "declared", "--system", "scripted:late", "--limit", "2")
KEPT, BROKEN = "response_ms<=720", "response_ms < 100"

pytestmark = pytest.mark.usefixtures("home")


def fobench(*arguments, expect):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == expect, done.output
    return done.output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with one limit that is kept and one that is not, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = folder.with_suffix(".toml")
    config.write_text(f'assert = ["{KEPT}", "{BROKEN}"]\n')
    return folder, fobench("run", *PLAIN, "--config", config, "--output", folder, expect=1)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("response_ms", "write it as METRIC<=NUMBER"),
        ("respons_ms<=100", "Did you mean 'response_ms'"),
        ("response_ms<=1s", "is in 'ms', not 's'"),
    ],
)
def test_what_is_no_limit_is_refused_before_the_run(tmp_path, limit, message):
    assert message in fobench("run", *PLAIN, "--output", tmp_path / "run", "--assert", limit, expect=2)
    assert not (tmp_path / "run").exists()


def test_a_table_of_limits_in_a_file_is_refused_with_the_form(tmp_path):
    (tmp_path / "run.toml").write_text('[assert]\nresponse_ms = "<=700"\n')
    assert "assert = " in fobench("run", *PLAIN, "--config", tmp_path / "run.toml", expect=2)


def test_a_limit_without_a_value_is_not_kept_and_one_that_is_exits_with_0(tmp_path):
    output = fobench("run", *PLAIN, "--output", tmp_path / "run", "--assert", KEPT, "--assert", "parity>=-1", expect=1)
    assert "1 of 2 limits not kept: parity>=-1" in output  # without a judge it has no value
    fobench("score", tmp_path / "run", "--assert", KEPT, expect=0)


def test_a_limit_that_is_not_kept_is_on_every_report(run):
    folder, output = run
    assert "1 of 2 limits not kept: response_ms < 100" in output
    assert "not kept" in (folder / "summary.md").read_text()
    assert 'id="limits"' in (folder / "report.html").read_text()
    stored = json.loads((folder / "scores.json").read_text())["limits"]
    assert [(limit["text"], limit["kept"]) for limit in stored] == [(KEPT, True), (BROKEN, False)]
    suite = ET.parse(folder / "junit.xml").getroot().find("testsuite[@name='limits']")
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    good, bad = suite.findall("testcase")
    assert (good.get("name"), good.find("failure")) == (KEPT, None)
    assert bad.find("failure").get("message").startswith("response_ms is 69")


def test_scoring_again_judges_the_runs_own_limits_or_those_given(run):
    folder, _ = run
    before = (folder / "scores.json").read_bytes()
    fobench("score", folder, "--assert", "response_ms<=900", expect=0)
    assert "respons" in fobench("score", folder, "--assert", "respons_ms<=900", expect=2)
    assert "not kept" in fobench("score", folder, expect=1)
    assert (folder / "scores.json").read_bytes() == before
    assert "not kept" in fobench("report", folder, expect=0)


def test_the_limits_of_the_readme_are_limits():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    lines = [line for line in text.splitlines() if "--assert " in line or "assert = [" in line]
    found = [limit for line in lines for limit in re.findall(r'"(\w[^"]*[<>]=[^"]*)"', line)]
    assert len(lines) == 4 and len(found) == 6
    check_limits(found)


def test_a_run_without_limits_says_nothing_of_them(tmp_path):
    fobench("run", *PLAIN, "--output", tmp_path / "run", expect=0)
    assert "limits" not in json.loads((tmp_path / "run" / "scores.json").read_text())
    assert 'id="limits"' not in (tmp_path / "run" / "report.html").read_text()


def test_a_resumed_run_may_have_other_limits(run):
    folder, _ = run
    fobench("run", "--resume", folder, "--assert", KEPT, expect=0)
    assert json.loads((folder / "run.json").read_text())["config"]["asserts"] == [KEPT]
