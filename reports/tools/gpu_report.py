"""Freeze-Omni on a GPU: `make gpu-report` (`python -m reports.tools.gpu_report`) writes reports/gpu-NAME within ten minutes.

No network is used. Each part runs in a process of its own and writes its figures as they come; one that fails, or for
which the time or an asset is missing, is recorded with the reason, and the others go on. Needed are the source tree and a
Python that has the packages of `NEEDED` and fobench itself (`pip install --no-deps --no-build-isolation -e .` without a
network). Models of the default system (`fobench assets pull`; $FOBENCH_HOME names the folder that holds them) serve two
parts: without them the `small` part has an LLM with random weights, and `questions` is skipped.

`--device cpu --size tiny` tries the command where there is no GPU; such a page says that nothing was measured on a GPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fobench import atomic_files
from fobench.console import markdown_table
from fobench.storage import environment
from reports.tools.bench_parts import PYTHON, ROOT, Figure
from reports.tools.bench_report import COLUMNS, figure_rows

LEAST_S = 15  # a part that has less time left is not begun
ASSETS = ("smollm2-135m-gguf", "silero-vad", "whisper-tiny.en-ct2")  # of the parts `small` and `questions`
NEEDED = (  # modules; every extra of fobench is more than that
    *("torch", "transformers", "tokenizers", "safetensors", "accelerate", "numpy", "scipy", "soundfile", "soxr"),
    *("click", "jinja2", "msgspec", "pluggy", "psutil", "regex", "rich", "whisper_normalizer", "pytest", "hypothesis"),
)
OFFLINE = {"FOBENCH_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True, slots=True)
class GpuPart:
    """A part of the report; `seconds` at most. `figures(device, size, seconds)` measure in a process of their own."""

    name: str
    title: str
    about: str
    figures: Callable[[str, str, float], Iterator[Figure]]
    seconds: int


# ---- what the parts do, each in a process of its own -----------------------------------------------------------------


def device(device: str, size: str, seconds: float) -> Iterator[Figure]:
    from reports.tools import gpu_figures

    yield from gpu_figures.device_figures(device, 8 if size == "tiny" else 1024)


def tests(device: str, size: str, seconds: float) -> Iterator[Figure]:
    """The tests marked gpu."""
    if not device.startswith("cuda"):
        raise SkippedPart("the tests marked gpu need a CUDA device")
    command = (PYTHON, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "-n", "0", "--tb=line")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    print(done.stdout[-4000:])
    for outcome in ("passed", "failed", "error", "skipped"):
        if (
            count := sum(int(n) for n in re.findall(rf"(\d+) {outcome}s?\b", done.stdout.rsplit("\n", 3)[-2]))
        ) or outcome == "passed":
            yield Figure(f"tests {outcome}", count, "", "higher" if outcome == "passed" else "lower")
    if done.returncode:
        raise RuntimeError(
            "; ".join(re.findall(r"^(?:FAILED|ERROR) .*", done.stdout, re.MULTILINE)) or done.stdout[-400:]
        )


def paper(device: str, size: str, seconds: float) -> Iterator[Figure]:
    """The paper's sizes around a randomly initialized Qwen2-7B: parts, a conversation, memory."""
    yield from _model("tiny" if size == "tiny" else "paper", device, size)


def small(device: str, size: str, seconds: float) -> Iterator[Figure]:
    """The trained checkpoint around SmolLM2-135M."""
    yield from _model("tiny" if size == "tiny" else "small", device, size)


def _model(sizes: str, device: str, size: str) -> Iterator[Figure]:
    from reports.tools import gpu_figures

    start, tiny = time.perf_counter(), size == "tiny"
    live, llm = gpu_figures.engine(sizes, device)
    yield Figure(f"loaded around {llm}", time.perf_counter() - start, "s")
    yield from gpu_figures.memory(device, "loaded")
    rounds, bytes_per_s = 4 if tiny else 20, gpu_figures.bandwidth(device, 8 if tiny else 1024)
    yield from gpu_figures.listening_figures(live, device, rounds, bytes_per_s)
    yield from gpu_figures.speaking_figures(live, device, rounds)
    yield from gpu_figures.conversation_figures(live, device, gpu_figures.speech(sizes), 1 if tiny else 3)
    yield from gpu_figures.memory(device, "after a conversation")


def compiled(device: str, size: str, seconds: float) -> Iterator[Figure]:
    """The paper's sizes with the steps of the speech decoder compiled."""
    from reports.tools import gpu_figures

    if not device.startswith("cuda"):
        raise SkippedPart("CUDA graphs need a CUDA device")
    live, _ = gpu_figures.engine("tiny" if size == "tiny" else "paper", device, compiled=True)
    yield from gpu_figures.speaking_figures(live, device, 20)
    yield from gpu_figures.conversation_figures(live, device, gpu_figures.speech("paper"), 3)
    yield from gpu_figures.memory(device, "after a conversation")


