"""GGUF files that are broken, cut, of a base model, or whose tensors do not fit are refused when they are loaded."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

from fobench.api import registry
from fobench.cli.main import main
from fobench.errors import FobenchError
from tests.plugins.backbones import tiny_gguf

OPTIONS = {"device": "cpu", "dtype": "float32", "threads": "1"}


def refused(path, *words):
    with pytest.raises(FobenchError) as caught:
        registry.create("backbones", f"gguf:{path}", OPTIONS)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_file_is_loaded(home, tmp_path):
    path = tiny_gguf.write(tmp_path / "whole.gguf")
    assert registry.create("backbones", f"gguf:{path}", OPTIONS).hidden_size == tiny_gguf.WIDTH


def test_a_file_without_a_chat_template_is_refused(home, tmp_path):
    refused(
        tiny_gguf.write(tmp_path / "base.gguf", template=None), "base.gguf has no chat template", "instruct variant"
    )


DAMAGE = {
    "drop": (lambda t, key: t.pop(key), "lacks"),
    "add": (lambda t, key: t.update({f"{key}.extra": np.ones(32, np.float32)}), "has unexpected"),
    "reshape": (
        lambda t, key: t.update({key: np.ones((*t[key].shape[:-1], t[key].shape[-1] + 32), np.float32)}),
        "wrong shapes in",
    ),
    "nan": (lambda t, key: t[key].reshape(-1)[:1].fill(np.nan), "NaN or infinity in"),
}


@settings(max_examples=10)
@given(key=st.sampled_from(sorted(tiny_gguf.SHAPES)), damage=st.sampled_from(sorted(DAMAGE)))
def test_any_damaged_tensor_is_refused(tmp_path_factory, key, damage):
    change, word = DAMAGE[damage]
    path = tiny_gguf.write(tmp_path_factory.mktemp("damaged") / "d.gguf", lambda t: change(t, key))
    refused(path, word, key if damage in ("add", "reshape") else "")


BROKEN = {
    "empty": b"",
    "zeros": bytes(4096),
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90408\n",
    "another format": b"PK\x03\x04" + bytes(100),
    "the letters alone": b"GGUF",
    "a huge count": b"GGUF" + (3).to_bytes(4, "little") + (1 << 60).to_bytes(8, "little") * 2,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_none_is_refused(home, tmp_path, kind):
    (tmp_path / "a.gguf").write_bytes(BROKEN[kind])
    refused(tmp_path / "a.gguf", "GGUF file", {"a pointer": "LFS"}.get(kind, ""))


@settings(max_examples=12)
@given(share=st.floats(0, 0.999))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    content = tiny_gguf.write(folder / "whole.gguf").read_bytes()
    (folder / "cut.gguf").write_bytes(content[: int(share * len(content))])
    refused(folder / "cut.gguf", "GGUF file")


@pytest.mark.subprocess
@pytest.mark.parametrize("system", ["cascade", "freeze-omni"])
def test_a_run_with_a_base_model_ends_at_once_and_leaves_no_folder(home, tmp_path, system):
    path = tiny_gguf.write(tmp_path / "base.gguf", template=None)
    args = ["run", "--system", system, "--backbone", f"gguf:{path}", "-s", "controls", "-L", "2", "--judge", "none"]
    args += ["-o", str(tmp_path / "run")]
    if system == "freeze-omni":
        args += ["--checkpoint", "untrained:tiny"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2, result.output
    assert "has no chat template" in result.output
    assert not (tmp_path / "run").exists()
