"""The trainer's state without pickle: to the bit, never code, old files converted, broken ones refused."""

import math
import os
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fobench.errors import FobenchError
from reference_model.train.engine import checkpoints, trainer_state
from reference_model.train.engine.trainer import Trainer
from tests.train.engine.toy_stage import LOOP, Toy

NUMBERS = st.floats(width=64) | st.integers(-(2**53), 2**53) | st.booleans() | st.none() | st.text(max_size=5)
TENSORS = st.sampled_from(
    [
        torch.tensor(1.5),
        torch.arange(6).view(2, 3),
        torch.tensor([math.nan, math.inf]),
        torch.ones(2).bfloat16(),
        torch.zeros(0),
    ]
)
STATES = st.recursive(
    NUMBERS | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4).filter(lambda key: not key.startswith("<")), inner, max_size=3)
        | st.dictionaries(st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and repr(one) == repr(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or one != one)


@given(state=st.dictionaries(st.sampled_from(["a", "b", "c"]), STATES, max_size=3))
def test_any_state_comes_back_as_it_was(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "trainer.safetensors"
    trainer_state.write(state, path)
    assert same(state, trainer_state.read(path))


def test_the_random_generators_continue_where_they_were(tmp_path):
    checkpoints.seed_everything(5)
    random.gauss(0, 1)
    trainer_state.write(checkpoints.random_state(), tmp_path / "a.safetensors")

    def draws():
        return [random.gauss(0, 1), random.random(), *np.random.normal(size=3), *torch.rand(3).tolist()]

    expected = draws()
    checkpoints.set_random_state(trainer_state.read(tmp_path / "a.safetensors"))
    assert draws() == expected


def trained(folder, steps):
    run = Trainer(Toy(), LOOP, folder).run()
    for _ in range(steps):
        next(run)
    run.close()
    return checkpoints.newest_checkpoint(folder)


def pickled(checkpoint):
    """The checkpoint with its state as an earlier version wrote it."""
    state = trainer_state.read(checkpoint / checkpoints.TRAINER)
    name, keys, *rest = state["random"]["numpy"]
    state["random"]["numpy"] = (name, keys.numpy().astype(np.uint32), *rest)
    torch.save(state, checkpoint / checkpoints.OLD_TRAINER)
    (checkpoint / checkpoints.TRAINER).unlink()


def test_a_checkpoint_of_an_earlier_version_continues_to_the_bit(tmp_path):
    for folder in ("old", "new"):
        checkpoint = trained(tmp_path / folder, 5)
        if folder == "old":
            pickled(checkpoint)
        list(Trainer(Toy(), LOOP, tmp_path / folder).run())
    old, new = (
        trainer_state.read(checkpoints.newest_checkpoint(tmp_path / folder) / checkpoints.TRAINER)["optimiser"]
        for folder in ("old", "new")
    )
    assert same(old, new)


class Harmful:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["state", "random"])
def test_code_in_an_old_checkpoint_is_refused_and_not_run(tmp_path, where):
    checkpoint = trained(tmp_path / "run", 3)
    state = trainer_state.read(checkpoint / checkpoints.TRAINER)
    torch.save({**state, where: Harmful(tmp_path / "harm")}, checkpoint / checkpoints.OLD_TRAINER)
    (checkpoint / checkpoints.TRAINER).unlink()
    with pytest.raises(FobenchError, match=r"trainer\.pt is of an earlier version and cannot be converted"):
        Trainer(Toy(), LOOP, tmp_path / "run").resume()
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", bytes(200), b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x02}."])
def test_a_broken_state_is_refused_by_name(tmp_path, content):
    checkpoint = trained(tmp_path, 3)
    (checkpoint / checkpoints.TRAINER).write_bytes(content)
    with pytest.raises(FobenchError, match=r"trainer\.safetensors cannot be read"):
        Trainer(Toy(), LOOP, tmp_path).resume()


@given(share=st.floats(0, 0.999))
def test_a_cut_state_is_refused(share, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cut")
    trainer_state.write({"a": torch.arange(9.0), "b": [1, 2]}, folder / "t")
    content = (folder / "t").read_bytes()
    (folder / "t").write_bytes(content[: int(share * len(content))])
    with pytest.raises(FobenchError, match="cannot be read"):
        trainer_state.read(folder / "t")
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda o: o["state"][1].update(exp_avg=torch.zeros(3)),
            r"wrong shapes in exp_avg of parameter 1 \(\[3\], not \[8\]\)",
        ),
        (lambda o: o["state"].update({9: {"exp_avg": torch.zeros(1)}}), "has unexpected parameter 9"),
        (lambda o: o["state"][0]["exp_avg"].fill_(math.nan), "NaN or infinity in exp_avg of parameter 0"),
        (lambda o: o["param_groups"][0]["params"].pop(), "an optimizer of other parameter groups"),
    ],
)
def test_a_state_that_does_not_fit_the_optimizer_is_refused(tmp_path, change, message):
    path = trained(tmp_path, 3) / checkpoints.TRAINER
    state = trainer_state.read(path)
    change(state["optimiser"])
    trainer_state.write(state, path)
    with pytest.raises(FobenchError, match=message):
        Trainer(Toy(), replace(LOOP, steps=9), tmp_path).resume()
