"""Gates over comparisons of hand-made runs: regression, pass or inconclusive, each with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from fobench.errors import FobenchError
from tests.support.snapshots import (
    ERRORS,
    LATE,
    RIGHT,
    accuracy,
    change,
    column,
    full,
    latency,
    noisy,
    ruled,
    snapshot,
    wer,
)


def test_an_injected_slowdown_of_10_percent_fails_a_gate_below_it():
    found = ruled(full(), full("new", late=noisy(1.1 * LATE)), "response_ms:5%", "accuracy:2pp")
    assert [ruling.verdict for ruling in found.verdicts] == ["regression", "ok"]
    assert found.exit_code == 1


def test_an_effect_within_the_limit_is_no_regression_however_certain():
    found = ruled(full(), full("new", late=1.03 * LATE), "response_ms:10%")
    assert change(found, "response_ms.p50").p < 0.01
    assert found.exit_code == 0


def test_an_effect_beyond_the_limit_that_may_be_chance_is_inconclusive():
    """3 lost of 30 are 10 points, with p = 0.125."""
    before = np.ones(30)
    now = np.array([0.0] * 3 + [1.0] * 27)
    found = ruled(snapshot(accuracy_s2t=accuracy(before)), snapshot("new", accuracy_s2t=accuracy(now)), "accuracy:5pp")
    ruling = found.verdicts[0]
    assert (ruling.verdict, found.exit_code) == ("inconclusive", 3)
    assert ruling.p == pytest.approx(0.125)
    assert 40 < ruling.needed < 200


def test_few_items_are_inconclusive_and_enough_of_them_are_not():
    """With the number that it asks for, the same runs are conclusive."""
    before, now = RIGHT[:60].copy(), RIGHT[:60].copy()
    now[[0, 1, 2]] = 1 - now[[0, 1, 2]]
    few = ruled(snapshot(accuracy_s2t=accuracy(before)), snapshot("new", accuracy_s2t=accuracy(now)), "accuracy:3pp")
    assert few.exit_code == 3
    times = -(-few.verdicts[0].needed // 60)
    assert 2 <= times < 20
    many = [
        snapshot(name, accuracy_s2t=accuracy(np.tile(values, times)))
        for name, values in (("base", before), ("new", now))
    ]
    assert ruled(*many, "accuracy:3pp").exit_code == 0


def test_ten_equal_items_prove_nothing():
    alike = snapshot(accuracy_s2t=accuracy([1.0, 0.0] * 5))
    assert ruled(alike, alike, "accuracy:2pp").exit_code == 3


def test_a_90th_percentile_of_twenty_is_inconclusive():
    few = snapshot(response_ms=latency(LATE[:20]))
    ruling = ruled(few, few, "response_ms.p90:10%").verdicts[0]
    assert (ruling.verdict, ruling.needed) == ("inconclusive", 30)


def test_a_99th_percentile_of_sixty_is_inconclusive_and_not_shown():
    base = full(right=RIGHT[:60], errors=ERRORS[:60], late=LATE[:60])
    found = ruled(base, full("new", late=2 * LATE), "response_ms.p99:10%")
    assert (found.exit_code, found.verdicts[0].why) == (3, "60 pairs are too few")
    assert found.verdicts[0].needed >= 300
    assert "response_ms.p99" not in {each.figure for each in found.changes}


def test_gates_are_one_family():
    """A fall with p = 0.03125 fails alone, and not among two gates."""
    before, now = np.ones(30), np.array([0.0] * 5 + [1.0] * 25)
    columns = [{"accuracy_s2t": accuracy(right), "response_ms": latency(LATE[:30])} for right in (before, now)]
    base, new = snapshot(**columns[0]), snapshot("new", **columns[1])
    assert ruled(base, new, "accuracy:5pp").exit_code == 1
    assert ruled(base, new, "accuracy:5pp", "response_ms:10%").verdicts[0].p_holm == pytest.approx(2 * 0.03125)


def test_an_improvement_passes():
    found = ruled(full(), full("new", late=0.8 * LATE, right=np.ones(240)), "response_ms:5%", "accuracy:2pp")
    assert found.exit_code == 0


def test_a_wer_that_was_nothing_and_rises_is_a_regression():
    base = snapshot(understanding_wer=wer(np.zeros(60), np.full(60, 5)))
    new = snapshot("new", understanding_wer=wer(np.ones(60), np.full(60, 5)))
    assert ruled(base, new, "understanding_wer:10%").exit_code == 1


def test_without_gates_nothing_fails():
    assert ruled(full(), full("new", late=2 * LATE)).exit_code == 0


def test_a_gate_on_what_a_run_lacks_is_refused_with_what_there_is():
    with pytest.raises(FobenchError, match=r"'dnsmos'.*Choices: accuracy, accuracy_s2t, response_ms\.p50"):
        ruled(full(), full("new"), "dnsmos:0.1mos")


def test_a_gate_on_what_only_one_run_has_names_the_other():
    mute = snapshot("mute", accuracy_s2t=accuracy(RIGHT))
    with pytest.raises(FobenchError, match="mute has no value of response_ms"):
        ruled(full(), mute, "response_ms:10%")


def test_a_metric_that_takes_no_side_is_held_to_the_side_that_is_written():
    before, now = np.zeros(60), np.array([1.0] * 20 + [0.0] * 40)
    base, new = (snapshot(n, takeover_rate=column("share", "none", v)) for n, v in (("base", before), ("new", now)))
    assert ruled(base, new, "takeover_rate:+5pp").exit_code == 1
    assert ruled(base, new, "takeover_rate:-5pp").exit_code == 0


def test_a_gate_without_a_value_in_either_run_says_so():
    with pytest.raises(FobenchError, match=r"base and new have no value of parity \(its report says why"):
        ruled(full(), full("new"), "parity:-2pp")
    with pytest.raises(FobenchError, match="Did you mean"):
        ruled(full(), full("new"), "understanding_we:1pp")
