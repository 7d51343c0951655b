"""`pip install "fobench[realtime]"`: what measures a server runs without torch, transformers and other large packages."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fobench.api import registry
from tests.support.live.served import served

ROOT = Path(__file__).parents[2]
MOST_MB = 250  # of the environment's packages, pip among them
MOST_START_S = 2.0  # until a run begins to load the system
MOST_HELP_S = 0.5
FURTHER = [
    "accelerate",
    "av",
    "ctranslate2",
    "datasets",
    "faster_whisper",
    "gguf",
    "huggingface_hub",
    "librosa",
    "llvmlite",
    "matplotlib",
    "numba",
    "onnx",
    "onnxruntime",
    "pandas",
    "piper",
    "pyarrow",
    "pycodec2",
    "safetensors",
    "scipy",
    "sklearn",
    "speechmos",
    "tokenizers",
    "torch",
    "transformers",
    "whisper",
    "xllamacpp",
]


def run_without(further, folder, *arguments):
    """`fobench run` whose processes, that of the system too, cannot import the packages."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({further}))\n")
    command = [sys.executable, "-m", "fobench", "run", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment)


@pytest.mark.subprocess
def test_a_run_needs_no_large_package(tmp_path):
    options = ("--system", "scripted:late", "--suite", "controls", "--limit", "2", "--judge", "none")
    done = run_without(FURTHER, tmp_path / "without", *options, "--output", str(tmp_path / "run"))
    assert done.returncode in (0, 1), done.stderr
    assert "scores.parquet is left out, since pyarrow is not installed" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "complete"
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"scores.json", "report.html", "summary.md", "junit.xml"} <= written
    assert "scores.parquet" not in written


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The `bin` folder of an environment with the extra, from this tree. Skips where it cannot be installed, e.g. without a network."""
    folder = tmp_path_factory.mktemp("light")
    ignored = shutil.ignore_patterns(".*", "build", "runs", "reports", "tests", "*.egg-info")
    shutil.copytree(ROOT, folder / "tree", ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", f"{folder / 'tree'}[realtime]"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"fobench[realtime] cannot be installed: {done.stderr.strip()[-300:]}")
    return python.parent


@pytest.mark.slow
def test_the_installation_is_small_and_starts_fast(light):
    packages = next((light.parent / "lib").glob("python*/site-packages"))
    size = sum(path.lstat().st_blocks * 512 for path in packages.rglob("*"))
    assert size < MOST_MB * 1e6, f"{size / 1e6:.0f} MB"
    assert not {path.name for path in packages.iterdir()} & {*FURTHER}
    assert min(seconds_of([str(light / "fobench"), "--help"]) for _ in range(5)) < MOST_HELP_S


def seconds_of(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return time.perf_counter() - start


@pytest.mark.slow
def test_a_server_is_measured_with_the_default_reference_asr(light, tmp_path):
    system = registry.create("systems", "scripted:late", {"delay_ms": 300, "reply_ms": 800, "writes": "It is Paris."})
    with served(system) as (url, _):
        command = [str(light / "fobench"), "run", "--system", f"realtime:{url}", "--limit", "3", "--output", "run"]
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
            first = run.stderr.readline() + run.stderr.readline()
            began_s = time.perf_counter() - start
            _, errors = run.communicate(timeout=180)
    assert run.returncode in (0, 1), errors
    assert "loading" in first and began_s < MOST_START_S, (first, began_s)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["components"]["judge"]["engine"] == "numpy"
    assert any("dnsmos needs" in note for note in record["notes"])
    traces = [json.loads(line) for line in (tmp_path / "run" / "traces.jsonl").read_text().splitlines()]
    assert len(traces) == 3 and not any(trace.get("failure") for trace in traces)
    assert all("floor" in trace["judge"] and trace["judge"]["floor"] for trace in traces)
