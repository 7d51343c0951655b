"""Which scenarios a run's configuration asks for, and their digest."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from fobench.api import registry
from fobench.api.scenario import Scenario
from fobench.errors import FobenchError, unknown
from fobench.scoring.text_normalization import is_encodable
from fobench.storage.run_config import RunConfig


def select(config: RunConfig) -> list[Scenario]:
    """The scenarios of a configuration, in suite order. Raises `FobenchError` if there are none, or unknown ids."""
    if not config.suites:
        raise FobenchError(f"No suite is given. Choices: {', '.join(sorted(registry.factories('suites')))}.")
    found: list[Scenario] = []
    specs = config.suite_specs()
    wanted = min(config.limit, sys.maxsize) if config.limit and not config.sample_ids else None
    for spec in specs:
        scenarios = registry.create(spec).scenarios(config.seed)
        prefix = f"{spec.name}/" if len(specs) > 1 else ""
        found += [_checked(replace(s, id=prefix + s.id), spec.name) for s in islice(scenarios, wanted)]
    if config.sample_ids:
        ids = {scenario.id: scenario for scenario in found}
        for wanted_id in config.sample_ids:
            if wanted_id not in ids:
                raise unknown("sample id", wanted_id, ids)
        found = [ids[wanted_id] for wanted_id in dict.fromkeys(config.sample_ids)]
    if not found:
        raise FobenchError(f"The suites {', '.join(config.suites)} hold no scenario.")
    return found


def _checked(scenario: Scenario, suite: str) -> Scenario:
    if not is_encodable(json.dumps(scenario.to_json(), ensure_ascii=False)):
        raise FobenchError(f"Suite {suite!r}, scenario {scenario.id!r}: holds half a character (a lone surrogate).")
    return scenario


def digest(scenarios: Sequence[Scenario]) -> str:
    """A hash of what the scenarios are, wherever their audio files lie."""
    without_paths = [replace(s, turns=tuple(replace(turn, audio="") for turn in s.turns)).to_json() for s in scenarios]
    return hashlib.sha256(json.dumps(without_paths, sort_keys=True).encode()).hexdigest()
