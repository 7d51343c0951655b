"""Which engine runs a GGUF file, and which library of llama.cpp: another one than is declared is an error, never a crash."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest

from fobench.api import registry
from fobench.errors import FobenchError, PrerequisiteError
from tests.plugins.backbones import tiny_gguf

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

from fobench_plugins.backbones import llama_library

needs_llamacpp = pytest.mark.skipif(not llama_library.installed(), reason=f"not installed: {llama_library.INSTALL}")
needs_xllamacpp = pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason=llama_library.INSTALL)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A random Llama of two layers as a GGUF file, with a byte tokenizer."""
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", kind="Q8_0")


@pytest.fixture
def tiny(file, home):
    return file


def made(path, **options):
    return registry.create("backbones", f"gguf:{path}", {"engine": "llamacpp", "threads": "1", **options})


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ({}, "llamacpp"),
        ({"device": "cpu"}, "llamacpp"),
        ({"dtype": "float32", "device": "cpu"}, "torch"),
        ({"engine": "torch", "device": "cpu"}, "torch"),
        ({"engine": "llamacpp", "device": "cpu"}, "llamacpp"),
    ],
)
@needs_llamacpp
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is the default device")
def test_the_engine_follows_from_the_options(tiny, options, engine):
    about = registry.create("backbones", f"gguf:{tiny}", options).about()
    assert about["engine"] == engine
    assert (about["dtype"] == "float32") is (engine == "torch")
    assert ("Q8_0" in about["dtype"]) is (engine == "llamacpp")


def test_options_that_exclude_each_other_are_an_error(tiny):
    for options, words in (
        ({"dtype": "bfloat16"}, "in the file's own quantization, not in bfloat16. Use engine=torch"),
        ({"device": "cuda"}, "runs on the CPU, not on cuda. Use engine=torch"),
    ):
        with pytest.raises(FobenchError, match=words):
            made(tiny, **options)


@pytest.fixture
def reloaded():
    """The library is loaded anew in this test, and again after it."""
    llama_library.load.cache_clear()
    yield
    llama_library.load.cache_clear()


@pytest.fixture
def absent(monkeypatch, reloaded):
    """Neither package is installed."""
    find = importlib.util.find_spec
    names = ("xllamacpp", "llama_cpp")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in names else find(name, *a))
    monkeypatch.setitem(sys.modules, "llama_cpp", None)


def test_without_llamacpp_torch_serves_and_the_record_says_so(tiny, absent):
    backbone = registry.create("backbones", f"gguf:{tiny}", {"device": "cpu"})
    assert (backbone.about()["engine"], backbone.about()["dtype"]) == ("torch", "float32")
    with pytest.raises(PrerequisiteError, match=r"pip install 'xllamacpp==.*'; or use the option engine=torch"):
        made(tiny)


@needs_xllamacpp
def test_another_version_or_another_layout_is_one_clear_error(tiny, monkeypatch, reloaded, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(llama_library, "_version", lambda package: "2027.1.2")
        with pytest.raises(
            PrerequisiteError, match=rf"xllamacpp 2027\.1\.2 is .* {llama_library.VERSION}.*pip install"
        ):
            made(tiny)
    with monkeypatch.context() as patch:
        patch.setitem(llama_library.CONTEXT_DEFAULTS, "n_batch", 4096)
        with pytest.raises(PrerequisiteError, match=r"by llama_context_default_params n_batch 2048\. Install it again"):
            made(tiny)
    (tmp_path / "damaged.so").write_bytes(b"\x7fELF")
    monkeypatch.setattr(llama_library, "FILE", str(tmp_path / "damaged.so"))
    with pytest.raises(PrerequisiteError, match=r"is not the library that fobench knows: .*damaged\.so"):
        made(tiny)


def test_the_extra_pins_the_version_whose_structs_are_declared():
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(line.startswith(f"xllamacpp=={llama_library.VERSION};") for line in extras["models"])
