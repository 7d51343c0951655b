"""How a run's numbers were made: its components and machine, its caveats, and the command that reproduces it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from fobench.api.results import Results
from fobench.api.scenario import CONDITION
from fobench.atomic_files import file_inside
from fobench.console import counted
from fobench.formatting import any_value, compact, number, one_line, percent
from fobench.scoring.language_notes import language_note
from fobench.storage import machine_load
from fobench.storage.run_config import flag
from fobench_plugins.reporters.views.formatting import finite_value
from fobench_plugins.reporters.views.metric_labels import METRICS
from fobench_plugins.reporters.views.tables import name_of

FEW = 100  # scored questions; with fewer, the interval of a rate is wider than about +-8 pp
OVERHEAD = 0.2  # share of a run's time in the harness from which a caveat is shown
COMPONENTS = {
    "system": "System",
    "backbone": "Backbone",
    "checkpoint": "Checkpoint",
    "recognizer": "ASR",
    "voice": "TTS voice",
    "codec": "Codec",
    "judge": "Reference ASR",
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
    """Suite, number of scenarios, clock, latency profile and day, on one line."""
    run, config = results.run, results.run.get("config") or {}
    clock, costs = run.get("clock") or config.get("clock"), run.get("costs") or config.get("costs")
    parts = [
        any_value(config.get("suites") or ""),
        counted(len(results.traces), "scenario"),
        f"{one_line(clock)} clock" if clock else "",
        f"{one_line(costs)} latency profile" if costs else "",
        one_line(run.get("started") or "")[:10],
    ]
    return " · ".join(filter(None, parts))


def facts(results: Results) -> list[tuple[str, str]]:
    """(name, value) of the run's facts; those that run.json does not record are left out."""
    run, config = results.run, results.run.get("config") or {}
    git = run.get("git") or {}
    pairs: list[tuple[str, Any]] = [
        *((label, name_of(results, part)) for part, label in COMPONENTS.items()),
        ("Turn-taking policy", _turn_taking(run)),
        ("Suites", config.get("suites")),
        ("Scenarios", len(results.traces)),
        ("Clock", run.get("clock") or config.get("clock")),
        ("Latency profile", run.get("costs") or config.get("costs")),
        ("Seed", run.get("seed", config.get("seed"))),
        ("Workers", config.get("workers")),
        ("Conversations at once", run.get("conversations_at_once")),
        ("Started", run.get("started")),
        ("Duration", _duration(run.get("duration_s"))),
        ("Status", run.get("status")),
        ("Harness overhead", _overhead(run)),
        ("fobench", run.get("fobench")),
        ("Commit", _commit(git)),
    ]
    return [(label, any_value(value)) for label, value in pairs if value not in (None, "", [], ())]


def machine(results: Results) -> list[tuple[str, str]]:
    known = results.run.get("machine") or {}
    found = [(label, any_value(known[key])) for key, label in MACHINE.items() if known.get(key) not in (None, "")]
    others = machine_load.other_cores(results.run)
    return [*found, *([] if others is None else [("Other programs", f"{number(others, 2)} cores on average")])]


def _turn_taking(run: Mapping[str, Any]) -> Any:
    """What decides on turns, if the system reports it: trained states, or rules."""
    system = (run.get("components") or {}).get("system")
    return system.get("duplex") if isinstance(system, Mapping) else None


def component_details(results: Results) -> list[tuple[str, str]]:
    """(component, its description of itself)."""
    components = results.run.get("components") or {}
    described = ((_component(name), value) for name, value in components.items() if isinstance(value, Mapping))
    return [(name, any_value(value)) for name, value in described if value]


def _component(name: str) -> str:
    return COMPONENTS.get(name) or one_line(name).capitalize()


def mapping(results: Results, key: str) -> list[tuple[str, str]]:
    """A flat mapping of run.json, e.g. packages or assets."""
    return [(one_line(name), any_value(value)) for name, value in (results.run.get(key) or {}).items()]


def definitions(results: Results) -> list[tuple[str, str, str]]:
    """(metric with its version, label, definition) of each known total."""
    return [
        (f"{score.metric} v{score.version}", METRICS[score.metric].label, METRICS[score.metric].means)
        for score in results.totals
        if score.metric in METRICS
    ]


