"""Input stage 1: speech -> units or tokens by CTC; what is learned is what will be used, streamed."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io
from reference_model.config import FOLDER, ModelConfig
from reference_model.speech_input.bpe_units import collapsed
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.train.data.asr_batches import ChunkSampler
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine import checkpoints, training_log
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.speech_input.ctc import CTCAdapterLearner, UniformAlignmentWeight
from reference_model.train.speech_input.initialization import fits_whisper, load_teacher
from reference_model.train.stages import input_1
from tests.support.beep_voice import RATE
from tests.support.two_processes import run_in_two_processes
from tests.train.stages import asr_samples as samples

KINDS = ("spelling", "encoder", "tokens")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return samples.manifest(tmp_path_factory.mktemp("data") / "words")


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """For rows: 80 ms each, a letter a token."""
    return samples.manifest(tmp_path_factory.mktemp("data") / "slow", slower=3)


@pytest.fixture(scope="module", params=KINDS)
def learned(request, data, slow, tmp_path_factory):
    """(kind, stage, rows of the log, folder) of a short training."""
    folder = tmp_path_factory.mktemp(request.param)
    made = samples.stage(request.param, slow if request.param == "tokens" else data, folder)
    return request.param, made, samples.trained(made, folder, steps=100), folder


# ---- learning ----------------------------------------------------------------------------------------------------------


def test_it_learns_a_few_words_by_heart(learned):
    _, made, rows, _ = learned
    assert rows[-1]["ctc"] < rows[0]["ctc"] / 50
    assert rows[-1]["valid_wer_train"] == 0.0
    assert made.faults.entries == []


def test_streamed_transcripts_equal_offline_ones(learned):
    kind, made, _, _ = learned
    module, (batch,) = made.module, made.valid[0][1]
    module.eval()
    assert [streamed(kind, module, batch, i) for i in range(len(batch.texts))] == module.transcripts(batch)


@torch.no_grad()
def streamed(kind, module, batch, index):
    """What is heard in a clip, by the steps of live use."""
    reads = module.head if kind == "encoder" else module.adapter
    encoder, adapter, outputs = module.encoder.begin(1), reads.begin(1), []
    length = int(batch.lengths[index])
    for chunk in batch.features[index : index + 1, :length].split(module.encoder.chunk, 1):
        frames, encoder = module.encoder.step(chunk, encoder)
        heard, adapter = reads.step(frames, adapter)
        outputs.append(heard)
    heard = torch.cat(outputs, 1)
    logits = module.space(heard, module._embeddings[0]) if kind == "tokens" else heard[..., : len(module.vocabulary)]
    return module.vocabulary.decode(collapsed(logits[0].argmax(-1).tolist()))


def test_what_it_began_with_is_what_it_is_trained_on(learned, data, slow, tmp_path):
    """A training of another's last checkpoint knows the words at once."""
    kind, _, _, folder = learned
    corpus = Corpus.open([slow if kind == "tokens" else data], RATE)
    made = samples.stage(
        kind, corpus.entries[0].path.parent / "manifest.jsonl", tmp_path, pretrained=PretrainedWeights.read(folder)
    )
    assert made.validate() == {"wer_train": 0.0}


def test_evenness_fades():
    even = UniformAlignmentWeight(2.0, 100)
    assert [even.at(step) for step in (0, 50, 100, 1000)] == [2.0, 1.0, 0.0, 0.0]


def test_the_stage_is_told_the_step(data, tmp_path):
    made = replace(samples.stage("spelling", data, tmp_path), alignment_weight=UniformAlignmentWeight(1.0, 2))
    rows = samples.trained(made, tmp_path, steps=3)
    assert ["even" in row for row in rows] == [True, True, False]


# ---- near Whisper ------------------------------------------------------------------------------------------------------


def whisper_learner(data, tmp_path):
    torch.manual_seed(0)
    small = WhisperConfig(size=32, layers=1, heads=2)
    teacher = small.build().requires_grad_(False).eval()
    config = replace(samples.TINY, encoder=small, adapter=CTCAdapterConfig(encoder_size=32))
    corpus = Corpus.open([data], RATE)
    start = input_1.Initializer(config, corpus)
    module, _ = input_1.build_bpe_learner(start, teacher, tmp_path / "units.json")
    batcher = samples.sources(data).batcher(
        corpus, module.encoder, 0, False, vocabulary=module.vocabulary, spacing=module.spacing
    )
    return module, batcher


