"""Comparisons of hand-made runs: changes, gates, refusals, each with a known answer."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from fobench.comparison import compare
from fobench.comparison.gates import Gate
from fobench.comparison.snapshot import ScoreColumn
from fobench.errors import FobenchError
from tests.support.snapshots import RUN, accuracy, column, latency, snapshot, wer

RNG = np.random.default_rng(0)
LATE = 1_000 * RNG.lognormal(0, 0.3, 240)
WORDS = RNG.integers(4, 14, 240).astype(float)
ERRORS = RNG.binomial(WORDS.astype(int), 0.05).astype(float)
RIGHT = (RNG.random(240) < 0.6).astype(float)
FEW = {"resamples": 2_000}


def noisy(values):
    return values * np.random.default_rng(1).lognormal(0, 0.05, len(values))


def full(name="base", right=RIGHT, errors=ERRORS, late=LATE, **settings):
    columns = {
        "accuracy_s2t": accuracy(right),
        "understanding_wer": wer(errors, WORDS[: len(errors)]),
        "response_ms": latency(late),
    }
    return snapshot(name, **columns, **settings)


def ruled(base, new, *gates, **settings):
    return compare(base, new, [Gate.parse(gate) for gate in gates], **{**FEW, **settings})


def change(comparison, figure):
    return next(change for change in comparison.changes if change.figure == figure)


# ---- Changes ---------------------------------------------------------------------------------------------------------


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


# ---- Gates -----------------------------------------------------------------------------------------------------------


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


# ---- Unlike runs -----------------------------------------------------------------------------------------------------


NEWER = ["avx2", "avx512f", "avx512_bf16"]


def machine(**changed):
    return {"machine": {**RUN["machine"], **changed}}


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ({"config": {"clock": "wall"}}, "clock: virtual in the first, wall in the second"),
        ({"config": {"seed": 1}}, "seed: 0 in the first, 1 in the second"),
        ({"config": {"suites": ["controls"]}}, "suites: spoken-qa in the first, controls"),
        ({"components": {"judge": {"model": "whisper base.en"}}}, "reference ASR: model=whisper tiny.en in the first"),
        ({"config": {"echo_db": -30.0, "echo_delay_ms": 80}}, "echo: none in the first, -30.0, 80 in the second"),
        (machine(cpu="Other"), "machine: Example CPU (avx2), 2 cores in the first, Other (avx2), 2 cores"),
        (machine(instruction_sets=NEWER), "Example CPU (avx2, avx512f, avx512_bf16), 2 cores in the second"),
        (machine(cpu_model="25/17"), "Example CPU (avx2), 2 cores in the first, Example CPU (25/17: avx2), 2 cores"),
        (machine(instruction_sets=None), "Example CPU (instruction sets unknown), 2 cores in the second"),
        ({"machine": {}}, "machine: Example CPU (avx2), 2 cores in the first, none in the second"),
        ({"costs": "declared:0123"}, "latency profile: measured in the first, declared:0123"),
    ],
)
def test_unlike_runs_are_refused_with_what_differs(run, told):
    new = full("new", run=run)
    with pytest.raises(FobenchError, match=re.escape(told)):
        ruled(full(), new)
    allowed = ruled(full(), new, allow_mismatch=True)
    assert any(told in warning for warning in allowed.warnings)


def test_the_delay_of_an_echo_counts_where_there_is_one():
    echo = {"echo_db": -30.0, "echo_delay_ms": 80}
    with pytest.raises(FobenchError, match=re.escape("echo: -30.0, 80 in the first, -30.0, 120 in the second")):
        ruled(full(run={"config": echo}), full("new", run={"config": {**echo, "echo_delay_ms": 120}}))
    assert ruled(full(), full("new", run={"config": {"echo_db": None, "echo_delay_ms": 120}})).warnings == []


def test_two_runs_from_before_instruction_sets_were_recorded_are_compared_and_it_is_said():
    before = machine(instruction_sets=None)
    found = ruled(full(run=before), full("new", run=before), "response_ms:10%")
    assert found.exit_code == 0
    assert any(warning.startswith("Neither run records its CPU's instruction sets") for warning in found.warnings)
    declared = {**before, "costs": "declared:0123"}
    assert ruled(full(run=declared), full("new", run=declared), "response_ms:10%").warnings == []


def test_another_package_is_told_and_not_refused():
    found = ruled(full(), full("new", run={"packages": {"jiwer": "3.0.0"}}))
    assert "Difference: scoring packages: jiwer=4.0.0 in the first, jiwer=3.0.0 in the second." in found.warnings


def test_a_machine_that_was_busy_is_told_and_forbids_nothing():
    load = {"seconds": 60.0, "cores": 2, "own_s": 70.0, "other_s": 48.0}
    found = ruled(full(), full("new", run={"machine_load": [load]}), "response_ms:10%")
    told = "new: Other programs used 0.8 of 2 cores during this run: latencies may be too high."
    assert [warning for warning in found.warnings if "programs" in warning] == [told]
    assert "response_ms" in found.pairs


def test_another_machine_only_matters_to_times():
    new = full("new", run={"machine": {"cpu": "Other CPU"}})
    found = ruled(full(), new, "accuracy:2pp")
    assert [each.figure for each in found.changes] == ["accuracy_s2t", "understanding_wer"]
    assert "Left out as not comparable: response_ms." in found.warnings
    with pytest.raises(FobenchError, match="machine"):
        ruled(full(), new, "accuracy:2pp", "response_ms:10%")


def test_with_declared_costs_a_machine_does_not_matter():
    declared = {"costs": "declared:0123"}
    new = full("new", run={**declared, "machine": {"cpu": "Other CPU"}})
    assert ruled(full(run=declared), new, "response_ms:10%").exit_code == 0


def test_another_version_of_a_metric_is_refused():
    new = full("new")
    newer = {**new.columns, "understanding_wer": replace(new.columns["understanding_wer"], version=2)}
    with pytest.raises(FobenchError, match="metric understanding_wer: version 1 in the first, version 2"):
        ruled(full(), replace(new, columns=newer))
    assert (
        "Left out as not comparable: understanding_wer."
        in ruled(full(), replace(new, columns=newer), "accuracy:2pp").warnings
    )


def test_a_manifest_may_lie_elsewhere():
    here, there = ({"config": {"suites": [f"manifest:{path}"]}} for path in ("clips.jsonl", "/data/clips.jsonl"))
    assert ruled(full(run=here), full("new", run=there)).warnings == []


def test_scenarios_of_one_name_but_other_audio_are_refused():
    new = full("new")
    other = (replace(new.items[0], asked="def"), *new.items[1:])
    with pytest.raises(FobenchError, match=r"1 scenario of one name, e\.g\. q-0"):
        ruled(full(), replace(new, items=other))


def test_another_file_of_one_name_is_refused():
    with pytest.raises(FobenchError, match="asset whisper: ab in the first, cd in the second"):
        ruled(full(run={"assets": {"whisper": "ab"}}), full("new", run={"assets": {"whisper": "cd"}}))


def test_runs_without_a_common_item_are_refused():
    new = full("new")
    other = replace(new, items=tuple(replace(item, id=f"other-{item.id}") for item in new.items))
    with pytest.raises(FobenchError, match="240 scenarios in the first, 240 in the second, 0 in both"):
        ruled(full(), other)


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


CASCADE = {"costs": "declared:aaaa", "config": {**RUN["config"], "system": "cascade"}}
FREEZE = {"costs": "declared:bbbb", "config": {**RUN["config"], "system": "freeze-omni"}}


def test_two_systems_compare_each_on_its_own_declared_costs():
    found = ruled(full(run=CASCADE), full("new", late=LATE * 1.5, run=FREEZE), "response_ms:10%")
    assert found.exit_code == 1
    (caveat,) = (line for line in found.warnings if "own replayed latency profile" in line)
    assert "declared:aaaa (base) and declared:bbbb (new)" in caveat


@pytest.mark.parametrize(
    ("base", "new"),
    [
        (CASCADE, {**CASCADE, "costs": "declared:bbbb"}),  # one system: the profile alone differs
        (CASCADE, {**FREEZE, "costs": "measured"}),
        ({**CASCADE, "costs": "measured"}, FREEZE),
    ],
)
def test_any_other_difference_of_the_costs_is_refused(base, new):
    with pytest.raises(FobenchError, match="latency profile"):
        ruled(full(run=base), full("new", run=new), "response_ms:10%")
    allowed = ruled(full(run=base), full("new", run=new), "response_ms:10%", allow_mismatch=True)
    assert any("latency profile" in line for line in allowed.warnings)


def test_systems_on_one_profile_need_no_caveat():
    found = ruled(full(run=CASCADE), full("new", run={**FREEZE, "costs": CASCADE["costs"]}), "response_ms:10%")
    assert found.warnings == []


def test_a_gate_without_a_value_in_either_run_says_so():
    with pytest.raises(FobenchError, match=r"base and new have no value of parity \(its report says why"):
        ruled(full(), full("new"), "parity:-2pp")
    with pytest.raises(FobenchError, match="Did you mean"):
        ruled(full(), full("new"), "understanding_we:1pp")


def test_a_run_compared_with_itself_has_each_caveat_once():
    failed = full(run={"status": "stopped", "git": {"dirty": True}})
    warnings = ruled(failed, failed).warnings
    assert len(warnings) == len({*warnings}) == 2


def test_an_unchanged_metric_has_no_interval_without_width():
    for change in ruled(full(), full("new")).changes:
        ends = change.ci()
        assert ends is None or ends[0] < ends[1]
