"""Every named backbone's architecture keeps the contract: tiny random models, saved to disk and loaded as a user's would be."""

import pytest

from fobench.api import registry
from fobench.conformance import suite

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fobench_plugins.backbones import GGUF_ASSETS, catalog
from fobench_plugins.backbones.packed_decoder import PackedDecoder
from tests.support.tiny_models import FURTHER, SHAPES, folder

pytestmark = pytest.mark.usefixtures("home")

ARCHITECTURES = {  # how a name begins: the shape that stands for it, and which forward pass it gets
    "qwen2-": ("qwen2", "packed"),
    "qwen2.5-": ("qwen2", "packed"),
    "qwen3-": ("qwen3", "transformers"),
    "llama-3": ("llama3", "packed"),
    "smollm2-": ("smollm2", "packed"),
    "smollm3-": ("smollm3", "transformers"),
    "gemma-3-": ("gemma3", "transformers"),
    "mistral-": ("mistral", "packed"),
    "phi-": ("phi3", "transformers"),
}
FORWARD = dict(ARCHITECTURES.values())
QUESTION = [{"role": "user", "content": "Who is there?"}]


def made(shape, **options):
    return registry.create("backbones", f"hf:{folder(shape)}", {"device": "cpu", "dtype": "float32", **options})


def test_every_named_backbone_is_of_an_architecture_that_is_tested():
    names = set(catalog.NAMES) | set(GGUF_ASSETS)
    assert {name for name in names if not any(name.startswith(begin) for begin in ARCHITECTURES)} == set()
    assert set(FORWARD) == set(SHAPES) | set(FURTHER)


@pytest.mark.parametrize("shape", FORWARD)
def test_the_architecture_keeps_the_contract(shape):
    options = {"device": "cpu", "dtype": "float32", "threads": "1"}
    checks = suite.check("backbones", f"hf:{folder(shape)}", options)
    wrong = {check.name: check.message for check in checks if not check.ok}
    if wrong.get("stream", "").startswith("no reply"):  # random weights may say nothing but white space
        del wrong["stream"]
    assert wrong == {}


@pytest.mark.parametrize(("shape", "forward"), FORWARD.items())
def test_the_lean_forward_pass_is_used_where_it_is_the_models_own(shape, forward):
    backbone = made(shape)
    assert backbone.about()["forward"] == forward
    x = backbone.embed(torch.arange(40)[None])
    with torch.no_grad():
        expected = backbone.model(inputs_embeds=x, output_hidden_states=True, use_cache=False)
    hidden, logits, _ = backbone.step(x)
    torch.testing.assert_close(hidden, expected.hidden_states[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits, expected.logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["default", "linear", "llama3", "dynamic", "yarn"])
def test_positions_that_change_with_the_length_are_left_to_transformers(kind):
    model = made("qwen2").model
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_type": kind}
    assert PackedDecoder.supports(model) is (kind not in ("dynamic", "yarn"))


def test_a_window_that_slides_is_left_to_transformers(tmp_path):
    backbone = made("mistral")
    backbone.model.config.sliding_window = 8
    backbone.model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    sliding = registry.create("backbones", f"hf:{tmp_path}", {"device": "cpu", "dtype": "float32"})
    assert sliding.about()["forward"] == "transformers"


def test_a_model_that_can_think_is_asked_not_to():
    backbone = made("qwen3")
    assert "<think>" not in backbone.tokenizer.decode(backbone.chat(QUESTION))


def test_a_prompt_with_a_date_does_not_change_with_the_day():
    backbone = made("smollm3")
    assert "Today is 26 July 2024." in backbone.tokenizer.decode(backbone.chat(QUESTION))
