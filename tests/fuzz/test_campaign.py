"""The fuzz campaign finds what is planted, says how to see it again, and draws the same inputs for the same seed."""

import json
import os
import time
from random import Random

import pytest

from fobench.errors import FobenchError
from tests.fuzz.campaign import Campaign
from tests.fuzz.case import Case, Nonsense, Surface
from tests.fuzz.mutations import mutate_json

DATA = {"version": 1, "items": [{"name": "a", "size": 0.5}, {"name": "b", "size": 2}], "more": {}}


def raising(error):
    def call():
        raise error

    return call


FAULTS = {
    "traceback": ("traceback", lambda: {}["missing"], "either"),
    "accepted": ("accepted, although", lambda: None, "refused"),
    "refused": ("refused, although", raising(FobenchError("No.")), "accepted"),
    "nonsense": ("nonsense: two", raising(Nonsense("two")), "either"),
    "wordless": ("no sentence", raising(FobenchError("")), "refused"),
    "memory": ("MemoryError", lambda: bytes(1 << 40), "either"),
    "crash": ("crash", lambda: os._exit(3), "either"),
    "hang": ("hang", lambda: time.sleep(60), "either"),
}


def surface(name, call, expected, limit_s=5.0):
    return Surface(name, lambda rng, folder: Case(call, f"{rng.random():.6f}", expected), 1, limit_s)


@pytest.mark.subprocess
@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_found_and_the_campaign_goes_on(kind):
    fault, call, expected = FAULTS[kind]
    fine = surface("fine", raising(FobenchError("No.")), "refused")
    campaign = Campaign([surface(kind, call, expected, limit_s=0.1 if kind == "hang" else 5.0), fine], seed=1)
    campaign.run(seconds=30, most=6)
    assert [finding.surface for finding in campaign.findings] == [kind] * 3
    assert all(fault in finding.fault for finding in campaign.findings)
    assert campaign.counts == {kind: 3, "fine": 3}


@pytest.mark.subprocess
def test_a_loop_ends_with_its_time():
    campaign = Campaign([surface("loop", lambda: any(False for _ in iter(int, 1)), "either", limit_s=0.5)], seed=1)
    campaign.run(seconds=30, most=1)
    assert campaign.findings[0].fault.startswith(("crash, or out of CPU time", "hang"))  # by the load of the machine


def test_equal_seeds_draw_equal_inputs(tmp_path):
    made = [
        Campaign([each], seed).case(each, 4, tmp_path).about
        for each in [surface("a", None, "either")]
        for seed in (1, 1, 2)
    ]
    assert made[0] == made[1] != made[2]


def test_every_mutation_is_what_it_says():
    """Whatever must be accepted is the same data; whatever must be refused as JSON is."""
    from fobench import outside_files

    seen = set()
    for seed in range(400):
        content, expected, about = mutate_json(Random(seed), DATA, closed=False)
        seen.add(about.split(" at ")[0][:12])
        if expected == "accepted":
            assert outside_files.parse_json(content) == DATA, about
        elif expected == "refused":
            try:
                data = outside_files.parse_json(content)
            except ValueError:
                continue
            assert json.dumps(data) != json.dumps(DATA), about
    assert len(seen) > 15
