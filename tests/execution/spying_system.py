"""A system that searches its own process for words that it should not know. It runs where systems run."""

from __future__ import annotations

import gc
import os
import sys

from fobench.api import registry
from fobench.execution.system_driver import LocalDriver

HALVES = ("XYZ", "ZY")  # a marker is put together where it is searched for: this file must not hold it


def marker(name: str) -> str:
    return "-".join((*HALVES, name))


class Spy(LocalDriver):
    """A scripted system's driver that also tells what it finds. `planted`: for the proof that the search finds things."""

    def __init__(self, planted: str = "") -> None:
        super().__init__(registry.spec("systems", "scripted:late", {"delay_ms": 700}))
        self._kept = {"planted": planted} if planted else {}

    def where(self) -> int:
        return os.getpid()

    def found(self, names: list[str]) -> list[str]:
        """The names whose markers are anywhere in this process: in objects, arguments, variables."""
        texts = {*sys.argv, *os.environ.values()}
        waiting, seen = gc.get_objects(), set()
        while waiting:  # the collector does not track what holds texts only: it is reached from what it tracks
            for held in gc.get_referents(waiting.pop()):
                if isinstance(held, str | bytes):
                    text = held if isinstance(held, str) else held.decode("latin-1")
                    texts.update([text] if HALVES[0] in text else [])
                elif isinstance(held, dict | tuple | list | set | frozenset) and id(held) not in seen:
                    seen.add(id(held))
                    waiting.append(held)
        return [name for name in names if any(marker(name) in text for text in texts)]
