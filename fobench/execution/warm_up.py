"""The warm-up: one conversation before those that count, as first calls of a model are slower than all others."""

from __future__ import annotations

from dataclasses import replace

from fobench.api.scenario import Scenario
from fobench.api.types import NS_PER_S
from fobench.errors import describe_error
from fobench.simulation import replay
from fobench.simulation.clock import Clock
from fobench.simulation.driver import SystemDriver

PATIENCE_NS = 5 * NS_PER_S  # for a reply


def warm_up(scenario: Scenario, driver: SystemDriver, clock: Clock) -> str | None:
    """Replays a scenario up to the first audio and discards it. Returns what went wrong, None if nothing did: it raises nothing."""
    impatient = replace(scenario, patience_ns=PATIENCE_NS)
    try:
        failure = replay.replay(impatient, driver, clock, until_audio=True).trace.failure
    except Exception as error:  # the conversations that count will tell
        return describe_error(error)
    return None if failure is None else f"{failure.kind}: {failure.message}"
