"""A check, its outcome, and the exception that a broken contract raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Probe = Callable[[], str]
MAKING = "can be made"  # the check before all probes
ENDINGS = ("memory comes back", "offline, it asks nobody")  # those after


@dataclass(frozen=True, slots=True)
class Check:
    """One probe's verdict: `message` says what was found, or what is wrong and where."""

    name: str
    ok: bool
    message: str
    seconds: float


class ContractViolation(Exception):
    """A contract is not kept; the message says how."""


def need(condition: object, message: str) -> None:
    """Raises `ContractViolation(message)` unless the condition holds."""
    if not condition:
        raise ContractViolation(message)