def command(results: Results) -> str:
    """The command that reproduces the run: the recorded one, otherwise one built from the configuration."""
    recorded = results.run.get("command")
    if recorded:
        return shlex.join(map(str, recorded)) if isinstance(recorded, list | tuple) else one_line(recorded)
    config = results.run.get("config") or {}
    return shlex.join(["fobench", "run", *(part for key, value in config.items() for part in _option(key, value))])


def _option(key: str, value: Any) -> Iterator[str]:
    name = one_line(flag(key))
    if key in SWITCHES:
        yield SWITCHES[key][0 if value else 1]
    elif isinstance(value, Mapping):
        for part, item in value.items():
            yield from (name, f"{one_line(part)}={one_line(item)}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from (name, one_line(item))
    elif value is not None:
        yield from (name, one_line(value))


def caveats(results: Results) -> list[str]:
    """The caveats of the numbers."""
    return [*_own_caveats(results), *(one_line(note) for note in results.run.get("notes") or ())]


def _own_caveats(results: Results) -> Iterator[str]:
    done, status = len(results.traces), results.run.get("status")
    if done < results.planned:
        resume = shlex.join(["fobench", "run", "--resume", one_line(results.folder)])
        yield f"{done:,} of {counted(results.planned, 'scenario')} are done. Complete the run with: {resume}"
    elif status not in (None, "complete"):
        yield f"The run is {one_line(status)}, not complete."
    if ((results.run.get("components") or {}).get("system") or {}).get("trained") is False:
        yield "The system's weights are random: its latency is real, its replies are noise."
    failed = sum(trace.failure is not None for trace in results.traces)
    if failed:
        yield f"{failed} of {counted(done, 'scenario')} failed. A failure of the system itself counts as a wrong answer."
    yield from _few(results)
    heard = sorted({one_line(t.scenario.tags[CONDITION]) for t in results.traces if CONDITION in t.scenario.tags})
    if len(heard) > 1:
        yield f"Totals pool the scenarios of all conditions: {', '.join(heard)}."
    if note := language_note(trace.scenario for trace in results.traces):
        yield note
    floor, reply_wer = finite_value(results.total("judge_floor_wer")), finite_value(results.total("speech_text_wer"))
    if floor is not None and reply_wer is not None and reply_wer <= floor:
        yield "The TTS WER does not exceed the reference-ASR WER on the clean prompts: it cannot be told from the reference ASR's errors."
    overhead = (results.run.get("harness") or {}).get("overhead_fraction")
    if isinstance(overhead, int | float) and overhead > OVERHEAD:
        yield f"The harness took {percent(overhead, 0)} of the run's time, which does not count as the system's."
    yield from machine_load.sentences(results.run)
    if (results.run.get("git") or {}).get("dirty"):
        yield "The source checkout had uncommitted changes."


def missing_recordings(results: Results) -> list[str]:
    """A caveat about recordings that are missing, if there are any."""
    missing = sum(t.audio is not None and file_inside(results.folder, t.audio) is None for t in results.traces)
    where = one_line(results.folder / "audio")
    return (
        [f"{counted(missing, 'recording')} of {len(results.traces):,} cannot be played: not in {where}."]
        if missing
        else []
    )


def _few(results: Results) -> Iterator[str]:
    sizes = [score.n for score in results.totals if score.metric.startswith("accuracy_") and score.n]
    if sizes and min(sizes) < FEW:
        yield f"Only {compact(min(sizes))} questions are scored: intervals are wide, and small differences cannot be detected."


def _duration(value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes else f"{number(value, 1)} s"


def _overhead(run: Mapping[str, Any]) -> str:
    value = (run.get("harness") or {}).get("overhead_fraction")
    return f"{percent(value)} of the time" if isinstance(value, int | float) else ""


def _commit(git: Mapping[str, Any]) -> str:
    commit = one_line(git.get("commit") or "")[:12]
    return f"{commit} (with uncommitted changes)" if commit and git.get("dirty") else commit
