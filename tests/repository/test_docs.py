"""The documentation cannot go stale: its code runs, its pages are what the hooks and factories tell."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fobench.api import registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

pytestmark = pytest.mark.usefixtures("home")


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code(name, language="python"):
    return [block.split("```")[0] for block in (DOCS / name).read_text().split(f"```{language}\n")[1:]]


@pytest.mark.parametrize("kind", registry.KINDS)
def test_the_page_of_a_kind_is_up_to_date(kind):
    written = (DOCS / "components" / f"{kind}.md").read_text()
    assert written == generator().page(kind), "run: python docs/generate.py"


def test_every_component_and_option_is_on_its_page():
    for kind in registry.KINDS:
        text = generator().page(kind)
        for name, factory in registry.factories(kind).items():
            assert f"## `{name}" in text
            assert all(f"| `{option}` |" in text for option in registry.option_types(factory, skip=name.endswith(":")))


def test_the_codec_of_the_page_keeps_its_contract(findings):
    namespace = {}
    exec(code("codec.md")[0], namespace)
    assert findings("codecs", namespace["fobench_codecs"]()["coarse"]()) == {}


def followed(page, folder):
    """The page's files in an empty folder, installed; returns the path that has them."""
    text, target = (DOCS / page).read_text(), folder / "site"
    module = re.search(r"`(fobench_\w+\.py)`", text)[1]
    (folder / module).write_text(code(page)[0])
    (folder / "pyproject.toml").write_text(code(page, "toml")[0])
    quiet = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *quiet, "--target", target, folder]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("page", "kind", "name"), [("codec.md", "codecs", "coarse"), ("backbone.md", "backbones", "my-llm")]
)
def test_whoever_follows_a_page_in_an_empty_folder_has_a_plugin(tmp_path, page, kind, name):
    environment = {**os.environ, "PYTHONPATH": str(followed(page, tmp_path))}
    asked = ["validate", name] if kind == "codecs" else ["ls", kind]
    command = [sys.executable, "-m", "fobench", *asked]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert name in done.stdout


def test_the_backbone_page_shows_the_example_plugin():
    module = (ROOT / "tests" / "example_plugin" / "fobench_my_llm.py").read_text()
    assert all(line in module for line in code("backbone.md")[0].splitlines())
    project = (ROOT / "tests" / "example_plugin" / "pyproject.toml").read_text()
    assert all(line in project for line in code("backbone.md", "toml")[0].splitlines())


def test_the_pages_name_files_that_are_there():
    for page in DOCS.glob("*.md"):
        links = [part.split(")")[0] for part in page.read_text().split("](")[1:]]
        assert [link for link in links if "://" not in link and not (DOCS / link).exists()] == []
