"""llama.cpp as an engine: the contract, the same numbers as torch on the same file, and numbers that nothing else changes."""

import pytest

from fobench.api import registry
from fobench.conformance import suite
from fobench.errors import FobenchError
from tests.plugins.backbones import tiny_gguf

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

from fobench_plugins.backbones import llama_library, llamacpp_engine

pytestmark = pytest.mark.skipif(not llama_library.installed(), reason=f"not installed: {llama_library.INSTALL}")
QUESTION = [{"role": "user", "content": "Why is the sky blue? Answer in two sentences."}]
KINDS = {"Q4_1": 48, "Q8_0": 48, "Q5_0": 7, "F32": 1}  # type of the matrices: rows that may be computed at once


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{type: a random Llama of two layers as a GGUF file, with a byte tokenizer}"""
    folder = tmp_path_factory.mktemp("gguf")
    return {kind: tiny_gguf.write(folder / f"tiny-{kind}.gguf", kind=kind) for kind in KINDS}


@pytest.fixture
def tiny(files, home):
    return files


def made(path, **options):
    return registry.create("backbones", f"gguf:{path}", {"engine": "llamacpp", "threads": "1", **options})


@pytest.fixture
def llama(tiny):
    return made(tiny["Q4_1"])


def inputs(backbone, length=12, batch=1, seed=0):
    return torch.randn(batch, length, backbone.hidden_size, generator=torch.Generator().manual_seed(seed))


def in_steps(backbone, x, sizes):
    """Hidden states and logits of x [1, T, D], computed in steps of these sizes, and the state."""
    state, found = None, []
    for part in x.split(sizes, 1):
        hidden, logits, state = backbone.step(part, state)
        found.append((hidden, logits))
    return torch.cat([h for h, _ in found], 1), torch.cat([y for _, y in found], 1), state


def same(a, b):
    """Whether hidden states and logits are equal to the bit."""
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


# ---- The contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_a_gguf_backbone_passes_the_conformance_suite(tiny, kind):
    checks = suite.check("backbones", f"gguf:{tiny[kind]}", {"engine": "llamacpp"})
    assert [(check.name, check.message) for check in checks if not check.ok] == []


def test_it_is_the_torch_path_on_the_same_file(tiny):
    llama = made(tiny["F32"])
    exact = registry.create("backbones", f"gguf:{tiny['F32']}", {"device": "cpu", "dtype": "float32"})
    assert llama.chat(QUESTION) == exact.chat(QUESTION)
    ids = torch.tensor([exact.chat(QUESTION)])
    torch.testing.assert_close(llama.embed(ids), exact.embed(ids), atol=1e-6, rtol=0)
    x = inputs(llama, 40, batch=2)
    for ours, theirs in zip(llama.step(x)[:2], exact.step(x)[:2], strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.02)  # its keys and values are float16


def test_a_crop_is_as_never_said_and_a_fork_lives_by_itself(llama):
    x = inputs(llama, 30)
    whole = in_steps(llama, x, [30])
    _, _, state = llama.step(x[:, :20])
    fork = llama.crop(llama.fork(state), 12)
    llama.step(inputs(llama, 9, seed=1), llama.crop(state, 5))
    assert (llama.length(state), llama.length(fork)) == (14, 12)
    assert same(llama.step(x[:, 12:], fork), (whole[0][:, 12:], whole[1][:, 12:]))
    assert llama.fork(None) is llama.crop(state, 0) is None


def test_only_the_outputs_asked_for(llama):
    x = inputs(llama, 130)
    hidden, logits, state = llama.step(x)
    assert (hidden.shape, logits.shape) == ((1, 130, tiny_gguf.WIDTH), (1, 130, tiny_gguf.WORDS))
    assert llama.length(state) == 130
    for count in (0, 1, 60, 200):
        last = llama.step(x, logits=count)
        kept = max(0, 130 - count)
        assert same(last, (hidden[:, kept:], logits[:, kept:]))


def test_what_it_cannot_do_is_told(llama, tmp_path):
    with pytest.raises(FobenchError, match=r"gives no gradients\. Train with the option engine=torch"):
        llama.step(inputs(llama).requires_grad_(True))
    with pytest.raises(FobenchError, match="cannot be cropped to 5"):
        llama.crop(None, 5)
    with pytest.raises(FobenchError, match="There is no file"):
        made(tmp_path / "none.gguf")
    with pytest.raises(FobenchError, match="Choices: device, dtype, engine"):
        made(tmp_path / "none.gguf", engines="torch")


def test_a_damaged_file_is_refused(tmp_path, home):
    lacking = tiny_gguf.write(tmp_path / "lacking.gguf", lambda tensors: tensors.pop("blk.1.ffn_up.weight"))
    with pytest.raises(FobenchError, match=r"llama\.cpp cannot load lacking\.gguf: .*blk\.1\.ffn_up\.weight"):
        made(lacking)
    broken = tiny_gguf.write(
        tmp_path / "nan.gguf", lambda tensors: tensors["blk.0.attn_q.weight"][0].fill(float("nan"))
    )
    with pytest.raises(FobenchError, match=r"llama\.cpp cannot load nan\.gguf"):
        made(broken)


# ---- Numbers that nothing else changes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rows"), KINDS.items())
def test_rows_one_by_one_have_the_bits_of_rows_at_once(tiny, kind, rows):
    backbone = made(tiny[kind])
    assert backbone.exact_rows == rows
    x = inputs(backbone, 150)
    single = in_steps(backbone, x, [1] * 150)
    for size in {2, 3, rows} if rows > 1 else ():
        assert same(in_steps(backbone, x, size), single)
    if rows == llamacpp_engine.BATCH:  # longer steps are cut into those
        assert same(in_steps(backbone, x, [100, 50]), single)


def test_two_threads_promise_nothing(tiny):
    assert made(tiny["Q4_1"], threads="2").exact_rows == 1


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_computed_together_have_the_bits_of_each_alone(tiny, kind):
    backbone = made(tiny[kind])
    lengths = (1, 5, 40, 1, 2, 1)
    xs = [inputs(backbone, 60 + length, seed=seed) for seed, length in enumerate(lengths)]
    alone = []
    for x in xs:
        _, _, state = backbone.step(x[:, :60])
        alone.append([backbone.step(x[:, 60:], state), backbone.step(x[:, :1], state)])
    states = [backbone.step(x[:, :60])[2] for x in xs]
    together = backbone.step_many([x[:, 60:] for x in xs], states, logits=[None] * 6)
    assert all(same(found, expected[0]) for found, expected in zip(together, alone, strict=True))
    together = backbone.step_many([x[:, :1] for x in xs], states, logits=[1] * 6)
    assert all(same(found, expected[1]) for found, expected in zip(together, alone, strict=True))
    assert [backbone.length(state) for _, _, state in together] == [61 + length for length in lengths]
    both = backbone.step(torch.cat([xs[0], xs[3]]))
    assert same([part[:1] for part in both[:2]], backbone.step(xs[0]))


def test_more_and_longer_conversations_than_the_cache_has_streams_for(llama):
    """They take turns in the streams, which become longer, and no number changes."""
    x = inputs(llama, 700)
    expected = in_steps(llama, x, [10] * 70)
    _, _, state = llama.step(x[:, :10])
    forks = [llama.fork(state) for _ in range(25)]
    for at in (10, 20):
        for number, fork in enumerate(forks):
            found = llama.step(x[:, at : at + 10] if number % 2 else inputs(llama, 10, seed=number), fork)
            assert not number % 2 or same(found, (expected[0][:, at : at + 10], expected[1][:, at : at + 10]))
    for at in range(30, 700, 10):
        found = llama.step(x[:, at : at + 10], forks[1])
        assert same(found, (expected[0][:, at : at + 10], expected[1][:, at : at + 10]))
    assert llama._engine._positions == 1024
    assert [llama.length(fork) for fork in forks[:3]] == [30, 700, 30]


def test_states_that_nobody_holds_leave_their_streams(llama):
    for _ in range(20):
        _, _, state = llama.step(inputs(llama, 3))
    assert len(llama._engine._resident()) <= 2
    del state


def test_a_cache_that_does_not_fit_into_memory_is_an_error_and_nothing_is_lost(llama, monkeypatch):
    x = inputs(llama, 900)
    expected = in_steps(llama, x[:, :20], [10, 10])
    _, _, state = llama.step(x[:, :10])
    library, create = llama._engine._library, llama._engine._library.llama_init_from_model

    def init(model, params):
        return None if params.n_ctx > 8 * 512 else create(model, params)

    monkeypatch.setattr(library, "llama_init_from_model", init)
    with pytest.raises(
        FobenchError, match=r"cannot allocate 8 x 1024 positions for tiny-Q4_1\.gguf\. Free some memory"
    ):
        llama.step(x[:, 10:], state)
    assert llama.length(state) == 10
    assert same(llama.step(x[:, 10:20], state), (expected[0][:, 10:], expected[1][:, 10:]))


# ---- Real weights ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["smollm2-135m", "qwen2.5-coder-0.5b"])
def real(request):
    return request.param, registry.create("backbones", request.param, {"engine": "llamacpp", "threads": "1"})


@pytest.mark.slow
def test_a_real_model_thinks_the_same(real):
    """Its activations are 8 bits. SmolLM2: hidden states 0.9962 at worst, logits 0.9996 in the middle and 0.970 at worst."""
    name, ours = real
    theirs = registry.create("backbones", name, {"device": "cpu", "dtype": "float32"})
    ids = torch.tensor([theirs.chat(QUESTION)])
    assert ours.chat(QUESTION) == ids[0].tolist()
    torch.testing.assert_close(ours.embed(ids), theirs.embed(ids), atol=1e-6, rtol=0)
    (hidden, logits, _), (expected, scores, _) = ours.step(ours.embed(ids)), theirs.step(theirs.embed(ids))
    assert torch.cosine_similarity(hidden, expected, dim=-1).min() > 0.99
    alike = torch.cosine_similarity(logits, scores, dim=-1)
    assert alike.median() > 0.998 and alike.min() > 0.95
    assert logits[0, -1].argmax() == scores[0, -1].argmax()
    assert (logits.argmax(-1) == scores.argmax(-1)).float().mean() > 0.9


@pytest.mark.slow
def test_a_real_model_keeps_the_contract(real):
    checks = suite.check("backbones", real[0], {"engine": "llamacpp"})
    assert [(check.name, check.message) for check in checks if not check.ok] == []


@pytest.mark.slow
def test_a_real_model_has_one_reply_however_the_rows_arrive(real):
    name, backbone = real
    assert backbone.exact_rows == {"smollm2-135m": 48, "qwen2.5-coder-0.5b": 7}[name]
    ids = torch.tensor(
        [backbone.encode("Tell me, in some detail, how a steam engine works, and who built the first. " * 4)]
    )
    x = backbone.embed(ids[:, :64])
    single = in_steps(backbone, x, [1] * 64)
    assert same(in_steps(backbone, x, backbone.exact_rows), single)
    others = [backbone.step(backbone.embed(ids[:, : 10 + n]))[2] for n in range(5)]
    _, _, state = backbone.step(x[:, :1])
    for at in range(1, 64):
        parts = [x[:, at : at + 1], *(backbone.embed(ids[:, at : at + 1]) for _ in others)]
        found = backbone.step_many(parts, [state, *others], logits=[1] * 6)[0]
        assert same(found, (single[0][:, at : at + 1], single[1][:, at : at + 1]))
