"""Which worker takes which scenarios: all of them once, pairs together, the same words by the same worker."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from fobench.crew import Pending, paired
from fobench.scenario import CONTROL


def scenario(name, words):
    return SimpleNamespace(
        id=name, turns=(SimpleNamespace(text=words, sha256=f"sound of {name}"),) if words != "" else ()
    )


def suite(words, controls):
    """A scenario for each of the words, some with a control."""
    found = []
    for number, (said, control) in enumerate(zip(words, controls, strict=False)):
        found += [scenario(f"s{number}", said), *([scenario(f"s{number}{CONTROL}", said)] if control else [])]
    return found


SUITES = st.builds(
    suite, st.lists(st.sampled_from(["a", "b", "c", None, ""]), max_size=12), st.lists(st.booleans(), max_size=12)
)


@given(st.lists(st.integers(0, 20), unique=True), st.sets(st.integers(0, 20)))
def test_a_control_goes_with_its_scenario_and_none_is_lost(numbers, controls):
    scenarios = suite([str(n) for n in numbers], [n in controls for n in numbers])
    pairs = paired(scenarios)
    assert [one.id for pair in pairs for one in pair] == [one.id for one in scenarios]
    assert all(pair[0].id + CONTROL == pair[1].id for pair in pairs if len(pair) > 1)
    assert sum(len(pair) == 2 for pair in pairs) == len(controls & set(numbers))


@given(SUITES, st.lists(st.integers(0, 2), max_size=60))
def test_every_scenario_is_taken_once_and_a_lone_worker_goes_in_order(scenarios, turns):
    pending, alone = Pending(scenarios), Pending(scenarios)
    taken = [one for turn in [*turns, *[0] * len(scenarios)] for one in pending.take(turn)]
    assert sorted(one.id for one in taken) == sorted(one.id for one in scenarios) and len(pending) == 0
    order = [one.id for _ in range(len(scenarios)) for one in alone.take("worker")]
    assert order == [one.id for one in scenarios]


def test_the_same_words_go_to_the_same_worker_while_there_are_others():
    pending = Pending([scenario(f"{words}{n}", words) for n in range(3) for words in "ab"])
    assert [pending.take(worker)[0].id for worker in (1, 2, 2, 1, 1, 1)] == ["a0", "b0", "b1", "a1", "a2", "b2"]
