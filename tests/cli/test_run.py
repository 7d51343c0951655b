"""Whole runs through the command line, with scripted systems and exactly timed users: no model is needed."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from fobench.cli.main import main
from fobench.errors import FobenchError
from fobench.execution.run import Run
from fobench.storage.run_config import RunConfig

PLAIN = ("--suite", "controls", "--judge", "none", "--costs", "declared")
LATE = (*PLAIN, "--system", "scripted:late", "--system-args", "delay_ms=700")


def fobench(*arguments, expect=0, **environment):
    """Runs the command in this process; returns its standard output and error as one text."""
    done = CliRunner().invoke(main, [*map(str, arguments)], env=environment)
    assert done.exit_code == expect, done.output
    return done.output


def run(folder, *arguments, expect=0, **environment):
    return fobench("run", *PLAIN, "--limit", 3, "--output", folder, *arguments, expect=expect, **environment)


def scores(folder):
    return json.loads((Path(folder) / "scores.json").read_text())


def total(folder, metric):
    return next(score for score in scores(folder)["totals"] if score["metric"] == metric)


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "late"
    run(folder, "--system", "scripted:late", "--system-args", "delay_ms=700")
    return folder


@pytest.mark.subprocess
def test_a_run_leaves_a_whole_folder(late):
    names = {path.name for path in late.iterdir()}
    assert {
        "run.json",
        "traces.jsonl",
        "scores.json",
        "scores.parquet",
        "report.html",
        "summary.md",
        "junit.xml",
    } <= names
    record = json.loads((late / "run.json").read_text())
    assert record["status"] == "complete"
    assert record["config"]["system_args"] == {"delay_ms": "700"}
    assert len(list((late / "audio").glob("*.flac"))) == 3


def test_the_assets_of_system_and_judge_are_recorded_and_must_stay_what_they_were(tmp_path):
    config = RunConfig.from_json({"system": "scripted:late", "suites": ["controls"], "judge": "none"})
    begun = Run.begin(config, tmp_path / "run")
    begun._describe({"system": {"assets": {"voice": "aa", "llm": "bb"}}, "judge": {"assets": {"whisper": "cc"}}})
    begun._describe({"system": {"assets": {"voice": "aa", "vad": "dd"}}, "judge": {}})
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["assets"] == {"voice": "aa", "llm": "bb", "whisper": "cc", "vad": "dd"}
    assert record["components"] == {"system": {}, "judge": {}}
    with pytest.raises(FobenchError, match="asset 'llm' is not what it was"):
        begun._describe({"system": {"assets": {"llm": "ee"}}, "judge": {}})


def test_the_planted_delay_is_measured(late):
    assert total(late, "response_ms")["value"] == pytest.approx(700, abs=20)


@pytest.mark.subprocess
def test_the_wall_clock_measures_it_too(tmp_path):
    """Real time passes: a run during which other work delays the process is done again, up to three times."""
    for attempt in map(str, range(3)):
        run(tmp_path / attempt, "--clock", "wall", *LATE, "--system-args", "reply_ms=300", "--limit", 1)
        measured = total(tmp_path / attempt, "response_ms")["value"]
        assert measured > 660
        if measured < 740:
            break
    assert measured < 740


@pytest.mark.subprocess
def test_the_same_declared_run_has_the_same_bytes_of_scores(late, tmp_path):
    run(tmp_path / "again", "--system", "scripted:late", "--system-args", "delay_ms=700")
    assert (tmp_path / "again" / "scores.json").read_bytes() == (late / "scores.json").read_bytes()


@pytest.mark.subprocess
def test_two_workers_score_as_one(late, tmp_path):
    run(tmp_path / "two", "--system", "scripted:late", "--system-args", "delay_ms=700", "--workers", 2)
    assert (tmp_path / "two" / "scores.json").read_bytes() == (late / "scores.json").read_bytes()


def test_scoring_again_changes_nothing(late):
    before = (late / "scores.json").read_bytes()
    fobench("score", late)
    assert (late / "scores.json").read_bytes() == before


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("system", "limit", "kind"),
    [
        ("scripted:raises", 60, "raised"),
        ("scripted:nan", 60, "bad_audio"),
        ("scripted:dies", 60, "died"),
        ("scripted:hangs", 1, "hung"),
    ],
)
def test_a_broken_system_fails_its_scenarios_and_the_run_goes_on(tmp_path, system, limit, kind):
    output = run(tmp_path / "run", "--system", system, "--time-limit", limit, "--limit", 2, expect=1)
    assert "2 of 2 scenarios failed" in output
    traces = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    assert {trace["failure"]["kind"] for trace in traces} == {kind}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--system", "scripted:lat"], "Did you mean 'scripted:late'"),
        (["--system", "scripted:late", "--system-args", "delay=7"], "Did you mean 'delay_ms'"),
        (["--system", "scripted:late", "--system-args", "delay_ms=soon"], "delay_ms='soon'"),
        (["--system", "scripted:late", "--system-args", "delay_ms"], "write it as name=value"),
        (["--system", "scripted:late", "--backbone", "qwen2-7b"], "takes no --backbone"),
        (["--system", "scripted:late", "--suite", "control"], "Did you mean 'controls'"),
        (["--system", "scripted:late", "--sample-id", "nobody"], "Unknown sample id 'nobody'"),
        (["--system", "scripted:late", "--costs", "guessed"], "must be measured, declared"),
        (["--system", "scripted:late", "--costs", "declared:nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_wrong_use_is_told_before_anything_is_made(tmp_path, arguments, message):
    assert message in run(tmp_path / "run", *arguments, expect=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("system", "rest"),
    [
        ("scripted:dies", "its process ended during probe with exit code 3"),
        pytest.param("scripted:hangs", "no answer from probe", marks=pytest.mark.slow),
    ],
)
def test_a_plugin_that_dies_or_hangs_fails_the_probe_it_did_so_in(system, rest):
    output = fobench("validate", system, "--time-limit", 5, expect=1, COLUMNS="200")
    assert f"FAIL  silence          {rest}" in output
    assert "10 further checks were skipped" in output


def test_halves_of_characters_in_a_suite_are_told(tmp_path):
    told = run(tmp_path / "run", "--system", "scripted:late", "--suite-args", "text=\udcff", expect=2)
    assert "lone surrogate" in told


def test_a_home_that_cannot_be_written_is_told(tmp_path):
    output = run(tmp_path / "run", "--system", "scripted:late", expect=2, FOBENCH_HOME="/dev/null/home")
    assert "Traceback" not in output
    assert "FOBENCH_HOME" in output


def test_a_folder_with_a_run_is_not_written_over(late):
    assert "--resume" in run(late, "--system", "scripted:late", expect=2)


@pytest.mark.subprocess
def test_options_come_from_the_environment_and_a_file(tmp_path):
    config = tmp_path / "fobench.toml"
    config.write_text('system = "scripted:silent"\nlimit = 2\n[system-args]\n')
    fobench("run", *PLAIN, "--config", config, "--limit", 1, FOBENCH_OUTPUT=str(tmp_path / "run"))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["system"] == "scripted:silent"
    assert len(record["scenarios"]) == 1


def test_an_unknown_key_in_a_file_is_refused(tmp_path):
    (tmp_path / "fobench.toml").write_text("sytem = 'cascade'\n")
    assert "Did you mean 'system'" in fobench("run", "--config", tmp_path / "fobench.toml", expect=2)


@pytest.mark.slow
@pytest.mark.subprocess
def test_a_disk_that_takes_no_more_is_told_and_loses_nothing(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "fobench", "run", *LATE, "--limit", "6", "--output", str(folder)]
    largest = 75_000  # bytes that a file may have: more than any recording here, less than all the traces
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))  # noqa: E731
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=60)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert f"fobench run --resume {folder}" in done.stderr
    fobench("run", "--resume", folder)
    run(tmp_path / "calm", *LATE, "--limit", 6)
    assert (folder / "scores.json").read_bytes() == (tmp_path / "calm" / "scores.json").read_bytes()


@pytest.mark.subprocess
@pytest.mark.usefixtures("hang_up")
@pytest.mark.parametrize(
    ("stop", "code"),
    [
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),  # its code: test_stop_signals.py
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_an_interruption_keeps_what_is_done_and_resume_completes_it(late, tmp_path, stop, code):
    folder = tmp_path / "run"
    assert start(folder, "--limit", 3, until=1, stop=stop) == code
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    fobench("run", "--resume", folder)
    assert (folder / "scores.json").read_bytes() == (late / "scores.json").read_bytes()


@pytest.mark.subprocess
def test_a_kill_in_the_middle_is_resumed_to_the_uninterrupted_result(late, tmp_path):
    folder = tmp_path / "run"
    start(folder, "--limit", 3, until=1, stop=signal.SIGKILL)
    with (folder / "traces.jsonl").open("a") as file:
        file.write('{"version": 1, "scen')  # what a kill in the middle of writing leaves
    fobench("run", "--resume", folder)
    assert (folder / "scores.json").read_bytes() == (late / "scores.json").read_bytes()


def start(folder, *arguments, until, stop):
    """Begins a run of `scripted:late`, stops it when `until` scenarios are done, and returns the exit code."""
    command = [sys.executable, "-m", "fobench", "run", *LATE, "--output", str(folder), *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    traces = Path(folder) / "traces.jsonl"
    while process.poll() is None and (not traces.exists() or traces.read_bytes().count(b"\n") < until):
        time.sleep(0.005)
    process.send_signal(stop)
    return process.wait(timeout=30)
