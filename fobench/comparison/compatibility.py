"""What makes two runs comparable: a difference between their metrics is only meaningful where these facts agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fobench.comparison.paired_scores import PairedScores
from fobench.comparison.snapshot import Snapshot
from fobench.console import counted
from fobench.storage import environment, machine_load

RunFacts = Mapping[str, Any]  # the content of run.json
Fact = Callable[[RunFacts], Any]


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """`what` differs: it is `base` in the first run and `new` in the second.

    `times`: only times are not comparable then; `metric`: only that metric; everything else may be compared.
    """

    what: str
    base: str
    new: str
    times: bool = False
    metric: str = ""

    def affects(self, pairs: PairedScores) -> bool:
        """Whether this difference makes a metric not comparable."""
        return is_time(pairs) if self.times else self.metric in ("", pairs.metric)

    def __str__(self) -> str:
        return f"{self.what}: {self.base or 'none'} in the first, {self.new or 'none'} in the second"


def _config(run: RunFacts) -> Mapping[str, Any]:
    return run.get("config") or {}


def _option(key: str) -> Fact:
    return lambda run: _config(run).get(key)


def _suites(run: RunFacts) -> Any:
    """The kinds of the suites. The part after the kind (a path or a name) may differ: the scenarios themselves are compared."""
    return [str(name).partition(":")[0] for name in _config(run).get("suites") or ()]


def _judge(run: RunFacts) -> Any:
    """The reference ASR's description of itself, with version or hash where it has one."""
    about = dict((run.get("components") or {}).get("judge") or {})
    for key in ("device", "engine"):  # who computes, not what
        about.pop(key, None)
    return about or _config(run).get("judge")


def _echo(run: RunFacts) -> Any:
    """The level (dB) and delay (ms) of the playback that leaks into the user's channel."""
    level = _config(run).get("echo_db")
    return None if level is None else [level, _config(run).get("echo_delay_ms")]


def _scoring_packages(run: RunFacts) -> Any:
    """The packages whose version can change a score of the same audio."""
    packages = run.get("packages") or {}
    return {name: packages[name] for name in ("jiwer", "whisper-normalizer", "speechmos") if name in packages}


def _machine(run: RunFacts) -> Any:
    """The machine in words. CPUs of one name with unknown instruction sets can differ twofold in speed."""
    return environment.describe(run.get("machine") or {})


PROFILE = "latency profile"
SYSTEM_OPTIONS = ("system", "system_args", "backbone", "backbone_args", "checkpoint", "codec", "codec_args")
TIME_UNITS = ("ms",)
TIME_METRICS = ("rtf_", "underrun")  # metrics that depend on times without a unit of time
FOR_ALL_METRICS: dict[str, Fact] = {  # a difference makes no metric comparable
    "suites": _suites,
    "suite options": _option("suite_args"),
    "seed": _option("seed"),
    "reference ASR": _judge,
    "reference ASR options": _option("judge_args"),
    "clock": lambda run: _clock(run),
    "echo": _echo,
}
FOR_TIMES: dict[str, Fact] = {  # a difference makes no time comparable
    PROFILE: lambda run: run.get("costs") or _config(run).get("costs"),
    "playback buffer, ms": lambda run: _config(run).get("playback_delay_ms") or 0,
    "workers": lambda run: run.get("conversations_at_once") or _config(run).get("workers") or 1,
}
FOR_MEASURED_TIMES: dict[str, Fact] = {"machine": _machine}  # the same, where times are those of a machine
CAVEATS: dict[str, Fact] = {  # a difference is reported and allowed
    "device": _option("device"),
    "fobench": lambda run: run.get("fobench"),
    "scoring packages": _scoring_packages,
}


def is_time(pairs: PairedScores) -> bool:
    """Whether a metric is a time, or computed from times."""
    return pairs.new.unit in TIME_UNITS or pairs.metric.startswith(TIME_METRICS)


def differences(facts: Mapping[str, Fact], runs: Sequence[RunFacts]) -> dict[str, list[str]]:
    """{name of a fact: its value in each run, as text} of those of `facts` that differ between the runs."""
    values = {what: [_text(read(run)) for run in runs] for what, read in facts.items()}
    return {what: texts for what, texts in values.items() if len({*texts}) > 1}


def time_facts(runs: Sequence[RunFacts]) -> dict[str, Fact]:
    """The facts that must agree for times to be comparable, besides those for all metrics."""
    return {**FOR_TIMES, **FOR_MEASURED_TIMES} if any(map(_measured, runs)) else FOR_TIMES


def own_profiles(runs: Sequence[RunFacts]) -> bool:
    """Whether the runs are of different systems, each on a replayed latency profile of its own.

    A profile belongs to one system, so that two systems can only be compared on two. Runs of one system on two profiles differ in
    the profile alone.
    """
    replayed = all(not _measured(run) for run in runs)
    systems = {_text([_config(run).get(key) for key in SYSTEM_OPTIONS]) for run in runs}
    return replayed and len(systems) == len({_text(FOR_TIMES[PROFILE](run)) for run in runs}) == len(runs)


