"""The layout keeps its promises: what may import what, and how fast the core comes up."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fobench.api.registry import KINDS

ROOT = Path(__file__).parents[1]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at any level of it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "fobench").glob("**/*.py")), ids=lambda p: p.name)
def test_the_harness_imports_neither_torch_nor_plugins_nor_the_reference_model(path):
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & {"torch", "transformers", "fobench_plugins", "reference_model"}


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").glob("*/**/*.py")), ids=lambda p: p.name)
def test_no_plugin_imports_another_kind_of_plugin(path):
    own = path.relative_to(ROOT / "plugins").parts[0]
    others = {f"fobench_plugins.{kind}" for kind in KINDS if kind != own}
    assert not {name for name in imported(path) if any(name == o or name.startswith(o + ".") for o in others)}


def test_importing_fobench_is_quick_and_leaves_torch_alone():
    code = "import sys, time; t = time.perf_counter(); import fobench; print(time.perf_counter() - t, 'torch' in sys.modules)"
    seconds, torch = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(seconds) < 0.2
    assert torch == "False"


def test_listing_every_plugin_leaves_torch_alone():
    code = "import sys; from fobench import plugins; [plugins.factories(k) for k in plugins.KINDS]; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_help_comes_within_half_a_second():
    command = [sys.executable, "-m", "fobench", "--help"]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5
