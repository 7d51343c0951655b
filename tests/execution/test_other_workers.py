"""A run that is resumed with another number of workers: times of two loads are not pooled."""

import pytest

from fobench.errors import FobenchError
from fobench.execution.run import Run
from fobench.storage import run_lock
from fobench.storage.run_config import RunConfig

pytestmark = [pytest.mark.subprocess, pytest.mark.usefixtures("home")]


def begun(folder, costs):
    return Run.begin(RunConfig("scripted:late", suites=("controls",), limit=2, judge="none", costs=costs), folder)


def executed(folder, costs):
    run = begun(folder, costs)
    run.execute(lambda progress: None)
    return run


def test_measured_times_refuse_other_workers_and_keep_what_is_there(tmp_path):
    executed(tmp_path / "run", "measured")
    traces = tmp_path / "run" / "traces.jsonl"
    kept = traces.read_text().splitlines(keepends=True)[:1]
    traces.write_text("".join(kept))  # as if it had been interrupted after the first scenario
    with pytest.raises(FobenchError, match=r"has 1 scenario whose times were measured with --workers 1") as refused:
        Run.resume(tmp_path / "run", {"workers": 2})
    assert "Resume it with --workers 1, or begin another run." in str(refused.value)
    assert traces.read_text() == kept[0]
    resumed = Run.resume(tmp_path / "run", {"workers": 1})
    resumed.execute(lambda progress: None)
    assert len(list(resumed.folder.traces())) == 2


def test_replayed_times_are_those_of_any_number_of_workers(tmp_path):
    executed(tmp_path / "run", "declared")
    assert Run.resume(tmp_path / "run", {"workers": 2}).config.workers == 2


def test_a_run_without_a_scenario_has_no_times_yet(tmp_path):
    run = begun(tmp_path / "run", "measured")
    run_lock.release(run.folder.path)
    assert Run.resume(tmp_path / "run", {"workers": 2}).config.workers == 2
