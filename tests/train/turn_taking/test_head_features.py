"""Impressions of many situations at once: the very numbers that a live session gives the state head, one step after the other."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from reference_model.checkpoint.loading import untrained
from reference_model.config import ModelConfig
from reference_model.inference.conversation import UserTurnState
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import Role
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.llm.prefix_tree import ROOT, PrefixTree
from reference_model.train.turn_taking.examples import TurnTakingExample
from reference_model.train.turn_taking.head_features import HeadFeatureExtractor, batches_by_length
from reference_model.train.turn_taking.vad_turns import VadSegmenter
from reference_model.turn_taking.settings import TurnTakingSettings
from reference_model.turn_taking.state_head import TurnState
from tests.support.tiny_models import SHAPES, backbone

RATE = 16_000
UNITS = BPEUnits.learn(["the cat sat on the mat", "a cat, that sat", "hot hats"] * 20, 40)


@cache
def spelling():
    """A tiny model that spells, in a voice of its own: random weights, scaled so that its units vary."""
    config = ModelConfig.load("tiny")
    encoder = WhisperConfig(size=32, layers=2, heads=4, left_chunks=2)
    adapter = CTCAdapterConfig(encoder_size=32, units=UNITS.merges, hidden=24)
    torch.manual_seed(3)
    made = FreezeOmni(replace(config, encoder=encoder, adapter=adapter, prompts=0)).eval()
    torch.nn.init.normal_(made.adapter.spell.weight, std=2.0)
    torch.nn.init.normal_(made.encoder.conv1.weight, std=0.5)
    return made


@cache
def rows():
    return untrained("tiny").eval()


def tokenised(shape):
    """A tiny LLM whose tokens are groups of three letters: so the last one is taken back while a word grows."""
    llm = backbone(shape)
    llm.encode = lambda text: [hash_of(text[i : i + 3]) for i in range(0, len(text), 3)]
    return llm


def hash_of(letters):
    return sum(ord(letter) * 31**place for place, letter in enumerate(letters)) % 250


def segmenter(model, before=True):
    detectors = (lambda: Late(0.9)) if before else None
    return VadSegmenter(
        model.encoder.front, model.encoder.chunk, model.encoder.context, TurnTakingSettings(), detectors
    )


class Late:
    """A detector that notices speech from a time on."""

    def __init__(self, after_s):
        self.heard, self.after = 0, int(after_s * RATE)

    def push(self, samples):
        for begin in range(0, len(samples) - 511, 512):
            self.heard += 512
            yield samples[begin : begin + 512], float(self.heard > self.after)


def situation(seconds, seed=0, state=TurnState.ANSWER):
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.uniform(0.001, 0.3, int(seconds * 20) + 1), RATE // 20)[: int(seconds * RATE)]
    samples = (rng.normal(0, 1, len(loud)) * loud).clip(-1, 1).astype(np.float32)
    return TurnTakingExample("question", samples, state, 0.3, seconds - 0.7)


PAST = ("Hello.", "Hi, how are you?")


@torch.no_grad()
def live(model, llm, turn):
    """What a session's `UserTurnState` gives the head, chunk by chunk."""
    system = InferenceEngine(model, llm, model.config.settings, None)
    before = None if turn.before is None else turn.before[None]
    chunks = deque(turn.features[None].split(model.encoder.chunk, 1))
    context, hearing = (
        system.opening(),
        UserTurnState.begin(model, [chunks.popleft() for _ in range(turn.pre_roll_chunks)], before),
    )
    if turn.history:
        context.open(Role.USER, context.embed(llm.encode(PAST[0])))
        context.open(Role.REPLY, context.embed(llm.encode(PAST[1])))
    if turn.pre_roll_chunks:
        hearing.listen(system)
        hearing.enter(context, system)
    seen = []
    while chunks:
        hearing.waiting.append(chunks.popleft())
        hearing.listen(system)
        seen.append(hearing.enter(context, system))
    return torch.stack(seen), hearing


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("make", [rows, spelling])
@pytest.mark.parametrize("shape", SHAPES)
def test_they_are_what_a_session_gives_the_head(shape, make, before):
    model, llm = make(), tokenised(shape)
    turns = [segmenter(model, before).segment(situation(seconds, seed)) for seed, seconds in enumerate((1.9, 3.3, 2.4))]
    turns.append(replace(turns[0], history=1))
    found = HeadFeatureExtractor(model, FrozenLLM(llm), [PAST]).extract(turns)
    for turn, impression in zip(turns, found, strict=True):
        wanted, _ = live(model, llm, turn)
        torch.testing.assert_close(impression.vectors, wanted, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("make", [rows, spelling])
def test_of_a_turn_heard_whole_the_llm_is_given_what_a_session_ends_with(make):
    model, llm = make(), tokenised("smollm2")
    turns = [segmenter(model).segment(situation(seconds, seed)) for seed, seconds in enumerate((1.9, 3.3, 2.4))]
    for turn, given in zip(turns, HeadFeatureExtractor(model, FrozenLLM(llm)).llm_inputs(turns), strict=True):
        _, hearing = live(model, llm, turn)
        torch.testing.assert_close(given, hearing.rows[0], atol=2e-4, rtol=1e-3)


def test_some_of_what_is_spelt_is_taken_back_on_the_way():
    """Else the tests above would tell nothing of that."""
    model, llm = spelling(), tokenised("smollm2")
    turn = segmenter(model).segment(situation(3.3, 1))
    extractor = HeadFeatureExtractor(model, FrozenLLM(llm))
    tree = extractor._turn_inputs(turn, extractor.adapter_outputs([turn])[0]).tree
    _, hearing = live(model, llm, turn)
    assert len(hearing.reader.given) > 10
    assert len(tree) > len(hearing.reader.given)


def test_readings_share_their_beginnings():
    tree = PrefixTree.of([[], [5], [5], [5, 6], [7, 8, 9], [7, 8, 9, 5]])
    assert tree.tokens == (5, 6, 7, 8, 9, 5)
    assert tree.parents == (ROOT, 0, ROOT, 2, 3, 4)
    assert tree.ends == (ROOT, 0, 0, 1, 4, 5)
    assert tree.attention_mask().sum(1).tolist() == [1, 2, 1, 2, 3, 4]
    assert not tree.attention_mask()[2:, :2].any()


def test_batches_are_of_like_length_and_bounded():
    lengths = [5, 1, 9, 2, 30, 2]
    found = list(batches_by_length(range(6), lengths.__getitem__, 10))
    assert sorted(i for batch in found for i in batch) == list(range(6))
    assert found == [[1, 3, 5], [0], [2], [4]]
    assert all(len(batch) == 1 or len(batch) * lengths[batch[-1]] <= 10 for batch in found)


@pytest.mark.parametrize("broken", ["weights", "text"])
def test_a_wrong_reading_would_be_seen(broken, monkeypatch):
    """The comparison with a session is a close one."""
    model, llm = spelling(), tokenised("smollm2")
    turn = segmenter(model).segment(situation(2.4, 2))
    extractor = HeadFeatureExtractor(model, FrozenLLM(llm))
    if broken == "weights":
        monkeypatch.setattr(
            PrefixTree, "attention_mask", lambda self: torch.ones(len(self), len(self), dtype=torch.bool).tril()
        )
    else:
        turn = replace(turn, pre_roll_chunks=turn.pre_roll_chunks - 1)
    found = extractor.extract([turn])[0].vectors[-5:]
    wanted, _ = live(model, llm, segmenter(model).segment(situation(2.4, 2)))
    assert torch.allclose(found, wanted[-5:], atol=2e-4, rtol=1e-3) == (broken == "text")
