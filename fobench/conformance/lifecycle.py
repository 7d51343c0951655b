"""How a component is made and let go of: its memory comes back, and told to be offline it asks nobody."""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fobench.api import registry
from fobench.conformance.checks import ENDINGS, Probe, need
from fobench.errors import FobenchError

HEAVY = ("backbones", "codecs")  # kinds whose components hold weights
OFFLINE = "offline"
FETCHING = ("download", "install")  # what pip is asked to do

_asked: list[str] | None = None  # who was asked, while somebody watches
_watching = False


class LifecycleChecks:
    """The probes of how a component of `HEAVY` is made. `probes` come last: the first of them ends the component."""

    def __init__(self, kind: str, name: str, options: Mapping[str, Any], component: Any) -> None:
        factory, self._leading = registry.find(kind, name)
        self._factory, self._options = factory, options
        self._offline = OFFLINE in registry.option_types(factory, skip=len(self._leading))
        slotted = type(component).__weakrefoffset__ == 0
        self._component = None if slotted else weakref.ref(component)

    def probes(self, let_go: Callable[[], None]) -> Sequence[tuple[str, Probe]]:
        """`let_go` drops whatever the examination itself holds of the component."""
        released, quiet = ENDINGS
        found: list[tuple[str, Probe]] = [(released, lambda: self.released(let_go))]
        return [*found, (quiet, self.quiet)] if self._offline else found

    def released(self, let_go: Callable[[], None]) -> str:
        """Nothing holds the component when nobody uses it; a factory that gives out one for all is told so."""
        if self._component is None:
            return "not watched: its class has __slots__ without __weakref__"
        component = self._component()
        if (close := getattr(component, "close", None)) is not None:
            close()
        del component, close
        let_go()
        gc.collect()
        if self._component() is None:
            return "nothing holds it"
        if self._factory(*self._leading, **self._options) is self._component():
            return "one for all: its factory keeps it"
        holders = sorted({type(holder).__name__ for holder in gc.get_referrers(self._component())} - {"frame"})
        need(False, f"something still holds it after its last use ({', '.join(holders)}): its weights stay in memory")
        return ""

    def quiet(self) -> str:
        """Made with offline=true: what is missing may be an error, but nobody is asked for it."""
        with watched() as asked:
            try:
                self._factory(*self._leading, **{**self._options, OFFLINE: True})
                told = "made from what is here"
            except FobenchError as error:
                told = f"refused: {str(error).splitlines()[0]}"
        need(not asked, f"made with offline=true, it asked {', '.join(dict.fromkeys(asked))}")
        return told


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Whom this process asks over a network meanwhile: hosts, and pip where it fetches."""
    global _asked, _watching
    if not _watching:
        sys.addaudithook(_hear)  # for good: there is no way to take one back
        _watching = True
    asked: list[str] = []
    _asked = asked
    try:
        yield asked
    finally:
        _asked = None


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if _asked is None:
        return
    if event == "socket.connect" and isinstance(args[1], tuple):
        _asked.append(str(args[1][0]))
    elif event == "socket.getaddrinfo" and args[0]:
        _asked.append(str(args[0]))
    elif event == "subprocess.Popen" and any(str(word) in FETCHING for word in args[1] or ()):
        _asked.append("pip")
