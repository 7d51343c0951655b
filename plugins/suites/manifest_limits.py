"""Limits in a manifest: of a scenario's metrics (`assert`), and what its turns require (`expect`, `max_stop_ms`, `max_response_ms`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fobench.api.scenario import EXPECTATIONS, TurnExpect
from fobench.api.typed import shown
from fobench.audio.limits import MAX_DURATION_S
from fobench.errors import FobenchError
from fobench.scoring.scorer import check_limits
from fobench_plugins.suites.manifest_keys import unknown_choice
from fobench_plugins.suites.scenario_spec import TurnSpec

LIMITS = {"max_stop_ms": "stop", "max_response_ms": "reply"}  # key: the expectation whose turns it may stand in


def scenario_limits(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The limits under `assert`. Raises `FobenchError` for one that is none, or on a metric that there is not."""
    given = data.get("assert", [])
    texts = [given] if isinstance(given, str) else given
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise FobenchError(f"'assert' must hold texts, not {shown(odd[0])}")
    try:
        check_limits(texts)
    except FobenchError as error:
        raise FobenchError(f"'assert': {error}") from error
    return tuple(texts)


def turn_expectations(data: Sequence[Mapping[str, Any]], turns: Sequence[TurnSpec]) -> tuple[TurnExpect, ...]:
    """What turns require. Raises `FobenchError` for an unknown expectation, a limit of 0, and one that a turn's role has not."""
    return tuple(
        _expectation(entry, index, spec.role)
        for index, (entry, spec) in enumerate(zip(data, turns, strict=True))
        if any(entry.get(key) is not None for key in ("expect", *LIMITS))
    )


def _expectation(data: Mapping[str, Any], index: int, role: str) -> TurnExpect:
    expect = data.get("expect")
    if expect is not None and expect not in EXPECTATIONS:
        raise FobenchError(f"turn {index} {unknown_choice('expect', expect, tuple(EXPECTATIONS))}")
    kinds = {"expect": expect, **{key: kind for key, kind in LIMITS.items() if data.get(key) is not None}}
    for key, kind in kinds.items():
        if kind and role not in EXPECTATIONS[kind]:
            written = f"expect = {kind}" if key == "expect" else key
            raise FobenchError(
                f"turn {index} has {written}, which needs the role {' or '.join(EXPECTATIONS[kind])}, not {role}"
            )
    for key in LIMITS:
        if (value := data.get(key)) is not None and not 0 < value <= MAX_DURATION_S * 1000:
            raise FobenchError(
                f"turn {index} {key} must be milliseconds above 0, up to {MAX_DURATION_S * 1000}, not {shown(value)}"
            )
    return TurnExpect(index, expect or "", data.get("max_stop_ms"), data.get("max_response_ms"))
