"""reference_model/train/release/assemble.py: a checkpoint with exactly the weights of the stages."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.checkpoint import loading
from reference_model.codec.hifigan import weight_normed
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.config import FOLDER as CONFIGS
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.ctc_beam_search import BeamSearch
from reference_model.train.engine import checkpoints as saved
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.release import assemble
from reference_model.train.speech_input import ngram_lm_training
from tests.model import any_llm


def trained(seed: int, **changes) -> FreezeOmni:
    """A tiny model whose weights nobody else has."""
    torch.manual_seed(seed)
    return FreezeOmni(replace(ModelConfig.load("tiny"), **changes))


def stage(folder: Path, model: FreezeOmni, config: dict, *parts: str) -> Path:
    """A stage's folder with the parts that it trained."""
    module = torch.nn.Module()
    for name in parts:
        setattr(module, name, getattr(model, name))
    saved.write(module, config, {}, folder, 7)
    return folder


def codec_stage(folder: Path, codec: ReferenceCodec) -> Path:
    """Output stage 1's folder, with a generator that it trained: by weight norm, as the published vocoders are."""
    learning = copy.deepcopy(codec)
    weight_normed(learning.generator)
    saved.write(learning, {"codec": asdict(codec.config)}, {}, folder, 7)
    return folder


@pytest.fixture(scope="module")
def model() -> FreezeOmni:
    return trained(1, state_middle=8)


@pytest.fixture(scope="module")
def folders(model, tmp_path_factory) -> dict[str, Path]:
    """The folders of four stages."""
    root, config = tmp_path_factory.mktemp("train"), model.config
    listening = {"encoder": asdict(config.encoder), "adapter": asdict(config.adapter), "near": 0.5}
    sizes = {"llm_size": 64, "evidence": config.adapter.evidence, "state_middle": 8, "prompts": 4}
    return {
        "input": stage(root / "input-1", model, listening, "encoder", "adapter"),
        "states": stage(root / "input-3", model, sizes, "state_head", "prompt"),
        "codec": codec_stage(root / "output-1", model.codec),
        "speech": stage(root / "output-2", model, {"decoder": asdict(config.decoder)}, "decoder"),
    }


def made(folders, **others) -> FreezeOmni:
    at = {**folders, **others}
    states = PretrainedWeights.read(at["states"]) if at["states"] else None
    return assemble.assemble(
        ModelConfig.load("tiny"), PretrainedWeights.read(at["input"]), states, at["codec"], at["speech"]
    )


def test_every_part_is_the_trained_one(model, folders):
    found = made(folders)
    assert found.config.state_middle == 8 and found.config.settings.duplex.turn_end == "either"
    for key, value in model.state_dict().items():
        assert torch.allclose(found.state_dict()[key], value, atol=1e-6), key  # fused weight norms may round


def test_without_states_the_detector_ends_turns(model, folders):
    found = made(folders, states=None)
    assert found.config.settings.duplex.turn_end == "vad"
    heard = model.encoder.state_dict()
    assert all(torch.equal(value, heard[key]) for key, value in found.encoder.state_dict().items())


def test_sizes_are_those_that_the_stages_trained(folders, tmp_path):
    """Not those of the configuration, which may have changed since."""
    deeper = replace(ModelConfig.load("tiny").encoder, layers=3)
    other = trained(2, encoder=deeper)
    config = {"encoder": asdict(deeper), "adapter": asdict(other.config.adapter)}
    folder = stage(tmp_path / "input-1", other, config, "encoder", "adapter")
    assert made(folders, input=folder).config.encoder.layers == 3


def test_the_command_writes_a_checkpoint_that_loads(folders, tmp_path):
    out = tmp_path / "tiny.safetensors"
    options = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
    told = CliRunner().invoke(assemble.main, ["--config", "tiny", *options, "--out", str(out)])
    assert told.exit_code == 0 and "MB" in told.output
    assert loading.load(out, device="cpu").config == made(folders).config


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("input", "codec", "has no encoder"),
        ("states", "speech", "holds no state head: it has no state_middle and no prompts"),
        ("codec", "speech", "holds no codec"),
        ("speech", "input", "holds no speech decoder"),
    ],
)
def test_another_stages_folder_is_refused(folders, name, wrong, told):
    with pytest.raises(FobenchError, match=told):
        made(folders, **{name: folders[wrong]})


def test_a_head_that_learned_from_another_adapter_is_refused(model, folders, tmp_path):
    sizes = {"llm_size": 64, "evidence": 386, "state_middle": 8, "prompts": 4}
    other = stage(tmp_path / "input-3", model, sizes, "state_head", "prompt")
    with pytest.raises(FobenchError, match=r"another speech input \(evidence: 386, not 0\)"):
        made(folders, states=other)


def test_a_codec_that_the_decoder_has_no_room_for_is_refused(folders, tmp_path):
    wide = trained(3, codec=replace(ModelConfig.load("tiny").codec, codebooks=3)).codec
    with pytest.raises(FobenchError, match="3 books of 32, do not fit the speech decoder's, 2 of 32"):
        made(folders, codec=codec_stage(tmp_path / "output-1", wide))


