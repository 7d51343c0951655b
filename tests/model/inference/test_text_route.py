"""One transcript has one reply: by ear, however it was recognized piece by piece, and by text; and no reply loops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench.api import registry
from fobench.api.types import EventKind
from fobench.errors import FobenchError
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import Role
from reference_model.speech_output.sampling import Sampling, generator, without_repeats
from reference_model.turn_taking.energy_vad import EnergyVAD
from tests.plugins.backbones import tiny_gguf
from tests.support.live_talk import Talk, hears_letters, live, silence, sound
from tests.support.tiny_models import backbone

TEXTS = st.text(st.sampled_from("abcdefgh ,.?'é"), min_size=1, max_size=24).map(str.strip).filter(bool)


@pytest.fixture(scope="module", params=["qwen2", "qwen3", "gguf"])  # the packed decoder, transformers, llama.cpp
def engine(request, tmp_path_factory) -> InferenceEngine:
    """A tiny model that hears letters, with a greedy LLM."""
    made = hears_letters()
    greedy = replace(live().settings, text=Sampling(temperature=0.0), max_tokens=12)
    if request.param != "gguf":
        return InferenceEngine(made, backbone(request.param), greedy, EnergyVAD)
    pytest.importorskip("gguf")
    path = tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", kind="Q4_1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOBENCH_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        llm = registry.create("backbones", f"gguf:{path}", {"device": "cpu", "threads": "1"})
    return InferenceEngine(made, llm, greedy, EnergyVAD)


def by_ear(engine, context, text, pieces):
    """The reply's tokens to a text whose tokens arrive in `pieces`, some of them wrong at first."""
    rows = context.embed(engine.backbone.encode(text))
    context.open(Role.USER, rows[:, :1])
    at = 1
    for size, wrong in pieces:
        if wrong:
            context.extend(context.embed([3] * wrong))
            context.cut(at)
        if size and at < rows.shape[1]:
            context.extend(rows[:, at : at + size])
            at = min(at + size, rows.shape[1])
    if at < rows.shape[1]:
        context.extend(rows[:, at:])
    reply: list[int] = []
    while (token := engine.next_token(context, reply, generator(0))[0]) is not None:
        reply.append(token)
    return reply


def written(engine, reply):
    detokenizer = engine.backbone.detokenizer()
    return "".join(map(detokenizer.push, reply)) + detokenizer.flush()


@settings(max_examples=6)
@given(text=TEXTS, pieces=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=5))
@torch.no_grad()
def test_a_text_has_one_reply_however_it_was_recognized(engine, text, pieces):
    assert written(engine, by_ear(engine, engine.opening(), text, pieces)) == engine.answer(
        [{"role": "user", "content": text}], 0
    )


@settings(max_examples=12)
@given(text=TEXTS, pieces=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=5))
@torch.no_grad()
def test_the_numbers_are_the_same_to_the_bit(engine, text, pieces):
    rows = engine.opening().embed(engine.backbone.encode(text))
    at_once, parts = engine.opening(), engine.opening()
    _, expected = at_once.open(Role.USER, rows)
    parts.open(Role.USER, rows[:, :1])
    at = 1
    for size, wrong in [*pieces, (rows.shape[1], 0)]:
        if wrong:
            parts.extend(parts.embed([5] * wrong))
            parts.cut(at)
        if size and at < rows.shape[1]:
            _, found = parts.extend(rows[:, at : at + size])
            at = min(at + size, rows.shape[1])
    if rows.shape[1] > 1:
        assert torch.equal(found, expected)
    assert torch.equal(*(context.open(Role.REPLY, rows[:, :0])[1] for context in (at_once, parts)))


def test_a_spoken_conversation_is_answered_as_its_transcripts_are(engine):
    talk = Talk(engine).hear(sound(1.0)).hear(silence(9.0)).hear(sound(1.4, 1)).hear(silence(9.0))
    transcripts = [event.data["text"] for event in talk.of(EventKind.TRANSCRIPT)]
    assert len(transcripts) == 2
    assert all(transcripts)
    history = []
    for number, text in enumerate(transcripts):
        history.append({"role": "user", "content": text})
        answer = engine.answer(list(history), 0)
        assert answer == talk.text(number)
        history.append({"role": "assistant", "content": answer})


