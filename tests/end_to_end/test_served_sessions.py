"""Four long conversations with a server neither drift nor make it grow (FOBENCH_ENDURANCE_MINUTES, 10 by default)."""

import os
import sys

import pytest

from tests.end_to_end.served_sessions import Endurance, endure


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of another process is read from /proc")
def test_sessions_endure():
    found = endure(float(os.environ.get("FOBENCH_ENDURANCE_MINUTES", "10")))
    print("\n".join(found.rows()))
    assert found.problems() == []


def endurance(late_ms=0.0, grown_mb=0.0, answered=20):
    """Two minutes in which the second is later, and larger, by so much."""
    values = [(float(at), late_ms * (at >= 60)) for at in range(0, 120, 6)]
    memory = [(float(at), 90.0 + grown_mb * (at >= 90)) for at in range(120)]
    return Endurance(2.0, values, values[:answered], memory, asked=20)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (endurance(late_ms=51.0), "51.0 ms later at the end"),
        (endurance(grown_mb=21.0), "the server grew by 21.0 MB"),
        (endurance(answered=19), "1 of 20 questions were not answered"),
    ],
)
def test_drift_growth_and_silence_are_found(found, problem):
    assert any(problem in text for text in found.problems())
    assert endurance(late_ms=49.0, grown_mb=19.0).problems() == []
