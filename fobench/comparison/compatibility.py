"""In what two runs are unlike, though a difference between them only means something where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fobench.comparison.paired_scores import PairedScores
from fobench.comparison.snapshot import Snapshot
from fobench.console import counted
from fobench.storage import environment

Told = Callable[[Snapshot], Any]


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """`what` differs: it is `base` there and `new` here.

    `times`: only times are of no use then, `metric`: only that metric; the rest may be compared.
    """

    what: str
    base: str
    new: str
    times: bool = False
    metric: str = ""

    def spoils(self, pairs: PairedScores) -> bool:
        """Whether the figures of a metric mean nothing then."""
        return timed(pairs) if self.times else self.metric in ("", pairs.metric)

    def __str__(self) -> str:
        return f"{self.what}: {self.base or 'none'} in the first, {self.new or 'none'} in the second"


def _option(key: str) -> Told:
    return lambda run: run.config.get(key)


def _suites(run: Snapshot) -> Any:
    """Their kinds: whether what follows, a path or a name, holds the same scenarios is told by these themselves."""
    return [str(name).partition(":")[0] for name in run.config.get("suites") or ()]


def _judge(run: Snapshot) -> Any:
    """The judge as it tells of itself; of what carries a version or a hash, too."""
    about = dict((run.run.get("components") or {}).get("judge") or {})
    about.pop("device", None)
    return about or run.config.get("judge")


def _echo(run: Snapshot) -> Any:
    """The playback that leaks into the user's channel, dB and ms."""
    level = run.config.get("echo_db")
    return None if level is None else [level, run.config.get("echo_delay_ms")]


def _about(run: Snapshot) -> Mapping[str, Any]:
    """Its machine. One whose instruction sets are not recorded is only like another such: it may be twice as fast."""
    return run.run.get("machine") or {}


def _scoring(run: Snapshot) -> Any:
    """The packages whose version can change a score of the same sound."""
    packages = run.run.get("packages") or {}
    return {name: packages[name] for name in ("jiwer", "whisper-normalizer", "speechmos") if name in packages}


TIMED_UNITS = ("ms",)
TIMED = ("rtf_", "underrun")  # metrics that are times without a unit of time
ALL: dict[str, Told] = {  # else no figure means the same
    "suites": _suites,
    "suites' options": _option("suite_args"),
    "seed": _option("seed"),
    "judge": _judge,
    "judge's options": _option("judge_args"),
    "clock": _option("clock"),
    "echo": _echo,
}
TIMES: dict[str, Told] = {  # else no time means the same
    "costs": lambda run: run.run.get("costs"),
    "listener's buffer, ms": lambda run: run.config.get("playback_delay_ms") or 0,
    "workers": lambda run: run.config.get("workers") or 1,
}
NOTED: dict[str, Told] = {"fobench": lambda run: run.run.get("fobench"), "scoring packages": _scoring}


def timed(pairs: PairedScores) -> bool:
    """Whether a metric is a time, or made of times."""
    return pairs.new.unit in TIMED_UNITS or pairs.metric.startswith(TIMED)


def mismatches(base: Snapshot, new: Snapshot) -> list[Incompatibility]:
    """What forbids a comparison."""
    found = [*_differing(ALL, base, new), *_differing(TIMES, base, new, times=True)]
    if any(_real(run) for run in (base, new)):
        found += _differing({"machine": lambda run: environment.told(_about(run))}, base, new, times=True)
    return [*found, *_changed_assets(base, new), *_changed_items(base, new), *_versions(base, new)]


def notes(base: Snapshot, new: Snapshot) -> list[str]:
    """What does not forbid it but has to be borne in mind."""
    found = [f"Unlike: {mismatch}." for mismatch in _differing(NOTED, base, new)]
    if all(_real(run) and _about(run).get("instruction_sets") is None for run in (base, new)):
        found.append("Neither run tells its CPU's instruction sets: CPUs of one name can differ twofold in speed.")
    for run in (base, new):
        if run.run.get("status") not in (None, "complete"):
            found.append(f"{run.name} is {run.run.get('status')}, not complete.")
        if failed := sum("failure" in item.texts for item in run.items):
            found.append(f"{counted(failed, 'scenario')} of {run.name} failed.")
        if (run.run.get("git") or {}).get("dirty"):
            found.append(f"{run.name} was made by a checkout with uncommitted changes.")
    apart = [len({i.id for i in one.items} - {i.id for i in other.items}) for one, other in ((base, new), (new, base))]
    for run, more in zip((base, new), apart, strict=True):
        if more:
            found.append(f"{counted(more, 'scenario')} of {run.name} only; the pairs are of those that both have.")
    return found


def _real(run: Snapshot) -> bool:
    """Whether its times are those of a machine."""
    return run.config.get("clock") == "wall" or not str(run.run.get("costs", "")).startswith("declared")


def _differing(told: Mapping[str, Told], base: Snapshot, new: Snapshot, times: bool = False) -> list[Incompatibility]:
    pairs = [(what, _words(tell(base)), _words(tell(new))) for what, tell in told.items()]
    return [Incompatibility(what, first, second, times) for what, first, second in pairs if first != second]


def _changed_assets(base: Snapshot, new: Snapshot) -> Iterator[Incompatibility]:
    """Files of one name and another hash, where both runs tell of it."""
    first, second = base.run.get("assets") or {}, new.run.get("assets") or {}
    for name in sorted(first.keys() & second.keys()):
        if first[name] != second[name]:
            yield Incompatibility(f"asset {name}", _words(first[name]), _words(second[name]))


def _changed_items(base: Snapshot, new: Snapshot) -> Iterator[Incompatibility]:
    """Scenarios of one name but of other audio, text or answers; without traces, the hash of all of them."""
    asked = {item.id: item.asked for item in base.items if item.asked}
    common = [item for item in new.items if item.asked and item.id in asked]
    changed = [item.id for item in common if item.asked != asked[item.id]]
    if changed:
        yield Incompatibility(f"{counted(len(changed), 'scenario')} of one name, e.g. {changed[0]}", "one", "another")
    whole = [str(run.run.get("scenarios_sha256") or "") for run in (base, new)]
    same_ids = [i.id for i in base.items] == [i.id for i in new.items]
    if not common and same_ids and all(whole) and whole[0] != whole[1]:
        yield Incompatibility("scenarios", whole[0][:12], whole[1][:12])


def _versions(base: Snapshot, new: Snapshot) -> Iterator[Incompatibility]:
    for metric in base.columns.keys() & new.columns.keys():
        first, second = base.columns[metric].version, new.columns[metric].version
        if first != second:
            told = f"version {first}", f"version {second} (fobench score mends it)"
            yield Incompatibility(f"metric {metric}", *told, metric=metric)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_words(item)}" for key, item in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return "" if value is None else str(value)
