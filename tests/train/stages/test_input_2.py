"""Input stage 2: speech -> what a frozen LLM writes down; it is only heard by it, never changed."""

from dataclasses import asdict, replace

import pytest
import torch
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io
from reference_model.inference.chat_layout import TurnLayout
from reference_model.inference.llm_context import LLMContext, Role
from reference_model.train.data.asr_validation import validation_batches
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine import checkpoints, training_log
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_input.initialization import Initializer
from reference_model.train.speech_input.llm_transcription import INSTRUCTION, TranscriptionStage
from reference_model.train.stages import input_1, input_2
from tests.support import steerable_llm, tiny_models
from tests.support.beep_voice import RATE
from tests.train.stages import asr_samples as samples

WORDS = ("go", "rat")
LLM = ("--backbone", f"hf:{steerable_llm.folder()}", "--backbone-args", "threads=1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return samples.manifest(tmp_path_factory.mktemp("data") / "words", WORDS, slower=3)


def stage(data, pretrained=None, config=samples.TINY):
    torch.manual_seed(0)
    corpus, frozen = Corpus.open([data], RATE), steerable_llm.frozen()
    module = input_2.build_learner(Initializer(config, corpus, pretrained), frozen)
    batcher = samples.sources(data).batcher(corpus, module.encoder, 0, False, clean=False)
    made = TranscriptionStage(
        module=module,
        batcher=batcher,
        valid=[("train", validation_batches(corpus.entries, batcher, 100))],
        about={},
    )
    return made, frozen


@pytest.fixture(scope="module")
def learned(data, tmp_path_factory):
    """(stage, the LLM, rows of the log) of a short training."""
    made, frozen = stage(data)
    return made, frozen, samples.trained(made, tmp_path_factory.mktemp("out"), steps=110, betas=(0.9, 0.99))


def test_it_learns_two_words_by_heart_and_leaves_the_llm_as_it_is(learned):
    _, frozen, rows = learned
    assert rows[-1]["loss"] < rows[0]["loss"] / 20
    assert rows[-1]["right"] == 1.0
    assert rows[-1]["valid_wer_train"] == 0.0
    frozen.check_unchanged()


def test_the_llm_is_not_among_what_is_trained(learned):
    made, frozen, _ = learned
    trained = {id(p) for group in made.groups(samples.LOOP) for p in group["params"]}
    assert trained == {id(p) for p in made.module.parameters()}
    assert not trained & {id(p) for p in frozen.backbone.model.parameters()}
    assert {name.split(".")[0] for name in made.module.state_dict()} == {"encoder", "adapter", "prompt"}


def test_every_part_learns(data):
    made, _ = stage(data)
    made.module(made.load([0, 1], 0))["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.module.encoder.layers.parameters())
    assert all(p.grad.abs().sum() > 0 for p in [*made.module.adapter.parameters(), made.module.prompt])


def test_the_loss_is_that_of_live_use(learned):
    """Fed step by step through the cache, the LLM expects each token as much as the batch's loss says."""
    made, frozen, _ = learned
    module, (batch,) = made.module.eval(), made.valid[0][1]
    layout, total = TurnLayout.of(frozen.backbone.chat, INSTRUCTION), 0.0
    with torch.no_grad():
        for rows, text in zip(module.rows(batch), batch.texts, strict=True):
            context = LLMContext(frozen.backbone, layout)
            context.open(Role.USER, torch.cat([module.prompt, rows])[None])
            _, logits = context.open(Role.REPLY, context.embed(()))
            for token in [*frozen.backbone.encode(text), layout.user_open[0]]:
                total -= float(logits[0, -1].log_softmax(-1)[token])
                _, logits = context.extend(context.embed([token]))
        assert module(batch)["loss"].item() == pytest.approx(total, rel=1e-3)


def test_streamed_transcripts_equal_offline(learned):
    made, _, _ = learned
    module, (batch,) = made.module.eval(), made.valid[0][1]
    found = [module.transcript(streamed(module, batch, i)) for i in range(len(batch.texts))]
    assert found == module.transcripts(batch)


@torch.no_grad()
def streamed(module, batch, index):
    """The rows of a clip, by the steps of live use."""
    encoder, adapter, rows = module.encoder.begin(1), module.adapter.begin(1), []
    length = int(batch.lengths[index])
    for chunk in batch.features[index : index + 1, :length].split(module.encoder.chunk, 1):
        frames, encoder = module.encoder.step(chunk, encoder)
        heard, adapter = module.adapter.step(frames, adapter)
        rows.append(heard[0])
    return torch.cat(rows)


# ---- where it begins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "parts"), [("tokens", ("encoder", "adapter")), ("encoder", ("encoder",))])
def test_it_begins_with_what_input_1_has_learned(data, tmp_path, kind, parts):
    first = samples.stage(kind, data, tmp_path)
    samples.trained(first, tmp_path, steps=1)
    made, _ = stage(data, PretrainedWeights.read(tmp_path))
    for name in parts:
        own, given = getattr(made.module, name).state_dict(), getattr(first.module, name).state_dict()
        assert all(torch.equal(own[key], given[key]) for key in given)


def test_it_begins_with_an_earlier_prompt_if_there_is_one(data, tmp_path):
    config = {"encoder": asdict(samples.TINY.encoder), "adapter": asdict(samples.TINY.adapter)}
    first, _ = stage(data)
    safetensors_io.save(first.module, config, tmp_path / "model.safetensors")
    made, _ = stage(data, PretrainedWeights.read(tmp_path / "model.safetensors"))
    assert torch.equal(made.module.prompt, first.module.prompt)
    with pytest.raises(FobenchError, match=r"has a prompt of shape \[4, 64\], not \[5, 64\]"):
        stage(data, PretrainedWeights.read(tmp_path / "model.safetensors"), replace(samples.TINY, prompts=5))


def test_an_adapter_that_spells_has_nothing_to_learn_here(data):
    with pytest.raises(FobenchError, match=r"tiny has a CTC adapter\. Continue with input-3"):
        stage(data, config=samples.SPELLING)


def test_an_llm_of_another_size_is_refused_by_name(data):
    other = f"hf:{tiny_models.folder('qwen2', 32)}"
    with pytest.raises(FobenchError, match=r"tiny is for an LLM of hidden size 64; hf:.* has 32"):
        FrozenLLM.of_model(samples.TINY, other, {}, "cpu")


# ---- the command -------------------------------------------------------------------------------------------------------


def run(data, out, *more, steps=2):
    settings = ("precision=no", "workers=0", f"steps={steps}", "batch_most=2", "validate_every=2")
    sets = [part for setting in settings for part in ("--set", setting)]
    args = ["--config", "tiny", "--data", data, "--valid", data, "--out", out, *sets, *more]
    return CliRunner().invoke(input_2.main, list(map(str, args)))


def test_the_adapter_command_trains_validates_and_writes(data, tmp_path):
    result = run(data, tmp_path, *LLM, "--dynamic")
    assert result.exit_code == 0, result.output
    assert training_log.read(tmp_path)["valid_wer_words"][-1][0] == 2
    config, tensors = safetensors_io.load(checkpoints.newest_checkpoint(tmp_path) / checkpoints.MODEL)
    assert config["backbone"] == f"hf:{steerable_llm.folder()}"
    assert tensors["prompt"].shape == (samples.TINY.prompts, samples.TINY.llm_size)


def test_one_command_after_the_other(data, tmp_path):
    """Input 1 in the LLM's space, then input 2 from its folder."""
    args = ["--config", "tiny", "--data", data, "--out", tmp_path / "1", "--space", "llm", *LLM]
    args += ["--set", "steps=2", "--set", "precision=no", "--set", "workers=0", "--most", "2"]
    first = CliRunner().invoke(input_1.main, list(map(str, args)))
    assert first.exit_code == 0, first.output
    second = run(data, tmp_path / "2", *LLM, "--init", tmp_path / "1")
    assert second.exit_code == 0, second.output


def test_a_missing_llm_is_said(data, tmp_path):
    result = run(data, tmp_path)
    assert result.exit_code == 2
    assert "Configuration tiny names no LLM. Give --backbone" in result.output