def sessions(device: str, size: str, seconds: float) -> Iterator[Figure]:
    """How many sessions keep real time."""
    from reports.tools import gpu_figures

    end, tiny = time.perf_counter() + seconds, size == "tiny"
    sizes = "tiny" if tiny else "paper"
    live, _ = gpu_figures.engine(sizes, device)
    counts, each = ([1, 2], 3.0) if tiny else ([1, 2, 4, 8, 12, 16, 24, 32, 48, 64], 10.0)
    said = gpu_figures.speech(sizes)
    yield from gpu_figures.real_time_figures(live, device, said, counts, each, end - 2 * each)
    yield from gpu_figures.memory(device, "with that many sessions")


def questions(device: str, size: str, seconds: float) -> Iterator[Figure]:
    """Questions of the shipped suite to the trained checkpoint on the device."""
    from fobench.assets import store
    from fobench.errors import PrerequisiteError

    missing = []
    for name in ASSETS:
        try:
            store.get(name, offline=True)
        except PrerequisiteError:
            missing.append(name)
    if missing:
        raise SkippedPart(f"not at hand in FOBENCH_HOME: {', '.join(missing)} (`fobench assets pull` fetches them)")
    if size == "tiny":
        raise SkippedPart("a trial with tiny sizes asks no questions")
    with tempfile.TemporaryDirectory() as folder:
        options = ("--device", device, "--limit", "6", "--judge", "none", "--no-text-routes", "--output", folder)
        command = (PYTHON, "-m", "fobench", "run", "--system", "freeze-omni", *options)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
        if done.returncode:
            raise RuntimeError(f"fobench run ended with {done.returncode}: {(done.stderr or done.stdout)[-400:]}")
        totals = {t["metric"]: t for t in json.loads((Path(folder) / "scores.json").read_text())["totals"]}
    for metric in ("endpoint_ms", "ttft_ms", "ttfa_ms", "response_ms"):
        if (value := totals[metric]["value"]) is not None:
            yield Figure(f"{metric.removesuffix('_ms')}, p50 of {totals[metric]['n']}", value, "ms")
    for metric in ("rtf_input", "rtf_output", "underruns"):
        if (value := totals[metric]["value"]) is not None:
            yield Figure(metric.replace("_", " "), value, "")


class SkippedPart(Exception):
    """A part cannot be measured here; the message says why."""


PARTS: tuple[GpuPart, ...] = (
    GpuPart("device", "The device", "Best of ten.", device, 60),
    GpuPart("tests", "Tests on the GPU", "`pytest -m gpu`", tests, 150),
    GpuPart(
        "paper",
        "The paper's sizes",
        "`untrained:paper` around a randomly initialized Qwen2-7B in bfloat16; medians, one session.",
        paper,
        150,
    ),
    GpuPart(
        "sessions",
        "Sessions in real time",
        "The same model; sessions stepped together, their turns spread evenly. p95 of the time of 160 ms of audio for all of them.",
        sessions,
        150,
    ),
    GpuPart(
        "compiled",
        "The speech decoder by CUDA graphs",
        "As above, with `compile=True` (torch.compile, reduce-overhead).",
        compiled,
        150,
    ),
    GpuPart("small", "The trained checkpoint", "`freeze-omni/any`; medians, one session.", small, 90),
    GpuPart(
        "questions", "Spoken questions", "`fobench run --system freeze-omni --limit 6` on the device.", questions, 120
    ),
)


# ---- the report ------------------------------------------------------------------------------------------------------


def measure(part: GpuPart, device: str, size: str, left: float) -> dict[str, Any]:
    """The result of a part: its figures, as far as it came, and its error or why it was skipped."""
    result: dict[str, Any] = {"figures": [], "error": None, "skipped": None, "seconds": 0.0}
    if left < LEAST_S:
        return result | {"skipped": "the time of the report was over"}
    start, seconds = time.monotonic(), min(part.seconds, left)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.jsonl"
        command = (PYTHON, "-m", "reports.tools.gpu_report", "--measure", part.name, "--lines", str(lines))
        options = ("--device", device, "--size", size, "--seconds", str(seconds))
        variables = {**os.environ, **OFFLINE, "PYTHONPATH": str(ROOT)}
        try:
            done = subprocess.run(
                (*command, *options), cwd=ROOT, env=variables, capture_output=True, text=True, timeout=seconds
            )
            if done.returncode:
                result["error"] = f"ended with {done.returncode}: {done.stderr.strip()[-400:]}"
        except subprocess.TimeoutExpired:
            result["error"] = f"stopped after {seconds:.0f} s"
        for line in lines.read_text().splitlines() if lines.is_file() else ():
            data = json.loads(line)
            result.update(
                {"skipped": data["skipped"]} if "skipped" in data else {"figures": [*result["figures"], data]}
            )
    return result | {"seconds": round(time.monotonic() - start, 1)}


