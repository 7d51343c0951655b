"""Snapshots: the same figures as the run they are of, and the same after a baseline's file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fobench.comparison import baseline_store
from fobench.comparison.snapshot import Snapshot
from fobench.errors import FobenchError

REPORTS = Path(__file__).parents[2] / "reports"
RUN = REPORTS / "spoken-qa-cascade-smollm2-135m"


@pytest.fixture(scope="module")
def run() -> Snapshot:
    return Snapshot.of_run(RUN)


def test_its_figures_are_those_of_the_run(run):
    """Ratios of sums to the digit; medians of the values are the run's p50."""
    totals = {total["metric"]: total for total in json.loads((RUN / "scores.json").read_text())["totals"]}
    assert {"accuracy_s2t", "parity_s2s", "understanding_wer", "rtf_output", "dnsmos"} <= run.columns.keys()
    for metric, column in run.columns.items():
        figure = (
            np.median(column.numerators)
            if column.is_distribution
            else column.numerators.sum() / column.denominators.sum()
        )
        assert figure == pytest.approx(totals[metric]["value"], abs=1e-6), metric


def test_a_metric_without_a_total_is_no_column(run):
    assert "yield_rate" not in run.columns


def test_a_baseline_holds_the_same(run, tmp_path):
    store = baseline_store.BaselineStore(str(tmp_path))
    again = store.load(store.save(run, "kept"))
    assert [item.id for item in again.items] == [item.id for item in run.items]
    assert again.items == run.items
    for metric, column in run.columns.items():
        kept = again.columns[metric]
        assert (kept.unit, kept.better, kept.is_distribution) == (column.unit, column.better, column.is_distribution)
        assert np.array_equal(kept.numerators, column.numerators) and np.array_equal(kept.items, column.items)


def test_a_run_without_traces_is_compared_by_its_scores():
    bare = Snapshot.of_run(REPORTS / "librispeech-other-cascade")
    assert len(bare.items) == 60
    assert bare.items[0].texts == {}


def test_texts_are_those_of_the_trace(run):
    texts = run.items[0].texts
    assert texts["asked"].endswith("?") and {"accepted", "understood", "wrote", "spoke"} <= texts.keys()


@pytest.mark.parametrize("name", ["Base", "a b", "", "-x", "../up"])
def test_a_name_that_is_no_files_is_refused(run, name, tmp_path):
    if name:
        with pytest.raises(FobenchError, match="cannot be named"):
            baseline_store.BaselineStore(str(tmp_path)).save(run, name)
    else:
        assert baseline_store.BaselineStore(str(tmp_path)).save(run, name).name == "cascade"


# ---- Baselines from files --------------------------------------------------------------------------------------------

COLUMN = {
    "version": 1, "unit": "share", "better": "higher", "spread": False,
    "items": [0, 1], "tops": [1, 0], "bottoms": [1, 1],
}  # fmt: skip
BASELINE = {
    "version": 1,
    "run": {"version": 1, "config": {"system": "cascade"}},
    "items": [{"id": "a", "group": "a", "asked": "", "texts": {}}, {"id": "b", "group": "b", "asked": "", "texts": {}}],
    "columns": {"accuracy_s2s": COLUMN},
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "is a baseline of version 2, not 1: save it again"),
        ({"items": [{"id": "a", "group": 3}]}, r"items\[0\]\.group has the wrong type: expected str, got int"),
        ({"items": BASELINE["items"] * 2}, "items has an id twice"),
        ({"itmes": []}, "it has an unknown key itmes"),
        ({"run": {"scenarios": [1]}}, r"run: scenarios\[0\] has the wrong type"),
        ({"run": {"config": {"limit": -1}}}, "run: limit is -1; it must be a whole number or none, from 1"),
        ({"columns": {"wer": {**COLUMN, "items": [0, 2]}}}, r"columns\.wer has rows of unknown items; there are 2"),
        ({"columns": {"wer": {**COLUMN, "items": [0, -1]}}}, r"columns\.wer has rows of unknown items"),
        ({"columns": {"wer": {**COLUMN, "tops": [1]}}}, r"columns\.wer needs a numerator and a denominator"),
        ({"columns": {"wer": {**COLUMN, "bottoms": [1, -1]}}}, r"columns\.wer has a negative denominator"),
        ({"columns": {"wer": {**COLUMN, "better": "up"}}}, r"columns.*better has the wrong type"),
        ({"columns": {"wer": {**COLUMN, "tops": ["x", 1]}}}, r"columns.*tops\[0\] has the wrong type: expected float"),
    ],
)
def test_a_baseline_that_cannot_be_is_told_by_its_key(changes, message, tmp_path):
    path = tmp_path / "0001-a.json"
    path.write_text(json.dumps({**BASELINE, **changes}))
    with pytest.raises(FobenchError, match=message):
        baseline_store.load(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1, 0]", "[NaN, 0]", "NaN is not a number of JSON"),
        ("[1, 0]", "[1e999, 0]", r"columns\.accuracy_s2s\.tops\[0\] is a number that is not finite"),
        ('"items": [0', '"spread": true, "items": [0', "the key 'spread' occurs twice"),
        ('{"version": 1', "[" * 3000, "deep"),
    ],
)
def test_a_baseline_that_is_no_plain_json_is_told(old, new, message, tmp_path):
    path = tmp_path / "0001-a.json"
    path.write_text(json.dumps(BASELINE).replace(old, new, 1))
    with pytest.raises(FobenchError, match=message):
        baseline_store.load(str(path))


def test_the_number_of_a_baseline_may_have_any_length(tmp_path):
    store = baseline_store.BaselineStore(str(tmp_path))
    store.save(Snapshot.from_json("a", BASELINE), "a")
    assert store.find("0001") == store.find("1") == store.find("a")
    with pytest.raises(FobenchError, match="Unknown baseline"):
        store.find("9" * 5000)
