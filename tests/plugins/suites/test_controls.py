"""The controls: users of exactly timed tones."""

import numpy as np
import pytest

from fobench import audio
from fobench.api.scenario import Anchor
from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError
from tests.plugins.suites.suite_sounds import create, scenarios

pytestmark = pytest.mark.usefixtures("home")


def test_controls_take_their_families_in_turn():
    found = scenarios("controls", count=5, families="question,backchannel")
    assert [s.id for s in found] == ["question-01", "backchannel-01", "question-02", "backchannel-02", "question-03"]
    assert [s.expect.family for s in found][:2] == ["question", "backchannel"]
    assert [turn.role for turn in found[1].turns] == ["question", "backchannel"]


def test_controls_interrupt_one_second_into_the_reply():
    (found,) = scenarios("controls", count=1, families="interruption")
    assert [turn.role for turn in found.turns] == ["question", "interrupt"]
    assert found.turns[1].anchor == Anchor("reply_audible", NS_PER_S)


FAMILIES = "question,interruption,backchannel,noise,stop,pause,silence,twice,early,late"


def test_controls_are_timed_to_the_sample():
    for scenario in scenarios("controls", count=10, families=FAMILIES):
        for turn in scenario.turns:
            chunk = audio.load(turn.audio)
            assert (turn.start_ns, turn.end_ns) == (0, chunk.duration_ns)
            if scenario.expect.family != "silence":
                loud = np.flatnonzero(np.abs(chunk.samples) > 0.01)
                assert loud[0] == 0
                assert loud[-1] >= len(chunk.samples) - 3  # the tone may end near a zero crossing


def test_controls_follow_the_seed():
    assert scenarios("controls", seed=3) == scenarios("controls", seed=3)
    assert scenarios("controls", seed=3) != scenarios("controls", seed=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"families": "question,noize"}, "Did you mean 'noise'"), ({"count": 0}, "from 1 to 100,000")],
)
def test_controls_refuse_what_cannot_be(options, message):
    with pytest.raises(FobenchError, match=message):
        create("controls", **options)
