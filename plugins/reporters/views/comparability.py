"""What a table of several runs says of them: their components and machines, how they differ, and their caveats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fobench.api.results import Results
from fobench.api.scenario import Scenario
from fobench.comparison import compatibility
from fobench.console import counted
from fobench.formatting import one_line
from fobench_plugins.reporters.views import provenance
from fobench_plugins.reporters.views.run_table import run_names

COMPARED = {  # facts that a table of runs expects to agree
    **compatibility.FOR_ALL_METRICS,
    **compatibility.FOR_TIMES,
    **compatibility.FOR_MEASURED_TIMES,
    **compatibility.CAVEATS,
}


def fact_rows(runs: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """(name, value in each run) of all facts of the runs and their machines; facts that no run records are left out."""
    tables = [dict((*provenance.facts(run), *provenance.machine(run))) for run in runs]
    known = dict.fromkeys(label for table in tables for label in table)
    components = [label for label in provenance.COMPONENTS.values() if label in known]
    labels = dict.fromkeys((*components, *known))
    return [(label, [table.get(label, "") for table in tables]) for label in labels]


def component_rows(runs: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """The rows of `fact_rows` that name components."""
    return [(label, values) for label, values in fact_rows(runs) if label in provenance.COMPONENTS.values()]


def caveats(runs: Sequence[Results]) -> list[str]:
    """How the runs differ, then each run's own caveats."""
    return [*differences(runs), *_own_caveats(runs)]


def differences(runs: Sequence[Results]) -> list[str]:
    """The facts in which the runs differ though their metrics are only comparable where these agree."""
    facts = compatibility.differences(COMPARED, [run.run for run in runs])
    found = [*_scenarios(runs), *(_difference(what, runs, values) for what, values in facts.items())]
    metrics = dict.fromkeys(score.metric for run in runs for score in run.totals)
    for metric in metrics:
        versions = [f"version {total.version}" if (total := run.total(metric)) else "" for run in runs]
        if len({*filter(None, versions)}) > 1:
            found.append(_difference(f"metric {one_line(metric)}", runs, versions))
    return found


def _difference(what: str, runs: Sequence[Results], values: Sequence[str]) -> str:
    by_run = "; ".join(
        f"{one_line(value) or 'none'} ({name})" for name, value in zip(run_names(runs), values, strict=True)
    )
    return f"Difference: {what}: {by_run}."


def _scenarios(runs: Sequence[Results]) -> Iterator[str]:
    """The scenarios that not every run has, and those that differ between runs."""
    ids = [{trace.id for trace in run.traces} for run in runs]
    common = set.intersection(*ids)
    extra = [(name, len(own - common)) for name, own in zip(run_names(runs), ids, strict=True) if own - common]
    if extra:
        others = ", ".join(f"{name} has {n:,} more" for name, n in extra)
        yield (
            f"Difference: {counted(len(common), 'scenario')} in common; {others}. Each value covers its own run's scenarios."
        )
    by_run = [{trace.id: _content(trace.scenario) for trace in run.traces} for run in runs]
    changed = sum(any(other[name] != by_run[0][name] for other in by_run[1:]) for name in common)
    if changed:
        yield f"Difference: {counted(changed, 'scenario')} of one name with different audio, text or answers."


def _content(scenario: Scenario) -> Scenario:
    """The scenario independent of its audio path and seed."""
    return replace(scenario, seed=0, turns=tuple(replace(turn, audio="") for turn in scenario.turns))


def _own_caveats(runs: Sequence[Results]) -> list[str]:
    """Each run's own caveats; one that all runs have appears once."""
    names_by_caveat: dict[str, list[str]] = {}
    for name, run in zip(run_names(runs), runs, strict=True):
        for caveat in provenance.caveats(run):
            names_by_caveat.setdefault(caveat, []).append(name)
    shared = [caveat for caveat, names in names_by_caveat.items() if len(names) == len(runs)]
    own = [f"{', '.join(names)}: {caveat}" for caveat, names in names_by_caveat.items() if caveat not in shared]
    return [*shared, *own]


def commands(runs: Sequence[Results]) -> list[tuple[str, str]]:
    """(run, the command that reproduces it)."""
    return [(name, provenance.command(run)) for name, run in zip(run_names(runs), runs, strict=True)]
