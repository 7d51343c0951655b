"""The LLM's context: after a crop, a fork or dropped turns it equals a new context of the same turns."""

import pytest
import torch

from fobench.errors import FobenchError
from reference_model.inference.chat_layout import TurnLayout
from reference_model.inference.llm_context import LLMContext, Role
from tests.support.tiny_models import SHAPES, backbone

CLOSE = {"atol": 2e-4, "rtol": 1e-3}


@pytest.fixture(scope="module", params=SHAPES)
def llm(request):
    return backbone(request.param)


def audio(seed, length=6):
    return torch.randn(1, length, 64, generator=torch.Generator().manual_seed(seed))


def begun(llm):
    return LLMContext(llm, TurnLayout.of(llm.chat, "Be brief."))


def probe(context):
    """The hidden state of one further user turn: a fingerprint of all that came before."""
    hidden, _ = context.fork().open(Role.USER, audio(99))
    return hidden[0, -1]


def say(context, text):
    ids = context._backbone.encode(text)
    context.open(Role.REPLY, context.embed(()))
    for token in ids:
        context.extend(context.embed([token]))


def test_audio_and_text_take_the_places_of_the_template(llm):
    """With text in the audio's place, the context is the chat template, token by token."""
    context = begun(llm)
    context.open(Role.USER, context.embed(llm.encode("Hi?")))
    _, logits = context.open(Role.REPLY, context.embed(()))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    ids = torch.tensor([llm.chat(messages)])
    _, expected, _ = llm.step(llm.embed(ids))
    assert context.length == ids.shape[1]
    assert torch.allclose(logits[0, -1], expected[0, -1], **CLOSE)


def test_a_dropped_turn_leaves_no_trace(llm):
    context = begun(llm)
    context.open(Role.USER, audio(1))
    say(context, "Yes.")
    before, length = probe(context), context.length
    context.open(Role.USER, audio(2))
    context.drop()
    assert context.length == length
    assert torch.allclose(probe(context), before, **CLOSE)


def test_of_a_stopped_reply_the_context_keeps_what_was_heard(llm):
    whole, short = begun(llm), begun(llm)
    for context, text in ((whole, "Yes, but no."), (short, "Yes,")):
        context.open(Role.USER, audio(1))
        say(context, text)
    whole.cut(len(llm.encode("Yes,")))
    assert whole.length == short.length
    assert torch.allclose(probe(whole), probe(short), **CLOSE)


def test_a_reply_that_was_not_heard_is_removed(llm):
    context = begun(llm)
    context.open(Role.USER, audio(1))
    length = context.length
    say(context, "Yes.")
    context.cut(0)
    assert context.length == length
    assert context.turns[-1].role is Role.USER


def test_a_fork_goes_its_own_way(llm):
    context = begun(llm)
    context.open(Role.USER, audio(1))
    before = probe(context)
    forked = context.fork()
    say(forked, "Something else altogether")
    assert torch.allclose(probe(context), before, **CLOSE)
    assert len(context.turns) == 1


def test_dropping_the_oldest_turns_equals_a_conversation_without_them(llm):
    context, late = begun(llm), begun(llm)
    for seed in range(4):
        context.open(Role.USER, audio(seed))
        say(context, f"Answer {seed}")
    late.open(Role.USER, audio(3))
    say(late, "Answer 3")
    kept = context.length - context.turns[-2].opening
    assert context.forget(2 * kept + 1) == 6
    assert torch.allclose(probe(context), probe(late), **CLOSE)


def test_nothing_is_forgotten_while_there_is_room(llm):
    context = begun(llm)
    context.open(Role.USER, audio(1))
    assert context.forget(context.length) == 0


def test_a_turn_that_fills_the_context_is_refused(llm):
    context = begun(llm)
    context.open(Role.USER, audio(1, 40))
    with pytest.raises(FobenchError, match="One turn fills the LLM's context of 30 positions"):
        context.forget(30)
