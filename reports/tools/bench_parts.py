"""The parts of the performance report: the commands that measure, and the figures in what they leave."""

from __future__ import annotations

import ast
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
SYSTEMS = ("cascade", "freeze-omni")
Better = Literal["lower", "higher"]
Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `limit`: a physical limit or a target, in the same unit, which `limit_name` names.

    `about`: what it is, in a sentence; several figures may share it.
    """

    name: str
    value: float
    unit: str
    better: Better = "lower"
    limit: float | None = None
    limit_name: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the report. `commands(out, tiny)` measure, one after the other; `figures(out)` are read from the folder `out`."""

    name: str
    title: str
    about: str
    commands: Callable[[Path, bool], Sequence[Command]]
    figures: Callable[[Path], Iterator[Figure]]
    seconds: int  # after which it is stopped


def by_name(names: Sequence[str]) -> list[Part]:
    return [next(part for part in PARTS if part.name == name) for name in names]


# ---- benchmarks by pytest-benchmark ----------------------------------------------------------------------------------

PER_UNIT = {"s": 1.0, "ms": 1e3, "us": 1e6}
UNITS = {"s": "s", "ms": "ms", "mb": "MB", "mib": "MiB"}


def pytest_part(
    name: str, title: str, about: str, *files: str, seconds: int, only: str = "", tiny: str = "", unit: str = "ms"
) -> Part:
    """A part of benchmarks in tests/bench; `only` and `tiny` are pytest's -k, the latter for a run with `tiny` sizes."""

    def commands(out: Path, small: bool) -> list[Command]:
        chosen = (tiny if small else "") or only
        options = ("-m", "", "--benchmark-only", "-p", "no:cacheprovider", *(("-k", chosen) if chosen else ()))
        paths = tuple(f"tests/bench/{file}" for file in files)
        return [(PYTHON, "-m", "pytest", *paths, *options, f"--benchmark-json={out / 'benchmark.json'}")]

    return Part(name, title, about, commands, lambda out: benchmark_figures(out / "benchmark.json", unit), seconds)


def benchmark_figures(path: Path, unit: str = "ms") -> Iterator[Figure]:
    """The median time of every benchmark in pytest-benchmark's JSON, each followed by the numbers in its `extra_info`.

    `extra_info["limit_s"]` is the limit of the median.
    """
    for bench in json.loads(path.read_text())["benchmarks"]:
        label, about = described(bench["fullname"])
        figure, extra = (
            Figure(label, PER_UNIT[unit] * bench["stats"]["median"], unit, about=about),
            dict(bench["extra_info"]),
        )
        if (limit := extra.pop("limit_s", None)) is not None:
            figure = replace(figure, limit=PER_UNIT[unit] * limit, limit_name="limit of the benchmark")
        yield with_target(figure)
        yield from (with_target(replace(more, name=f"{label}: {more.name}")) for more in extra_figures(extra))


def extra_figures(extra: Mapping[str, Any]) -> Iterator[Figure]:
    """The numbers in a benchmark's `extra_info`; units are the ends of their names: `page_mb`, `cpu_s`, `tokens_per_s`."""
    for key, value in extra.items():
        rate, last = "_per_" in key, key.rpartition("_")[2]
        unit = "" if rate else UNITS.get(last, "")
        name = (key.removesuffix(f"_{last}") if unit else key).replace("_", " ")
        better: Better = "higher" if key.endswith("_per_s") else "lower"
        for inner in numbers(value, (name,)):
            yield replace(inner, unit=unit, better=better)


def described(fullname: str) -> tuple[str, str]:
    """(a benchmark's name in words with its parameters, the first sentence of its docstring).

    `fullname` is pytest's, e.g. tests/bench/test_x.py::test_step[int8].
    """
    path, _, function = fullname.partition("::")
    name, _, parameters = function.partition("[")
    text, about, file = name.removeprefix("test_").replace("_", " "), "", ROOT / path
    if file.is_file():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name == name and (doc := ast.get_docstring(node)):
                about = " ".join(doc.split("\n\n", 1)[0].split())
    return f"{text} [{parameters.rstrip(']')}]" if parameters else text, about


# ---- decoding --------------------------------------------------------------------------------------------------------

LLMS = ("smollm2-135m", "qwen2.5-coder-0.5b")


def decode_commands(out: Path, tiny: bool) -> list[Command]:
    return [
        (
            PYTHON,
            "-m",
            "tests.bench.decode_speed",
            llm,
            "-o",
            str(out),
            "--rounds",
            "2",
            *(("--threads", "1") if tiny else ()),
        )
        for llm in (LLMS[:1] if tiny else LLMS)
    ]


