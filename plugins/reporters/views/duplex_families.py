"""The results of one duplex category beside its paired controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fobench.api.results import Results
from fobench.api.scenario import CONTROL
from fobench.formatting import DASH
from fobench_plugins.reporters.views.formatting import metric_interval, metric_value
from fobench_plugins.reporters.views.metric_labels import METRICS
from fobench_plugins.reporters.views.response import share_text

STOPS = ("yield_rate", "false_yield_rate")  # the user audio over a reply is of one kind per category
MEDIANS = ("yield_decision_ms", "audible_stop_ms", "response_ms")
NOTED = ("pause_takeover_rate", "resume_rate", "response_after_interrupt")


def names(results: Results) -> list[str]:
    """The categories in the order of the run, without their controls."""
    found = dict.fromkeys(trace.scenario.expect.family for trace in results.traces)
    return [name for name in found if name in results.by_family and not name.endswith(CONTROL)]


def rates(results: Results, family: str) -> tuple[str, ...]:
    """Turn-taking success rate, its interval, that of the controls, share of stops with its count, n."""
    own, control = results.by_family[family], results.by_family.get(family + CONTROL, {})
    success, control_success = own.get("turn_success", {}), control.get("turn_success", {})
    stops = next((own[name] for name in STOPS if name in own), {})
    return (
        metric_value(success.get("value"), "rate"),
        _interval(success) or DASH,
        metric_value(control_success.get("value"), "rate"),
        f"{metric_value(stops['value'], 'rate')} (n = {stops['n']:,})" if stops else DASH,
        f"{success.get('n', 0):,}",
    )


def medians(results: Results, family: str) -> tuple[str, ...]:
    """Barge-in decision latency, barge-in stop latency and response latency, each with its count; the last with its early share."""
    own = results.by_family[family]
    decision, stop, response = (
        f"{metric_value(own[name]['value'], 'ms').removesuffix(' ms')} (n = {own[name]['n']:,})"
        if name in own
        else DASH
        for name in MEDIANS
    )
    early = own.get("early_reply_rate", {}).get("value")
    return decision, stop, f"{response}, {share_text(early)} early" if early else response


def remark(results: Results, family: str) -> str:
    """The rates that only some categories have."""
    own = results.by_family[family]
    return "; ".join(
        f"{METRICS[name].label.lower()}: {metric_value(own[name]['value'], 'rate')} ({_interval(own[name])}, n = {own[name]['n']:,})"
        for name in NOTED
        if name in own
    )


def _interval(total: Mapping[str, Any]) -> str:
    return metric_interval(tuple(total["ci"]), "rate") if total.get("ci") else ""
