"""The packed decoder: it leaves the parameters as they were, and computes the same on every CPU."""

import pytest

from fobench.api import registry
from fobench.errors import FobenchError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fobench_plugins.backbones import catalog, loading
from fobench_plugins.backbones.packed_decoder import Matrix, PackedDecoder
from tests.support.saved_backbones import save, tiny_tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {shape: save(shape, tmp_path_factory.mktemp(shape)) for shape in ("llama", "qwen2")}


def made(folder, dtype="float32", **options):
    return registry.create("backbones", f"hf:{folder}", {"device": "cpu", "dtype": dtype, **options})


def inputs(backbone):
    return backbone.embed(torch.arange(12)[None])


def test_a_strided_row_is_read_as_it_is():
    matrix, x = Matrix(torch.randn(8, 16), torch.randn(8)), torch.randn(1, 5, 16)
    torch.testing.assert_close(matrix(x[:, -1:]), torch.nn.functional.linear(x, matrix.weight, matrix.bias)[:, -1:])


def test_a_step_leaves_its_input_as_it_was(folders):
    backbone = made(folders["llama"])
    x = inputs(backbone)
    before = x.clone()
    backbone.step(x)
    assert torch.equal(x, before)


def test_fusing_leaves_the_parameters_as_they_were(folders):
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["qwen2"])
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    PackedDecoder(model)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_bfloat16_stays_near_float32(folders):
    narrow, exact = made(folders["llama"], "bfloat16"), made(folders["llama"])
    assert narrow.about()["dtype"] == "bfloat16"
    x = inputs(exact)
    state, steps = None, []
    for part in x.split([10, 1, 1], dim=1):
        hidden, _, state = narrow.step(part, state)
        steps.append(hidden)
    cosine = torch.cosine_similarity(torch.cat(steps, 1), exact.step(x)[0], dim=-1)
    assert cosine.min() > 0.98


def test_a_state_in_bfloat16_takes_a_learning_step(folders):
    narrow = made(folders["llama"], "bfloat16")
    x = inputs(narrow)
    _, _, state = narrow.step(x)
    ahead = x[:, :2].clone().requires_grad_(True)
    narrow.step(ahead, state)[1].sum().backward()
    assert ahead.grad.abs().sum() > 0


@pytest.mark.parametrize("instructions", [True, False])
def test_auto_is_the_same_form_on_every_cpu(monkeypatch, instructions):
    for name in ("_is_avx512_bf16_supported", "_is_avx512_supported", "_is_amx_tile_supported", "_is_avx2_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: instructions, raising=False)
    assert loading._dtype(torch, "cpu", "auto") == "float32"


def test_a_named_form_computes_the_same_on_every_cpu(folders, monkeypatch):
    found = []
    for instructions in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=instructions: supported)
        backbone = made(folders["llama"], "bfloat16", threads="1")
        found.append(backbone.step(inputs(backbone))[1])
    assert torch.equal(*found)


def test_auto_does_not_take_another_form_where_memory_is_short(folders, tmp_path, monkeypatch):
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["llama"], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    parameters = catalog.file_bytes(tmp_path) / 2
    for free, dtype, expected in ((4.9, "auto", "float32"), (2.5, "bfloat16", "bfloat16")):  # bytes a parameter
        monkeypatch.setattr(catalog, "_free_memory", lambda device, free=free: (int(parameters * free), "RAM"))
        assert made(tmp_path, dtype).about()["dtype"] == expected
    for dtype in ("auto", "float32"):
        with pytest.raises(FobenchError, match=r"needs about .* --dtype bfloat16"):
            made(tmp_path, dtype)


@pytest.mark.parametrize("shape", ["llama", "qwen2"])
def test_conversations_computed_together_are_as_each_alone(folders, shape):
    backbone = made(folders[shape])
    xs = [backbone.embed(torch.arange(length)[None] + 3) for length in (1, 5, 12)]
    pasts = [backbone.step(backbone.embed(torch.arange(4)[None] + at))[2] for at in range(3)]
    together = backbone.step_many(xs, [backbone.fork(past) for past in pasts], logits=[None, 1, 3])
    for x, past, count, (hidden, logits, state) in zip(xs, pasts, (None, 1, 3), together, strict=True):
        expected = backbone.step(x, past, logits=count)
        torch.testing.assert_close(hidden, expected[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits, expected[1], atol=1e-4, rtol=1e-4)
        assert backbone.length(state) == 4 + x.shape[1]