def test_a_conversation_in_text_is_answered_the_same_again(engine):
    history = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c."}]
    history += [{"role": "user", "content": "d"}, {"role": "user", "content": "e?"}]
    assert engine.answer(history, 0) == engine.answer(history, 0)
    with pytest.raises(FobenchError, match="the user and the assistant, not tool"):
        engine.answer([{"role": "tool", "content": "x"}], 0)


# ---- repetition ------------------------------------------------------------------------------------------------------


@given(reply=st.lists(st.integers(0, 3), max_size=12), length=st.integers(0, 5))
def test_what_would_repeat_so_many_tokens_is_excluded_and_nothing_else(reply, length):
    logits = without_repeats(torch.zeros(4), reply, length)
    occurring = {tuple(reply[i : i + length]) for i in range(len(reply) - length + 1)}
    for token in range(4):
        repeats = length > 0 and len(reply) >= length - 1 and (*reply[len(reply) - length + 1 :], token) in occurring
        assert (logits[token] == -torch.inf) == repeats


class Looping:
    """A backbone that would say 5, 6, 7 for ever."""

    def __init__(self, own, generation):
        self.own, self.no_repeat = own, {"no-repeat-4": 4, "greedy": 0}[generation]

    def __getattr__(self, name):
        return getattr(self.own, name)

    def step(self, x, state=None, *, logits=None):
        hidden, scores, state = self.own.step(x, state, logits=logits)
        said = self.own.length(state) % 3
        scores = torch.nn.functional.one_hot(torch.tensor([[5 + said]]), scores.shape[-1]).float() + scores * 1e-6
        return hidden, scores, state


@pytest.mark.parametrize("generation", ["no-repeat-4", "greedy"])
@torch.no_grad()
def test_by_ear_and_by_text_no_four_tokens_occur_twice(engine, generation):
    system = InferenceEngine(engine.model, Looping(engine.backbone, generation), engine.settings, engine.detectors)
    reply = by_ear(system, system.opening(), "abc", [])
    fours = [tuple(reply[i : i + 4]) for i in range(len(reply) - 3)]
    assert len(reply) == 12
    assert (len({*fours}) == len(fours)) == (generation == "no-repeat-4")
    assert written(system, reply) == system.answer([{"role": "user", "content": "abc"}], 0)


def test_a_checkpoint_that_samples_has_no_rule_of_its_own_beside(engine):
    sampling = replace(engine.settings, text=Sampling(temperature=0.8))
    assert engine.no_repeat == 4
    assert InferenceEngine(engine.model, engine.backbone, sampling, None).no_repeat == 0


# ---- real weights ----------------------------------------------------------------------------------------------------

QUESTIONS = (
    *("What do bees make?", "Which planet is the largest?", "Who painted the Mona Lisa?", "What is seven times eight?"),
    *("Why is the sky blue?", "Tell me about elephants.", "What is the capital of Kenya?", "How do planes fly?"),
    *("Give me a list of ten fruits.", "What is frozen water called?", "Who was Marie Curie?", "What is a haiku?"),
    *("How many days has February?", "What is ten minus three?", "Where do penguins live?", "What causes tides?"),
    *(
        "Which animal is the fastest?",
        "What is the boiling point of water?",
        "Tell me a joke.",
        "What is photosynthesis?",
    ),
)


@pytest.mark.slow
@torch.no_grad()
def test_smollm2_gives_one_reply_to_a_question_by_ear_and_by_text():
    engine = registry.create("systems", "freeze-omni", {"vad": "loudness"})._live
    draw = torch.Generator().manual_seed(0)
    for question in QUESTIONS:
        pieces = torch.randint(0, 5, (8, 2), generator=draw).tolist()
        reply = by_ear(engine, engine.opening(), question, pieces)
        assert written(engine, reply) == engine.answer([{"role": "user", "content": question}], 0), question
