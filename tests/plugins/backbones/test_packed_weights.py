"""Packed weights: the forms in which a backbone holds its matrices multiply as what they hold, and which is chosen."""

import pytest

from fobench.api import registry
from fobench.errors import FobenchError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fobench_plugins.backbones import catalog, loading
from fobench_plugins.backbones.cpu.fp16_matmul import fp16_matmul, to_fp16_bits
from fobench_plugins.backbones.cpu.packed_decoder import PackedDecoder
from fobench_plugins.backbones.cpu.quantized_linear import GROUP, DenseMatrix, Int4Matrix, Int8Matrix, MixedMatrix
from tests.support.saved_backbones import save, tiny_tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {shape: save(shape, tmp_path_factory.mktemp(shape)) for shape in ("llama", "qwen2")}


@pytest.fixture
def llama(folders):
    return registry.create("backbones", f"hf:{folders['llama']}", {"device": "cpu", "dtype": "float32"})


def inputs(backbone):
    return backbone.embed(torch.arange(12)[None])


def four_bit_weights(out=64, inputs_=64):
    """Weights as GGUF's Q4_1 holds them: in each group 16 levels, the lowest and highest in use."""
    torch.manual_seed(0)
    digits = torch.randint(0, 16, (out, inputs_ // GROUP, GROUP))
    digits[..., 0], digits[..., 1] = 0, 15
    scale, low = torch.rand(out, inputs_ // GROUP, 1) + 0.1, torch.randn(out, inputs_ // GROUP, 1)
    return (digits * scale + low).reshape(out, inputs_)


@pytest.mark.parametrize("rows", [1, 3, 8, 9, 40])
def test_four_bits_hold_four_bit_weights(rows):
    dense = DenseMatrix(four_bit_weights().bfloat16(), torch.randn(64).bfloat16())
    x = torch.randn(2, rows, 64)
    expected = dense(x).float()
    assert (Int4Matrix.of(dense)(x).float() - expected).norm() < 0.02 * expected.norm()


def test_weights_that_four_bits_do_not_hold_are_left_alone():
    assert Int4Matrix.of(DenseMatrix(torch.randn(64, 64).bfloat16())) is None
    assert Int4Matrix.of(DenseMatrix(four_bit_weights(out=60).bfloat16())) is None


def test_eight_bits_are_near():
    dense = DenseMatrix(torch.randn(64, 96).bfloat16())
    x = torch.randn(1, 2, 96)
    assert (Int8Matrix.of(dense)(x).float() - dense(x).float()).norm() < 0.02 * dense(x).float().norm()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 8, 9, 40])
def test_halves_multiply_as_their_rounded_weights_do(rows, threads):
    torch.manual_seed(0)
    dense, x = DenseMatrix(torch.randn(70, 96), torch.randn(70)), torch.randn(2, rows, 96)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    got = MixedMatrix.of(dense)(x)
    torch.set_num_threads(before)
    few = 2 * rows <= 8
    rounded = DenseMatrix(dense.weight.half().float() if few else dense.weight, dense.bias)
    torch.testing.assert_close(got, rounded(x), atol=1e-4, rtol=1e-5)
    assert torch.equal(got, dense(x)) is not few  # many rows: the weights themselves


def test_halves_are_exact_down_to_the_smallest():
    every = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(torch.float16)  # the 65,536 there are
    matrix = every[every.isfinite()].float().view(-1, 32)
    assert torch.equal(fp16_matmul(to_fp16_bits(matrix), torch.eye(32)), matrix.T)
    assert to_fp16_bits(torch.tensor([[-65504.0, -0.0]])) is not None
    for large in (65520.0, -65520.0, float("inf"), float("nan")):
        assert to_fp16_bits(torch.tensor([[0.0, large]])) is None


def test_what_few_rows_read_of_a_matrix_is_told():
    dense = DenseMatrix(four_bit_weights())
    forms = {
        "float32": dense,
        "mixed": MixedMatrix.of(dense),
        "int8": Int8Matrix.of(dense),
        "int4": Int4Matrix.of(dense),
    }
    read = {name: matrix.bytes_per_step for name, matrix in forms.items()}
    assert read == {
        "float32": 64 * 64 * 4,
        "mixed": 64 * 64 * 2,
        "int8": 64 * 64 + 64 * 2,
        "int4": 64 * 64 // 2 + 64 * 2 * 4,
    }


def test_a_strided_row_is_read_as_it_is():
    dense, x = DenseMatrix(torch.randn(8, 16).bfloat16().float()), torch.randn(1, 5, 16)
    torch.testing.assert_close(MixedMatrix.of(dense)(x[:, -1:]), dense(x)[:, -1:], atol=1e-5, rtol=1e-5)


def test_fusing_leaves_the_parameters_as_they_were(folders):
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["qwen2"])
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    PackedDecoder(model)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed", "int8", "int4"])
def test_narrow_types_stay_near_float32(folders, llama, dtype):
    narrow = registry.create("backbones", f"hf:{folders['llama']}", {"device": "cpu", "dtype": dtype})
    assert narrow.about()["dtype"] == dtype
    assert narrow.parameter_hash() == llama.parameter_hash() or dtype != "mixed"
    x = inputs(llama)
    state, steps = None, []
    for part in x.split([10, 1, 1], dim=1):
        hidden, _, state = narrow.step(part, state)
        steps.append(hidden)
    cosine = torch.cosine_similarity(torch.cat(steps, 1), llama.step(x)[0], dim=-1)
    assert cosine.min() > 0.98


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed", "int8"])
def test_a_state_in_a_narrow_type_takes_a_learning_step(folders, dtype):
    narrow = registry.create("backbones", f"hf:{folders['llama']}", {"device": "cpu", "dtype": dtype})
    x = inputs(narrow)
    _, _, state = narrow.step(x)
    ahead = x[:, :2].clone().requires_grad_(True)
    narrow.step(ahead, state)[1].sum().backward()
    assert ahead.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("quantized", "stored", "expected"),
    [
        (True, 4, "mixed"),  # a GGUF file, converted
        (False, 2, "mixed"),  # half a float32 on the hub
        (False, 4, "float32"),
    ],
)
@pytest.mark.parametrize("instructions", [True, False])
def test_auto_is_the_same_form_on_every_cpu(monkeypatch, instructions, quantized, stored, expected):
    for name in ("_is_avx512_bf16_supported", "_is_avx512_supported", "_is_amx_tile_supported", "_is_avx2_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: instructions, raising=False)
    assert loading._dtype(torch, "cpu", "auto", quantized, stored) == expected


def test_a_named_form_computes_the_same_on_every_cpu(folders, monkeypatch):
    options = {"device": "cpu", "dtype": "bfloat16", "threads": "1"}
    found = []
    for instructions in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=instructions: supported)
        backbone = registry.create("backbones", f"hf:{folders['llama']}", options)
        found.append(backbone.step(inputs(backbone))[1])
    assert torch.equal(*found)