def decode_figures(out: Path) -> Iterator[Figure]:
    """Tokens per second of every form beside the bound by memory bandwidth, and the time to the first token."""
    record = json.loads((out / "decode-speed.json").read_text())
    for threads, speed in record["bandwidth"].items():
        yield Figure(f"memory bandwidth, {threads} threads", speed / 1e9, "GB/s", "higher")
    for row in record["rows"]:
        label = f"{row['backbone']}, {row['form']}, {row['threads']} threads"
        bound = row.get("bound_tokens_per_s")
        named = "memory bandwidth / bytes per token" if bound else ""
        yield Figure(label, row["tokens_per_s"], "tokens/s", "higher", bound, named)
        for key, prompt in {"first_token_s": 40, "first_token_200_s": 200}.items():
            if row.get(key) is not None:
                yield Figure(f"{label}: first token after a prompt of {prompt}", 1e3 * row[key], "ms")
        if (share := row.get("share_of_raw_loop")) is not None:
            yield Figure(f"{label}: of the raw loop", share, "", "higher", 0.95, "target")


# ---- replies ---------------------------------------------------------------------------------------------------------

QUESTIONS = 12
LATENCIES = {
    "endpoint_ms": "end of turn",
    "ttft_ms": "first token after it",
    "ttfa_ms": "first audio after it",
    "response_ms": "response",
}
TOTALS = {
    "underruns": ("gaps a reply", ""),
    "rtf_input": ("RTF, input", ""),
    "rtf_output": ("RTF, output", ""),
}


def reply_commands(out: Path, tiny: bool) -> list[Command]:
    limit = "1" if tiny else str(QUESTIONS)
    options = ("--limit", limit, "--judge", "none", "--no-text-routes")
    return [
        (PYTHON, "-m", "fobench", "run", "--system", system, *options, "--output", str(out / system))
        for system in SYSTEMS
    ]


def reply_figures(out: Path) -> Iterator[Figure]:
    """Of each system: latencies by part, gaps, real-time factors; then Freeze-Omni's response over the cascade's."""
    from fobench.storage.run_folder import RunFolder
    from tests.bench import reply_path

    medians = {}
    for system in SYSTEMS:
        totals = {t["metric"]: t for t in json.loads((out / system / "scores.json").read_text())["totals"]}
        for metric, words in LATENCIES.items():
            for quantile in ("p50", "p90"):
                value = totals[metric]["detail"].get(quantile)
                if value is not None:
                    yield with_target(Figure(f"{system}: {words}, {quantile}", value, "ms"))
        medians[system] = totals["response_ms"]["detail"].get("p50")
        for metric, (words, unit) in TOTALS.items():
            if (value := totals[metric]["value"]) is not None:
                yield with_target(Figure(f"{system}: {words}", value, unit))
        paths = reply_path.profile(RunFolder(out / system).traces()).paths
        for part, _share, _p50, _p90, mean in reply_path.table(paths):
            if float(mean):
                yield Figure(f"{system}: mean of `{part}`", float(mean), "ms")
    if all(medians.values()):
        ratio = medians["freeze-omni"] / medians["cascade"]
        yield with_target(Figure("response p50, freeze-omni / cascade", ratio, ""))


# ---- the rest --------------------------------------------------------------------------------------------------------


def neighbor_figures(out: Path) -> Iterator[Figure]:
    """Both systems' times beside busy processes, and the ratio to the time by itself."""
    yield from benchmark_figures(out / "benchmark.json", "s")
    for bench in json.loads((out / "benchmark.json").read_text())["benchmarks"]:
        if (quiet := bench["extra_info"].get("quiet_wall_s")) is not None:
            yield with_target(Figure(f"{bench['param']}: busy / quiet", bench["stats"]["median"] / quiet, ""))


PARITY = ROOT / "reports" / "performance" / "engine-parity.json"


def parity_commands(out: Path, tiny: bool) -> list[Command]:
    return []  # minutes of decoding: `python reports/tools/engine_parity.py` writes it, the report shows it


