"""What a metric of another package may return."""

import math

import hypothesis
import pytest
from hypothesis import strategies as st

from fobench.api.types import Score
from fobench.scoring.hosted_metric import checked_score

GOOD = {"metric": "mine", "version": 1, "value": 0.5, "unit": "share", "n": 3, "better": "higher"}


def test_a_good_score_is_as_it_was():
    score = Score(**GOOD, ci=(0.1, 0.9), detail={"group": "a"})
    assert checked_score(score, "mine", "score()") == score


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": math.nan},
        {"value": "many"},
        {"n": -1},
        {"n": 0.5},
        {"metric": "other"},
        {"better": "up"},
        {"ci": (0.1,)},
        {"detail": {"x": object}},
        {"detail": [1]},
        {"version": 10**30},
        {"reason": 5},
    ],
    ids=str,
)
def test_a_score_that_cannot_be_recorded_is_refused(wrong):
    with pytest.raises((ValueError, TypeError), match=r"^score\(\)"):
        checked_score(Score(**{**GOOD, **wrong}), "mine", "score()")


def test_something_else_than_a_score_is_refused():
    with pytest.raises(TypeError, match="must return a Score, not NoneType"):
        checked_score(None, "mine", "score()")


ANY = st.none() | st.integers() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)


@hypothesis.given(st.fixed_dictionaries(dict.fromkeys(("value", "n", "reason", "ci", "detail", "unit"), ANY)))
def test_a_score_of_any_values_is_finite_or_refused(values):
    try:
        checked = checked_score(Score(**{**GOOD, **values}), "mine", "score()")
    except (ValueError, TypeError):
        return
    assert checked.value is None or math.isfinite(checked.value)
    assert checked.value is not None or checked.reason
