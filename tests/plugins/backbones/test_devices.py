"""A backbone with random weights on each device: its contract, and how near bfloat16 comes to float32."""

import pytest

from fobench.api import registry
from fobench.conformance import suite
from tests.support.devices import on_each_device

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.support.tiny_models import folder

LIKE = 0.99  # cosine of hidden states and of logits


def create(device, dtype):
    return registry.create("backbones", f"hf:{folder('qwen2')}", {"device": device, "dtype": dtype})


@on_each_device
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_contract_holds(device, dtype):
    checks = suite.check("backbones", f"hf:{folder('qwen2')}", {"device": device, "dtype": dtype})
    assert [f"{check.name}: {check.message}" for check in checks if not check.ok] == []
    assert len(checks) > 10


@on_each_device
@torch.no_grad()
def test_bfloat16_is_like_float32_on_the_cpu(device):
    exact, half = create("cpu", "float32"), create(device, "bfloat16")
    ids = torch.arange(40).reshape(1, 40) % 200
    expected = exact.step(exact.embed(ids))
    hidden, logits, state = half.step(half.embed(ids[:, :25]))
    parts = [(hidden, logits)]
    for token in ids[0, 25:]:
        hidden, logits, state = half.step(half.embed(token[None, None]), state)
        parts.append((hidden, logits))
    for number in range(2):
        streamed = torch.cat([part[number] for part in parts], 1).cpu().float()
        cosines = torch.nn.functional.cosine_similarity(streamed, expected[number], dim=-1)
        assert float(cosines.min()) > LIKE
