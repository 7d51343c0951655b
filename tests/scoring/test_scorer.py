"""Scoring run folders: what comes out, and what is said about broken ones."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from fobench.api import registry
from fobench.api.results import Results
from fobench.api.types import Score
from fobench.errors import FobenchError, PrerequisiteError
from fobench.scoring import scorer
from tests.support.traces import qa_trace

ALWAYS_SCORED = [name for name in registry.factories("metrics") if not name.endswith(":")]  # a family's are named


def write_run(folder, traces, scenarios=None):
    """A run folder of these traces, written in this order."""
    ids = [trace.id for trace in traces] if scenarios is None else scenarios
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"version": 1, "scenarios": list(dict.fromkeys(ids))}))
    (folder / "traces.jsonl").write_text("".join(json.dumps(trace.to_json()) + "\n" for trace in traces))
    return folder


def run_of(n):
    """Every fifth question answered wrongly."""
    said = ["It is Paris." if i % 5 else "It is Rome." for i in range(n)]
    tags = [{"subject": "geography" if i % 2 else "history", "level": "easy"} for i in range(n)]
    return [qa_trace(f"q-{i}", said=said[i], speaker=f"s{i % 6}", tags=tags[i]) for i in range(n)]


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run", run_of(10))


def test_totals_scores_and_files(folder):
    results = scorer.score_run(folder)
    assert results.total("accuracy_s2t").value == 0.8
    assert results.total("response_ms").value == 700.0
    assert results.total("parity_s2t").value == pytest.approx(0.8)
    assert [trace.id for trace in results.traces] == [f"q-{i}" for i in range(10)]
    assert {s.metric for s in results.scores[3]} == set(ALWAYS_SCORED)
    assert sorted(path.name for path in folder.iterdir()) == [
        "run.json",
        "scores.json",
        "scores.parquet",
        "traces.jsonl",
    ]


def test_every_scenario_has_a_score_of_every_metric_with_a_value_or_a_reason(folder):
    for row in scorer.score_run(folder).scores:
        assert all((s.value is None) == bool(s.reason) for s in row)


def test_what_was_written_reads_back_equal(folder):
    assert scorer.score_run(folder) == scorer.load_results(folder)


def test_scoring_again_writes_equal_bytes(folder):
    scorer.score_run(folder)
    first = (folder / "scores.json").read_bytes()
    scorer.score_run(folder)
    assert (folder / "scores.json").read_bytes() == first


def test_the_order_in_which_scenarios_finished_changes_nothing(folder, tmp_path):
    traces = run_of(10)
    other = write_run(tmp_path / "other", traces[::-1], [trace.id for trace in traces])
    scorer.score_run(folder)
    scorer.score_run(other)
    assert (other / "scores.json").read_bytes() == (folder / "scores.json").read_bytes()


def test_scores_json_has_the_documented_keys(folder):
    scorer.score_run(folder)
    data = json.loads((folder / "scores.json").read_text())
    assert set(data) == {"version", "metrics", "totals", "scenarios", "by_tag"}
    assert data["version"] == 1
    assert data["metrics"]["response_ms"] == 2
    assert len(data["scenarios"]["q-0"]) == len(ALWAYS_SCORED)


def test_scores_by_tag_hold_value_and_count(folder):
    found = scorer.score_run(folder).by_tag
    assert found["subject"]["history"]["accuracy_s2t"] == {"value": 0.8, "n": 5}
    assert found["level"]["easy"]["accuracy_t2t"] == {"value": 1.0, "n": 10}


def test_the_table_has_a_row_a_scenario_and_metric(folder):
    results = scorer.score_run(folder)
    table = pd.read_parquet(folder / "scores.parquet")
    assert len(table) == 10 * len(ALWAYS_SCORED)
    response = table[table.metric == "response_ms"]
    assert set(response.value) == {700.0}
    assert list(response.scenario) == [trace.id for trace in results.traces]
    assert table[table.metric == "yield_rate"].value.isna().all()


def test_a_run_that_was_stopped_is_scored_as_far_as_it_went(tmp_path):
    folder = write_run(tmp_path / "run", run_of(4), [f"q-{i}" for i in range(10)])
    assert scorer.score_run(folder).total("accuracy_t2t").n == 4


def test_a_run_without_a_trace_has_totals_without_values(tmp_path):
    results = scorer.score_run(write_run(tmp_path / "run", [], ["q-0"]))
    assert all(total.value is None and total.reason and total.n == 0 for total in results.totals)


def test_scores_tell_that_a_run_is_not_complete(folder, tmp_path):
    stopped = write_run(tmp_path / "stopped", run_of(1), ["q-0", "q-1"])
    for path in (folder, stopped):
        scorer.score_run(path)
    assert "incomplete" not in json.loads((folder / "scores.json").read_text())
    assert json.loads((stopped / "scores.json").read_text())["incomplete"] == {"done": 1, "of": 2}


def test_halves_of_characters_are_scored(tmp_path):
    path = write_run(tmp_path / "run", [qa_trace(said="half \ud800", heard="half \ud800", routes={"t2t": "\udfff"})])
    assert scorer.score_run(path).traces == scorer.load_results(path).traces


def test_a_last_line_that_a_kill_left_unfinished_is_ignored(folder):
    with (folder / "traces.jsonl").open("a") as file:
        file.write('{"version": 1, "scen')
    assert len(scorer.score_run(folder).traces) == 10


def test_a_broken_line_is_named(folder):
    lines = (folder / "traces.jsonl").read_text().splitlines()
    (folder / "traces.jsonl").write_text("\n".join([*lines[:3], lines[3][:50], *lines[4:]]) + "\n")
    with pytest.raises(FobenchError, match="line 4"):
        scorer.score_run(folder)


def test_a_scenario_twice_is_named(tmp_path):
    traces = run_of(3)
    with pytest.raises(FobenchError, match="'q-1' twice"):
        scorer.score_run(write_run(tmp_path / "run", [*traces, traces[1]]))


def test_a_scenario_of_another_run_is_named(tmp_path):
    with pytest.raises(FobenchError, match=r"'q-2', which run\.json does not list"):
        scorer.score_run(write_run(tmp_path / "run", run_of(3), ["q-0", "q-1"]))


def test_options_reach_their_metric(folder):
    assert scorer.score_run(folder, {"parity": {"margin": 7.5}}).total("parity_s2t").detail["margin"] == 7.5


def test_options_of_an_unknown_metric_are_refused(folder):
    with pytest.raises(FobenchError, match="Did you mean 'parity'"):
        scorer.score_run(folder, {"paritty": {}})


def test_a_folder_that_was_not_scored_says_how(folder):
    with pytest.raises(PrerequisiteError, match="fobench score"):
        scorer.load_results(folder)


def test_scores_of_other_traces_are_refused(folder):
    scorer.score_run(folder)
    write_run(folder, run_of(11))
    with pytest.raises(PrerequisiteError, match="other traces"):
        scorer.load_results(folder)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FobenchError, match="not a run folder"):
        scorer.score_run(tmp_path)


class Brittle:
    """A third party's metric that breaks on one scenario and divides by nothing on another."""

    name, version, unit, better = "brittle", 3, "share", "higher"

    def score(self, trace, scenario):
        if trace.id == "q-0":
            raise KeyError("tempo")
        return Score(self.name, self.version, float("nan") if trace.id == "q-1" else 1 / 3, self.unit, 1)

    def aggregate(self, scores):
        return [Score(self.name, self.version, 0.5, self.unit, sum(s.value is not None for s in scores))]


def test_a_metric_that_breaks_loses_its_own_score_and_says_so(folder, monkeypatch):
    monkeypatch.setitem(registry.factories("metrics"), "brittle", Brittle)
    results = scorer.score_run(folder)
    raised, odd, fine = (row[-1] for row in results.scores[:3])
    assert raised.value is None
    assert raised.reason.startswith("the metric raised KeyError: 'tempo' (test_scorer.py:")
    assert (odd.value, odd.reason) == (None, "not a finite number: nan")
    assert fine.value == 0.333333333
    assert results.total("brittle").n == 9
    assert results.total("accuracy_s2t").value == 0.8


def test_results_without_tags(folder):
    results = scorer.score_run(folder)
    assert Results(folder, {}, (), (), ()).by_tag == {}
    assert replace(results, by_tag={}).total("nothing") is None
