"""How long the command line and the core take to come up."""

import subprocess
import sys


def test_help(benchmark):
    benchmark(lambda: subprocess.run([sys.executable, "-m", "fobench", "--help"], capture_output=True, check=True))
    assert benchmark.stats["median"] < 0.5


def test_import(benchmark):
    benchmark(lambda: subprocess.run([sys.executable, "-c", "import fobench"], capture_output=True, check=True))
    assert benchmark.stats["median"] < 0.2
