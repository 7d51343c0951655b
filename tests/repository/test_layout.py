"""Promises of the layout that import-linter (pyproject.toml) does not check: lean imports, folders of bounded size, no circle."""

import ast
import os
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PACKAGES = SETUPTOOLS["package-dir"]  # {package: folder}
MOST_MODULES = 14
HELP_CPU_S = 0.5


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def package_modules() -> dict[str, Path]:
    """{dotted name: file} of every module of the three packages; a package's name stands for its __init__.py."""
    modules = {}
    for package, folder in PACKAGES.items():
        for path in python_files(folder):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            modules[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return modules


def imported_modules(path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules that a file imports anywhere: also under TYPE_CHECKING and inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in names}
    return found & modules.keys()


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of two nodes or more (Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            place = stack.index(node)
            component = sorted(stack[place:])
            del stack[place:]
            if len(component) > 1 or node in graph[node]:
                found.append(component)

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}) == [["b", "c"], ["e"]]


def test_no_modules_import_each_other_in_a_circle():
    modules = package_modules()
    assert circles({name: imported_modules(path, modules) for name, path in modules.items()}) == []


def test_every_folder_of_modules_is_a_listed_package():
    folders = {}
    for package, folder in PACKAGES.items():
        for path in python_files(folder):
            parts = path.parent.relative_to(ROOT / folder).parts
            folders[".".join([package, *parts])] = path.parent
    assert sorted(folders) == sorted(SETUPTOOLS["packages"])


@pytest.mark.parametrize("folder", [*PACKAGES.values(), "tests"])
def test_no_folder_has_too_many_modules(folder):
    counts = Counter(path.parent.relative_to(ROOT) for path in python_files(folder) if path.name != "__init__.py")
    assert {str(name): count for name, count in counts.items() if count > MOST_MODULES} == {}


@pytest.mark.subprocess
def test_the_harness_and_the_list_of_plugins_leave_torch_alone():
    """Every module of the harness is imported, and every kind of component is listed."""
    names = [name for name in package_modules() if name.split(".")[0] == "fobench" and name != "fobench.__main__"]
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "from fobench.api import registry\n"
        "for kind in registry.KINDS: registry.factories(kind)\n"
        "print(sorted({'torch', 'transformers'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")


def cpu_seconds(*command: str) -> float:
    """CPU time of a program that must succeed. Wall time would grow with the load of the machine."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    assert running.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.subprocess
def test_help_is_quick():
    assert min(cpu_seconds(sys.executable, "-m", "fobench", "--help") for _ in range(3)) < HELP_CPU_S
