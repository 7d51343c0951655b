"""A third party's package, really installed: fobench finds it by its entry point alone."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fobench import api
from fobench.comparison.reporters import ComparisonReporter, TrendReporter

EXAMPLE = Path(__file__).parents[1] / "example_plugin"


def install(source, target):
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", target, source]
    subprocess.run(command, check=True, capture_output=True, text=True)


def copy(folder, old="my", new="my"):
    """The example's sources, with another package and module name."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    module = folder / "fobench_my_llm.py"
    project = (folder / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(
        project.replace(f"{old}_llm", f"{new}_llm").replace(f"{old}-llm", f"{new}-llm")
    )
    return module.rename(folder / f"fobench_{new}_llm.py").parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package, to be put on the path."""
    target = tmp_path_factory.mktemp("site")
    install(copy(tmp_path_factory.mktemp("source") / "example"), target)
    return target


def python(code, *paths, expect=0):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, *code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_plugin_is_about_ten_lines():
    lines = (EXAMPLE / "fobench_my_llm.py").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith('"""')]
    assert len(code) <= 14


def test_the_readme_shows_this_plugin():
    readme = (EXAMPLE.parents[1] / "README.md").read_text()
    shown = readme.split("```python\n")[1].split("```")[0]
    module = (EXAMPLE / "fobench_my_llm.py").read_text()
    assert all(line in module for line in shown.splitlines())


@pytest.mark.subprocess
def test_its_components_are_in_the_registry_with_their_options(installed):
    code = (
        "from fobench.api import registry; found = registry.factories('backbones'); "
        "print(registry.option_types(found['my-llm']), 'smollm2-135m' in found)"
    )
    assert python(["-c", code], installed) == "{'repo': <class 'str'>, 'dtype': <class 'str'>} True\n"


@pytest.mark.subprocess
def test_without_it_the_name_is_unknown():
    assert "Unknown backbone 'my-llm'" in python(
        ["-c", "from fobench.api import registry; registry.create('backbones', 'my-llm')"], expect=1
    )


@pytest.mark.subprocess
def test_its_suite_keeps_the_contract(installed, tmp_path):
    for name in ("one", "two"):
        tone = 0.2 * np.cos(2 * np.pi * 220 * np.arange(16_000) / 16_000)
        soundfile.write(tmp_path / f"{name}.wav", tone, 16_000)
    output = python(["-m", "fobench", "validate", "my-calls", "--args", f"folder={tmp_path}"], installed)
    assert "2 checked" in output
    assert "FAIL" not in output


@pytest.mark.subprocess
def test_a_wrong_option_names_the_right_one(installed):
    output = python(["-m", "fobench", "validate", "my-calls", "--args", "foldr=x"], installed, expect=2)
    assert "Did you mean 'folder'" in output


@pytest.mark.subprocess
def test_two_packages_that_claim_a_name_are_refused_by_their_names(installed, tmp_path):
    install(copy(tmp_path / "other", new="their"), tmp_path / "site")
    output = python(["-m", "fobench", "validate", "my-llm"], installed, tmp_path / "site", expect=2)
    assert "Two plugins claim the backbone 'my-llm': 'their-llm' and 'my-llm'" in output or (
        "Two plugins claim the backbone 'my-llm': 'my-llm' and 'their-llm'" in output
    )


@pytest.mark.subprocess
def test_a_package_that_cannot_be_imported_is_named(installed, tmp_path):
    shutil.copytree(installed, tmp_path / "site")
    (tmp_path / "site" / "fobench_my_llm.py").write_text("import a_module_that_is_not_there\n")
    output = python(["-m", "fobench", "validate", "my-calls"], tmp_path / "site", expect=2)
    assert "Plugin 'my-llm' (fobench_my_llm) cannot be loaded" in output
    assert "a_module_that_is_not_there" in output


@pytest.mark.subprocess
def test_a_plugin_with_the_former_import_names_works_and_is_warned(installed, tmp_path):
    shutil.copytree(installed, tmp_path / "site")
    module = tmp_path / "site" / "fobench_my_llm.py"
    new = "from fobench.api import create, hookimpl\n"
    assert new in module.read_text()
    old = (
        "from fobench import plugins\nfrom fobench.hookspecs import hookimpl\nfrom fobench.types import Pieces\n\n"
        "create = plugins.create\n"
    )
    module.write_text(module.read_text().replace(new, old))
    code = "from fobench.api import find; print(find('backbones', 'my-llm')[0].__module__)"
    output = python(["-W", "always::DeprecationWarning", "-c", code], tmp_path / "site")
    assert "\nfobench_my_llm\n" in output.replace("\r", "") or output.startswith("fobench_my_llm\n")
    for name in ("plugins", "hookspecs", "types"):
        assert f"DeprecationWarning: fobench.{name} is now fobench.api" in output
    assert "fobench_my_llm.py:3: DeprecationWarning" in output
    for name in ("one", "two"):
        tone = 0.2 * np.cos(2 * np.pi * 220 * np.arange(16_000) / 16_000)
        soundfile.write(tmp_path / f"{name}.wav", tone, 16_000)
    output = python(["-m", "fobench", "validate", "my-calls", "--args", f"folder={tmp_path}"], tmp_path / "site")
    assert "FAIL" not in output


def test_the_former_modules_offer_what_they_did():
    with pytest.warns(DeprecationWarning, match=r"fobench 0\.3"):
        types, plugins, hookspecs = (
            importlib.reload(importlib.import_module(f"fobench.{name}")) for name in ("types", "plugins", "hookspecs")
        )
    assert (types.Pieces, types.Measuring, types.SideBySide) == (api.Detokenizer, api.AudioMetric, api.MultiRunReporter)
    assert types.AudioChunk is api.AudioChunk
    assert types.Replayable is api.Cacheable
    assert (types.Comparing, types.Trending) == (ComparisonReporter, TrendReporter)
    assert plugins.create is api.create
    assert plugins.checked("systems", "scripted:late", {}) == {}
    assert hookspecs.hookimpl is api.hookimpl
