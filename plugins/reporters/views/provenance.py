"""How the numbers were made: what ran on what, what to beware of, and the command that makes them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from fobench.api.results import Results
from fobench.console import counted
from fobench.storage.run_config import flag
from fobench_plugins.reporters.views.formatting import fact, given, line, number, plain
from fobench_plugins.reporters.views.metric_labels import FIGURES
from fobench_plugins.reporters.views.tables import name_of

FEW = 100  # scored questions below which an interval of a rate is wider than about +-8 points
OVERHEAD = 0.2  # share of a run's time spent in the harness that is worth a remark
COMPONENTS = {
    "system": "System",
    "backbone": "Backbone",
    "checkpoint": "Checkpoint",
    "recognizer": "Its recogniser",
    "voice": "Its voice",
    "codec": "Its codec",
    "judge": "Judge",
}
MACHINE = {
    "cpu": "CPU",
    "cpu_model": "CPU model",
    "instruction_sets": "Instruction sets",
    "cores": "Cores",
    "memory_gb": "Memory (GB)",
    "gpu": "GPU",
    "os": "Operating system",
    "python": "Python",
}
SWITCHES = {"text_routes": ("--text-routes", "--no-text-routes")}  # option: (flag if true, flag if false)


def subtitle(results: Results) -> str:
    """Suite, number of scenarios, clock and day, in one line."""
    run, config = results.run, results.run.get("config") or {}
    clock, costs = run.get("clock") or config.get("clock"), run.get("costs") or config.get("costs")
    parts = [
        fact(config.get("suites") or ""),
        counted(len(results.traces), "scenario"),
        f"{line(clock)} clock" if clock else "",
        f"{line(costs)} costs" if costs else "",
        line(run.get("started") or "")[:10],
    ]
    return " · ".join(filter(None, parts))


def facts(results: Results) -> list[tuple[str, str]]:
    """(what, value) of the run; what run.json does not tell is left out."""
    run, config = results.run, results.run.get("config") or {}
    git = run.get("git") or {}
    pairs: list[tuple[str, Any]] = [
        *((label, name_of(results, part)) for part, label in COMPONENTS.items()),
        ("Takes turns by", _turns_by(run)),
        ("Suites", config.get("suites")),
        ("Scenarios", len(results.traces)),
        ("Clock", run.get("clock") or config.get("clock")),
        ("Costs", run.get("costs") or config.get("costs")),
        ("Seed", run.get("seed", config.get("seed"))),
        ("Workers", config.get("workers")),
        ("Started", run.get("started")),
        ("Duration", _duration(run.get("duration_s"))),
        ("Status", run.get("status")),
        ("Harness", _overhead(run)),
        ("fobench", run.get("fobench")),
        ("Commit", _commit(git)),
    ]
    return [(label, fact(value)) for label, value in pairs if value not in (None, "", [], ())]


def machine(results: Results) -> list[tuple[str, str]]:
    known = results.run.get("machine") or {}
    return [(label, fact(known[key])) for key, label in MACHINE.items() if known.get(key) not in (None, "")]


def _turns_by(run: Mapping[str, Any]) -> Any:
    """What decides whose turn it is, if the system says so: trained states, or rules."""
    system = (run.get("components") or {}).get("system")
    return system.get("duplex") if isinstance(system, Mapping) else None


def component_details(results: Results) -> list[tuple[str, str]]:
    """All that system, judge and the others say of themselves."""
    components = results.run.get("components") or {}
    told = ((line(name).capitalize(), value) for name, value in components.items() if isinstance(value, Mapping))
    return [(name, fact(value)) for name, value in told if value]


def mapping(results: Results, key: str) -> list[tuple[str, str]]:
    """A flat part of run.json, e.g. packages or assets."""
    return [(line(name), fact(value)) for name, value in (results.run.get(key) or {}).items()]


def definitions(results: Results) -> list[tuple[str, str, str]]:
    """(metric with its version, label, definition) of each known total."""
    return [
        (f"{score.metric} v{score.version}", FIGURES[score.metric].label, FIGURES[score.metric].means)
        for score in results.totals
        if score.metric in FIGURES
    ]


def command(results: Results) -> str:
    """The command line that runs this again: the recorded one, else rebuilt from the configuration."""
    recorded = results.run.get("command")
    if recorded:
        return shlex.join(map(str, recorded)) if isinstance(recorded, list | tuple) else line(recorded)
    config = results.run.get("config") or {}
    return shlex.join(["fobench", "run", *(part for key, value in config.items() for part in _option(key, value))])


def _option(key: str, value: Any) -> Iterator[str]:
    name = line(flag(key))
    if key in SWITCHES:
        yield SWITCHES[key][0 if value else 1]
    elif isinstance(value, Mapping):
        for part, item in value.items():
            yield from (name, f"{line(part)}={line(item)}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from (name, line(item))
    elif value is not None:
        yield from (name, line(value))


def warnings(results: Results) -> list[str]:
    """What a reader should know before believing the numbers."""
    return [*_own_warnings(results), *(line(note) for note in results.run.get("notes") or ())]


def _own_warnings(results: Results) -> Iterator[str]:
    done, status = len(results.traces), results.run.get("status")
    if done < results.planned:
        resume = shlex.join(["fobench", "run", "--resume", line(results.folder)])
        yield f"{done:,} of {counted(results.planned, 'scenario')}; complete it with: {resume}"
    elif status not in (None, "complete"):
        yield f"The run is {line(status)}, not complete."
    if ((results.run.get("components") or {}).get("system") or {}).get("trained") is False:
        yield "The system's weights are random: its speed is real, what it says is noise."
    failed = sum(trace.failure is not None for trace in results.traces)
    if failed:
        yield f"{failed} of {counted(done, 'scenario')} failed; where the system itself did, that is a wrong answer."
    yield from _few(results)
    floor, said = given(results.total("judge_floor_wer")), given(results.total("speech_text_wer"))
    if floor is not None and said is not None and said <= floor:
        yield "The spoken replies score no worse than the judge's own floor: the judge cannot tell them from clean speech."
    overhead = (results.run.get("harness") or {}).get("overhead_fraction")
    if isinstance(overhead, int | float) and overhead > OVERHEAD:
        yield f"The harness itself took {number(overhead * 100, 0)} % of the run's time (not counted as the system's)."
    if (results.run.get("git") or {}).get("dirty"):
        yield "The source checkout had uncommitted changes."


def lost(results: Results) -> list[str]:
    """The recordings that are no longer there, as a warning."""
    gone = sum(t.audio is not None and not (results.folder / t.audio).is_file() for t in results.traces)
    where = line(results.folder / "audio")
    return (
        [f"{counted(gone, 'recording')} of {len(results.traces):,} cannot be played: not in {where}."] if gone else []
    )


def _few(results: Results) -> Iterator[str]:
    sizes = [score.n for score in results.totals if score.metric.startswith("accuracy_") and score.n]
    if sizes and min(sizes) < FEW:
        yield f"Only {plain(min(sizes))} questions are scored: intervals are wide, small differences cannot be told."


def _duration(value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes else f"{number(value, 1)} s"


def _overhead(run: Mapping[str, Any]) -> str:
    value = (run.get("harness") or {}).get("overhead_fraction")
    return f"{number(value * 100, 1)} % of the time" if isinstance(value, int | float) else ""


def _commit(git: Mapping[str, Any]) -> str:
    commit = line(git.get("commit") or "")[:12]
    return f"{commit} (with changes)" if commit and git.get("dirty") else commit
