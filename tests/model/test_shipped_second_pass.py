"""The shipped second pass on speech that it was not trained on: each kind reads it, and attention alone needs CTC's bound."""

from __future__ import annotations

from dataclasses import replace

import jiwer
import pytest
import torch

from fobench.api import registry
from fobench.audio import resample
from fobench.scoring.text_normalization import normalize_for_wer
from fobench_plugins.checkpoints import SHIPPED
from reference_model.checkpoint import loading
from reference_model.speech_input.attention_pass import LONGEST_S

pytestmark = pytest.mark.slow
TEXT = "The ship had left the harbor long before the storm came in from the north."


@pytest.fixture(scope="module")
def heard():
    """The model, features [1, N, mels] of a sentence, and the adapter's outputs."""
    model = loading.load(next(SHIPPED.iterdir()), device="cpu")
    spoken = resample(registry.create("voices", "piper").speak(TEXT, 0), model.encoder.front.rate_hz)
    features = model.encoder.front.offline(torch.as_tensor(spoken.samples)[None])
    features = features[:, : features.shape[1] // model.encoder.chunk * model.encoder.chunk]
    encoder, adapter, outputs = model.encoder.begin(1), model.adapter.begin(1), []
    with torch.no_grad():
        for chunk in features.split(model.encoder.chunk, 1):
            output, encoder, adapter = model.hear(chunk, encoder, adapter)
            outputs.append(output)
    return model, features, torch.cat(outputs, 1)


def errors(heard, kind):
    model, features, outputs = heard
    model.rereader.config = model.rereader.config.of(kind)
    text = model.reread(features, outputs)
    return jiwer.process_words(normalize_for_wer(TEXT), normalize_for_wer(text, transcript=True))


def test_the_shipped_kind_is_joint_and_reads_a_sentence(heard):
    assert heard[0].rereader.config.kind == "joint"
    assert errors(heard, "joint").wer <= 0.15


def test_joint_is_no_worse_than_ctc_and_writes_no_more_than_was_said(heard):
    joint, ctc = errors(heard, "joint"), errors(heard, "ctc")
    assert joint.wer <= ctc.wer
    assert joint.insertions <= 1


def test_a_turn_too_long_for_whisper_keeps_the_text_by_ctc(heard):
    model, features, outputs = heard
    times = int(LONGEST_S * 100 / features.shape[1]) + 1
    long = [torch.cat([part] * times, 1) for part in (features, outputs)]
    texts = []
    for kind in ("joint", "ctc"):
        model.rereader.config = replace(model.rereader.config.of(kind))
        texts.append(model.reread(*long))
    assert texts[0] == texts[1] != ""
