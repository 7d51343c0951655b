"""What a backbone lacks (weights, memory, a GPU) is said before anything is loaded."""

import json
import sys

import pytest

from fobench.api import registry
from fobench.assets import hub as places
from fobench.errors import FobenchError, PrerequisiteError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fobench_plugins.backbones import catalog
from tests.support.saved_backbones import save


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory):
    return save("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """The hub's cache at an empty place, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "hub"


def test_missing_weights_are_named_with_size_license_and_command(empty_cache):
    with pytest.raises(PrerequisiteError) as caught:
        registry.create("backbones", "qwen2-7b", {"device": "cpu"})
    message = str(caught.value)
    assert "Qwen/Qwen2-7B-Instruct (15.2 GB, Apache-2.0) is not in the local cache" in message
    assert "hf download Qwen/Qwen2-7B-Instruct" in message


def test_a_gated_model_says_how_to_get_in(empty_cache):
    with pytest.raises(
        PrerequisiteError, match=r"accept its license at https://huggingface\.co/meta-llama/Llama-3\.2-1B"
    ):
        registry.create("backbones", "llama-3.2-1b", {"offline": "true", "device": "cpu"})


def test_all_that_is_lacking_is_said_at_once(empty_cache, monkeypatch):
    monkeypatch.setattr(catalog, "_free_memory", lambda device: (8_000_000_000, "RAM"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2_000_000_000}))
    with pytest.raises(PrerequisiteError) as caught:
        registry.create("backbones", "qwen2.5-7b", {"device": "cpu"})
    message = str(caught.value)
    assert "Weights: Qwen/Qwen2.5-7B-Instruct" in message
    assert "RAM: needs about 36.6 GB, 8.0 GB are free" in message
    assert "Disk: the download needs 15.2 GB, 2.0 GB are free" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there(llama_folder, empty_cache):
    with pytest.raises(PrerequisiteError, match="no CUDA device is visible"):
        registry.create("backbones", f"hf:{llama_folder}", {"device": "cuda"})


def test_incomplete_weights_in_the_cache_do_not_count(empty_cache):
    snapshot = empty_cache / "models--a--b" / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (empty_cache / "models--a--b" / "refs").mkdir()
    (empty_cache / "models--a--b" / "refs" / "main").write_text("c0ffee")
    for name in ("config.json", "tokenizer_config.json", "one.safetensors"):
        (snapshot / name).write_text("{}")
    index = {"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    cached = lambda: places.cached(places.HubModel("a/b"), str(empty_cache))  # noqa: E731
    assert cached() is None
    (snapshot / "two.safetensors").write_text("")
    assert cached() == snapshot


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(FobenchError, match=r"has no config\.json"):
        registry.create("backbones", f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("")
    with pytest.raises(FobenchError, match=r"has no \.safetensors"):
        registry.create("backbones", f"hf:{tmp_path}")


def test_a_gguf_file_that_is_not_there(tmp_path):
    with pytest.raises(FobenchError, match="There is no file"):
        registry.create("backbones", f"gguf:{tmp_path / 'no.gguf'}")


def test_an_unknown_dtype_lists_the_choices(llama_folder):
    with pytest.raises(FobenchError, match="must be one of auto, float32, bfloat16"):
        registry.create("backbones", f"hf:{llama_folder}", {"dtype": "int3"})


@pytest.mark.subprocess
def test_the_message_about_weights_comes_before_torch_is_imported(tmp_path):
    import os
    import subprocess

    code = (
        "import sys\nfrom fobench.api import registry\nfrom fobench.errors import PrerequisiteError\n"
        "try: registry.create('backbones', 'qwen2-7b', {'device': 'cpu', 'offline': 'true'})\n"
        "except PrerequisiteError: print('torch' in sys.modules)"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "False\n"
