"""The conformance suite: runs all checks of a component's kind in this process or in a child process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fobench.api import registry
from fobench.conformance.checks import CREATION, LIFECYCLE, Check, ContractViolation, Probe
from fobench.errors import FobenchError, SystemFailure, unknown
from fobench.process_host import ProcessHost


class ConformanceRun:
    """One component and its probes. `creation`: the check of its creation; without a component there are no probes.

    Raises `FobenchError` for an unknown name or option and for missing prerequisites.
    """

    def __init__(self, kind: str, name: str, options: Mapping[str, Any] | None = None) -> None:
        factory, leading = registry.find(kind, name)
        converted = registry.spec(kind, name, options).options
        start = time.perf_counter()
        self._probes: dict[str, Probe] = {}
        try:
            component = factory(*leading, **converted)
        except FobenchError:
            raise
        except Exception as error:  # a plugin's factory may raise anything; that is the finding
            self.creation = Check(CREATION, False, _describe_error(error), time.perf_counter() - start)
            return
        self.creation = Check(CREATION, True, type(component).__name__, time.perf_counter() - start)
        self._probes = {
            **dict(_probes(kind, component)),
            **dict(_lifecycle_probes(kind, name, converted, component, self._release)),
        }

    def outline(self) -> tuple[Check, list[str]]:
        """(check of the creation, labels of the probes)."""
        return self.creation, list(self._probes)

    def probe(self, label: str) -> Check:
        return _run_probe(label, self._probes[label])

    def _release(self) -> None:
        """Drops all probes that refer to the component; the lifecycle probes are kept."""
        self._probes = {label: probe for label, probe in self._probes.items() if label in LIFECYCLE}


def check(kind: str, name: str, options: Mapping[str, Any] | None = None) -> list[Check]:
    """All checks of one component with `options`, in this process. Raises `FobenchError` as `ConformanceRun` does."""
    run = ConformanceRun(kind, name, options)
    creation, labels = run.outline()
    return [creation, *map(run.probe, labels)]


def check_in_subprocess(
    kind: str, name: str, options: Mapping[str, Any] | None = None, *, time_limit_s: float
) -> list[Check]:
    """All checks in a child process: a component that dies, or exceeds `time_limit_s`, fails the probe in progress.

    The remaining probes are skipped.
    """
    host = ProcessHost(ConformanceRun, (kind, name, options), time_limit_s=time_limit_s, load_limit_s=time_limit_s)
    checks: list[Check] = []
    labels, label, start = [""], CREATION, time.perf_counter()
    try:
        creation, labels = host.call("outline")
        checks.append(creation)
        for label in labels:
            start = time.perf_counter()
            checks.append(host.call("probe", label))
    except SystemFailure as failure:
        rest = len(labels) - len(checks)
        more = f"; {rest} further checks were skipped" if rest > 0 else ""
        checks.append(Check(label, False, f"{failure}{more}", time.perf_counter() - start))
    finally:
        host.stop()
    return checks


def find_kind(name: str) -> str:
    """The kind of the component `name`. Raises `FobenchError` if no kind or several kinds have that name."""
    kinds = [kind for kind in registry.KINDS if _kind_has(kind, name)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise FobenchError(f"{name!r} is the name of several components: add --kind {' or --kind '.join(kinds)}.")
    known = {n + "..." if n.endswith(":") else n for kind in registry.KINDS for n in registry.factories(kind)}
    raise unknown("component", name, known)


def _kind_has(kind: str, name: str) -> bool:
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


def _lifecycle_probes(
    kind: str, name: str, options: Mapping[str, Any], component: Any, release: Callable[[], None]
) -> Sequence[tuple[str, Probe]]:
    """The probes of creation and release, for components with weights."""
    from fobench.conformance import lifecycle

    if kind not in lifecycle.HEAVY:
        return ()
    return lifecycle.LifecycleChecks(kind, name, options, component).probes(release)


def _run_probe(label: str, probe: Probe) -> Check:
    start = time.perf_counter()
    try:
        ok, message = True, probe()
    except ContractViolation as error:
        ok, message = False, str(error)
    except Exception as error:  # a plugin may raise anything; that is the finding
        ok, message = False, _describe_error(error)
    return Check(label, ok, message, time.perf_counter() - start)


def _describe_error(error: Exception) -> str:
    """The error with the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"raised {type(error).__name__}: {error}{place}"
