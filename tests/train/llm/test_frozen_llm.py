"""The frozen LLM in training: the numbers of live use, gradients to what it is given and none to itself."""

from types import SimpleNamespace

import pytest
import torch

from fobench.errors import FobenchError
from reference_model.train.llm.frozen_llm import FrozenLLM, pad_embeddings
from tests.support.tiny_models import SHAPES, backbone


@pytest.fixture(scope="module", params=SHAPES)
def frozen(request):
    return FrozenLLM(backbone(request.param))


def rows(frozen, *ids):
    return [frozen.embed(list(one)) for one in ids]


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_the_numbers_are_those_of_live_use(frozen):
    x = frozen.embed(torch.arange(24).reshape(2, 12))
    hidden, logits, _ = frozen.backbone.step(x)
    close(frozen.hidden(x), hidden)
    close(frozen.logits(frozen.hidden(x)), logits)


def test_what_fills_up_a_batch_changes_nothing(frozen):
    short, long = rows(frozen, range(5), range(9))
    x, mask = pad_embeddings([short, long])
    assert mask.sum(1).tolist() == [5, 9]
    alone = frozen.hidden(short[None])[0]
    close(frozen.hidden(x)[0, :5], alone)
    close(frozen.hidden(x, mask)[0, :5], alone)


def test_masked_rows_are_as_if_left_out(frozen):
    (whole,) = rows(frozen, range(10))
    kept = torch.tensor([False, True, True, False, False, True, True, True, False, True])
    found = frozen.hidden(whole[None], kept[None])[0, kept]
    close(found, frozen.hidden(whole[None, kept])[0])


def test_gradients_reach_what_it_is_given_and_no_parameter(frozen):
    x, mask = pad_embeddings([row.clone().requires_grad_() for row in rows(frozen, range(4), range(7))])
    mask[1, 0] = False  # one that is left out at the beginning
    x.retain_grad()
    frozen.logits(frozen.hidden(x, mask))[mask].logsumexp(-1).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[mask].abs().sum(-1) > 0).all()
    assert x.grad[~mask].abs().max() == 0
    frozen.check_unchanged()


def test_one_changed_weight_is_seen():
    frozen = FrozenLLM(backbone("qwen2"))
    weight = next(frozen.backbone.model.parameters())
    weight.data[0, 0] += 1
    try:
        with pytest.raises(AssertionError, match="have changed"):
            frozen.check_unchanged()
    finally:
        weight.data[0, 0] -= 1
    weight.requires_grad_(True)
    with pytest.raises(AssertionError, match="is being trained"):
        frozen.check_unchanged()


def test_a_capped_head_gives_capped_logits():
    llm = backbone("gemma3")
    llm.model.config.final_logit_softcapping = 2.0
    frozen = FrozenLLM(llm)
    x = frozen.embed([[5, 6, 7]])
    found = frozen.logits(frozen.hidden(x))
    assert found.abs().max() <= 2.0
    close(found, llm.model(inputs_embeds=x).logits)


def test_unknown_ways_to_the_logits_are_refused():
    llm = backbone("llama3")
    own = llm.model.forward
    llm.model.forward = lambda **given: SimpleNamespace(logits=3 * own(**given).logits)
    with pytest.raises(FobenchError, match="transforms its logits"):
        FrozenLLM(llm)


def test_a_backbone_of_another_kind_is_refused():
    with pytest.raises(FobenchError, match="'toy' cannot be trained through"):
        FrozenLLM(SimpleNamespace(name="toy", hidden_size=4))
