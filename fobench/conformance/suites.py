"""Conformance of suites."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import islice

from fobench import audio
from fobench.api.components import NotedSuite, Suite
from fobench.api.scenario import Scenario
from fobench.api.types import NS_PER_S
from fobench.audio.facts import audio_notes
from fobench.conformance.checks import Probe, need
from fobench.errors import FobenchError
from fobench.scoring.choice_parsing import expectation_problem
from fobench.scoring.language_notes import language_note

SEED = 7
MAX_SCENARIOS = 40  # most scenarios of a suite that are checked
MAX_NOTED = 2000  # most scenarios whose recordings are looked at for notes

# ---- Suites ----------------------------------------------------------------------------------------------------------


def suite_probes(suite: Suite) -> Sequence[tuple[str, Probe]]:
    subject = _SuiteProbes(suite)
    return (
        ("scenarios", subject.count),
        ("answers", subject.answers),
        ("audio", subject.audio),
        ("JSON round trip", subject.json),
        ("same seed, same scenarios", subject.repeatable),
    )


class _SuiteProbes:
    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.more = False  # whether there are more scenarios than are checked

    @cached_property
    def scenarios(self) -> list[Scenario]:
        found = list(islice(self.suite.scenarios(SEED), MAX_SCENARIOS + 1))
        self.more = len(found) > MAX_SCENARIOS
        return found[:MAX_SCENARIOS]

    def count(self) -> str:
        need(self.scenarios, "holds no scenario")
        for scenario in self.scenarios:
            need(isinstance(scenario, Scenario), f"yields a {type(scenario).__name__}, not a Scenario")
            need(isinstance(scenario.id, str) and scenario.id, f"id must be text, not {scenario.id!r}")
            need(scenario.turns, f"{scenario.id}: has no turn")
        ids = [scenario.id for scenario in self.scenarios]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        need(not twice, f"ids occur twice: {', '.join(twice[:5])}")
        note = language_note(self.scenarios)
        return f"{len(ids)} checked" + (" (of more)" if self.more else "") + (f". {note}" if note else "")

    def answers(self) -> str:
        """A reply can be right: each answer has words and, of a multiple-choice question, is a choice."""
        for scenario in self.scenarios:
            problem = expectation_problem(scenario.expect.answers, scenario.expect.choices)
            need(not problem, f"{scenario.id}: {problem}")
        scored = sum(bool(scenario.expect.answers) for scenario in self.scenarios)
        return f"{scored} of {len(self.scenarios)} have accepted answers"

    def audio(self) -> str:
        """The audio is readable, its hash is right, and its speech bounds are inside."""
        total = 0
        for scenario in self.scenarios:
            for index, turn in enumerate(scenario.turns):
                where = f"{scenario.id}, turn {index}"
                chunk = audio.load(turn.audio)
                digest = audio.sha256(chunk.samples, chunk.rate_hz)
                need(
                    digest == turn.sha256, f"{where}: sha256 is {turn.sha256[:12]!r}, that of the audio {digest[:12]!r}"
                )
                start, end = turn.start_ns or 0, chunk.duration_ns if turn.end_ns is None else turn.end_ns
                need(0 <= start < end <= chunk.duration_ns + 1, f"{where}: speech {start} to {end} ns leaves the file")
                total += chunk.duration_ns
        notes = audio_notes(self.scenarios)
        if isinstance(self.suite, NotedSuite):  # of recordings, which differ more than rendered speech
            notes = [*self.suite.notes, *audio_notes(islice(self.suite.scenarios(SEED), MAX_NOTED))]
        return " ".join([f"{total / NS_PER_S:.0f} s." if notes else f"{total / NS_PER_S:.0f} s", *notes])

    def json(self) -> str:
        for scenario in self.scenarios:
            try:
                back, why = Scenario.from_json(json.loads(json.dumps(scenario.to_json()))), ""
            except (FobenchError, TypeError, ValueError) as error:
                back, why = None, f": {error}"
            need(back == scenario, f"{scenario.id}: differs after JSON (use text, tuples and numbers only){why}")
        return "unchanged"

    def repeatable(self) -> str:
        again = list(islice(self.suite.scenarios(SEED), MAX_SCENARIOS))
        for one, other in zip(self.scenarios, again, strict=False):
            need(one == other, f"{one.id}: differs the second time with the same seed")
        need(len(again) == len(self.scenarios), f"{len(self.scenarios)} scenarios became {len(again)}")
        return "equal twice"
