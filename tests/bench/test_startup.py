"""How long the command line takes to come up, and a whole run of one scenario.

Run: pytest tests/bench/test_startup.py --benchmark-columns=median,iqr
"""

import subprocess
import sys

HELP_S, IMPORT_S = 0.5, 0.2


def seconds(benchmark, *command, **rounds):
    """The median time of a command in a process of its own."""
    benchmark.pedantic(
        lambda: subprocess.run([sys.executable, *command], capture_output=True, check=True),
        **{"rounds": 5, "warmup_rounds": 1, **rounds},
    )
    return benchmark.stats["median"]


def test_help(benchmark):
    """`fobench --help`."""
    benchmark.extra_info["limit_s"] = HELP_S
    assert seconds(benchmark, "-m", "fobench", "--help") < HELP_S


def test_import(benchmark):
    """`import fobench`."""
    benchmark.extra_info["limit_s"] = IMPORT_S
    assert seconds(benchmark, "-c", "import fobench") < IMPORT_S


def test_a_run_of_one_scenario(benchmark, tmp_path):
    """`fobench run` of one control scenario with a scripted system: start, run, scores and reports."""
    command = ("-m", "fobench", "run", "--system", "scripted:late", "--suite", "controls", "--limit", "1")
    outputs = iter(range(100))

    def run():
        folder = tmp_path / str(next(outputs))
        options = ("--judge", "none", "--output", str(folder))
        subprocess.run([sys.executable, *command, *options], capture_output=True, check=True)
        return folder

    folder = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert (folder / "report.html").is_file()
