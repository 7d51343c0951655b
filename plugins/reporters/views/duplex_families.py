"""What a report says of one duplex family: how it went, beside its paired controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fobench.api.results import Results
from fobench.api.scenario import CONTROL
from fobench_plugins.reporters.views.formatting import NONE, interval, shown
from fobench_plugins.reporters.views.metric_labels import FIGURES

STOPS = ("yield_rate", "false_yield_rate")  # a family has sounds of one kind over the reply
MEDIANS = ("yield_decision_ms", "audible_stop_ms", "response_ms")
REMARKED = ("pause_takeover_rate", "resume_rate", "response_after_interrupt")


def names(results: Results) -> list[str]:
    """The families in the order of the run, without their controls."""
    found = dict.fromkeys(trace.scenario.expect.family for trace in results.traces)
    return [name for name in found if name in results.by_family and not name.endswith(CONTROL)]


def rates(results: Results, family: str) -> tuple[str, ...]:
    """Kept, its interval, kept by the controls, stops with the count that they rest on, n."""
    own, control = results.by_family[family], results.by_family.get(family + CONTROL, {})
    kept, twin = own.get("turn_success", {}), control.get("turn_success", {})
    stops = next((own[name] for name in STOPS if name in own), {})
    return (
        shown(kept.get("value"), "rate"),
        _interval(kept) or NONE,
        shown(twin.get("value"), "rate"),
        f"{shown(stops['value'], 'rate')} (n = {stops['n']:,})" if stops else NONE,
        f"{kept.get('n', 0):,}",
    )


def medians(results: Results, family: str) -> tuple[str, ...]:
    """To the decision to yield, to silence, to the reply; with the count that each rests on."""
    found = (results.by_family[family].get(name, {}) for name in MEDIANS)
    return tuple(
        f"{shown(total['value'], 'ms').removesuffix(' ms')} (n = {total['n']:,})" if total else NONE for total in found
    )


def remark(results: Results, family: str) -> str:
    """The rates that only some families have."""
    own = results.by_family[family]
    return "; ".join(
        f"{FIGURES[name].label.lower()}: {shown(own[name]['value'], 'rate')} ({_interval(own[name])}, n = {own[name]['n']:,})"
        for name in REMARKED
        if name in own
    )


def _interval(total: Mapping[str, Any]) -> str:
    return interval(tuple(total["ci"]), "rate") if total.get("ci") else ""
