"""The conformance suite: does a component keep its contract? `fobench validate NAME` runs it; so can any plugin's tests.

    from fobench.conformance import check
    assert all(c.ok for c in check("backbones", "my-llm"))

A probe takes the component and returns what it found, or raises `Broken` saying what is wrong and where.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fobench import plugins
from fobench.errors import FobenchError, unknown

Probe = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Check:
    """One probe's verdict: `message` says what was found, or what is wrong and where."""

    name: str
    ok: bool
    message: str
    seconds: float


class Broken(Exception):
    """A contract is not kept; the message says how."""


def need(condition: object, message: str) -> None:
    """Raises `Broken(message)` unless the condition holds."""
    if not condition:
        raise Broken(message)


def check(kind: str, name: str, options: Mapping[str, Any] | None = None) -> list[Check]:
    """All checks of one component, made with `options`.

    Raises `FobenchError` for an unknown name or option, and for what has to be installed or fetched first.
    """
    factory, leading = plugins.find(kind, name)
    converted = plugins.checked(kind, name, options or {})
    start = time.perf_counter()
    try:
        component = factory(*leading, **converted)
    except FobenchError:
        raise
    except Exception as error:  # a plugin's factory may fail in any way; that is the finding
        return [Check("can be made", False, _told(error), time.perf_counter() - start)]
    made = Check("can be made", True, type(component).__name__, time.perf_counter() - start)
    return [made, *(_run(label, probe) for label, probe in _probes(kind, component))]


def find_kind(name: str) -> str:
    """The kind of component that `name` is. Raises `FobenchError` where none or several kinds have it."""
    kinds = [kind for kind in plugins.KINDS if _has(kind, name)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise FobenchError(f"{name!r} is the name of several components: add --kind {' or --kind '.join(kinds)}.")
    known = {n + "..." if n.endswith(":") else n for kind in plugins.KINDS for n in plugins.factories(kind)}
    raise unknown("component", name, known)


def _has(kind: str, name: str) -> bool:
    try:
        plugins.find(kind, name)
    except FobenchError:
        return False
    return True


def _probes(kind: str, component: Any) -> Sequence[tuple[str, Probe]]:
    """[(label, probe)] for a component of `kind`; the probes of one component share what they compute."""
    from fobench.conformance import data, models, speech, systems

    makers: dict[str, Callable[[Any], Sequence[tuple[str, Probe]]]] = {
        "systems": systems.probes,
        "backbones": models.backbone_probes,
        "codecs": models.codec_probes,
        "recognizers": speech.recognizer_probes,
        "voices": speech.voice_probes,
        "suites": data.suite_probes,
        "metrics": data.metric_probes,
        "reporters": data.reporter_probes,
    }
    return makers[kind](component)


def _run(label: str, probe: Probe) -> Check:
    start = time.perf_counter()
    try:
        ok, message = True, probe()
    except Broken as error:
        ok, message = False, str(error)
    except Exception as error:  # whatever a plugin raises is its finding
        ok, message = False, _told(error)
    return Check(label, ok, message, time.perf_counter() - start)


def _told(error: Exception) -> str:
    """The error and the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"raised {type(error).__name__}: {error}{place}"
