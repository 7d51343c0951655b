"""States of prompts that are kept: the same numbers with and without them, and only what fits."""

import pytest

from fobench_plugins.backbones import prompt_cache
from fobench_plugins.backbones.prompt_cache import PromptCache, common_prefix


class Steps:
    """A model whose state is the list of its calls, extended in place, and whose result is their number of tokens."""

    def __init__(self):
        self.calls = []

    def step(self, ids, state):
        self.calls.append(list(ids))
        state = [] if state is None else state
        state.append(tuple(ids))
        return sum(map(len, state)), state

    def prefill(self, cache, ids, ends, context=1000):
        return cache.prefill(ids, ends, self.step, list, context)


def test_only_what_follows_a_known_beginning_is_computed_and_cut_as_before():
    cache, steps = PromptCache(), Steps()
    fresh = steps.prefill(cache, [1, 2, 3, 4, 5], [2])
    assert fresh == (5, [(1, 2), (3, 4, 5)])
    steps.calls.clear()
    assert steps.prefill(cache, [1, 2, 3, 4, 5], [2]) == fresh
    assert steps.calls == [[3, 4, 5]]
    steps.calls.clear()
    next_turn = steps.prefill(cache, [1, 2, 3, 4, 5, 6, 7], [2, 5])
    assert steps.calls == [[6, 7]]
    assert next_turn == Steps().prefill(PromptCache(), [1, 2, 3, 4, 5, 6, 7], [2, 5])


def test_a_state_that_was_given_out_is_the_callers_own():
    cache, steps = PromptCache(), Steps()
    _, state = steps.prefill(cache, [1, 2, 3], [2])
    state.append("reply")
    assert steps.prefill(cache, [1, 2, 9], [2]) == (3, [(1, 2), (9,)])
    assert steps.prefill(cache, [1, 2, 3, 4], [2, 3]) == (4, [(1, 2), (3,), (4,)])


def test_another_beginning_is_not_taken_for_it():
    cache, steps = PromptCache(), Steps()
    steps.prefill(cache, [1, 2, 3], [2])
    assert steps.prefill(cache, [1, 9, 3], [2]) == (3, [(1, 9), (3,)])


def test_few_states_are_kept_and_no_long_ones():
    cache, steps = PromptCache(), Steps()
    for token in range(20):
        steps.prefill(cache, [token, 1], [1])
    assert len(cache._states) == prompt_cache.MOST
    steps.calls.clear()
    steps.prefill(cache, [7, 7, 7], [2], context=2 * prompt_cache.SHARE)
    assert set(map(len, cache._states)) == {1, 2}


@pytest.mark.parametrize(
    ("a", "b", "n"), [([], [1], 0), ([1, 2], [1, 2, 3], 2), ([1, 2, 4], [1, 2, 3], 2), ([2], [1], 0)]
)
def test_the_common_prefix(a, b, n):
    assert common_prefix(a, b) == common_prefix(b, a) == n