def measure_here(name: str, device: str, size: str, seconds: float, lines: Path) -> None:
    """Measures a part in this process; appends each figure, as JSON, to the file `lines`."""
    part = next(part for part in PARTS if part.name == name)
    with lines.open("a") as file:
        try:
            for figure in part.figures(device, size, seconds):
                print(json.dumps(asdict(figure)), file=file, flush=True)
        except SkippedPart as reason:
            print(json.dumps({"skipped": str(reason)}), file=file, flush=True)


def page(record: Mapping[str, Any]) -> str:
    """README.md of the report."""
    on_gpu = record["device"].startswith("cuda")
    title = f"# Freeze-Omni on {record['name']}" if on_gpu else "# Not measured on a GPU"
    lines = [title, ""]
    if not on_gpu:
        lines += [
            f"A trial of the command on {record['device']}, size `{record['size']}`: its figures say nothing about a GPU.",
            "",
        ]
    lines += [f"{record['at']}, commit `{record['git'].get('commit', '?')[:12]}`; {record['versions']}."]
    lines += ["", f"Host: {environment.describe(record['machine'])}. Command: `{record['command']}`."]
    for part in PARTS:
        if (result := record["parts"].get(part.name)) is None:
            continue
        lines += ["", f"## {part.title}", "", part.about]
        if result["figures"]:
            lines += ["", *markdown_table(COLUMNS, figure_rows(result["figures"]))]
        if result["skipped"]:
            lines += ["", f"**Not measured**: {result['skipped']}."]
        if result["error"]:
            lines += ["", f"**Not complete**: {' '.join(result['error'].split())}"]
        lines += ["", f"({result['seconds']:.0f} s)"]
    return "\n".join([*lines, ""])


def missing_packages(names: Sequence[str] = NEEDED) -> list[str]:
    """Those of the modules `names` that are not installed here, and fobench if its components are not registered."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    registered = any(point.value == "fobench_plugins" for point in importlib.metadata.entry_points(group="fobench"))
    return [*missing, *([] if registered and importlib.util.find_spec("fobench_plugins") else ["fobench"])]


def find_device(asked: str) -> tuple[str, str, str]:
    """(device, its name, versions of torch and CUDA). Exits with code 2 without the device."""
    import torch

    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    if not asked.startswith("cuda"):
        return asked, asked, versions
    if not torch.cuda.is_available():
        print(
            "No CUDA device is visible, so nothing was measured on a GPU. Run this on a machine with one, or try the command "
            "with --device cpu --size tiny.",
            file=sys.stderr,
        )
        sys.exit(2)
    memory = torch.cuda.get_device_properties(asked).total_memory / 1e9
    name = torch.cuda.get_device_name(asked)
    return (
        asked,
        f"{name} ({memory:.0f} GB)",
        f"{versions}, compute capability {torch.cuda.get_device_capability(asked)}",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:1, cpu")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--minutes", type=float, default=10.0, help="time for all parts (default: 10)")
    parser.add_argument("--part", action="append", choices=names, help="only this part; the others are kept")
    parser.add_argument("--output", type=Path, help="folder (default: reports/gpu-NAME; without a GPU runs/gpu-trial)")
    parser.add_argument("--measure", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--lines", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.measure:
        measure_here(asked.measure, asked.device, asked.size, asked.seconds, asked.lines)
        return 0
    end = time.monotonic() + 60 * asked.minutes
    if missing := missing_packages():
        print(
            f"Not installed in {Path(sys.executable).name}: {', '.join(missing)}. Get them with pip, and fobench from this tree with "
            "pip install --no-deps --no-build-isolation -e .",
            file=sys.stderr,
        )
        return 2
    device, name, versions = find_device(asked.device)
    slug = re.sub(r"[^a-z0-9]+", "-", name.split(" (")[0].lower()).strip("-")
    default = ROOT / "reports" / f"gpu-{slug}" if device.startswith("cuda") else ROOT / "runs" / "gpu-trial"
    folder = asked.output or default
    path = folder / "results.json"
    record: dict[str, Any] = {"version": 1, "device": device, "name": name, "size": asked.size, "versions": versions}
    record |= {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": environment.about()}
    record |= {"packages": environment.packages(), "git": environment.git(), "parts": {}}
    shown = " ".join(sys.argv[1:] if arguments is None else arguments)
    record["command"] = f"python -m reports.tools.gpu_report {shown}".strip()
    if asked.part and path.is_file():
        record["parts"] = json.loads(path.read_text())["parts"]
    for part in PARTS:
        if part.name not in (asked.part or names):
            continue
        print(f"{part.name} ...", end=" ", flush=True)
        result = measure(part, device, asked.size, end - time.monotonic())
        record["parts"][part.name] = result
        atomic_files.write_text(path, json.dumps(record, indent=1) + "\n", parents=True)
        atomic_files.write_text(folder / "README.md", page(record))
        problem = result["error"] or (f"skipped: {result['skipped']}" if result["skipped"] else "")
        print(f"{len(result['figures'])} figures in {result['seconds']:.0f} s {problem}".rstrip(), flush=True)
    print(f"{folder / 'README.md'}")
    return int(any(result["error"] for result in record["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
