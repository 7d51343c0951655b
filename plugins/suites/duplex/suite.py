"""The suite: families and their controls in turn, so that every prefix of it is a fair subset."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from fobench.api import registry
from fobench.api.scenario import CONTROL, Expect, Scenario
from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError, unknown
from fobench_plugins.suites.audio_turns import item_seed
from fobench_plugins.suites.duplex.families import FAMILIES
from fobench_plugins.suites.duplex.speaker_assignment import SpeakerAssignment, SpeakerPool, troupe
from fobench_plugins.suites.duplex.synthetic_tones import SyntheticTones
from fobench_plugins.suites.scenario_spec import PATIENCE_NS, VOICE

Sound = Literal["speech", "tones"]
ENDING_MUTE = ("stop", "noise")  # roles after which, at a scenario's end, nothing is to be said
WATCHED_NS = 5 * NS_PER_S  # how long it is watched that nothing is


class DuplexSuite:
    """`count` scenarios of each family, each followed by its control. See the factory for the options."""

    def __init__(
        self, families: str | None, count: int, controls: bool, sound: Sound, voice: str, speakers: str | None
    ) -> None:
        self.families = [name.strip() for name in families.split(",")] if families else list(FAMILIES)
        for name in self.families:
            if name not in FAMILIES:
                raise unknown("family of suite 'duplex'", name, FAMILIES)
        if count < 1:
            raise FobenchError(f"Suite 'duplex' needs a count of at least 1, not {count}.")
        self.count, self.controls, self.sound, self.voice = count, controls, sound, voice
        self._speakers = tuple(name.strip() for name in speakers.split(",")) if speakers else ()
        registry.find("voices", voice)

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        for place in range(self.count):
            for family in self.families:
                for control in (False, True) if self.controls else (False,):
                    yield self._scenario(family, place, control, seed)

    @cached_property
    def troupe(self) -> SpeakerPool:
        known = self._speakers or (() if self.voice == VOICE else registry.create("voices", self.voice).speakers)
        return troupe(self.voice, tuple(known))

    def _scenario(self, family: str, place: int, control: bool, seed: int) -> Scenario:
        name, ending = f"{family}-{place + 1:02d}", CONTROL if control else ""
        own = item_seed(seed, name)  # a control draws as its pair does
        cast = SyntheticTones(own) if self.sound == "tones" else SpeakerAssignment(self.troupe, own, place)
        made = FAMILIES[family]
        turns = tuple((made.control if control else made.event)(cast))
        return Scenario(
            id=name + ending,
            suite="duplex",
            seed=own,
            turns=turns,
            expect=Expect(answers=cast.answers, family=family + ending),
            tags={"family": family + ending, **cast.tags},
            patience_ns=WATCHED_NS if turns[-1].role in ENDING_MUTE else PATIENCE_NS,
        )