def parity_figures(out: Path) -> Iterator[Figure]:
    """What engine-parity.json tells of each form against torch in float32."""
    if not PARITY.is_file():
        raise FileNotFoundError(f"{PARITY.relative_to(ROOT)} is missing: run reports/tools/engine_parity.py")
    for name, found in json.loads(PARITY.read_text())["backbones"].items():
        for key, value in found["numbers"].items():
            if "cosine" in key or key == "same_token":
                words = "same next token, share" if key == "same_token" else key.replace("_", " ")
                yield Figure(f"{name}: {words}", value, "", "higher", 1.0, "equal")
        for row in found["replies"]:
            label = f"{name}, {row['form']}"
            yield Figure(f"{label}: replies equal", row["identical"], "", "higher", row["replies"], "all")
            yield Figure(f"{label}: right answers", row["right"], "", "higher", row["replies"], "all")
            yield Figure(
                f"{label}: right answers, difference to float32", 100 * row["right_difference"], "pp", "higher"
            )


def numbers(data: Any, names: tuple[str, ...] = ()) -> Iterator[Figure]:
    """Every finite number in nested tables, named by its path."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from numbers(value, (*names, str(key).replace("_", " ")))
    elif isinstance(data, int | float) and not isinstance(data, bool) and math.isfinite(data):
        yield Figure(", ".join(names), float(data), "", "higher")


TARGETS: dict[str, tuple[float, str]] = {  # figure: (value in its unit, what it is)
    "freeze-omni: response, p50": (700, "target"),
    "freeze-omni: gaps a reply": (0.05, "target"),
    "freeze-omni: RTF, output": (0.35, "target"),
    "freeze-omni: RTF, input": (1, "real time"),
    "cascade: RTF, output": (1, "real time"),
    "cascade: RTF, input": (1, "real time"),
    "response p50, freeze-omni / cascade": (0.6, "target"),
    "two thousand scenarios: cpu, all": (10, "target"),
    "two thousand scenarios: page": (10, "target"),
    "replaying a scenario: harness s per media s": (0.03, "target"),
    "freeze-omni: busy / quiet": (2, "half of the cores"),
    "cascade: busy / quiet": (2, "half of the cores"),
}


def with_target(figure: Figure) -> Figure:
    limit, name = TARGETS.get(figure.name, (None, ""))
    return figure if limit is None else replace(figure, limit=limit, limit_name=name)


NEIGHBOR = (
    "A spoken question to a system in a process of its own, by itself and beside processes that never rest (one for every core "
    "but one)."
)
PARTS: tuple[Part, ...] = (
    Part(
        "decode",
        "Decoding of the frozen LLM",
        "Greedy, after one prompt. The bound is the memory bandwidth (by a sum over 256 MB) over the bytes of the weights that a "
        "token reads, without the KV cache. The raw loop is llama.cpp's `llama_decode` of token ids, without the contract of a "
        "backbone; forms take turns, so that they see the same machine.",
        decode_commands,
        decode_figures,
        600,
    ),
    Part(
        "parity",
        "Engines against each other",
        "Against torch in float32, on the shipped questions by text, greedily: [engine-parity.md](engine-parity.md) tells how.",
        parity_commands,
        parity_figures,
        10,
    ),
    Part(
        "reply",
        "Replies",
        f"The first {QUESTIONS} questions of `spoken-qa` by both systems in the same minutes, without the reference ASR. A mean is "
        "over all questions; `before the decision` is what was computed after the user's last sample. 40 questions, "
        "and how it was before llama.cpp: [reply-path.md](reply-path.md).",
        reply_commands,
        reply_figures,
        600,
    ),
    pytest_part(
        "speech",
        "Steps of Freeze-Omni",
        "Medians, in a process by itself.",
        "test_reference_speed.py",
        seconds=400,
        tiny="encoder_step and 0",
    ),
    pytest_part(
        "cascade",
        "Parts of the cascade",
        "Medians, with the default recognizer, LLM and voice.",
        "test_cascade_speed.py",
        seconds=400,
        only="not 30 and not whole-",
        tiny="activity_detector",
    ),
    pytest_part(
        "judge", "Judging of a reply", "Of one reply of some seconds.", "test_judge_speed.py", seconds=300, unit="s"
    ),
    pytest_part(
        "score", "Scoring and report", "Of 2,000 scenarios of 100 events.", "test_score_speed.py", seconds=400, unit="s"
    ),
    pytest_part(
        "harness",
        "The harness",
        "Replaying a conversation to a system that does nothing; start of the command line.",
        *("test_runner_speed.py", "test_startup.py"),
        seconds=300,
        tiny="import",
    ),
    replace(
        pytest_part("neighbor", "Beside a busy process", NEIGHBOR, "test_busy_neighbor.py", seconds=400, unit="s"),
        figures=neighbor_figures,
    ),
)
