"""The suite `duplex`: categories, conditions and controls in turn, so that every prefix of it is balanced."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from fobench.api import registry
from fobench.api.scenario import CONDITION, CONTROL, Expect, Scenario
from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError, unknown
from fobench_plugins.suites import conditions
from fobench_plugins.suites.audio_turns import item_seed
from fobench_plugins.suites.duplex.families import FAMILIES
from fobench_plugins.suites.duplex.speaker_assignment import SpeakerAssignment, SpeakerPool, speaker_pool
from fobench_plugins.suites.duplex.synthetic_tones import SyntheticTones
from fobench_plugins.suites.scenario_spec import PATIENCE_NS, VOICE

Sound = Literal["speech", "tones"]
SILENT_ENDINGS = ("stop", "noise")  # roles of a last turn after which the system must stay silent
OBSERVATION_NS = 5 * NS_PER_S  # duration of the check that the system stays silent


class DuplexSuite:
    """`count` scenarios of each category under each condition, each followed by its control. See the factory for the options.

    Raises `FobenchError` for an unknown category, voice or condition, and for conditions of tones.
    """

    def __init__(
        self,
        families: str | None,
        count: int,
        controls: bool,
        sound: Sound,
        voice: str,
        speakers: str | None,
        condition: str | None = None,
    ) -> None:
        self.families = [name.strip() for name in families.split(",")] if families else list(FAMILIES)
        for name in self.families:
            if name not in FAMILIES:
                raise unknown("category of suite 'duplex'", name, FAMILIES)
        self.count, self.controls, self.sound, self.voice = count, controls, sound, voice
        self._speakers = tuple(name.strip() for name in speakers.split(",")) if speakers else ()
        registry.find("voices", voice)
        self.conditions = conditions.parse(condition, voice)
        if self.conditions and sound == "tones":
            raise FobenchError("Conditions are of speech: leave out sound=tones or condition.")

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        wanted = itertools.product(range(self.count), self.families, self.conditions or ("",))
        for index, family, condition in wanted:
            for control in (False, True) if self.controls else (False,):
                yield self._scenario(family, index, condition, control, seed)

    @cached_property
    def speaker_pool(self) -> SpeakerPool:
        speakers = self._speakers or (() if self.voice == VOICE else registry.create("voices", self.voice).speakers)
        return speaker_pool(self.voice, tuple(speakers))

    def _scenario(self, family: str, index: int, condition: str, control: bool, seed: int) -> Scenario:
        name, suffix = f"{family}-{index + 1:02d}", CONTROL if control else ""
        scenario_seed = item_seed(seed, name)  # the same for the control, which draws the same values
        make = (
            SyntheticTones(scenario_seed)
            if self.sound == "tones"
            else SpeakerAssignment(self.speaker_pool, scenario_seed, index, condition)
        )
        definition = FAMILIES[family]
        turns = tuple((definition.control if control else definition.event)(make))
        return Scenario(
            id=conditions.paired_id(name, condition) + suffix,
            suite="duplex",
            seed=scenario_seed,
            turns=conditions.turns_under(condition, turns, scenario_seed),
            expect=Expect(answers=make.answers, family=family + suffix),
            tags={"family": family + suffix, **make.tags, **({CONDITION: condition} if condition else {})},
            patience_ns=OBSERVATION_NS if turns[-1].role in SILENT_ENDINGS else PATIENCE_NS,
        )
