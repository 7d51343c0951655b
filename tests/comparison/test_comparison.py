"""Comparisons of hand-made runs: what changed between them, each with a known answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fobench.comparison.snapshot import ScoreColumn
from tests.support.snapshots import (
    ERRORS,
    LATE,
    RIGHT,
    WORDS,
    accuracy,
    change,
    full,
    latency,
    noisy,
    ruled,
    snapshot,
    wer,
)


def test_a_run_with_itself_has_not_changed():
    found = ruled(full(), full("new"), "response_ms.p90:10%", "accuracy:2pp", "understanding_wer:0.5pp")
    assert all(each.effect() == 0 and each.p == 1 and each.changed == 0 for each in found.changes)
    assert found.exit_code == 0


def test_accuracy_counts_discordant_pairs():
    """6 lost and 1 gained of 20: Agresti's exact p, 0.125 two-sided and 0.0625 of a fall."""
    before, now = np.array([1.0] * 12 + [0.0] * 8), np.array([1.0] * 6 + [0.0] * 6 + [1.0] + [0.0] * 7)
    found = change(ruled(snapshot(a=accuracy(before)), snapshot("new", a=accuracy(now))), "a")
    assert (found.test, found.lost, found.gained) == ("mcnemar", 6, 1)
    assert found.p == pytest.approx(0.125)
    assert found.p_fall == pytest.approx(0.0625)
    assert found.effect() == pytest.approx(-0.25)


def test_a_wer_is_pooled_over_words():
    found = change(ruled(full(), full("new", errors=ERRORS + (WORDS > 9))), "understanding_wer")
    assert found.new == pytest.approx((ERRORS.sum() + (WORDS > 9).sum()) / WORDS.sum())
    assert found.ci()[0] > 0
    assert found.p < 0.01


def test_a_slowdown_is_a_ratio_whose_interval_holds_it():
    found = change(ruled(full(), full("new", late=noisy(1.1 * LATE))), "response_ms.p90")
    low, high = found.ci(relative=True)
    assert low < 0.1 < high
    assert high - low < 0.1
    assert found.p_rise < 0.01


def test_pairs_are_by_item_whatever_the_order():
    order = np.random.default_rng(2).permutation(240)
    new = full("new")
    shuffled = replace(
        new, items=tuple(new.items[i] for i in order), columns={m: moved(c, order) for m, c in new.columns.items()}
    )
    assert all(each.changed == 0 for each in ruled(full(), shuffled).changes)


def moved(one: ScoreColumn, order) -> ScoreColumn:
    place = np.argsort(order)
    return replace(one, items=place[one.items])


def test_items_that_only_one_run_has_make_no_pair_and_are_told():
    found = ruled(full(), full("new", RIGHT[:100], ERRORS[:100], LATE[:100]))
    assert {each.n for each in found.changes} == {100}
    assert any("140 scenarios of base only" in warning for warning in found.warnings)


def test_what_a_gate_does_not_see_is_told():
    """A system that answers only half of the questions answers them as fast as before."""
    base = snapshot(response_ms=latency(LATE[:60]), accuracy_s2t=accuracy(RIGHT[:60]))
    heard = snapshot("new", response_ms=latency(LATE[:30]), accuracy_s2t=accuracy(RIGHT[:60]))
    failed = [replace(item, texts={**item.texts, "failure": "died: ..."}) for item in heard.items[30:]]
    new = replace(heard, items=(*heard.items[:30], *failed))
    found = ruled(base, new, "response_ms:10%", "accuracy:5pp")
    assert found.exit_code == 0
    assert found.warnings == [
        "response_ms: 30 scenarios with a value in base only, left out of the pairs.",
        "30 scenarios of new failed.",
    ]


def test_a_scenario_with_several_values_is_drawn_with_all_of_them():
    stops = ScoreColumn(1, "ms", "lower", True, np.repeat(np.arange(40), 2), np.tile([400.0, 600.0], 40), np.ones(80))
    found = change(
        ruled(snapshot(yield_decision_ms=stops), snapshot("new", yield_decision_ms=stops)), "yield_decision_ms.p50"
    )
    assert (found.n, found.base) == (40, pytest.approx(500))


def test_errors_of_a_recognizer_are_resampled_by_speaker():
    groups = [f"speaker-{i % 12}" for i in range(240)]
    worse = ERRORS + np.array([2.0 if i % 12 == 0 else 0.0 for i in range(240)])
    by_speaker = change(ruled(full(groups=groups), full("new", errors=worse, groups=groups)), "understanding_wer")
    by_item = change(ruled(full(), full("new", errors=worse)), "understanding_wer")
    assert (by_speaker.blocked_by, by_speaker.blocks) == ("group", 12)
    assert by_item.p < 0.01 < 0.2 < by_speaker.p  # one voice in twelve: no evidence that the next one is harder


def test_resampled_figures_are_the_same_however_often_asked():
    once, again = (ruled(full(), full("new", late=noisy(LATE))).dumps() for _ in range(2))
    assert once == again
    assert json.loads(once)["changes"]


def test_json_holds_nothing_that_is_no_number():
    nothing = wer(np.zeros(20), np.ones(20) * 5)
    found = ruled(
        snapshot(understanding_wer=nothing), snapshot("new", understanding_wer=wer(np.ones(20), np.ones(20) * 5))
    )
    assert json.loads(found.dumps())["changes"][0]["relative"] is None


def test_a_run_compared_with_itself_has_each_caveat_once():
    failed = full(run={"status": "stopped", "git": {"dirty": True}})
    warnings = ruled(failed, failed).warnings
    assert len(warnings) == len({*warnings}) == 2


def test_an_unchanged_metric_has_no_interval_without_width():
    for each in ruled(full(), full("new")).changes:
        ends = each.ci()
        assert ends is None or ends[0] < ends[1]
