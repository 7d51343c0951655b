"""action.yml: its script run by bash as a workflow would run it, on a scripted system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fobench.cli.main import main

yaml = pytest.importorskip("yaml")
ACTION = Path(__file__).parents[2] / "action.yml"
RUN = """
system = "scripted:late"
suite = ["controls"]
judge = "none"
costs = "declared"
limit = 12
[suite-args]
families = "question"
"""


@pytest.fixture(scope="module")
def action():
    return yaml.safe_load(ACTION.read_text())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A repository's folder: run.toml, and a baseline whose replies came 200 ms sooner."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "run.toml").write_text(RUN + "[system-args]\ndelay_ms = 900\n")
    (folder / "before.toml").write_text(RUN + "[system-args]\ndelay_ms = 700\n")
    arguments = ["run", "--config", str(folder / "before.toml"), "--output", str(folder / "before")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return folder


def step(action, workspace: Path, **inputs: str) -> tuple[int, str, str]:
    """Exit code, summary and outputs of the step that compares; inputs are given as the action gives them."""
    found = next(step for step in action["runs"]["steps"] if step.get("id") == "compare")
    given = {name: str(about.get("default", "")) for name, about in action["inputs"].items()} | inputs
    environment = {name: given[value.split("inputs.")[1].split(" ")[0]] for name, value in found["env"].items()}
    files = {name: str(workspace / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    for path in files.values():
        Path(path).write_text("")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]]
    done = subprocess.run(command, cwd=workspace, env={**os.environ, **environment, **files, "PATH": path}, check=False)
    return done.returncode, *(Path(path).read_text() for path in files.values())


@pytest.mark.subprocess
def test_a_regression_fails_the_job_and_stands_in_its_summary(action, workspace):
    code, summary, outputs = step(
        action,
        workspace,
        config="run.toml",
        baseline="before",
        output="now",
        **{"fail-on": "response_ms:10%\nendpoint_ms:50ms\n"},
    )
    assert (code, outputs) == (1, "exit-code=1\n")
    assert "**Regression: Response latency (voice to voice) p50 +28." in summary


@pytest.mark.slow
@pytest.mark.subprocess
def test_an_inconclusive_gate_passes_where_it_is_told_to(action, workspace):
    """12 scenarios cannot tell a loss of 1 point."""
    inputs = {"config": "before.toml", "baseline": "before", "fail-on": "takeover_rate:-1pp"}
    code, summary, outputs = step(action, workspace, output="again", inconclusive="pass", **inputs)
    assert (code, outputs) == (0, "exit-code=3\n")
    assert "**Inconclusive: " in summary


@pytest.mark.subprocess
def test_a_workflow_that_is_wrong_fails(action, workspace):
    code, summary, outputs = step(action, workspace, config="run.toml", baseline="nowhere", output="none")
    assert (code, summary, outputs) == (2, "", "exit-code=2\n")