def mismatches(base: Snapshot, new: Snapshot) -> list[Incompatibility]:
    """The differences that forbid a comparison."""
    runs = (base.run, new.run)
    times = {what: fact for what, fact in time_facts(runs).items() if what != PROFILE or not own_profiles(runs)}
    by_scope = ((FOR_ALL_METRICS, False), (times, True))
    found = [
        Incompatibility(what, first, second, times)
        for facts, times in by_scope
        for what, (first, second) in differences(facts, runs).items()
    ]
    return [
        *found,
        *_decoding(base, new),
        *_changed_assets(base, new),
        *_changed_items(base, new),
        *_versions(base, new),
    ]


def caveats(base: Snapshot, new: Snapshot) -> list[str]:
    """The caveats of a comparison: differences and defects that do not forbid it."""
    differing = differences(CAVEATS, (base.run, new.run))
    found = [f"Difference: {Incompatibility(what, first, second)}." for what, (first, second) in differing.items()]
    if own_profiles((base.run, new.run)):
        profiles = " and ".join(f"{_text(FOR_TIMES[PROFILE](run.run))} ({run.name})" for run in (base, new))
        found.append(
            f"Each system on its own replayed latency profile: {profiles}. Times compare the systems only if both profiles were "
            "measured on one machine."
        )
    if all(
        _measured(run.run) and (run.run.get("machine") or {}).get("instruction_sets") is None for run in (base, new)
    ):
        found.append("Neither run records its CPU's instruction sets: CPUs of one name can differ twofold in speed.")
    for run in (base, new):
        if run.run.get("status") not in (None, "complete"):
            found.append(f"{run.name} is {run.run.get('status')}, not complete.")
        if failed := sum("failure" in item.texts for item in run.items):
            found.append(f"{counted(failed, 'scenario')} of {run.name} failed.")
        found += [f"{run.name}: {sentence}" for sentence in machine_load.sentences(run.run)]
        if (run.run.get("git") or {}).get("dirty"):
            found.append(f"{run.name} comes from a checkout with uncommitted changes.")
    unpaired = [
        len({i.id for i in one.items} - {i.id for i in other.items}) for one, other in ((base, new), (new, base))
    ]
    for run, count in zip((base, new), unpaired, strict=True):
        if count:
            found.append(
                f"{counted(count, 'scenario')} of {run.name} only; the pairs are the scenarios that both have."
            )
    return found


def _clock(run: RunFacts) -> Any:
    """The clock that was asked for, or the one that the system needed."""
    asked = _config(run).get("clock")
    return asked if asked not in (None, "auto") else run.get("clock")


def _measured(run: RunFacts) -> bool:
    """Whether the run's times are those of a machine, not of a replayed latency profile."""
    return _clock(run) == "wall" or not str(run.get("costs", "")).startswith("declared")


def _decoding(base: Snapshot, new: Snapshot) -> Iterator[Incompatibility]:
    """How the LLM computes and decodes, where both runs record their LLM: the numeric form of one LLM, and the rule of decoding.

    Runs from before rules of decoding were recorded are greedy.
    """
    first, second = (_backbone(run.run) for run in (base, new))
    if not first or not second:
        return
    if first.get("backbone") == second.get("backbone") and first.get("dtype") != second.get("dtype"):
        yield Incompatibility("numeric form of the LLM", _text(first.get("dtype")), _text(second.get("dtype")))
    rules = [_text(about.get("generation", "greedy")) for about in (first, second)]
    if rules[0] != rules[1]:
        yield Incompatibility("generation", rules[0], rules[1])


def _backbone(run: RunFacts) -> Mapping[str, Any]:
    """The LLM's description of itself; empty if there is none."""
    system = (run.get("components") or {}).get("system")
    parts = system.get("parts") if isinstance(system, Mapping) else None
    about = parts.get("backbone") if isinstance(parts, Mapping) else None
    return about if isinstance(about, Mapping) else {}


def _changed_assets(base: Snapshot, new: Snapshot) -> Iterator[Incompatibility]:
    """Files of one name and different hashes, where both runs record them."""
    first, second = base.run.get("assets") or {}, new.run.get("assets") or {}
    for name in sorted(first.keys() & second.keys()):
        if first[name] != second[name]:
            yield Incompatibility(f"asset {name}", _text(first[name]), _text(second[name]))


def _changed_items(base: Snapshot, new: Snapshot) -> Iterator[Incompatibility]:
    """Scenarios of one name with different audio, text or answers; without traces, the hash of all scenarios."""
    hashes_in_base = {item.id: item.asked for item in base.items if item.asked}
    shared = [item for item in new.items if item.asked and item.id in hashes_in_base]
    changed = [item.id for item in shared if item.asked != hashes_in_base[item.id]]
    if changed:
        yield Incompatibility(f"{counted(len(changed), 'scenario')} of one name, e.g. {changed[0]}", "one", "another")
    hashes = [str(run.run.get("scenarios_sha256") or "") for run in (base, new)]
    same_ids = [i.id for i in base.items] == [i.id for i in new.items]
    if not shared and same_ids and all(hashes) and hashes[0] != hashes[1]:
        yield Incompatibility("scenarios", hashes[0][:12], hashes[1][:12])


def _versions(base: Snapshot, new: Snapshot) -> Iterator[Incompatibility]:
    for metric in base.columns.keys() & new.columns.keys():
        first, second = base.columns[metric].version, new.columns[metric].version
        if first != second:
            texts = f"version {first}", f"version {second} (fobench score fixes this)"
            yield Incompatibility(f"metric {metric}", *texts, metric=metric)


def _text(value: Any) -> str:
    """A fact as text, equal for equal facts."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(item)}" for key, item in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)