def test_parts_of_stages_take_the_place_of_a_complete_models_own(folders, tmp_path):
    """A model for one LLM becomes one for any: another head, another decoder; all else keeps its weights."""
    base = any_llm.tied()
    loading.save(base, tmp_path / "tied.safetensors", storage=None)
    new = any_llm.model()
    sizes = {"llm_size": 0, "evidence": new.config.adapter.evidence, "state_middle": 6, "state_memory": 5, "prompts": 0}
    head = stage(tmp_path / "input-3", new, {**sizes, "state_inputs": ["evidence", "language"]}, "state_head")
    speech = stage(tmp_path / "output-2", new, {"decoder": asdict(new.config.decoder)}, "decoder")
    (tmp_path / "free.toml").write_text((CONFIGS / "small.toml").read_text())
    options = ["--config", str(tmp_path / "free.toml"), "--base", str(tmp_path / "tied.safetensors")]
    parts = ["--states", str(head), "--speech", str(speech), "--out", str(tmp_path / "any.safetensors")]
    told = CliRunner().invoke(assemble.main, [*options, *parts])
    assert told.exit_code == 0, told.output
    found = loading.load(tmp_path / "any.safetensors", device="cpu")
    assert found.config == new.config
    for key, value in new.state_dict().items():
        assert torch.allclose(found.state_dict()[key], value, atol=1e-2, rtol=1e-3), key


def test_a_head_on_hidden_states_does_not_fit_any_llm(folders, tmp_path):
    loading.save(any_llm.tied(), tmp_path / "tied.safetensors")
    options = ["--config", "small", "--base", str(tmp_path / "tied.safetensors"), "--out", str(tmp_path / "any")]
    told = CliRunner().invoke(assemble.main, options)
    assert told.exit_code == 2 and "for any LLM, but a state head on hidden states" in told.output


def test_a_prefix_network_ties_a_model_to_the_llm_that_it_learnt_from(model, folders, tmp_path):
    config = {"decoder": asdict(model.config.decoder), "llm": {"backbone": "toy", "llm_size": 64}}
    found = made(folders, speech=stage(tmp_path / "output-3", model, config, "decoder"))
    assert (found.config.backbone, found.config.llm_size) == ("toy", 64)


def test_parts_come_from_stages_or_from_a_model(folders, tmp_path):
    told = CliRunner().invoke(assemble.main, ["--input", str(folders["input"]), "--out", str(tmp_path / "x")])
    assert told.exit_code == 2 and "Give --input, --codec and --speech; or --base" in told.output


def test_a_folder_without_a_training_is_told(folders, tmp_path):
    told = CliRunner().invoke(assemble.main, ["--input", str(tmp_path), *_rest(folders), "--out", str(tmp_path / "x")])
    assert told.exit_code == 2 and "holds no checkpoint of a stage" in told.output


# ---- read by beam search -----------------------------------------------------------------------------------------------

UNITS = BPEUnits.learn(["bad cab", "go high"] * 5, 30)
SPELLS = CTCAdapterConfig(encoder_size=32, units=UNITS.merges, kernel=3, stride=1, hidden=8)


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> Path:
    """A language model of these units, in a file."""
    path = tmp_path_factory.mktemp("lm") / "lm.safetensors"
    grams, scores = ngram_lm_training.learn([UNITS.encode("bad cab")], len(UNITS), 100)
    ngram_lm_training.save(UNITS, BeamSearch(len(grams), lm_weight=0.25), (grams, scores), path)
    return path


def test_with_a_language_model_a_checkpoint_is_read_by_beam(folders, lm, tmp_path):
    spelling = trained(4, adapter=SPELLS)
    about = {"encoder": asdict(spelling.config.encoder), "adapter": asdict(SPELLS)}
    heard = stage(tmp_path / "input-1", spelling, about, "encoder", "adapter")
    tiny = ModelConfig.load("tiny").to_json() | {"adapter": {"kind": "spelling", **asdict(SPELLS)}}
    found = assemble.assemble(
        ModelConfig.from_json(tiny), PretrainedWeights.read(heard), None, folders["codec"], folders["speech"]
    )
    assert found.adapter.reader().beam is None
    assemble.set_beam_search(found, lm)
    loading.save(found, tmp_path / "tiny.safetensors")
    loaded = loading.load(tmp_path / "tiny.safetensors", device="cpu")
    search, grams, scores = ngram_lm_training.load(lm, UNITS)
    assert loaded.config.adapter == replace(SPELLS, beam=search) and search.lm_weight == 0.25
    assert torch.equal(loaded.adapter.lm_grams, grams) and torch.equal(loaded.adapter.lm_scores, scores)
    assert loaded.adapter.reader().beam is not None


def test_an_adapter_that_does_not_spell_has_no_use_for_a_language_model(folders, lm, tmp_path):
    options = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
    out = ["--lm", str(lm), "--out", str(tmp_path / "x")]
    told = CliRunner().invoke(assemble.main, ["--config", "tiny", *options, *out])
    assert told.exit_code == 2 and "no CTC adapter: leave --lm out" in told.output


def _rest(folders) -> list[str]:
    return ["--codec", str(folders["codec"]), "--speech", str(folders["speech"])]
