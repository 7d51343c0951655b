"""The command line: in this process, and a share of the inputs as a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

from tests.fuzz.case import Case, Expected, Nonsense, Surface
from tests.fuzz.mutations import ODD_NUMBERS, ODD_TEXTS, noisy, odd_text
from tests.fuzz.surfaces import runs

ROOT = Path(__file__).parents[3]
CODES = (0, 1, 2, 3)  # as documented; 130 and 141 are of signals
PLAIN = ("run", "--suite", "controls", "--judge", "none", "--costs", "declared", "--system", "scripted:silent")
REFUSED: tuple[tuple[str, ...], ...] = (
    *(("--limit", value) for value in ("0", "-1", "1" + 20 * "0", "x", "1.5", "nan", "")),
    *(("--workers", value) for value in ("0", "-1", "1000000", "two")),
    *(("--seed", value) for value in ("-1", "18446744073709551616", "x", "1e3", "9" * 5000)),
    *(("--time-limit", value) for value in ("0", "-1", "nan", "inf", "1e10", "soon", "1e999")),
    *(("--margin", value) for value in ("0", "-1", "nan", "inf", "1000")),
    *(("--playback-delay", value) for value in ("-1", "1000000000", "x")),
    *(("--echo", value) for value in ("nan", "inf", "-inf", "1", "x")),
    *(("--echo-delay", value) for value in ("-1", "999999999")),
    *(("--system-args", value) for value in ("x", "=1", "zz=1", "hangover_ms=x", "hangover_ms=-1", "hangover_ms=999999999", "writes=\udcff")),
    *(("--suite-args", value) for value in ("count=0", "count=-1", "count=99999999999", "families=", "families=zz", "nope:count=1", "text=\udcff")),
    *(("--costs", value) for value in ("free", "declared:/nowhere", "declared:/dev/full", "declared:/dev/zero", "declared:/", "measured:x", "")),
    *(("--config", value) for value in ("/dev/full", "/dev/zero", "/dev/urandom", "/", "/nowhere", "/proc/self/mem")),
    *(("--output", value) for value in ("", "/dev/full/x", "a\udcff", "/proc/x/y", "x" * 300)),
    *(("--fail-on", value) for value in ("x", "response_ms.p90", "", "a:0%")),
    *(("--baseline", value) for value in ("/nowhere", "/dev/zero", "/", "a\udcff", "x" * 5000)),
    *(("--resume", value) for value in ("/nowhere", "/", "/dev/null")),
    *(("--suite", value) for value in ("", "control", "manifest:/dev/zero", "manifest:/nowhere", "manifest:", "\udcff", "hub:")),
    *(("--system", value) for value in ("scripted:", "scripted:lat", "\udcff", " ", "x" * 5000)),
    *(("--judge", value) for value in ("", "whispr", "\udcff")), *(("--clock", value) for value in ("sun", "")),
    ("--backbone", ""), ("--backbone", "smollm2-135m"), ("--codec", "mimi,mimi"), ("--sample-id", "nobody"), ("--sample-id", ""), ("--zz",), ("zz",),
)  # fmt: skip


def prepare(folder: Path) -> None:
    """Nothing executes in this process: an option that is not refused before the run is not refused by it either."""
    from fobench.execution.run import Run

    Run.execute = lambda self, watch: None  # type: ignore[method-assign,assignment]


def _invoke(arguments: tuple[str, ...], environment: dict[str, str] | None = None) -> int:
    """The exit code of a command in this process. Raises Nonsense for a traceback, or a code that is not documented."""
    from click.testing import CliRunner

    from fobench.cli.main import main

    done = CliRunner().invoke(main, arguments, env=environment)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return _checked(done.exit_code, done.output)


def _checked(code: int, output: str) -> int:
    if code not in CODES or "Traceback (most recent" in output:
        raise Nonsense(f"exit code {code}: {output[-1500:]}")
    if code == 2 and not output.strip():
        raise Nonsense("exit code 2 without a word")
    return code


def refused_run(rng: Random, folder: Path) -> Case:
    """A run with an option that makes no sense: exit code 2, before anything is written."""
    wrong = rng.choice(REFUSED)
    target = folder / "run"
    arguments = (*PLAIN, "--output", str(target), *wrong)
    variable = rng.random() < 0.2 and len(wrong) == 2 and wrong[1] and wrong[0] not in ("--zz", "--fail-on", "--suite")

    def call() -> None:
        environment = {}
        given = arguments
        if (
            variable
            and "\udcff" not in wrong[1]
            and not wrong[0].endswith("-args")
            and wrong[0] not in arguments[: -len(wrong)]
        ):
            environment = {"FOBENCH_" + wrong[0].strip("-").replace("-", "_").upper(): wrong[1]}
            given = arguments[: -len(wrong)]
        code = _invoke(given, environment)
        if code != 2:
            raise Nonsense(f"exit code {code}")
        if target.exists():
            raise Nonsense(f"{target} was begun")

    return Case(call, " ".join(wrong)[:100], "accepted", {"arguments.txt": _text(arguments)})


def odd_arguments(rng: Random, folder: Path) -> Case:
    """Any command with odd arguments."""
    command = rng.choice(
        ("run", "score", "report", "compare", "baseline", "codec", "ls", "validate", "assets", "train", odd_text(rng))
    )
    words = (
        "--limit",
        "--suite",
        "--args",
        "--kind",
        "--store",
        "--name",
        "save",
        "ls",
        "trend",
        "prune",
        "--keep",
        "--output",
        "-o",
        "--",
        "systems",
        "suites",
    )
    odd = (
        *words,
        *ODD_TEXTS,
        *map(str, ODD_NUMBERS),
        str(folder),
        str(runs.golden),
        str(folder / "nothing"),
        "/dev/full",
        "git:nowhere",
        "--help",
    )
    arguments = (command, *(rng.choice(odd) for _ in range(rng.randrange(6))))
    if (
        command in ("validate", "codec", "run", "train") or "pull" in arguments
    ):  # these would load models: only their options are of interest
        arguments = (*arguments, "--zz")
    return Case(
        lambda: _within(folder, arguments), " ".join(arguments)[:100], "either", {"arguments.txt": _text(arguments)}
    )


def _within(folder: Path, arguments: tuple[str, ...]) -> None:
    here = Path.cwd()
    os.chdir(folder)
    try:
        _invoke(arguments)
    finally:
        os.chdir(here)


def _text(arguments: tuple[str, ...]) -> bytes:
    return "\n".join(arguments).encode("utf-8", "surrogatepass")


CONFIG = """suite = ["controls"]
system = "scripted:silent"
judge = "none"
costs = "declared"
limit = 2
seed = 3
time-limit = 9.5
text-routes = false

