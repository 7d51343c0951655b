"""Dynamic batching: calls of several threads become batches, each with its own result or error."""

import threading
import time

import pytest
import torch

from reference_model.inference.dynamic_batching import BatchedBackbone, DynamicBatcher
from tests.support.tiny_models import backbone


def test_a_lone_caller_is_answered_at_once():
    assert DynamicBatcher(lambda xs: [x + 1 for x in xs])(1) == 2


def test_those_who_come_meanwhile_are_computed_as_one():
    batches = []

    def slow(xs):
        batches.append(len(xs))
        time.sleep(0.05)
        return [x * x for x in xs]

    square, results = DynamicBatcher(slow), {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: square(i)})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: i * i for i in range(8)}
    assert sum(batches) == 8
    assert len(batches) < 8


def test_one_callers_error_is_not_anothers():
    inside, go = threading.Event(), threading.Event()

    def slow(xs):
        inside.set()
        go.wait()
        return [10 // x for x in xs]

    divide, results = DynamicBatcher(slow), {}

    def call(x):
        try:
            results[x] = divide(x)
        except ZeroDivisionError as error:
            results[x] = error

    threads = [threading.Thread(target=call, args=(x,)) for x in (5, 0, 2)]
    threads[0].start()
    inside.wait()
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.05)
    go.set()
    for thread in threads:
        thread.join()
    assert (results[5], results[2]) == (2, 5)
    assert isinstance(results[0], ZeroDivisionError)


@pytest.mark.parametrize("shape", ["qwen2", "gemma3"])
def test_steps_of_several_conversations_are_each_as_alone(shape):
    llm = backbone(shape)
    xs = [torch.randn(1, n, 64, generator=torch.Generator().manual_seed(n)) for n in (9, 4, 7)]
    states = [llm.step(x)[2] for x in xs]
    alone = [llm.step(x[:, :n], llm.fork(s), logits=1) for x, s, n in zip(xs, states, (3, 1, 2), strict=True)]
    calls = [(x[:, :n], llm.fork(s), 1) for x, s, n in zip(xs, states, (3, 1, 2), strict=True)]
    many = BatchedBackbone(llm)._step_many(calls)
    for one, all_ in zip(alone, many, strict=True):
        assert torch.allclose(one[0], all_[0], atol=1e-4)
        assert torch.allclose(one[1], all_[1], atol=1e-4)
        assert llm.length(one[2]) == llm.length(all_[2])
