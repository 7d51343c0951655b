"""run.json: every part of it has a type, and its configuration a range; what no run writes is told by its key."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.errors import FobenchError
from fobench.storage.run_config import RunConfig, type_error
from fobench.storage.run_folder import RunFolder
from fobench.storage.run_record import record_error

RECORD = {
    "version": 1,
    "status": "complete",
    "config": RunConfig().to_json(),
    "scenarios": ["a", "b"],
    "machine": {"cpu": "a", "cores": 2, "instruction_sets": ["avx2"], "more": 1},
    "git": {},
    "components": {"system": {"anything": [1, {"a": None}]}, "judge": None},
    "duration_s": 1.5,
    "later": "a key of another version",
}
PLAIN = json.loads(json.dumps(RECORD))


def test_what_a_run_writes_is_read(tmp_path):
    RunFolder(tmp_path / "run").create(PLAIN)
    assert RunFolder(tmp_path / "run").read_run() == PLAIN
    assert RunConfig.from_json(PLAIN["config"]) == RunConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "it has version 2, not 1"),
        ({"status": "done"}, "status has the wrong type: invalid enum value 'done'"),
        ({"scenarios": ["a", "a"]}, "scenarios holds an id twice"),
        ({"scenarios": None}, "scenarios has the wrong type"),
        ({"machine": {"cores": "two"}}, "machine.cores has the wrong type: expected int"),
        ({"packages": {"torch": 2}}, "packages[...] has the wrong type: expected str"),
        ({"components": []}, "components has the wrong type"),
        ({"duration_s": -1}, "duration_s is -1; it must be at least 0"),
        (
            {"config": {"limit": 10**20}},
            "limit is 100000000000000000000; it must be a whole number or none, from 1 to 100,000",
        ),
        ({"config": {"seed": -1}}, "seed is -1; it must be a whole number from 0 to"),
        ({"config": {"suites": [""]}}, "suites is ['']; it must be a text that is not empty"),
    ],
)
def test_what_no_run_writes_is_told(changes, message):
    assert (record_error({**PLAIN, **changes}) or "").startswith(message)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"limit": value} for value in (0, -1, 10**20, 1.5, True)),
        *({"workers": value} for value in (0, 10**6)),
        *({"seed": value} for value in (-1, 2**64, 10**400)),
        *({"time_limit_s": value} for value in (0, -1, float("nan"), float("inf"), 1e10)),
        *({"margin": value} for value in (0.0, float("nan"), 101)),
        *({"playback_delay_ms": value} for value in (-1, 10**9)),
        *({"echo_db": value} for value in (float("nan"), float("-inf"))),
        *({"backbone": value} for value in ("", "a\0b", "half \ud800", 3)),
        *({"suites": value} for value in (["a\0b"], "controls", [1])),
    ],
)
def test_a_configuration_out_of_range_is_refused_before_a_run(wrong):
    assert type_error(wrong)
    with pytest.raises(FobenchError, match=rf"configuration is invalid: {next(iter(wrong))} is"):
        RunConfig.from_json(wrong)


@given(
    limit=st.none() | st.integers(1, 100_000),
    workers=st.integers(1, 256),
    seed=st.integers(0, 2**63 - 1),
    time_limit_s=st.floats(0.001, 86_400),
)
def test_what_is_in_range_comes_back_from_json(limit, workers, seed, time_limit_s):
    config = RunConfig(limit=limit, workers=workers, seed=seed, time_limit_s=time_limit_s)
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(
    key=st.sampled_from(list(PLAIN)), value=st.sampled_from([None, True, -1, 0.5, 2**62, "x", [], {}, [1], {"a": []}])
)
def test_any_value_is_usable_or_told(key, value):
    told = record_error({**PLAIN, key: value})
    assert told is None or told


def test_options_without_a_reference_asr_are_refused():
    with pytest.raises(FobenchError, match=r"--judge none takes no --judge-args \(name\)"):
        RunConfig(judge="none", judge_args={"name": "tiny"}).judge_spec()
    assert RunConfig(judge="none").judge_spec() is None
