"""The performance report, reports/performance: `python -m reports.tools.bench_report` (`make bench-report`) measures all of it.

Each part runs in processes of its own, and its figures are written when it ends: a part that fails or takes too long is
recorded with its error, and `--part NAME` (or `--resume`, those without figures) measures again and keeps the others.
`--compare OLD.json` measures nothing and prints the figures beside those of an older results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fobench import atomic_files
from fobench.console import markdown_table
from fobench.formatting import compact, percent
from fobench.storage import environment, machine_load
from reports.tools.bench_parts import PARTS, PYTHON, ROOT, Command, Part, by_name

FOLDER = ROOT / "reports" / "performance"
COLUMNS = ("figure", "value", "limit or target", "value / limit")
OF_THREADS = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")  # a report is of what a user gets who sets nothing
SHOWN_ERROR = 400  # characters

Result = dict[str, Any]  # of a part, as stored in results.json


def measure(part: Part, tiny: bool) -> Result:
    """Runs a part's commands and reads its figures. An error is part of the result, and what stood before it is kept."""
    result: Result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "git": environment.git(), "tiny": tiny}
    meter = machine_load.start()
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix=f"fobench-{part.name}-") as folder:
        out = Path(folder)
        commands, error = [], None
        try:
            commands = list(part.commands(out, tiny))
            error = run_all(commands, part.seconds)
            for figure in part.figures(out):
                figures.append(asdict(figure))
        except Exception as reason:  # of what a part has left, where a command failed
            error = error or f"{type(reason).__name__}: {reason}"
        shown = [shlex.join(command).replace(folder, "OUT").replace(PYTHON, "python") for command in commands]
    return result | {"commands": shown, "figures": figures, "error": error, "load": meter.finish()}


def run_all(commands: Sequence[Command], seconds: float) -> str | None:
    """Runs commands one after the other, within `seconds` together; returns what went wrong, in a sentence."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(OF_THREADS)}
    variables["PYTHONPATH"] = str(ROOT)
    problems, end = [], time.monotonic() + seconds
    for command in commands:
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            output, _ = process.communicate(timeout=max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return "; ".join([*problems, f"stopped after {seconds:.0f} s"])
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if process.returncode:
            tail = reason(output.decode(errors="replace"))
            problems.append(
                f"`{Path(command[0]).name} {shlex.join(command[1:5])}` ended with {process.returncode}: {tail}"
            )
    return "; ".join(problems) or None


def reason(output: str) -> str:
    """Why a command failed, out of its output: what pytest or Python says of errors, else its end."""
    told = re.findall(r"^(?:FAILED|ERROR|E  |\w*Error:) ?.*", output, re.MULTILINE)
    return (" ".join(told[-3:]) or output.strip())[-SHOWN_ERROR:]


# ---- the page --------------------------------------------------------------------------------------------------------


def page(record: Mapping[str, Any]) -> str:
    """README.md of the report."""
    lines = [
        "# Performance",
        "",
        "Every figure of speed and size that this project states, measured by `make bench-report` (about ten minutes on two cores; "
        "`python -m reports.tools.bench_report --part NAME` measures one part again). Beside a figure stands its physical limit or its "
        "target, where there is one. Raw data: `results.json`; to compare with an older one: `--compare OLD.json`.",
        "",
        f"Machine: {environment.describe(record['machine'])}, {record['machine'].get('memory_gb', '?')} GB. Packages: "
        + ", ".join(f"{name} {version}" for name, version in sorted(record["packages"].items()))
        + ".",
    ]
    for part in PARTS:
        if (result := record["parts"].get(part.name)) is not None:
            lines += ["", f"## {part.title}", "", *_section(part, result)]
    return "\n".join([*lines, ""])


def _section(part: Part, result: Result) -> Iterator[str]:
    yield f"{part.about} (`--part {part.name}`)"
    yield ""
    if result["figures"]:
        yield from markdown_table(COLUMNS, figure_rows(result["figures"]))
        yield ""
    if result["error"]:
        yield f"**Not complete**: {' '.join(result['error'].split())}"
        yield ""
    tiny = "**with tiny sizes**, " if result["tiny"] else ""
    commit = result["git"].get("commit", "")[:12]
    changed = " with changes" if result["git"].get("dirty") else ""
    load = result["load"]
    loops = " and ".join(f"{best:.1f} ms (median {median:.1f})" for best, median in load["calibration_ms"])
    yield (
        f"Measured {tiny}{result['at'][:16].replace('T', ' ')} UTC at `{commit or '?'}`{changed} in {load['seconds']:.0f} s. Load "
        f"{' and '.join(map(str, load['load_average']))}, a fixed calculation {loops} before and after; other programs used "
        f"{load['other_s']} s of the processor, the hypervisor {load['stolen_s']} s."
    )
    for sentence in machine_load.sentences({"machine_load": [load]}):
        yield f"**{sentence}**"
    if result["commands"]:
        yield ""
        yield from ["```", *result["commands"], "```"]


def figure_rows(figures: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Rows of `COLUMNS`; what several figures in a row are is said once."""
    said = ""
    for figure in figures:
        limit, unit = figure["limit"], figure["unit"]
        named = f"{compact(limit)} {unit}".strip() + f" ({figure['limit_name']})" if limit is not None else ""
        share = percent(figure["value"] / limit, 0) if limit else ""
        about = f": {figure['about']}" if figure["about"] not in ("", said) else ""
        said = figure["about"] or said
        yield figure["name"] + about, f"{compact(figure['value'])} {unit}".strip(), named, share


