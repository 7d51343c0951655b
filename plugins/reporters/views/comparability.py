"""Whether several runs are alike: what they were asked, by whom they were judged, on which clock and machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from fobench.api.results import Results
from fobench.api.scenario import Scenario
from fobench.console import counted
from fobench.storage import environment
from fobench_plugins.reporters.views import provenance
from fobench_plugins.reporters.views.formatting import fact, line
from fobench_plugins.reporters.views.run_table import names

Told = Callable[[Results], Any]


def _config(key: str) -> Told:
    return lambda run: (run.run.get("config") or {}).get(key)


def _machine(run: Results) -> Any:
    return environment.told(run.run.get("machine") or {})


def _judge(run: Results) -> Any:
    return (run.run.get("components") or {}).get("judge") or _config("judge")(run)


def _echo_delay(run: Results) -> Any:
    return _config("echo_delay_ms")(run) if _config("echo_db")(run) is not None else None


MUST_BE_LIKE: dict[str, Told] = {  # else the figures do not mean the same
    "Suites": _config("suites"),
    "Suites' options": _config("suite_args"),
    "Seed": _config("seed"),
    "Judge": _judge,
    "Judge's options": _config("judge_args"),
    "Clock": _config("clock"),
    "Costs": _config("costs"),
    "Listener's buffer (ms)": _config("playback_delay_ms"),
    "Echo (dB)": _config("echo_db"),
    "Echo's delay (ms)": _echo_delay,
    "Workers": _config("workers"),
    "Device": _config("device"),
    "Machine": _machine,
    "fobench": lambda run: run.run.get("fobench"),
}


def ran(runs: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """(what, by run): what each run was, and on what machine; lines that no run tells are left out."""
    tables = [dict((*provenance.facts(run), *provenance.machine(run))) for run in runs]
    found = dict.fromkeys(label for table in tables for label in table)
    components = [label for label in provenance.COMPONENTS.values() if label in found]
    labels = dict.fromkeys((*components, *found))
    return [(label, [table.get(label, "") for table in tables]) for label in labels]


def parts(runs: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """What each run was made of: the lines of `ran` that name components."""
    return [(label, values) for label, values in ran(runs) if label in provenance.COMPONENTS.values()]


def warnings(runs: Sequence[Results]) -> list[str]:
    """What a reader has to bear in mind: in what the runs are unlike, then what each run's own report warns of."""
    return [*unlike(runs), *_own(runs)]


def unlike(runs: Sequence[Results]) -> list[str]:
    """In what the runs are unlike, though figures are only alike where they are not."""
    found = [*_scenarios(runs)]
    for what, told in MUST_BE_LIKE.items():
        found += _differing(what, runs, [_told(told(run)) for run in runs])
    metrics = dict.fromkeys(score.metric for run in runs for score in run.totals)
    for metric in metrics:
        versions = [f"version {total.version}" if (total := run.total(metric)) else "" for run in runs]
        if len({*filter(None, versions)}) > 1:
            found += _differing(f"Metric {line(metric)}", runs, versions)
    return found


def _told(value: Any) -> str:
    return "none" if value in (None, "", [], {}) else fact(value)


def _differing(what: str, runs: Sequence[Results], values: Sequence[str]) -> list[str]:
    if len({*values}) < 2:
        return []
    told = "; ".join(f"{value or 'none'} ({name})" for name, value in zip(names(runs), values, strict=True))
    return [f"Unlike: {what}: {told}."]


def _scenarios(runs: Sequence[Results]) -> Iterator[str]:
    """The scenarios that not every run has, and those that are not the same in every run."""
    ids = [{trace.id for trace in run.traces} for run in runs]
    common = set.intersection(*ids)
    more = [(name, len(own - common)) for name, own in zip(names(runs), ids, strict=True) if own - common]
    if more:
        others = ", ".join(f"{name} has {n:,} more" for name, n in more)
        yield f"Unlike: {counted(len(common), 'scenario')} in common; {others}. Each figure is of the run's own scenarios."
    asked = [{trace.id: _asked(trace.scenario) for trace in run.traces} for run in runs]
    changed = sum(any(other[name] != asked[0][name] for other in asked[1:]) for name in common)
    if changed:
        yield f"Unlike: {counted(changed, 'scenario')} of one name but of other audio, text or answers."


def _asked(scenario: Scenario) -> Scenario:
    """What was asked, wherever its audio lies and whatever the seed."""
    return replace(scenario, seed=0, turns=tuple(replace(turn, audio="") for turn in scenario.turns))


def _own(runs: Sequence[Results]) -> list[str]:
    """Each run's own warnings; one that they all have is told once."""
    told: dict[str, list[str]] = {}
    for name, run in zip(names(runs), runs, strict=True):
        for warning in provenance.warnings(run):
            told.setdefault(warning, []).append(name)
    of_all = [warning for warning, by in told.items() if len(by) == len(runs)]
    return [*of_all, *(f"{', '.join(by)}: {warning}" for warning, by in told.items() if warning not in of_all)]


def commands(runs: Sequence[Results]) -> list[tuple[str, str]]:
    """(run, the command that makes it again)."""
    return [(name, provenance.command(run)) for name, run in zip(names(runs), runs, strict=True)]
