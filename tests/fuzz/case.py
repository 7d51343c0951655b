"""One input of the campaign: what is called with it, and what must become of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from fobench.errors import FobenchError

Expected = Literal["refused", "accepted", "either"]
LONGEST_MESSAGE = 4000  # characters; a sentence that lists choices is long


class Nonsense(Exception):
    """Raised by a case whose result is wrong, although nothing was raised: an oracle of its surface."""


@dataclass(slots=True)
class Case:
    """An input. `call` raises `FobenchError` where it refuses it; `files`: what reproduces it, by name."""

    call: Callable[[], Any]
    about: str
    expected: Expected = "either"
    files: dict[str, bytes] = field(default_factory=dict)

    def fault(self) -> str:
        """What is wrong with the outcome; empty if it is as it must be."""
        try:
            self.call()
        except FobenchError as error:
            return self._fault_of_refusal(str(error))
        except Nonsense as error:
            return f"nonsense: {error}"
        except BaseException:
            return f"traceback: {traceback.format_exc(limit=-12)}"
        return "accepted, although it is invalid" if self.expected == "refused" else ""

    def _fault_of_refusal(self, message: str) -> str:
        if self.expected == "accepted":
            return f"refused, although it is valid: {message}"
        if not message.strip() or "Traceback (most" in message or len(message) > LONGEST_MESSAGE:
            return f"the message is no sentence: {message[:500]!r}"
        return ""


@dataclass(frozen=True, slots=True)
class Surface:
    """A parser: `make(rng, folder)` writes an input into the folder. `weight`: its share of the inputs."""

    name: str
    make: Callable[[Random, Path], Case]
    weight: int = 10
    limit_s: float = 10.0  # CPU time of one input
