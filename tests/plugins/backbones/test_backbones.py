"""Backbones: a tiny random model of each shape, saved to disk and loaded as a user's would be."""

from pathlib import Path

import pytest

from fobench.api import registry
from fobench.assets import store
from fobench.assets.catalog import is_plain_name
from fobench.errors import FobenchError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fobench_plugins.backbones import catalog, loading, prompt_cache
from fobench_plugins.backbones.chat_template import IncrementalDetokenizer, _sample
from tests.support.saved_backbones import SHAPES, save, tiny_tokenizer

QUESTION = [{"role": "user", "content": "Who is there? 🎉"}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{shape: folder of a random model in transformers' layout}"""
    return {shape: save(shape, tmp_path_factory.mktemp(shape)) for shape in SHAPES}


@pytest.fixture(scope="module", params=SHAPES)
def backbone(request, folders):
    made = registry.create(
        "backbones", f"hf:{folders[request.param]}", {"device": "cpu", "dtype": "float32", "threads": "1"}
    )
    assert made.about()["forward"] == SHAPES[request.param][2]
    return made


@pytest.fixture
def llama(folders):
    return registry.create("backbones", f"hf:{folders['llama']}", {"device": "cpu", "dtype": "float32"})


def inputs(backbone, length=12, batch=1):
    return backbone.embed(torch.arange(batch * length).reshape(batch, length) % 200)


def whole(backbone, x):
    """Hidden states and logits by transformers alone, without a cache."""
    out = backbone.model(inputs_embeds=x, output_hidden_states=True, use_cache=False)
    return out.hidden_states[-1], out.logits


def close(a, b, within=2e-4):
    assert a.shape == b.shape
    torch.testing.assert_close(a, b, atol=within, rtol=within)


# ---- Forward passes ----------------------------------------------------------------------------------------------------


def test_shapes_and_types(backbone):
    x = inputs(backbone, 7, batch=2)
    hidden, logits, state = backbone.step(x)
    assert x.shape == hidden.shape == (2, 7, backbone.hidden_size)
    assert logits.shape == (2, 7, backbone.vocab_size)
    assert {x.dtype, hidden.dtype, logits.dtype} == {torch.float32}
    assert backbone.length(state) == 7


def test_at_once_is_as_transformers_computes_it(backbone):
    x = inputs(backbone, batch=2)
    hidden, logits, _ = backbone.step(x)
    expected = whole(backbone, x)
    close(hidden, expected[0])
    close(logits, expected[1])


@pytest.mark.parametrize("sizes", [[1] * 12, [5, 1, 6], [3, 3, 3, 3], [11, 1]])
def test_in_steps_is_as_at_once(backbone, sizes):
    x = inputs(backbone)
    steps, state = [], None
    for part in x.split(sizes, dim=1):
        hidden, _, state = backbone.step(part, state)
        steps.append(hidden)
    close(torch.cat(steps, 1), whole(backbone, x)[0])


def test_a_crop_is_as_never_said(backbone):
    x = inputs(backbone)
    _, _, state = backbone.step(x[:, :9])
    state = backbone.crop(state, 4)
    assert backbone.length(state) == 4
    close(backbone.step(x[:, 4:], state)[0], whole(backbone, x)[0][:, 4:])


def test_a_crop_to_nothing_is_a_new_beginning_and_one_beyond_is_refused(backbone):
    _, _, state = backbone.step(inputs(backbone, 3))
    with pytest.raises(FobenchError, match="3 positions cannot be cropped to 4"):
        backbone.crop(state, 4)
    assert backbone.crop(state, 0) is None


def test_a_fork_lives_by_itself(backbone):
    x = inputs(backbone)
    _, _, state = backbone.step(x[:, :6])
    forked = backbone.fork(state)
    backbone.step(x[:, :3].flip(1), backbone.crop(state, 2))
    close(backbone.step(x[:, 6:], forked)[0], whole(backbone, x)[0][:, 6:])
    assert backbone.fork(None) is None


def test_the_cache_grows_past_its_first_capacity(folders, monkeypatch):
    monkeypatch.setattr("fobench_plugins.backbones.packed_decoder.FIRST_CAPACITY", 2)
    backbone = registry.create("backbones", f"hf:{folders['llama']}", {"device": "cpu", "dtype": "float32"})
    x, state, steps = inputs(backbone, 40), None, []
    for part in x.split(3, dim=1):
        hidden, _, state = backbone.step(part, state)
        steps.append(hidden)
    close(torch.cat(steps, 1), whole(backbone, x)[0])


def test_only_the_logits_asked_for(backbone):
    x = inputs(backbone, 5)
    full = backbone.step(x)[1]
    assert backbone.step(x, logits=0)[1].shape == (1, 0, backbone.vocab_size)
    close(backbone.step(x, logits=2)[1], full[:, -2:])


def test_gradients_reach_the_input_and_no_parameter(backbone):
    x = inputs(backbone, 4).requires_grad_()
    hidden, logits, _ = backbone.step(x)
    (hidden.sum() + logits.sum()).backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


def test_a_state_from_live_use_takes_a_learning_step(backbone):
    x = inputs(backbone)
    _, _, state = backbone.step(x[:, :8])
    hidden, _, _ = backbone.step(x[:, 8:].clone().requires_grad_(), state)
    close(hidden, whole(backbone, x)[0][:, 8:])


# ---- Text --------------------------------------------------------------------------------------------------------------


def test_the_prompt_is_the_models_own_template(backbone):
    text = backbone.tokenizer.decode(backbone.chat(QUESTION))
    assert text == "<|im_start|>user Who is there? 🎉<|im_end|><|im_start|>assistant "


def test_a_stream_is_the_greedy_reply(backbone, monkeypatch):
    ids = backbone.chat(QUESTION)
    expected = backbone.model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)[0, len(ids) :]
    monkeypatch.setattr(backbone, "generation", "greedy")
    reply = "".join(backbone.stream(QUESTION, max_tokens=20, seed=0))
    assert reply == backbone.tokenizer.decode(expected, skip_special_tokens=True).rstrip("\ufffd")


def test_the_past_of_a_conversation_is_computed_once(folders, monkeypatch):
    """The system prompt and earlier turns are kept; a reply is the same as with nothing kept."""
    settings = {"device": "cpu", "dtype": "float32", "threads": "1"}
    talk = [{"role": "system", "content": "Hi."}, {"role": "user", "content": "One?"}]
    talk += [{"role": "assistant", "content": "Two."}, {"role": "user", "content": "Why?"}]
    fresh, used = (registry.create("backbones", f"hf:{folders['llama']}", settings) for _ in range(2))
    monkeypatch.setattr(prompt_cache, "SHARE", 1)
    first = list(used.stream(talk[:2], max_tokens=8, seed=0))
    lengths, step = [], used.step
    monkeypatch.setattr(used, "step", lambda x, *rest, **more: lengths.append(x.shape[1]) or step(x, *rest, **more))
    assert list(used.stream(talk, max_tokens=8, seed=0)) == list(fresh.stream(talk, max_tokens=8, seed=0))
    assert lengths[:2] == [len(used.chat(talk)) - len(used.chat(talk[:2])), 1]
    lengths.clear()
    assert list(used.stream(talk[:2], max_tokens=8, seed=0)) == first
    assert 1 < lengths[0] < len(used.chat(talk[:2])) and set(lengths[1:]) == {1}


def test_a_seed_decides_what_is_drawn(backbone):
    def reply(seed):
        return list(backbone.stream(QUESTION, max_tokens=12, seed=seed, temperature=1.5))

    assert reply(3) == reply(3)
    assert len({tuple(reply(seed)) for seed in range(4)}) > 1


def test_the_parameters_are_the_same_after_use(backbone):
    before = backbone.parameter_hash()
    list(backbone.stream(QUESTION, max_tokens=5, seed=0))
    backbone.step(inputs(backbone))
    assert backbone.parameter_hash() == before
    assert not any(p.requires_grad for p in backbone.model.parameters())


def test_the_hash_sees_one_changed_weight(llama):
    before = llama.parameter_hash()
    llama.model.model.layers[1].mlp.up_proj.weight.data[3, 4] += 1e-3
    assert llama.parameter_hash() != before


def test_an_end_of_turn_ends_the_stream(llama):
    llama.packed.logits = lambda hidden: torch.eye(llama.vocab_size)[llama.tokenizer.eos_token_id][None, None]
    assert list(llama.stream(QUESTION, max_tokens=5, seed=0)) == []


def test_a_full_context_ends_the_stream_and_an_overlong_prompt_is_refused(llama):
    short = [{"role": "user", "content": "x" * 70}]
    pieces = list(llama.stream(short, max_tokens=1000, seed=0))
    assert len(pieces) <= 128 - len(llama.chat(short)) + 1
    with pytest.raises(FobenchError, match=r"takes 128\. Shorten the history"):
        list(llama.stream([{"role": "user", "content": "x" * 200}], max_tokens=5, seed=0))


def test_chat_says_what_is_wrong(llama):
    with pytest.raises(FobenchError, match="at least one message"):
        llama.chat([])
    llama.tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(FobenchError, match="refuses the roles system: System role not supported"):
        llama.chat([{"role": "system", "content": "Be brief."}])
    llama.tokenizer.chat_template = None
    with pytest.raises(FobenchError, match="no chat template"):
        llama.chat(QUESTION)


def test_pieces_never_hold_a_part_of_a_character():
    tokenizer = tiny_tokenizer()
    text = "naïve 🎉中"
    pieces = IncrementalDetokenizer(tokenizer)
    given = [pieces.push(token) for token in tokenizer(text)["input_ids"]]
    assert "".join(given) == text
    assert not any("\ufffd" in piece for piece in given)
    assert given.count("🎉") == 1
    pieces.push(tokenizer("🎉")["input_ids"][0])
    assert pieces.flush() == ""


def test_temperature_draws_by_probability():
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([0.0, 1.0, 2.0])
    drawn = torch.tensor([_sample(logits, 1.0, generator) for _ in range(2000)]).bincount() / 2000
    torch.testing.assert_close(drawn, logits.softmax(0), atol=0.04, rtol=0)
    assert _sample(logits, 0.0, generator) == 2


# ---- Real weights ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2():
    return registry.create("backbones", "smollm2-135m", {"dtype": "float32"})


@pytest.mark.slow
def test_smollm2_knows_the_capital_of_france(smollm2):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    assert "Paris" in "".join(smollm2.stream(question, max_tokens=24, seed=0))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"engine": "llamacpp"}])
def test_smollm2_in_fewer_bits_thinks_the_same(smollm2, options):
    narrow = registry.create("backbones", "smollm2-135m", options)
    ids = torch.tensor([smollm2.chat([{"role": "user", "content": "Why is the sky blue? Answer in two sentences."}])])
    x, state, steps = smollm2.embed(ids), None, []
    for part in narrow.embed(ids).split(1, dim=1):
        hidden, _, state = narrow.step(part, state)
        steps.append(hidden)
    assert torch.cosine_similarity(torch.cat(steps, 1), smollm2.step(x)[0], dim=-1).min() > 0.99


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("My Model (1).gguf", "my-model-1"),
        ("\u00e9t\u00e9.gguf", "t"),
        ("_.gguf", "model"),
        ("a-B_2.q4.gguf", "a-b_2.q4"),
    ],
)
def test_any_name_of_a_gguf_file_can_name_its_conversion(name, found):
    assert loading.slug(Path(name)) == found
    assert is_plain_name(loading.slug(Path(name)))


@pytest.mark.slow
def test_the_pinned_gguf_is_converted_once(smollm2):
    folder = store.get("smollm2-135m-gguf", offline=True)
    source = next(folder.glob("*.gguf"))
    again = store.converted(f"{source.stem.lower()}-hf1", source, lambda into: pytest.fail("converted twice"))
    assert catalog.file_bytes(again) == pytest.approx(4 * 134.5e6, rel=0.01)


def test_special_tokens_that_mark_a_thought_are_kept():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(
        [transformers.AddedToken("[THINK]", special=True), transformers.AddedToken("[/THINK]", special=True)]
    )
    open_id, close_id = tokenizer.convert_tokens_to_ids(["[THINK]", "[/THINK]"])
    words, said = tokenizer.encode("no", add_special_tokens=False), tokenizer.encode("yes", add_special_tokens=False)
    detokenizer = IncrementalDetokenizer(tokenizer)
    text = "".join(map(detokenizer.push, [open_id, *words, close_id, *said])) + detokenizer.flush()
    assert text == "[THINK]no[/THINK]yes"
