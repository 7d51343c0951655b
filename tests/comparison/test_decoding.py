"""Runs whose LLM computes in another numeric form, or decodes by another rule, are not compared."""

import pytest

from fobench.comparison.compatibility import mismatches
from tests.support.snapshots import accuracy, snapshot


def run(name="smollm2-135m", dtype="mixed", **more):
    about = {"backbone": name, "dtype": dtype, **more}
    return snapshot(accuracy_s2t=accuracy([1, 0]), run={"components": {"system": {"parts": {"backbone": about}}}})


def found(base, new):
    return [str(one) for one in mismatches(base, new)]


def test_one_llm_in_two_numeric_forms_is_refused():
    assert found(run(), run(dtype="int4")) == ["numeric form of the LLM: mixed in the first, int4 in the second"]


def test_two_llms_may_have_their_own_forms():
    assert found(run(), run("qwen2-7b", "bfloat16")) == []


def test_two_rules_of_decoding_are_refused():
    new = run(generation="no-repeat-4")
    assert found(run(generation="greedy"), new) == ["generation: greedy in the first, no-repeat-4 in the second"]
    assert found(run(), new) == ["generation: greedy in the first, no-repeat-4 in the second"]  # before it was recorded
    assert found(new, run("qwen2-7b")) == ["generation: no-repeat-4 in the first, greedy in the second"]
    assert found(new, new) == found(run(), run(generation="greedy")) == []


@pytest.mark.parametrize("system", [None, {}, [], {"parts": None}, {"parts": []}, {"parts": {"backbone": "x"}}])
def test_a_system_that_does_not_tell_of_its_llm_is_compared(system):
    other = snapshot(accuracy_s2t=accuracy([1, 0]), run={"components": {"system": system}})
    assert found(run(generation="no-repeat-4"), other) == []
