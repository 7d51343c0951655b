"""A checkpoint in pinned parts: round trips, and errors for parts that differ from their pins."""

from __future__ import annotations

import json

import pytest
import torch

from fobench.errors import FobenchError, PrerequisiteError
from reference_model.checkpoint import sharded


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    large = {f"decoder.layers.{i}.weight": torch.randn(1000, 1000).half() for i in range(9)}  # 2 MB each
    return {"encoder.weight": torch.randn(3, 2), "prompt": torch.zeros(0, 4), **large, "codec.steps": torch.tensor(7)}


@pytest.fixture
def folder(tmp_path):
    sharded.save({"name": "toy"}, tensors(), tmp_path / "toy")
    return tmp_path / "toy"


def test_a_sharded_checkpoint_loads_unchanged(folder):
    config, found = sharded.load(folder)
    assert config == {"name": "toy"}
    assert found.keys() == tensors().keys()
    assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in tensors().items())


def test_parts_are_of_one_net_and_at_most_8_mb(folder):
    pins = {pin["name"]: pin["size"] for pin in sharded.read(folder)["parts"]}
    assert list(pins) == [
        "encoder-1.safetensors",
        "prompt-1.safetensors",
        *(f"decoder-{i}.safetensors" for i in (1, 2, 3)),
        "codec-1.safetensors",
    ]
    assert [round(pins[f"decoder-{i}.safetensors"] / 1e6) for i in (1, 2, 3)] == [8, 8, 2]


def test_a_retrained_network_changes_its_own_parts_only(folder):
    before = {pin["name"]: pin["sha256"] for pin in sharded.read(folder)["parts"]}
    sharded.save({"name": "toy"}, {**tensors(), "encoder.weight": torch.ones(3, 2)}, folder)
    after = {pin["name"]: pin["sha256"] for pin in sharded.read(folder)["parts"]}
    assert [name for name in before if before[name] != after[name]] == ["encoder-1.safetensors"]


def test_saving_again_removes_old_parts_and_keeps_other_files(folder):
    (folder / "MODEL_CARD.md").write_text("kept")
    sharded.save({"name": "toy"}, {"encoder.weight": torch.ones(1)}, folder)
    assert {path.name for path in folder.iterdir()} == {"encoder-1.safetensors", "index.json", "MODEL_CARD.md"}


def test_the_digest_is_that_of_the_weights(folder, tmp_path):
    sharded.save({"name": "toy"}, tensors(), tmp_path / "same")
    sharded.save({"name": "toy"}, {**tensors(), "prompt": torch.ones(1, 4)}, tmp_path / "other")
    assert sharded.digest(tmp_path / "same") == sharded.digest(folder) != sharded.digest(tmp_path / "other")


def test_a_part_cut_short_is_refused(folder):
    part = folder / "decoder-2.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(FobenchError, match=r"decoder-2\.safetensors has 8,\d{3},\d{3} bytes, not the 8,\d{3},\d{3} of"):
        sharded.load(folder)


def test_a_part_of_which_one_bit_changed_is_refused(folder):
    part = folder / "encoder-1.safetensors"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    with pytest.raises(FobenchError, match=r"encoder-1\.safetensors is not what was pinned: SHA-256"):
        sharded.load(folder)


def test_a_missing_part_is_named(folder):
    (folder / "codec-1.safetensors").unlink()
    with pytest.raises(PrerequisiteError, match=r"codec-1\.safetensors is missing"):
        sharded.load(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"config": {}, "parts": []}), '{"config": 1, "parts": [{"name": "a"}]}']
)
def test_an_invalid_index_is_an_error(folder, text):
    (folder / "index.json").write_text(text)
    with pytest.raises(FobenchError, match=r"index\.json is not the index of a checkpoint"):
        sharded.load(folder)
