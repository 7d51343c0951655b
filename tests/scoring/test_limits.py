"""Absolute limits: what is written, what holds, and what has no value."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.errors import FobenchError
from fobench.scoring.limits import Limit, outcomes

TOTALS = (
    Score("response_ms", 1, 800.0, "ms", 40, detail={"p90": 1100.0, "p99": None, "groups": {}}),
    Score("yield_rate", 1, 0.9, "share", 20),
    Score("parity_s2s", 1, 0.82, "ratio", 20),
    Score("rtf_input", 1, None, "ratio", 0, reason="no compute time"),
)
RESULTS = Results(Path(), {}, (), (), TOTALS)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("response_ms<=800", True),
        ("response_ms<800", False),
        ("response_ms.p90 <= 1,100 ms", True),
        ("response_ms.p90<=1099.9", False),
        ("yield_rate>=90%", True),
        ("yield_rate>=0.95", False),
        ("parity>=80%", True),
        ("rtf_input<=1", False),
        ("response_ms.p99<=2000", False),
    ],
)
def test_a_limit_is_kept_or_not(text, kept):
    (outcome,) = outcomes([text], RESULTS)
    assert outcome.kept is kept
    assert bool(outcome.why) is not kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("response_ms", "write it as"),
        ("response_ms=800", "write it as"),
        ("response_ms<=", "write it as"),
        ("<=800", "write it as"),
        ("respons_ms<=800", "Did you mean 'response_ms'"),
        ("response_ms.p95<=800", "Unknown part of response_ms"),
        ("response_ms<=8s", "in 'ms', not 's'"),
    ],
)
def test_what_is_no_limit_is_told(text, message):
    with pytest.raises(FobenchError, match=message):
        outcomes([text], RESULTS)


def test_a_figure_without_a_value_says_why():
    (outcome,) = outcomes(["rtf_input<=1"], RESULTS)
    assert outcome.value is None
    assert outcome.why == "rtf_input has no value: no compute time"


@given(st.text(max_size=30))
def test_any_text_is_a_limit_or_a_clear_error(text):
    try:
        assert Limit.parse(text).metric
    except FobenchError as error:
        assert "write it as" in str(error)
