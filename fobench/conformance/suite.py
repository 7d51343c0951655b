"""The conformance suite: runs every check of a component's kind, here or in a process of its own."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fobench.api import registry
from fobench.conformance.checks import ENDINGS, MAKING, Check, ContractViolation, Probe
from fobench.errors import FobenchError, SystemFailure, unknown
from fobench.execution.process_host import ProcessHost


class ConformanceRun:
    """One component, made, and its probes. `made` tells how the making went; `labels` name the probes there are then.

    Raises `FobenchError` for an unknown name or option, and for what has to be installed or fetched first.
    """

    def __init__(self, kind: str, name: str, options: Mapping[str, Any] | None = None) -> None:
        factory, leading = registry.find(kind, name)
        converted = registry.checked(kind, name, options or {})
        start = time.perf_counter()
        self._probes: dict[str, Probe] = {}
        try:
            component = factory(*leading, **converted)
        except FobenchError:
            raise
        except Exception as error:  # a plugin's factory may fail in any way; that is the finding
            self.made = Check(MAKING, False, _told(error), time.perf_counter() - start)
            return
        self.made = Check(MAKING, True, type(component).__name__, time.perf_counter() - start)
        self._probes = {
            **dict(_probes(kind, component)),
            **dict(_endings(kind, name, converted, component, self._let_go)),
        }

    def outline(self) -> tuple[Check, list[str]]:
        """(how the making went, the probes' labels)."""
        return self.made, list(self._probes)

    def probe(self, label: str) -> Check:
        return _run(label, self._probes[label])

    def _let_go(self) -> None:
        """Of the component: only the probes that come after its end are kept."""
        self._probes = {label: probe for label, probe in self._probes.items() if label in ENDINGS}


def check(kind: str, name: str, options: Mapping[str, Any] | None = None) -> list[Check]:
    """All checks of one component, made with `options`, in this process. Raises `FobenchError` as `ConformanceRun` does."""
    examination = ConformanceRun(kind, name, options)
    made, labels = examination.outline()
    return [made, *map(examination.probe, labels)]


def check_in_subprocess(
    kind: str, name: str, options: Mapping[str, Any] | None = None, *, time_limit_s: float
) -> list[Check]:
    """`check` in a process of its own: a component that dies, or hangs for `time_limit_s`, fails the probe it did so in.

    The probes after that one are not made.
    """
    host = ProcessHost(ConformanceRun, (kind, name, options), time_limit_s=time_limit_s, load_limit_s=time_limit_s)
    checks: list[Check] = []
    labels, label, start = [""], MAKING, time.perf_counter()
    try:
        made, labels = host.call("outline")
        checks.append(made)
        for label in labels:
            start = time.perf_counter()
            checks.append(host.call("probe", label))
    except SystemFailure as failure:
        rest = len(labels) - len(checks)
        more = f"; {rest} more were not made" if rest > 0 else ""
        checks.append(Check(label, False, f"{failure}{more}", time.perf_counter() - start))
    finally:
        host.stop()
    return checks


def find_kind(name: str) -> str:
    """The kind of component that `name` is. Raises `FobenchError` where none or several kinds have it."""
    kinds = [kind for kind in registry.KINDS if _has(kind, name)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise FobenchError(f"{name!r} is the name of several components: add --kind {' or --kind '.join(kinds)}.")
    known = {n + "..." if n.endswith(":") else n for kind in registry.KINDS for n in registry.factories(kind)}
    raise unknown("component", name, known)


def _has(kind: str, name: str) -> bool:
    try:
        registry.find(kind, name)
    except FobenchError:
        return False
    return True


def _probes(kind: str, component: Any) -> Sequence[tuple[str, Probe]]:
    """[(label, probe)] for a component of `kind`; the probes of one component share what they compute."""
    from fobench.conformance import backbones, checkpoints, codecs, metrics, reporters, speech, suites, systems

    makers: dict[str, Callable[[Any], Sequence[tuple[str, Probe]]]] = {
        "systems": systems.probes,
        "backbones": backbones.backbone_probes,
        "codecs": codecs.codec_probes,
        "checkpoints": checkpoints.checkpoint_probes,
        "trainers": checkpoints.trainer_probes,
        "recognizers": speech.recognizer_probes,
        "voices": speech.voice_probes,
        "suites": suites.suite_probes,
        "metrics": metrics.metric_probes,
        "reporters": reporters.reporter_probes,
    }
    return makers[kind](component)


def _endings(
    kind: str, name: str, options: Mapping[str, Any], component: Any, let_go: Callable[[], None]
) -> Sequence[tuple[str, Probe]]:
    """The probes of how a component of weights is made and let go of."""
    from fobench.conformance import lifecycle

    if kind not in lifecycle.HEAVY:
        return ()
    return lifecycle.LifecycleChecks(kind, name, options, component).probes(let_go)


def _run(label: str, probe: Probe) -> Check:
    start = time.perf_counter()
    try:
        ok, message = True, probe()
    except ContractViolation as error:
        ok, message = False, str(error)
    except Exception as error:  # whatever a plugin raises is its finding
        ok, message = False, _told(error)
    return Check(label, ok, message, time.perf_counter() - start)


def _told(error: Exception) -> str:
    """The error and the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"raised {type(error).__name__}: {error}{place}"