[suite-args]
count = 4
"""


def config_file(rng: Random, folder: Path) -> Case:
    path, target = folder / "c.toml", folder / "run"
    line = rng.choice([each for each in CONFIG.splitlines() if "=" in each])
    key = line.partition(" = ")[0]
    kind = rng.randrange(5)
    expected: Expected = "refused"
    if kind == 0:
        content = CONFIG.replace(
            line,
            f"{key} = {rng.choice(('[[1]]', '1979-05-27', 'nan', '-inf', '9' * 5000, '0x' + 'f' * 400, '{ a = [] }'))}",
        ).encode()
    elif kind == 1:
        content = CONFIG.replace(line, f'{key} = "{rng.choice(("a", "", chr(92) + "u0000", "x" * 3000))}"').encode()
    elif kind == 2:
        content = f"zz = {'[' * rng.choice((50, 1000, 90_000))}\n{CONFIG}".encode()
    elif kind == 3:
        content, expected = b"\xef\xbb\xbf" + CONFIG.encode(), "accepted"
    else:
        content, expected = noisy(rng, CONFIG.encode()), "either"
    path.write_bytes(content)

    def call() -> None:
        code = _invoke(("run", "--config", str(path), "--output", str(target)))
        if code == 2 and target.exists():
            raise Nonsense(f"{target} was begun")
        if (code == 2 and expected == "accepted") or (code != 2 and expected == "refused"):
            raise Nonsense(f"exit code {code}")

    return Case(call, f"{key}, kind {kind}", "accepted", {"c.toml": content})


def real_process(rng: Random, folder: Path) -> Case:
    """A process of its own, with files that no reader may wait for or read to their end."""
    fifo, sparse = folder / "fifo.toml", folder / "sparse.toml"
    os.mkfifo(fifo)
    with sparse.open("wb") as file:
        file.truncate(5 << 30)
    special = rng.choice((str(fifo), str(sparse), "/dev/full", "/dev/zero", "/dev/urandom", str(folder)))
    shutil.copytree(runs.golden, folder / "golden", ignore=shutil.ignore_patterns("audio"))
    damaged = folder / "golden"
    name = rng.choice(("run.json", "scores.json", "traces.jsonl"))
    (damaged / name).write_bytes(noisy(rng, (damaged / name).read_bytes(), 20))
    arguments = rng.choice(
        (
            ("run", "--config", special),
            ("run", *PLAIN[1:], "--costs", f"declared:{special}"),
            ("compare", special, str(runs.golden)),
            ("score", str(damaged)), ("report", str(damaged)), ("compare", str(runs.golden), str(damaged)),
            ("run", "--resume", str(damaged)),
            (*PLAIN, *rng.choice(REFUSED)),
            ("validate", special),
            ("ls", "scenarios", "--suite", f"manifest:{special}"),
        )
    )  # fmt: skip

    def call() -> None:
        command = [sys.executable, "-m", "fobench", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, timeout=300, cwd=folder, env=environment, check=False)
        _checked(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))
        if special in arguments and done.returncode != 2 and arguments[0] != "validate":
            raise Nonsense(f"exit code {done.returncode} for {special}")

    return Case(call, " ".join(arguments)[:150], "accepted", {"arguments.txt": _text(arguments)})


SURFACES = (
    Surface("refused-run", refused_run, weight=6, limit_s=30),
    Surface("odd-arguments", odd_arguments, weight=5, limit_s=30),
    Surface("config-file", config_file, weight=4, limit_s=30),
    Surface("real-process", real_process, weight=1, limit_s=90),
)
