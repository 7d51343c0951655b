"""Run folders: run.json, traces and scores of a small run, edited by hand or damaged."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.case import Case, Expected, Nonsense, Surface
from tests.fuzz.mutations import Path_, encoded, mutate_json, noisy, replaced

SCENARIOS = 3
golden = Path()


def prepare(folder: Path) -> None:
    """A run of scripted controls, scored."""
    from click.testing import CliRunner

    from fobench.cli.main import main

    global golden
    golden = folder / "golden"
    plain = "run --system scripted:late --suite controls --judge none --costs declared --suite-args text=Who? --suite-args answer=Anna"
    done = CliRunner().invoke(main, [*plain.split(), "--suite-args", f"count={SCENARIOS}", "--output", str(golden)])
    if done.exit_code:
        raise RuntimeError(f"the run that inputs are mutated from failed: {done.output}")


def _copy(folder: Path) -> Path:
    target = folder / "run"
    shutil.copytree(golden, target, ignore=shutil.ignore_patterns("audio", "*.html", "*.parquet"))
    return target


def _typed_in_run(path: Path_) -> bool:
    """Whether a value of run.json has one type, whatever ran."""
    return path[0] in (
        "version",
        "fobench",
        "status",
        "scenarios",
        "scenarios_sha256",
        "clock",
        "packages",
        "started",
        "notes",
    )


def _typed_in_trace(path: Path_) -> bool:
    return (
        "data" not in path and path[0] not in ("routes", "judge", "measured", "version") and path != ("compute", "zz")
    )


def _typed_in_scores(path: Path_) -> bool:
    return "detail" not in path and path[0] != "version"


def _use(run: Path, thoroughly: bool) -> None:
    """Reads a run in all ways. Raises `FobenchError` where it is refused."""
    from fobench.api import registry
    from fobench.comparison import compare
    from fobench.comparison.snapshot import Snapshot
    from fobench.scoring.scorer import load_results, score_run
    from fobench.storage.run_config import RunConfig
    from fobench.storage.run_folder import RunFolder

    folder = RunFolder(run)
    record = folder.read_run()
    for trace in folder.traces():
        trace.transcripts(), trace.answer
        if type(trace).from_json(json.loads(json.dumps(trace.to_json()))) != trace:
            raise Nonsense(f"the trace {trace.id!r} does not read back")
    if "config" in record:
        RunConfig.from_json(record["config"])
    results = load_results(run)
    snapshot = Snapshot.of_run(run)
    if thoroughly:
        for name in ("markdown", "html", "junit"):
            registry.create("reporters", name).write(results, run)
        compare(Snapshot.of_run(golden), snapshot, (), allow_mismatch=True).dumps()
        score_run(run)


def _case(run: Path, name: str, content: bytes, expected: Expected, about: str, thoroughly: bool) -> Case:
    (run / name).write_bytes(content)
    return Case(lambda: _use(run, thoroughly), f"{name}: {about}", expected, {name: content})


def run_record(rng: Random, folder: Path) -> Case:
    data = json.loads((golden / "run.json").read_text())
    content, expected, about = mutate_json(rng, data, _typed_in_run, closed=False)
    return _case(_copy(folder), "run.json", content, expected, about, rng.random() < 0.2)


def traces(rng: Random, folder: Path) -> Case:
    lines = (golden / "traces.jsonl").read_bytes().splitlines(keepends=True)
    number, kind = rng.randrange(len(lines)), rng.randrange(6)
    data = json.loads(lines[number])
    if kind <= 2:
        content, expected, about = mutate_json(rng, data, _typed_in_trace)
        if about in ("indented", "a byte-order mark"):
            content, expected = content.replace(b"\n", b" ").removeprefix(b"\xef\xbb\xbf"), "accepted"
        lines[number] = content + b"\n"
    elif kind == 3:
        path, wrong = rng.choice(_wrong_values(data))
        lines[number], expected, about = (
            encoded(replaced(data, path, wrong)) + b"\n",
            "refused",
            f"{path} is {wrong!r:.40}",
        )
    elif kind == 4:
        lines, expected, about = [noisy(rng, b"".join(lines), 30)], "either", "noise"
    else:
        run = _copy(folder)
        (run / "traces.jsonl").unlink()
        packed = noisy(rng, gzip.compress(b"".join(lines)))
        return _case(run, "traces.jsonl.gz", packed, "either", "noise", thoroughly=False)
    return _case(_copy(folder), "traces.jsonl", b"".join(lines), expected, about, rng.random() < 0.2)


def _wrong_values(trace: dict[str, Any]) -> list[tuple[Path_, Any]]:
    """(path, value) of values that no replay records."""
    user = [(("user", i, "turn"), turn) for i in range(len(trace["user"])) for turn in (-1, 99, 2**40)]
    events = [(("events", i, "cost_ns"), cost) for i in range(len(trace["events"])) for cost in (-1, 2**62)]
    times = [(("replies", i, "heard_ns"), -1) for i in range(len(trace["replies"]))]
    kinds = [(("events", i, "kind"), "shout") for i in range(len(trace["events"]))]
    rest = [
        (("duration_ns",), -5),
        (("duration_ns",), 2**62),
        (("compute", "input_ns"), -1),
        (("version",), 2),
        (("clock",), "sun"),
    ]
    missing: list[tuple[Path_, Any]] = [(("scenario",), None), (("events",), None), (("scenario", "turns"), {})]
    return [*user, *events[:40], *times, *kinds[:10], *rest, *missing]


def scores(rng: Random, folder: Path) -> Case:
    data = json.loads((golden / "scores.json").read_text())
    content, expected, about = mutate_json(rng, data, _typed_in_scores)
    return _case(_copy(folder), "scores.json", content, expected, about, rng.random() < 0.3)


def run_config(rng: Random, folder: Path) -> Case:
    from fobench.storage.run_config import RunConfig

    wrong: tuple[tuple[str, Any], ...] = (
        *(("limit", value) for value in (0, -1, 10**20, 1.5, "x", True, [])),
        *(("workers", value) for value in (0, -3, 10**6, None, "two")),
        *(("seed", value) for value in (-1, 2**64, 10**400, None, 0.5)),
        *(("time_limit_s", value) for value in (0, -1, float("nan"), float("inf"), 1e10, 10**400, "soon")),
        *(("margin", value) for value in (0, -1, float("nan"), 1e9)),
        *(("playback_delay_ms", value) for value in (-1, 10**9, 2.5)),
        *(("echo_db", value) for value in (float("nan"), float("-inf"), 1e9, "loud")),
        *(("suites", value) for value in ("controls", [1], [""], ["a\0b"], ["\ud800"], {})),
        *((name, value) for name in ("system", "backbone", "judge", "device") for value in ("", "\0", "a\udcff", 3, [])),
        *(("clock", value) for value in ("sun", "", None)),
        *((name, value) for name in ("system_args", "suite_args") for value in ([], "a=b", None, {"a": 1}.keys)),
        ("time_limit", 3), ("zz", 1),
    )  # fmt: skip
    name, value = rng.choice([each for each in wrong if not callable(each[1])])
    config = {**json.loads((golden / "run.json").read_text())["config"], name: value}
    return Case(lambda: RunConfig.from_json(config), f"{name} is {value!r:.60}", "refused")


SURFACES = (
    Surface("run-record", run_record, weight=3, limit_s=20),
    Surface("traces", traces, weight=4, limit_s=20),
    Surface("scores", scores, weight=3, limit_s=20),
    Surface("run-config", run_config, weight=2),
)
