"""Threads of models: one for small steps, more where they pay, the user's choice first; idle ones sleep, also in a fresh process."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fobench import compute_threads
from fobench.api import registry

CORES = 8
FRESH = """
import os, sys
from fobench.api import registry
assert "torch" not in sys.modules
registry.create("codecs", "reference", {"random": "true"})
import torch
print(os.environ["OMP_WAIT_POLICY"], torch.get_num_threads())
"""


class Torch:
    """The part of torch that is asked for."""

    def __init__(self, threads=CORES):
        self.threads = threads

    def get_num_threads(self):
        return self.threads

    def set_num_threads(self, number):
        self.threads = number


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    for name in (compute_threads.NUMBER, compute_threads.WORKERS, *compute_threads.SLEEP):
        monkeypatch.setenv(name, "")  # so that it is as before after the test, whatever the test leaves
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(CORES)), raising=False)
    monkeypatch.setattr(compute_threads, "_torch_threads", 0)
    monkeypatch.setattr(compute_threads, "_torch_spins", False)


@pytest.mark.parametrize(("parameters", "threads"), [(0, 1), (135e6, 1), (7e9, CORES)])
def test_a_small_model_has_one_thread_and_a_large_one_all_cores(parameters, threads):
    assert compute_threads.count(None, parameters) == threads


def test_a_model_over_whole_clips_has_a_few():
    assert compute_threads.count(whole_clips=True) == compute_threads.MOST < CORES
    assert compute_threads.count(None, 7e9, whole_clips=True) == CORES
    assert compute_threads.count(1, whole_clips=True) == 1


def test_workers_share_the_cores():
    compute_threads.share_cores(3)
    assert compute_threads.count(None, 7e9) == compute_threads.count(whole_clips=True) == 2
    compute_threads.share_cores(100)
    assert compute_threads.count(None, 7e9) == 1


@pytest.mark.parametrize(("chosen", "threads"), [("3", 3), ("4,2", 4), (" 2 ", 2), ("0", 1), ("many", 1), ("", 1)])
def test_the_user_s_variable_counts_for_every_model(monkeypatch, chosen, threads):
    monkeypatch.setenv(compute_threads.NUMBER, chosen)
    assert compute_threads.count() == threads


def test_a_component_s_option_counts_before_the_variable(monkeypatch):
    monkeypatch.setenv(compute_threads.NUMBER, "3")
    assert compute_threads.count(5, 7e9) == 5


def test_torch_has_one_thread_after_a_small_model_and_more_after_a_large_one():
    torch = Torch()
    assert compute_threads.settle_torch(torch, parameters=1e8) == torch.threads == 1
    assert compute_threads.settle_torch(torch, parameters=7e9) == torch.threads == CORES
    assert compute_threads.settle_torch(torch, parameters=1e8) == torch.threads == CORES


def test_a_later_model_keeps_the_option_of_an_earlier_one():
    torch = Torch()
    compute_threads.settle_torch(torch, 2)
    compute_threads.settle_torch(torch)
    assert torch.threads == 2
    compute_threads.settle_torch(torch, 1)
    assert torch.threads == 1


def test_what_the_user_sets_between_two_models_is_left_alone():
    torch = Torch()
    compute_threads.settle_torch(torch)
    torch.set_num_threads(5)
    assert compute_threads.settle_torch(torch, parameters=7e9) == torch.threads == 5


def test_threads_of_torch_that_would_spin_are_not_made(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    compute_threads.sleep_when_idle()
    torch = Torch()
    assert compute_threads.settle_torch(torch, whole_clips=True) == torch.threads == 1
    assert compute_threads.settle_torch(torch, parameters=7e9) == torch.threads == CORES


def test_torch_shares_a_whole_clip(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    compute_threads.sleep_when_idle()
    assert compute_threads.settle_torch(Torch(), whole_clips=True) == compute_threads.MOST


def test_idle_threads_sleep_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    compute_threads.sleep_when_idle()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert os.environ["KMP_BLOCKTIME"] == "0"


def test_every_component_with_a_model_finds_idle_threads_asleep(registered):
    registered(voices=lambda: SimpleNamespace(policy=os.environ.get("OMP_WAIT_POLICY")))
    assert registry.create("voices", "toy").policy == "PASSIVE"


@pytest.mark.subprocess
def test_a_component_opened_in_a_process_of_its_own_has_one_thread():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run((sys.executable, "-c", FRESH), capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["PASSIVE", "1"]


def test_an_onnx_session_has_the_asked_threads_and_does_not_spin():
    made = {}

    class Options:
        def add_session_config_entry(self, key, value):
            made[key] = value

    class Session:
        def __init__(self, model, sess_options, providers):
            made.update(
                model=model, threads=sess_options.intra_op_num_threads, across=sess_options.inter_op_num_threads
            )

    module = SimpleNamespace(SessionOptions=Options, InferenceSession=Session)
    assert isinstance(compute_threads.onnx_session(module, "voice.onnx"), Session)
    assert made == {"session.intra_op.allow_spinning": "0", "model": "voice.onnx", "threads": 4, "across": 1}
