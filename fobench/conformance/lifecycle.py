"""Checks of a component's lifecycle: its memory is released, and with offline=true it does not access the network."""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fobench.api import registry
from fobench.conformance.checks import LIFECYCLE, Probe, need
from fobench.errors import FobenchError, first_line

HEAVY = ("backbones", "codecs")  # kinds whose components hold weights
OFFLINE = "offline"
PIP_DOWNLOADS = ("download", "install")  # pip commands that access the network

_contacted: list[str] | None = None  # hosts contacted while `watch_network` is active, else None
_hook_installed = False


class LifecycleChecks:
    """The lifecycle probes of a component of a kind in `HEAVY`. They run last: the first one releases the component."""

    def __init__(self, kind: str, name: str, options: Mapping[str, Any], component: Any) -> None:
        factory, self._leading = registry.find(kind, name)
        self._factory, self._options = factory, options
        self._offline = OFFLINE in registry.option_types(factory, skip=len(self._leading))
        slotted = type(component).__weakrefoffset__ == 0
        self._component = None if slotted else weakref.ref(component)

    def probes(self, release: Callable[[], None]) -> Sequence[tuple[str, Probe]]:
        """[(label, probe)]. `release` drops the conformance run's own references to the component."""
        release_label, offline_label = LIFECYCLE
        checks: list[tuple[str, Probe]] = [(release_label, lambda: self.check_release(release))]
        return [*checks, (offline_label, self.check_offline)] if self._offline else checks

    def check_release(self, release: Callable[[], None]) -> str:
        """No reference to the component remains after its last use, unless its factory returns a shared instance."""
        if self._component is None:
            return "not checked: its class has __slots__ without __weakref__"
        component = self._component()
        if (close := getattr(component, "close", None)) is not None:
            close()
        del component, close
        release()
        gc.collect()
        if self._component() is None:
            return "released after its last use"
        if self._factory(*self._leading, **self._options) is self._component():
            return "a shared instance, kept by its factory"
        holders = sorted({type(holder).__name__ for holder in gc.get_referrers(self._component())} - {"frame"})
        need(False, f"it is still referenced after its last use (by {', '.join(holders)}): its weights stay in memory")
        return ""

    def check_offline(self) -> str:
        """Created with offline=true, the component contacts no host; missing files may be an error."""
        with watch_network() as contacted:
            try:
                self._factory(*self._leading, **{**self._options, OFFLINE: True})
                finding = "created from local files"
            except FobenchError as error:
                finding = f"refused: {first_line(error)}"
        need(not contacted, f"created with offline=true, it contacted {', '.join(dict.fromkeys(contacted))}")
        return finding


@contextlib.contextmanager
def watch_network() -> Iterator[list[str]]:
    """Yields the list of hosts that this process contacts meanwhile; `pip` stands for its downloads."""
    global _contacted, _hook_installed
    if not _hook_installed:
        sys.addaudithook(_audit_hook)  # permanent: audit hooks cannot be removed
        _hook_installed = True
    contacted: list[str] = []
    _contacted = contacted
    try:
        yield contacted
    finally:
        _contacted = None


def _audit_hook(event: str, args: tuple[Any, ...]) -> None:
    if _contacted is None:
        return
    if event == "socket.connect" and isinstance(args[1], tuple):
        _contacted.append(str(args[1][0]))
    elif event == "socket.getaddrinfo" and args[0]:
        _contacted.append(str(args[0]))
    elif event == "subprocess.Popen" and any(str(word) in PIP_DOWNLOADS for word in args[1] or ()):
        _contacted.append("pip")