# ---- comparing -------------------------------------------------------------------------------------------------------


def comparison(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines of a table: every figure that both records have, by part, and the ratio new / old."""
    rows = []
    for name, result in new["parts"].items():
        before = {f["name"]: f["value"] for f in old["parts"].get(name, {}).get("figures", ())}
        for figure in result["figures"]:
            if (earlier := before.get(figure["name"])) is None:
                continue
            ratio = figure["value"] / earlier if earlier else float("nan")
            better = _direction(ratio, figure["better"]) if ratio < 0.95 or ratio > 1.05 else ""
            values = (f"{compact(v)} {figure['unit']}".strip() for v in (earlier, figure["value"]))
            rows.append((name, figure["name"], *values, f"{ratio:.2f}", better))
    return markdown_table(("part", "figure", "old", "new", "new / old", ""), rows)


def _direction(ratio: float, better: str) -> str:
    return "better" if (ratio > 1) == (better == "higher") else "worse"


# ---- commands --------------------------------------------------------------------------------------------------------


def load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {"version": 1, "parts": {}}
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    parser.add_argument("--part", action="append", choices=names, help="only this part (may be given several times)")
    parser.add_argument("--resume", action="store_true", help="only parts without figures, or with an error")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder (default: reports/performance)")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="print the figures beside those of OLD.json")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to try the command itself")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the measuring processes end with this one
    path = asked.output / "results.json"
    record = load(path)
    if asked.compare:
        print("\n".join(comparison(load(asked.compare), record)))
        return 0
    done = {name for name, result in record["parts"].items() if result["figures"] and not result["error"]}
    for part in by_name(asked.part or names):
        if asked.resume and part.name in done:
            continue
        print(f"{part.name} ...", end=" ", flush=True)
        result = measure(part, asked.tiny)
        record |= {"machine": environment.about(), "packages": environment.packages()}
        record["parts"][part.name] = result
        atomic_files.write_text(path, json.dumps(record, indent=1) + "\n", parents=True)
        atomic_files.write_text(asked.output / "README.md", page(record))
        print(
            f"{len(result['figures'])} figures in {result['load']['seconds']:.0f} s{': ' + result['error'] if result['error'] else ''}"
        )
    return int(any(result["error"] for result in record["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
