"""Which scenarios a run's configuration asks for, and their digest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from fobench.api import registry
from fobench.api.scenario import Scenario
from fobench.audio.facts import audio_notes
from fobench.errors import FobenchError, unknown
from fobench.execution.suite_reader import scenarios
from fobench.storage.run_config import RunConfig


def select(config: RunConfig) -> list[Scenario]:
    """The scenarios of a configuration, in suite order. Raises `FobenchError` if there are none, or unknown ids."""
    return _selected(config)[0]


def select_with_notes(config: RunConfig) -> tuple[list[Scenario], list[str]]:
    """The scenarios of `select`, and what a reader must know of them: what suites left out, and flaws of the audio."""
    scenarios, notes = _selected(config)
    return scenarios, [*notes, *audio_notes(scenarios)]


def _selected(config: RunConfig) -> tuple[list[Scenario], list[str]]:
    if not config.suites:
        raise FobenchError(f"No suite is given. Choices: {', '.join(sorted(registry.factories('suites')))}.")
    found: list[Scenario] = []
    notes: list[str] = []
    specs = config.suite_specs()
    wanted = min(config.limit, sys.maxsize) if config.limit and not config.sample_ids else None
    for spec in specs:
        prefix = f"{spec.name}/" if len(specs) > 1 else ""
        with contextlib.closing(scenarios(spec, config.seed, config.time_limit_s, notes)) as read:
            found += [replace(scenario, id=prefix + scenario.id) for scenario in islice(read, wanted)]
    if len({scenario.id for scenario in found}) < len(found):
        raise FobenchError(
            f"The suites {', '.join(config.suites)} hold scenarios of the same id: name each suite once."
        )
    if config.sample_ids:
        ids = {scenario.id: scenario for scenario in found}
        for wanted_id in config.sample_ids:
            if wanted_id not in ids:
                raise unknown("sample id", wanted_id, ids)
        found = [ids[wanted_id] for wanted_id in dict.fromkeys(config.sample_ids)]
    if not found:
        raise FobenchError(f"The suites {', '.join(config.suites)} hold no scenario.")
    return found, notes


def digest(scenarios: Sequence[Scenario]) -> str:
    """A hash of what the scenarios are, wherever their audio files lie."""
    without_paths = [replace(s, turns=tuple(replace(turn, audio="") for turn in s.turns)).to_json() for s in scenarios]
    return hashlib.sha256(json.dumps(without_paths, sort_keys=True).encode()).hexdigest()
