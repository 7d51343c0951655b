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
