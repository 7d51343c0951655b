"""One writer per run folder, through the command line: refusals, default folders, and what resuming heals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fobench.cli import report
from fobench.cli import run as run_module
from fobench.cli.main import main
from fobench.errors import FobenchError
from fobench.matrix import plan

PLAIN = ("--suite", "controls", "--judge", "none", "--costs", "declared", "--system", "scripted:late", "--limit", "2")
HOLD = (
    "import sys; from pathlib import Path; from fobench.storage import run_lock; run_lock.acquire(Path(sys.argv[1]));"
    " print('held', flush=True); sys.stdin.read()"
)


def fobench(*arguments, expect=0):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == expect, done.output
    return done.output


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    fobench("run", *PLAIN, "--output", folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run of two scenarios."""
    return Path(subprocess.run(["cp", "-r", finished, tmp_path / "run"], check=True).args[-1])


@pytest.fixture
def writer(run):
    """Another process that writes to the run's folder."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], **pipes)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.subprocess
@pytest.mark.parametrize(
    "command",
    [("run", *PLAIN, "--output"), ("run", "--resume"), ("score",), ("score", "--compress-traces"), ("report",)],
    ids=" ".join,
)
def test_a_second_writer_is_refused_and_changes_nothing(run, writer, command):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    told = fobench(*command, run, expect=2)
    assert f"{run} is being written by process {writer.pid} on " in told
    assert len(told.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.subprocess
def test_a_matrix_is_refused_while_another_writes_it(run, writer):
    (run / "run.json").unlink()
    planned = plan.MatrixPlan(())
    with pytest.raises(FobenchError, match=f"is being written by process {writer.pid} on"):
        run_module._matrix(planned, run, has_baseline=False)


def test_what_a_killed_writer_left_does_not_stop_the_next(run):
    (run / ".lock").write_text('{"pid": 1, ')
    (run / "audio/.question-01.flac.0123456789abcdef.part").touch()
    fobench("run", "--resume", run)
    assert [path.name for path in run.rglob(".*")] == []


def test_resuming_heals_equal_doubles_and_says_so(run):
    whole, scores = (run / "traces.jsonl").read_bytes(), (run / "scores.json").read_bytes()
    (run / "traces.jsonl").write_bytes((whole + whole.splitlines()[0]).replace(b"\n", b"\r\n") + b"\n" + b"\0" * 512)
    assert "twice" in fobench("score", run, expect=2)
    assert "1 doubled line of traces.jsonl, equal to the first, removed." in fobench("run", "--resume", run)
    assert (run / "traces.jsonl").read_bytes() == whole
    assert (run / "scores.json").read_bytes() == scores
    assert "1 doubled line" in (run / "run.log").read_text()


def test_resuming_refuses_unequal_doubles_and_lines_of_other_runs(run):
    traces = run / "traces.jsonl"
    whole = traces.read_text()
    first = json.loads(whole.splitlines()[0])
    traces.write_text(whole + json.dumps({**first, "duration_ns": first["duration_ns"] + 1}) + "\n")
    told = fobench("run", "--resume", run, expect=2)
    assert f"different traces of one scenario: '{first['scenario']['id']}' (lines 1 and 3)" in told
    traces.write_text(whole + json.dumps({**first, "scenario": {**first["scenario"], "id": "strange"}}) + "\n")
    assert "the scenario 'strange', which is not of this run" in fobench("run", "--resume", run, expect=2)
    traces.write_text(whole)
    fobench("run", "--resume", run)


def test_traces_without_a_run_are_not_mixed_with_a_new_one(run):
    (run / "run.json").unlink()
    assert "holds the traces of a run, but no run.json" in fobench("run", *PLAIN, "--output", run, expect=2)


def test_two_runs_in_one_second_get_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "_time", lambda: "20260101-000000")
    for _ in range(2):
        fobench("run", *PLAIN, "--limit", "1")
    folders = sorted(path.name for path in Path("runs").iterdir())
    assert folders == ["20260101-000000-scripted-late", "20260101-000000-scripted-late-2"]
    assert all((Path("runs") / name / "report.html").exists() for name in folders)


@pytest.mark.parametrize(
    "arguments", [("--system", "scripted:../../../x"), ("--system", "a/../../b" * 50), ("--suite-args", "no=1")]
)
def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path, monkeypatch, arguments):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    fobench("run", *PLAIN, *arguments, expect=2)
    assert [path.name for path in tmp_path.rglob("*")] == ["inner"]
