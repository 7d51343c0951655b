"""G.711: the codes of the standard, and the nearest of them for every sample."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.audio import g711

LAWS = ("ulaw", "alaw")


@pytest.mark.parametrize("law", LAWS)
def test_every_code_comes_back(law):
    codes = bytes(range(256))
    back = g711.encode(g711.decode(codes, law), law)
    assert [code for code in range(256) if back[code] != code] == ([127] if law == "ulaw" else [])  # the negative zero


@pytest.mark.parametrize("law", LAWS)
def test_the_values_are_those_of_the_standard_library(law):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop")
    expected = np.frombuffer(getattr(audioop, f"{law}2lin")(bytes(range(256)), 2), np.int16) / 32768
    np.testing.assert_array_equal(g711.table(law), expected.astype(np.float32))


@given(st.sampled_from(LAWS), st.floats(-1.5, 1.5, width=32))
def test_the_nearest_value_is_taken(law, value):
    values = g711.table(law)
    found = g711.decode(g711.encode(np.array([value], np.float32), law), law)[0]
    assert abs(found - value) == pytest.approx(np.abs(values - value).min(), abs=1e-7)


def test_an_unknown_law_is_refused():
    with pytest.raises(ValueError, match="ulaw and alaw"):
        g711.table("zlaw")
