"""llama.cpp as an engine: the contract, and the same numbers as torch on the same file (needs llama-cpp-python: fobench[llamacpp])."""

import gc

import pytest

from fobench.api import registry
from fobench.conformance import suite
from fobench.errors import FobenchError, PrerequisiteError
from tests.plugins.backbones import tiny_gguf

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

QUESTION = [{"role": "user", "content": "Why is the sky blue? Answer in two sentences."}]


def test_without_llamacpp_the_error_names_the_package_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fobench_plugins.backbones.llamacpp", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'fobench\[llamacpp\]'"):
        registry.create("backbones", "llamacpp:smollm2-135m")


@pytest.fixture
def installed():
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'fobench[llamacpp]'")


# ---- A tiny file -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random Llama of two layers in float32 as a GGUF file, with a byte tokenizer."""
    pytest.importorskip("gguf")
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def llama(installed, tiny):
    return registry.create("backbones", f"llamacpp:{tiny}", {"threads": "1", "context": "512"})


def inputs(backbone, length=12, batch=1, seed=0):
    return torch.randn(batch, length, backbone.hidden_size, generator=torch.Generator().manual_seed(seed))


def close(a, b):
    torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3)


def test_a_gguf_backbone_passes_the_conformance_suite(installed, tiny):
    checks = suite.check("backbones", f"llamacpp:{tiny}", {"threads": "1", "context": "1024"})
    assert [(check.name, check.message) for check in checks if not check.ok] == []


def test_it_is_the_torch_path_on_the_same_file(llama, tiny):
    exact = registry.create("backbones", f"gguf:{tiny}", {"device": "cpu", "dtype": "float32"})
    assert llama.chat(QUESTION) == exact.chat(QUESTION)
    ids = torch.tensor([exact.chat(QUESTION)])
    torch.testing.assert_close(llama.embed(ids), exact.embed(ids), atol=1e-6, rtol=0)
    x = inputs(llama, 40, batch=2)
    for ours, theirs in zip(llama.step(x)[:2], exact.step(x)[:2], strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.02)  # its keys and values are float16


def test_a_prompt_longer_than_a_batch_is_one_conversation(llama):
    x = inputs(llama, 150)
    hidden, logits, state = llama.step(x)
    assert llama.length(state) == 150
    assert hidden.shape == (1, 150, tiny_gguf.WIDTH)
    again, _, _ = llama.step(x[:, 149:], llama.crop(llama.fork(state), 149))
    close(again[0, 0], hidden[0, -1])
    assert llama.step(x, logits=3)[1].shape == (1, 3, tiny_gguf.WORDS)
    close(llama.step(x, logits=3)[1], logits[:, -3:])


def test_conversations_of_a_batch_do_not_hear_each_other(llama):
    both = inputs(llama, 9, batch=2)
    hidden, _, state = llama.step(both[:, :5])
    rest, _, _ = llama.step(both[:, 5:], state)
    for row in range(2):
        close(torch.cat([hidden, rest], 1)[row], llama.step(both[row : row + 1])[0][0])


def test_states_that_nobody_holds_make_room(llama):
    x = inputs(llama, 100)
    for _ in range(20):
        llama.step(x)  # 2,000 positions in all, and 512 in the cache
    kept = [llama.step(x)[2] for _ in range(5)]
    with pytest.raises(
        FobenchError, match=r"All 512 positions of llama\.cpp's cache are in use. Set the option context"
    ):
        llama.step(x)
    close(llama.step(x[:, :4], kept[0])[0], llama.step(torch.cat([x, x[:, :4]], 1)[:, -4:], llama.fork(kept[1]))[0])
    del kept
    gc.collect()
    llama.step(x)


def test_forks_share_what_was_said(llama):
    _, _, state = llama.step(inputs(llama, 400))
    forks = [llama.fork(state) for _ in range(40)]  # 16,000 positions if each had its own
    for fork in forks:
        llama.step(inputs(llama, 1), fork)
    assert {llama.length(fork) for fork in forks} == {401}
    assert llama.length(state) == 400
    with pytest.raises(FobenchError, match="64 conversations and forks"):
        forks += [llama.fork(state) for _ in range(40)]


def test_what_it_cannot_do_is_told(llama, installed, tmp_path):
    with pytest.raises(FobenchError, match="gives no gradients"):
        llama.step(inputs(llama).requires_grad_(True))
    with pytest.raises(FobenchError, match="cannot be cropped to 5"):
        llama.crop(None, 5)
    with pytest.raises(FobenchError, match="There is no file"):
        registry.create("backbones", f"llamacpp:{tmp_path / 'none.gguf'}")
    with pytest.raises(FobenchError, match="Choices: context, offline, threads"):
        registry.create("backbones", "llamacpp:smollm2-135m", {"thread": "1"})


# ---- Real weights ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-coder-0.5b"])
def test_a_real_model_thinks_the_same(installed, name):
    """Its activations are 8 bits. SmolLM2: hidden states 0.9962 at worst, logits 0.9996 in the middle and 0.970 at worst."""
    ours = registry.create("backbones", f"llamacpp:{name}")
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