def test_it_comes_near_its_teacher(data, tmp_path):
    module, batcher = whisper_learner(data, tmp_path)
    batch = batcher.load(range(4), 0)
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    found = []
    for _ in range(40):
        sums = module(batch)
        found.append(sums["near"].item())
        optimiser.zero_grad()
        sums["loss"].backward()
        optimiser.step()
    assert found[-1] < found[0] / 3


def test_teacher_and_llm_are_no_part_of_what_is_trained(data, slow, tmp_path):
    module, _ = whisper_learner(data, tmp_path)
    assert {name.split(".")[0] for name in module.state_dict()} == {"encoder", "adapter", "near"}
    tokens, _ = samples.learner("tokens", Corpus.open([slow], RATE), tmp_path)
    assert {name.split(".")[0] for name in tokens.state_dict()} == {"encoder", "adapter", "space"}


def test_the_order_of_parameters_is_that_of_earlier_checkpoints(data, tmp_path):
    """Optimisers know parameters by their number."""
    module, _ = whisper_learner(data, tmp_path)
    names = [name.split(".")[0] for name, _ in module.named_parameters()]
    assert list(dict.fromkeys(names)) == ["encoder", "adapter", "near"]


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        (WhisperConfig(), True),
        (WhisperConfig(layers=6, chunk=4, dropout=0.1), True),
        (WhisperConfig(layers=3), False),
        (WhisperConfig(size=512, heads=8), False),
        (samples.TINY.encoder, False),
    ],
)
def test_which_encoders_can_begin_with_whisper_s_weights(config, fits):
    assert fits_whisper(config) == fits


def test_small_is_what_is_shipped():
    config = ModelConfig.load("small")
    assert fits_whisper(config.encoder)
    assert isinstance(config.adapter, CTCAdapterConfig)


def test_no_teacher_for_frames_unlike_whisper_s():
    with pytest.raises(FobenchError, match=r"that of tiny is of another kind\. Use --free"):
        load_teacher(samples.TINY)


# ---- dynamic chunks ----------------------------------------------------------------------------------------------------


def test_chunks_are_drawn_for_every_batch_and_learned_with(data, tmp_path):
    made = samples.stage("spelling", data, tmp_path)
    drawn = replace(made.batcher, chunks=ChunkSampler.of(made.module.encoder))
    attention = [drawn.load(range(4), epoch).attention for epoch in range(60)]
    assert attention == [drawn.load(range(4), epoch).attention for epoch in range(60)]
    assert 15 < attention.count((None, None)) < 45
    chunks = {chunk for chunk, _ in attention} - {None}
    assert 1 <= min(chunks) <= max(chunks) <= 25
    losses = {made.module(drawn.load(range(4), epoch))["ctc"].item() for epoch in range(4)}
    assert len(losses) > 1


# ---- the command -------------------------------------------------------------------------------------------------------


def run(*args):
    return CliRunner().invoke(input_1.main, [str(arg) for arg in args])


def command(data, out, *more, config="tiny", steps=4):
    settings = ("precision=no", "workers=0", f"steps={steps}", "batch_most=2", "validate_every=2", "save_every_s=0")
    sets = [part for setting in settings for part in ("--set", setting)]
    return run("--config", config, "--data", data, "--valid", data, "--out", out, *sets, *more)


def final(folder):
    return safetensors_io.load(checkpoints.newest_checkpoint(folder) / checkpoints.MODEL)


@pytest.mark.parametrize("where", [(), ("--on-device",)])
def test_the_ctc_command_trains_validates_and_writes(data, tmp_path, where):
    result = command(data, tmp_path, "--dynamic", *where)
    assert result.exit_code == 0, result.output
    log = training_log.read(tmp_path)
    assert [step for step, _ in log["valid_wer_words"]] == [2, 4]
    assert log["loss"][-1][0] == 4
    config, _ = final(tmp_path)
    assert json.loads(json.dumps(config["encoder"])) == samples.vars_of(samples.TINY.encoder)
    assert config["head"]["units"] == (tmp_path / "units.json").read_text()


def test_stopped_and_gone_on_is_as_at_once(data, tmp_path):
    assert command(data, tmp_path / "whole", steps=5).exit_code == 0
    assert command(data, tmp_path / "parts", "--set", "decay=0", steps=2).exit_code == 0
    assert command(data, tmp_path / "parts", "--set", "decay=0", steps=5).exit_code == 0
    assert command(data, tmp_path / "again", "--set", "decay=0", steps=5).exit_code == 0
    parts, again = final(tmp_path / "parts")[1], final(tmp_path / "again")[1]
    assert all(torch.equal(parts[key], again[key]) for key in again)