def test_auto_does_not_take_another_form_where_memory_is_short(folders, tmp_path, monkeypatch):
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["llama"], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    parameters = catalog.file_bytes(tmp_path) / 2
    for free, dtype, expected in ((7.3, "auto", "mixed"), (5, "float32", "float32")):  # bytes a parameter; a fifth more
        monkeypatch.setattr(catalog, "_free_memory", lambda device, free=free: (int(parameters * free), "RAM"))
        options = {"device": "cpu", "dtype": dtype}
        assert registry.create("backbones", f"hf:{tmp_path}", options).about()["dtype"] == expected
    for dtype in ("auto", "mixed"):
        with pytest.raises(FobenchError, match=r"needs about .* --dtype float32 or int8"):
            registry.create("backbones", f"hf:{tmp_path}", {"device": "cpu", "dtype": dtype})


def test_a_step_of_few_rows_has_the_bits_of_single_steps(folders):
    """Whatever the sizes of the steps, up to `exact_rows`: so a text has one reply, however it arrived."""
    backbone = registry.create("backbones", f"hf:{folders['llama']}", {"device": "cpu", "dtype": "mixed"})
    assert backbone.exact_rows == 8
    x = backbone.embed(torch.arange(17)[None])
    found = []
    for sizes in ([1] * 17, [8, 8, 1], [3, 7, 5, 2]):
        state, hidden, at = None, [], 0
        for size in sizes:
            step, logits, state = backbone.step(x[:, at : at + size], state, logits=1)
            hidden.append(step)
            at += size
        found.append((torch.cat(hidden, 1), logits))
    for hidden, logits in found[1:]:
        assert torch.equal(hidden, found[0][0])
        assert torch.equal(logits, found[0][1])
