"""Safetensors checkpoints: round trips, and errors for weights that do not fit."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fobench.errors import FobenchError, PrerequisiteError
from reference_model.checkpoint import safetensors_io


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_a_module_saved_to_safetensors_loads_unchanged(tmp_path):
    first, second = net(), net()
    safetensors_io.save(first, {"width": 2}, tmp_path / "sub" / "a.safetensors")
    config, tensors = safetensors_io.load(tmp_path / "sub" / "a.safetensors")
    safetensors_io.fill(second, tensors, "a.safetensors")
    assert config == {"width": 2}
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.safetensors"]


def test_half_precision_halves_floats_and_leaves_integers(tmp_path):
    safetensors_io.save(net(), {}, tmp_path / "a.safetensors", storage="float16")
    _, tensors = safetensors_io.load(tmp_path / "a.safetensors")
    assert tensors["0.weight"].dtype == torch.float16
    assert tensors["1.num_batches_tracked"].dtype == torch.int64
    module = net()
    safetensors_io.fill(module, tensors, "a")
    assert module[0].weight.dtype == torch.float32


def test_tied_weights_are_saved(tmp_path):
    module = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    module[1].weight = module[0].weight
    safetensors_io.save(module, {}, tmp_path / "a.safetensors")
    assert len(safetensors_io.load(tmp_path / "a.safetensors")[1]) == 4


def test_a_module_on_the_meta_device_takes_the_tensors_themselves(tmp_path):
    safetensors_io.save(net(), {}, tmp_path / "a.safetensors")
    with torch.device("meta"):
        module = net()
    safetensors_io.fill(module, safetensors_io.load(tmp_path / "a.safetensors")[1], "a", assign=True)
    assert module[0].weight.device.type == "cpu"


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(PrerequisiteError, match=r"There is no checkpoint .*none\.safetensors"):
        safetensors_io.load(tmp_path / "none.safetensors")


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "a.safetensors").write_text("not it")
    with pytest.raises(FobenchError, match=r"a\.safetensors is not a safetensors file"):
        safetensors_io.load(tmp_path / "a.safetensors")


def test_a_file_without_configuration_is_named(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(FobenchError, match="holds no model configuration"):
        safetensors_io.load(tmp_path / "a.safetensors")


def test_keys_that_do_not_fit_are_named():
    tensors = {f"extra.{i}": torch.zeros(1) for i in range(6)}
    with pytest.raises(FobenchError) as error:
        safetensors_io.fill(net(), tensors, "a.safetensors")
    assert "a.safetensors does not fit Sequential: it lacks 0.bias, 0.weight" in str(error.value)
    assert "has unexpected extra.0, extra.1, extra.2, extra.3 and 2 more" in str(error.value)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(FobenchError, match=r"wrong shapes in weight \(\[2, 2\], not \[2, 3\]\)"):
        safetensors_io.fill(nn.Linear(3, 2), {"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, "a")


def test_unused_keys_are_allowed_by_name():
    module = nn.Linear(3, 2)
    tensors = {**module.state_dict(), "head.weight": torch.zeros(9)}
    safetensors_io.fill(module, tensors, "a", unused=["head."])


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FobenchError, match="cannot be written"):
        safetensors_io.save(net(), {}, tmp_path / "file" / "a.safetensors")


DAMAGE = {
    "drop": (lambda t, key: t.pop(key), "lacks"),
    "rename": (lambda t, key: t.update({f"{key}_": t.pop(key)}), "lacks"),
    "add": (lambda t, key: t.update({f"{key}.more": torch.ones(2)}), "has unexpected"),
    "reshape": (lambda t, key: t.update({key: t[key][None]}), "wrong shapes in"),
    "type": (lambda t, key: t.update({key: _other_type(t[key])}), "wrong types in"),
    "nan": (lambda t, key: t.update({key: torch.full(t[key].shape, math.nan)}), "has NaN"),
}


def _other_type(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.int8) if value.is_floating_point() else value.float()


@given(key=st.sampled_from(sorted(net().state_dict())), damage=st.sampled_from(sorted(DAMAGE)))
def test_any_damaged_tensor_is_named(key, damage):
    tensors = {name: value.clone() for name, value in net().state_dict().items()}
    change, word = DAMAGE[damage]
    change(tensors, key)
    if damage == "nan" and not net().state_dict()[key].is_floating_point():
        word = "wrong types in"
    with pytest.raises(FobenchError, match=rf"{word}.* {re.escape(key)}"):
        safetensors_io.fill(net(), tensors, "a")


def test_infinity_is_refused_in_parameters_and_allowed_in_buffers():
    tensors = {name: value.clone() for name, value in net().state_dict().items()}
    tensors["1.running_mean"].fill_(-math.inf)
    safetensors_io.fill(net(), tensors, "a")
    tensors["0.weight"][0, 0] = math.inf
    with pytest.raises(FobenchError, match=r"NaN or infinity in 0\.weight"):
        safetensors_io.fill(net(), tensors, "a")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (bytes(99), "zeros"), (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer")],
)
def test_a_file_without_weights_says_what_it_is(tmp_path, content, reason):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(FobenchError, match=reason):
        safetensors_io.load(tmp_path / "a.safetensors")


@given(share=st.floats(0, 0.999))
def test_a_file_cut_anywhere_is_refused(share, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    safetensors_io.save(net(), {}, folder / "a.safetensors")
    content = (folder / "a.safetensors").read_bytes()
    (folder / "a.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(FobenchError, match="is not a safetensors file"):
        safetensors_io.load(folder / "a.safetensors")
