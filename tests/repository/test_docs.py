"""The documentation cannot go stale: its code runs, its pages are what the hooks and factories tell."""

import asyncio
import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.server import serve

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
    ("page", "kind", "name"),
    [
        pytest.param("codec.md", "codecs", "coarse", marks=pytest.mark.slow),  # its contract: the test above
        ("backbone.md", "backbones", "my-llm"),
        ("system.md", "systems", "my-agent"),
    ],
)
def test_whoever_follows_a_page_in_an_empty_folder_has_a_plugin(tmp_path, page, kind, name):
    environment = {**os.environ, "PYTHONPATH": str(followed(page, tmp_path))}
    asked = ["validate", name] if kind == "codecs" else ["ls", kind]
    command = [sys.executable, "-m", "fobench", *asked]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert name in done.stdout


def test_the_live_system_of_the_page_hears_a_server(findings):
    """A server that answers each loud second with half a second of tone."""
    namespace = {}
    exec(code("system.md")[0], namespace)
    with answering() as url:
        assert findings("systems", lambda: namespace["MyAgent"](url)) == {}


@contextlib.contextmanager
def answering():
    """A server of raw audio: it answers 300 ms after the end of a sound."""

    async def talk(socket):
        loud = quiet = 0
        async for message in socket:
            level = np.sqrt(np.mean((np.frombuffer(message, "<i2") / 32768) ** 2))
            loud, quiet = (loud + 1, 0) if level > 0.01 else (loud, quiet + 1)
            if loud > 10 and quiet == 15:
                await socket.send((9000 * np.cos(np.arange(12_000) * 0.1)).astype("<i2").tobytes())
                loud = 0

    loop, found, ready = asyncio.new_event_loop(), [], threading.Event()

    async def run():
        async with serve(talk, "127.0.0.1", 0) as server:
            found.append(server.sockets[0].getsockname()[1])
            ready.set()
            await asyncio.get_running_loop().create_future()

    task = loop.create_task(run())
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(asyncio.gather(task, return_exceptions=True)), daemon=True
    )
    thread.start()
    assert ready.wait(10)
    yield f"ws://127.0.0.1:{found[0]}"
    loop.call_soon_threadsafe(task.cancel)
    thread.join(5)


def test_the_backbone_page_shows_the_example_plugin():
    module = (ROOT / "tests" / "example_plugin" / "fobench_my_llm.py").read_text()
    assert all(line in module for line in code("backbone.md")[0].splitlines())
    project = (ROOT / "tests" / "example_plugin" / "pyproject.toml").read_text()
    assert all(line in project for line in code("backbone.md", "toml")[0].splitlines())


def test_the_pages_name_files_that_are_there():
    for page in DOCS.glob("*.md"):
        links = [part.split(")")[0] for part in page.read_text().split("](")[1:]]
        assert [link for link in links if "://" not in link and not (DOCS / link).exists()] == []