@pytest.mark.subprocess
def test_processes_that_load_change_nothing(data, tmp_path):
    assert command(data, tmp_path / "none").exit_code == 0
    assert command(data, tmp_path / "two", "--set", "workers=2").exit_code == 0
    none, two = final(tmp_path / "none")[1], final(tmp_path / "two")[1]
    assert all(torch.equal(none[key], two[key]) for key in none)


@pytest.mark.slow
@pytest.mark.subprocess
def test_two_processes_have_the_curve_of_one(data, tmp_path):
    args = ["--config", "tiny", "--data", data, "--plain", "--set", "precision=no", "--set", "workers=0"]
    args = [*map(str, args), "--set", "steps=3", "--set", "batch_most=4", "--set", "warmup=1"]
    program = [sys.executable, "-m", "reference_model.train.stages.input_1", *args]
    run_in_two_processes(*program, "--out", str(tmp_path / "two"))
    assert run(*args, "--out", tmp_path / "one").exit_code == 0
    one, two = training_log.read(tmp_path / "one"), training_log.read(tmp_path / "two")
    assert two["loss"] == [(step, pytest.approx(loss, rel=1e-3)) for step, loss in one["loss"]]


def test_clips_that_cannot_be_used_are_listed(data, tmp_path):
    lines = data.read_text()
    broken = data.with_name("broken.jsonl")
    more = [{"audio": "0.flac", "text": " ".join(["far too much"] * 40), "id": "long"}]
    more += [{"audio": "missing.flac", "text": "x", "id": "gone"}]
    broken.write_text(lines + "".join(json.dumps(line) + "\n" for line in more))
    assert command(broken, tmp_path).exit_code == 0
    assert "missing.flac" in (skipped := (tmp_path / training_log.SKIPPED).read_text())
    assert "0.flac/long: its text needs" in skipped


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ("encoder.heads: 4, now 2", ("heads = 4", "heads = 2")),
        ("encoder.feed_forward: 64, now 48", ("feed_forward = 64", "feed_forward = 48")),
    ],
)
def test_an_earlier_training_of_another_configuration_is_refused_by_name(data, tmp_path, change, lines):
    assert command(data, tmp_path / "first", steps=1).exit_code == 0
    other = tmp_path / "other.toml"
    other.write_text((FOLDER / "tiny.toml").read_text().replace(*lines, 1))
    result = command(data, tmp_path / "second", "--init", tmp_path / "first", config=other)
    assert result.exit_code == 2
    assert change in result.output


def test_a_training_begins_with_an_earlier_one_s_weights_and_units(data, tmp_path):
    assert command(data, tmp_path / "first", steps=1).exit_code == 0
    more = samples.manifest(tmp_path / "more", ["other words", "and more"])
    assert command(more, tmp_path / "second", "--init", tmp_path / "first", "--set", "lr=0", steps=1).exit_code == 0
    first, second = final(tmp_path / "first"), final(tmp_path / "second")
    assert first[0] == second[0]
    assert all(torch.equal(first[1][key], second[1][key]) for key in first[1])


def test_what_there_is_not_is_said(data, tmp_path):
    (tmp_path / "nothing").mkdir()
    result = command(data, tmp_path / "out", "--init", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "holds no checkpoint" in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--near"], "that of tiny is of another kind"),
        (["--space", "llm"], "Configuration tiny names no LLM. Give --backbone"),
    ],
)
def test_what_does_not_go_together_is_said(data, tmp_path, args, message):
    result = command(data, tmp_path, *args)
    assert result.exit_code == 2
    assert message in result.output


def test_an_adapter_that_spells_has_no_rows_to_learn(data, tmp_path):
    start = input_1.Initializer(samples.SPELLING, Corpus.open([data], RATE))
    with pytest.raises(FobenchError, match="--space llm is for adapters of kind rows"):
        input_1.build_llm_space_learner(start, None, None)


# ---- on a GPU ----------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_gpu_gives_the_losses_of_the_cpu(data, tmp_path):
    made = samples.stage("spelling", data, tmp_path)
    made.module.eval()
    made.module.alignment_weight = 1.0
    batch = made.load(range(4), 0)
    before = {name: float(value) for name, value in made.module(batch).items()}
    found = made.module.cuda()(batch.pin_memory())
    assert all(float(value) == pytest.approx(before[name], rel=1e-2) for name, value in found.items())
    with torch.autocast("cuda", torch.bfloat16):
        made.module(batch)["loss"].backward()
    assert isinstance(made.module, CTCAdapterLearner)
