"""Unlike runs: what makes two runs not comparable, and what is only told."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fobench.errors import FobenchError
from tests.support.snapshots import LATE, RUN, full, ruled

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
