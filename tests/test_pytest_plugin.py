"""`pytest --fobench`: a run's scores inside a team's tests."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

RUN = """
system = "scripted:late"
suite = ["controls"]
judge = "none"
costs = "declared"
limit = 12
[system-args]
delay_ms = 700
[suite-args]
families = "question"
"""
TESTS = """
import pytest
from fobench.errors import FobenchError

def test_a_score(fobench_run):
    assert fobench_run.value("response_ms.p90") == pytest.approx(700, abs=20)
    assert fobench_run.value("response_ms") == fobench_run.value("response_ms.p50")

def test_an_unknown_score(fobench_run):
    with pytest.raises(FobenchError, match="Did you mean 'response_ms'"):
        fobench_run.value("respnse_ms")

def test_a_score_without_a_value(fobench_run):
    with pytest.raises(FobenchError, match="accuracy_s2s has no value"):
        fobench_run.value("accuracy_s2s")

def test_a_run_has_no_regression_against_itself(fobench_run):
    assert not fobench_run.compare(fobench_run.folder, "response_ms:10%").regressions

def test_that_fails(fobench_run):
    assert fobench_run.value("response_ms") < 500
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


@pytest.mark.subprocess
def test_a_team_asserts_on_its_scores(pytester):
    pytester.makefile(".toml", run=RUN)
    pytester.makepyfile(TESTS)
    result = run(pytester, "--fobench", "run.toml")
    result.assert_outcomes(passed=4, failed=1)


def test_without_a_run_such_tests_are_skipped(pytester):
    pytester.makepyfile("def test_it(fobench_run): assert False")
    result = run(pytester, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*pytest --fobench run.toml*"])


def test_a_run_that_cannot_be_made_says_why(pytester):
    pytester.makefile(".toml", run='sytsem = "scripted:late"')
    pytester.makepyfile("def test_it(fobench_run): pass")
    result = run(pytester, "--fobench", "run.toml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Did you mean 'system'*"])


def test_pytest_finds_the_plugin_by_itself():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"fobench.pytest_plugin": "fobench.pytest_plugin"}
