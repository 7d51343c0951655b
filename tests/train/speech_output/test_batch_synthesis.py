"""Batched synthesis gives the same codes as a live reply."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from reference_model.checkpoint import loading
from reference_model.inference.engine import InferenceEngine
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.speech_decoder import EOS
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output import batch_synthesis
from reference_model.train.speech_output.batch_synthesis import SynthesisLine
from reference_model.train.speech_output.reply_segments import reply_hidden_states
from tests.support.tiny_models import backbone

LINES = [
    SynthesisLine("It is a fox, a quick one. It runs.", "What is it?"),
    SynthesisLine("Plain text. More of it."),
    SynthesisLine("...! ", "Who?"),
    SynthesisLine("One."),
]


@cache
def live():
    """Random weights, but for one: a segment has always 9 frames."""
    model = loading.untrained("tiny").eval()
    model.decoder.config = replace(model.decoder.config, max_frames=9)
    with torch.no_grad():
        model.decoder.out.bias[model.decoder.special(EOS)] -= 99
    return InferenceEngine(model, backbone("qwen2"), replace(model.config.settings, speech=Sampling(top_k=5)), None)


def as_live(number, line, seed):
    """The audio of each segment of a reply that can be said, as a session makes it."""
    system, frozen = live(), FrozenLLM(live().backbone)
    tokens = system.backbone.encode(line.text)
    reply = system.reply(number, seed)
    rows = frozen.embed(system.backbone.encode(line.question or "Who?"))
    for token, hidden in zip(tokens, reply_hidden_states(frozen, system.layout, [(rows, tokens)])[0], strict=True):
        reply.push(token, hidden)
    reply.finish()
    made = []
    for segment in reply.waiting:
        if (speech := system.speech(reply, segment)) is not None:
            pieces = []
            while not speech.done:
                pieces.append(speech.packet(4))
            made.append(torch.cat(pieces))
    return made


def parts(lines, **options):
    system = live()
    options = {"use_hidden": True, **options}
    return batch_synthesis.make_parts(
        system.model.decoder, FrozenLLM(system.backbone), system.model.config, lines, **options
    )


@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_each_segment_is_as_a_live_reply_says_it(monkeypatch, at_once):
    monkeypatch.setattr(batch_synthesis, "BATCH", at_once)
    asked = [LINES[0], LINES[2], SynthesisLine("It runs.", "What does it do?")]
    found = batch_synthesis.synthesize(live().model.decoder, parts(asked, seed=7), Sampling(top_k=5))
    wanted = [one for number, line in enumerate(asked) for one in as_live(number, line, seed=7)]
    assert len(found) == len(wanted) == 4
    for (codes, _), audio in zip(found, wanted, strict=True):
        assert torch.allclose(live().model.codec.decode(codes[None])[0], audio, atol=1e-5)


def test_parts_know_their_line_and_those_without_sound_are_left_out():
    found = parts(LINES)
    assert [(part.line, part.text.strip()) for part in found] == [
        (0, "It is a fox,"),
        (0, "a quick one."),
        (0, "It runs."),
        (1, "Plain text."),
        (1, "More of it."),
        (3, "One."),
    ]


def test_only_replies_have_thoughts_and_only_if_wanted():
    assert [part.hidden is None for part in parts(LINES)] == [False] * 3 + [True] * 3
    assert all(part.hidden is None for part in parts(LINES, use_hidden=False))


def test_thoughts_change_what_is_said():
    decoder = live().model.decoder
    with_them, without = (
        batch_synthesis.synthesize(decoder, parts(LINES[:1], use_hidden=t), Sampling(top_k=1)) for t in (True, False)
    )
    assert not all(torch.equal(a, b) for (a, _), (b, _) in zip(with_them, without, strict=True))


def test_a_segment_that_never_ends_is_told():
    found = batch_synthesis.synthesize(live().model.decoder, parts(LINES[3:]), Sampling(top_k=1))
    assert [(codes.shape, ended) for codes, ended in found] == [((2, 9), False)]
