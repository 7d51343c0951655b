"""Weights of an LLM or codec that do not fit, or are broken, are refused by name when they are loaded."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from fobench.api import registry
from fobench.errors import FobenchError
from fobench_plugins import transformers_weights
from tests.support.saved_backbones import save, tiny_tokenizer

OPTIONS = {"device": "cpu", "dtype": "float32", "threads": "1"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model with an output layer of its own, and one whose output layer is its embedding table."""
    return {shape: save(shape, tmp_path_factory.mktemp(shape)) for shape in ("llama", "qwen2")}


def changed(folder, path, change):
    """A copy of the model in `path` whose tensors `change` has changed."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder, path)
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return path


def refused(path, *words):
    with pytest.raises(FobenchError) as caught:
        registry.create("backbones", f"hf:{path}", OPTIONS)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


DAMAGE = {
    "drop": (lambda t, key: t.pop(key), "lacks"),
    "rename": (lambda t, key: t.update({f"{key}_": t.pop(key)}), "lacks"),
    "add": (lambda t, key: t.update({f"{key}2": torch.ones(2)}), "has unexpected"),
    "reshape": (
        lambda t, key: t.update({key: torch.ones(*t[key].shape[:-1], t[key].shape[-1] + 1)}),
        "wrong shapes in",
    ),
    "flatten": (lambda t, key: t.update({key: torch.ones(t[key].numel() + 1)}), "wrong shapes in"),
    "integers": (
        lambda t, key: t.update({key: torch.ones_like(t[key]).to(torch.int8)}),
        "no floating-point numbers in",
    ),
    "nan": (lambda t, key: t[key].view(-1)[-1:].fill_(float("nan")), "NaN or infinity in"),
    "infinity": (lambda t, key: t[key].view(-1)[:1].fill_(-float("inf")), "NaN or infinity in"),
}


@settings(max_examples=24)
@given(data=st.data(), shape=st.sampled_from(["llama", "qwen2"]), damage=st.sampled_from(sorted(DAMAGE)))
def test_any_damaged_tensor_is_named(folders, tmp_path_factory, data, shape, damage):
    keys = sorted(load_file(folders[shape] / "model.safetensors"))
    key = data.draw(st.sampled_from(keys))
    change, word = DAMAGE[damage]
    path = changed(folders[shape], tmp_path_factory.getbasetemp() / "damaged", lambda t: change(t, key))
    refused(path, word, key)


def test_many_missing_tensors_are_counted(folders, tmp_path):
    path = changed(folders["llama"], tmp_path / "m", lambda t: [t.pop(key) for key in sorted(t)[:7]])
    refused(path, "lacks lm_head.weight", "and 3 more")


def test_tied_weights_may_be_absent_or_there_twice(folders, tmp_path):
    assert "lm_head.weight" not in load_file(folders["qwen2"] / "model.safetensors")
    table = "model.embed_tokens.weight"
    path = changed(folders["qwen2"], tmp_path / "m", lambda t: t.update({"lm_head.weight": t[table].clone()}))
    for folder in (folders["qwen2"], path):
        assert registry.create("backbones", f"hf:{folder}", OPTIONS).vocab_size == len(tiny_tokenizer())


BROKEN = {
    "empty": b"",
    "zeros": bytes(500),
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 538090408\n",
    "a page": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "a huge header": (1 << 60).to_bytes(8, "little") + b"{}",
    "no header": (2).to_bytes(8, "little") + b"[]",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_none_is_refused(folders, tmp_path, kind):
    shutil.copytree(folders["llama"], tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(BROKEN[kind])
    refused(tmp_path / "m", "model.safetensors is not a complete safetensors file", {"a pointer": "LFS"}.get(kind, ""))


@settings(max_examples=15)
@given(share=st.floats(0, 0.9999))
def test_a_file_cut_anywhere_is_refused(folders, tmp_path_factory, share):
    path = tmp_path_factory.getbasetemp() / "cut"
    shutil.copytree(folders["llama"], path, dirs_exist_ok=True)
    content = (folders["llama"] / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[: int(share * len(content))])
    refused(path, "is not a complete safetensors file")


# ---- shards ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sharded(folders, tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["llama"])
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    tiny_tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    registry.create("backbones", f"hf:{tmp_path}", OPTIONS)
    return tmp_path


def index_of(folder):
    return json.loads((folder / transformers_weights.INDEX).read_text())


def test_a_missing_shard_is_named(sharded):
    shard = sorted(sharded.glob("model-*.safetensors"))[1]
    shard.unlink()
    refused(sharded, f"lacks {shard.name}")


@pytest.mark.parametrize("side", ["index", "shard"])
def test_a_tensor_that_only_the_index_or_only_the_shard_has_is_named(sharded, side):
    index = index_of(sharded)
    shards = list(index["weight_map"].values())
    name, shard = next(pair for pair in sorted(index["weight_map"].items()) if shards.count(pair[1]) > 1)
    if side == "shard":
        index["weight_map"].pop(name)
        (sharded / transformers_weights.INDEX).write_text(json.dumps(index))
    else:
        tensors = load_file(sharded / shard)
        tensors.pop(name)
        save_file(tensors, sharded / shard, {"format": "pt"})
    refused(sharded, shard, "lacks" if side == "index" else "has", name)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": "../../b.safetensors"}}', '{"weight_map": {"a": 1}}'],
)
def test_an_index_that_is_none_is_refused(sharded, text):
    (sharded / transformers_weights.INDEX).write_text(text)
    refused(sharded, "is not an index of weights")


def test_shards_without_their_index_are_refused(sharded):
    (sharded / transformers_weights.INDEX).unlink()
    refused(sharded, "neither model.safetensors nor model.safetensors.index.json")


# ---- what stands beside the weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model_type": "nothing"}', '{"model_type": "llama", "hidden_size": "a"}']
)
def test_a_configuration_that_is_none_is_refused(folders, tmp_path, text):
    shutil.copytree(folders["llama"], tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(text)
    refused(tmp_path / "m")


def test_a_base_model_is_refused_before_its_weights_are_read(folders, tmp_path, monkeypatch):
    shutil.copytree(folders["llama"], tmp_path / "m")
    for file in (tmp_path / "m").glob("*template*"):
        file.unlink()
    monkeypatch.setattr(transformers_weights, "load_checked", None)
    refused(tmp_path / "m", "has no chat template, which a conversation needs. Use its instruct variant.")


def test_a_template_that_is_broken_is_refused(folders, tmp_path):
    shutil.copytree(folders["llama"], tmp_path / "m")
    tokenizer = tiny_tokenizer("{% for m in messages %}")
    tokenizer.save_pretrained(tmp_path / "m")
    refused(tmp_path / "m", "chat template")


@pytest.mark.parametrize("content", [None, "", "{}", "{"])
def test_a_tokenizer_that_is_none_is_refused(folders, tmp_path, content):
    shutil.copytree(folders["llama"], tmp_path / "m")
    if content is None:
        (tmp_path / "m" / "tokenizer.json").unlink()
    else:
        (tmp_path / "m" / "tokenizer.json").write_text(content)
    refused(tmp_path / "m", "The tokenizer of")


def test_a_tokenizer_of_another_model_is_refused(folders, tmp_path):
    shutil.copytree(folders["llama"], tmp_path / "m")
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|user|>"]})
    tokenizer.chat_template = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "m")
    refused(tmp_path / "m", "they belong to different models")


def test_a_codecs_weights_are_refused_by_name(tmp_path):
    config = transformers.DacConfig(
        encoder_hidden_size=8,
        decoder_hidden_size=32,
        downsampling_ratios=[2, 2],
        upsampling_ratios=[2, 2],
        n_codebooks=2,
        codebook_size=16,
    )
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    registry.create("codecs", "dac", {"model": str(tmp_path)})
    tensors = load_file(tmp_path / "model.safetensors")
    key = sorted(tensors)[3]
    tensors.pop(key)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(FobenchError, match=rf"codec .* does not fit DacModel: it lacks {key}"):
        registry.create("codecs", "dac", {"model": str(tmp_path)})
