"""A check with its outcome, and the exception for a broken contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Probe = Callable[[], str]
CREATION = "creation"  # label of the check before all probes
LIFECYCLE = ("memory is released", "offline: no network access")  # labels of the probes after all others


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of a probe: `message` is the finding, or the problem and its place."""

    name: str
    ok: bool
    message: str
    seconds: float


class ContractViolation(Exception):
    """A broken contract; the message describes it."""


def need(condition: object, message: str) -> None:
    """Raises `ContractViolation(message)` unless the condition holds."""
    if not condition:
        raise ContractViolation(message)
