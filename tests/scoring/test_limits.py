"""Absolute limits: what is written, what holds, and what has no value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.types import Score
from fobench.errors import FobenchError
from fobench.scoring.limits import Limit, check, outcomes

TOTALS = (
    Score("response_ms", 1, 800.0, "ms", 40, detail={"p90": 1100.0, "p99": None, "groups": {}}),
    Score("yield_rate", 1, 0.9, "share", 20),
    Score("parity_s2s", 1, 0.82, "ratio", 20),
    Score("rtf_input", 1, None, "ratio", 0, reason="no compute time"),
    Score("loss_speaking", 1, 4.0, "points", 20),
)
UNITS = {score.metric: score.unit for score in TOTALS}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("response_ms<=800", True),
        ("response_ms<800", False),
        ("response_ms.p90 <= 1,100 ms", True),
        ("response_ms.p90<=1099.9", False),
        ("yield_rate>=90%", True),
        ("yield_rate>=0.95", False),
        ("yield_rate>=.9", True),
        ("loss_speaking<=4pp", True),
        ("loss_speaking<=3pp", False),
        ("parity>=80%", True),
        ("rtf_input<=1", False),
        ("response_ms.p99<=2000", False),
    ],
)
def test_a_limit_is_kept_or_not(text, kept):
    (outcome,) = outcomes([text], TOTALS)
    assert outcome.kept is kept
    assert bool(outcome.why) is not kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("response_ms", "write it as"),
        ("response_ms=800", "write it as"),
        ("response_ms<=", "write it as"),
        ("<=800", "write it as"),
        ("yield_rate>=0,95", "write it as"),
        ("respons_ms<=800", "Did you mean 'response_ms'"),
        ("response_ms<=90%", "in 'ms', not '%'"),
        ("response_ms<=8s", "in 'ms', not 's'"),
    ],
)
def test_what_is_no_limit_is_refused(text, message):
    with pytest.raises(FobenchError, match=message):
        check([text], UNITS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("response_ms.p95<=800", "Unknown part of response_ms"),
        ("gone_ms<=800", "Unknown metric"),
        ("response_ms<=8s", "is in"),
    ],
)
def test_what_only_the_run_can_tell_is_a_limit_that_is_not_kept(text, why):
    (outcome,) = outcomes([text], TOTALS)
    assert (outcome.kept, outcome.value) == (False, None)
    assert why in outcome.why


@given(st.floats(-1e6, 1e6))
def test_a_limit_at_the_value_is_kept_by_or_equal_alone(value):
    written = f"{value:.6f}"
    totals = [Score("response_ms", 1, float(written), "ms", 1)]
    kept = {sign: outcomes([f"response_ms{sign}{written}"], totals)[0].kept for sign in ("<=", ">=", "<", ">")}
    assert kept == {"<=": True, ">=": True, "<": False, ">": False}


def test_a_figure_without_a_value_says_why():
    (outcome,) = outcomes(["rtf_input<=1"], TOTALS)
    assert outcome.value is None
    assert outcome.why == "rtf_input has no value: no compute time"


@given(st.text(max_size=30))
def test_any_text_is_a_limit_or_a_clear_error(text):
    try:
        assert Limit.parse(text).metric
    except FobenchError as error:
        assert "write it as" in str(error)
