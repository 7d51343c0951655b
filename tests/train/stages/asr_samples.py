"""A few spoken words, and small listening sides that learn them."""

from dataclasses import replace
from pathlib import Path

import soundfile
import torch

from reference_model.config import ModelConfig
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.train.data.asr_validation import validation_batches
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.data_options import DataSources
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.trainer import Trainer
from reference_model.train.speech_input.ctc import CTCStage, UniformAlignmentWeight
from reference_model.train.speech_input.initialization import Initializer
from reference_model.train.stages import input_1
from tests.support import beep_voice, steerable_llm

TINY = ModelConfig.load("tiny")
SPELLING = replace(TINY, adapter=CTCAdapterConfig(encoder_size=32, kernel=3, stride=1, hidden=32))
WORDS = ("bad cab", "go high", "deaf egg", "hide a bed")
LOOP = LoopConfig(
    lr=0.01, warmup=10, batch_s=100.0, batch_most=8, weight_decay=0.0, validate_every=10**6, save_every_s=9e9
)


def manifest(folder: Path, texts=WORDS, slower=1) -> Path:
    """Words as beeps, `slower` times as long and as deep."""
    path = beep_voice.manifest(folder, texts)
    for number, text in enumerate(texts):
        samples = beep_voice.Beeps(slower * beep_voice.RATE).speak(text, 0).samples
        soundfile.write(folder / f"{number}.flac", samples, beep_voice.RATE)
    return path


def sources(data, valid=()):
    return DataSources((data,), (), 1, (), (), tuple(valid), 100, plain=True)


def learner(kind, corpus, folder, teacher=None, pretrained=None):
    """For "spelling", the "encoder" alone, or "tokens"; and what it is made of."""
    torch.manual_seed(0)
    start = Initializer(SPELLING if kind == "spelling" else TINY, corpus, pretrained)
    if kind == "tokens":
        return input_1.build_llm_space_learner(start, teacher, steerable_llm.frozen())
    return input_1.build_bpe_learner(start, teacher, folder / "units.json")


def stage(kind, data, folder, **given):
    """A stage that trains on clips as they are, and is validated on the same."""
    corpus = Corpus.open([data], beep_voice.RATE)
    module, parts = learner(kind, corpus, folder, **given)
    batcher = sources(data).batcher(
        corpus, module.encoder, 0, False, vocabulary=module.vocabulary, spacing=module.spacing, clean=False, dropout=0.0
    )
    about = {"encoder": vars_of(module.encoder.config), **parts, "near": False}
    return CTCStage(
        module=module,
        batcher=batcher,
        valid=[("train", validation_batches(corpus.entries, batcher, 100))],
        about=about,
        alignment_weight=UniformAlignmentWeight(1.0, 100),
    )


def vars_of(config):
    from dataclasses import asdict

    return asdict(config)


def trained(made, folder, steps, **settings):
    """The log's rows of a training of so many steps."""
    return list(Trainer(made, replace(LOOP, steps=steps, **settings), folder).run())
