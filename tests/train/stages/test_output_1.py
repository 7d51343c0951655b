"""Output stage 1 from recordings: a codec that learns to give sound back, with and without an adversary; from latents; bad input."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io
from reference_model.codec.hifigan import fused
from reference_model.codec.reference_codec import CodecConfig, ReferenceCodec
from reference_model.config import ModelConfig
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine import checkpoints, trainer_state, training_log
from reference_model.train.engine.trainer import LoopConfig, Trainer
from reference_model.train.speech_output.codec_training import (
    WaveformCodecLearner,
    WaveformCodecStage,
    trainable_config,
)
from reference_model.train.speech_output.discriminators import DiscriminatorConfig, mel_distance
from reference_model.train.speech_output.stage_checkpoints import load_codec, load_latents_encoder
from reference_model.train.stages import output_1
from reference_model.train.synthesis import piper_latents
from tests.support.beep_voice import Beeps, manifest

CODEC = ModelConfig.load("tiny").codec
ADVERSARY = DiscriminatorConfig(width=2, periods=(3,), windows=(256,))
TEXTS = ("hello big world", "the quick brown fox", "jumps over", "a lazy dog sleeps", "pack my box", "with five dozen")
LOOP = LoopConfig(steps=80, lr=5e-3, warmup=5, batch_s=100.0, batch_most=6, validate_every=80, save_every_s=1e9)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return manifest(tmp_path_factory.mktemp("clips") / "beeps", TEXTS)


def stage(clips, adversary=None, frames=12):
    torch.manual_seed(0)
    corpus = Corpus.open([clips], CODEC.sample_rate_hz)
    return WaveformCodecStage(
        WaveformCodecLearner(ReferenceCodec(CODEC), adversary), corpus, corpus, CODEC, adversary, frames
    )


def final(folder):
    return safetensors_io.load(checkpoints.newest_checkpoint(folder) / checkpoints.MODEL)[1]


@pytest.fixture(scope="module")
def learned(clips, tmp_path_factory):
    """(the log's rows, the folder) of a training on a few clips."""
    path = tmp_path_factory.mktemp("output-1")
    return list(Trainer(stage(clips), LOOP, path).run()), path


def test_the_distance_falls_and_the_rows_are_used(learned):
    first, last = learned[0][0], learned[0][-1]
    assert last["valid_mel"] < 0.6 * first["mel"]
    assert last["valid_rows_0"] > 8


def test_what_is_loaded_is_what_has_learned(learned, clips):
    codec = load_codec(learned[1])
    assert not [key for key in codec.state_dict() if "parametrizations" in key]
    sound = torch.from_numpy(Beeps().speak(TEXTS[0], 0).samples)[None]
    untrained = ReferenceCodec(CODEC)
    distances = [mel_distance(sound, one.decode(one.encode(sound)), 16_000).item() for one in (codec, untrained)]
    assert distances[0] < 0.6 * distances[1]
    learner = stage(clips).module
    learner.load_state_dict(final(learned[1]))
    own = fused(learner.generator)(learner.decoder(learner.quantizer.decode(codec.encode(sound))))
    assert torch.allclose(codec.decode(codec.encode(sound)), own, atol=1e-5)


@pytest.mark.parametrize("adversary", [None, ADVERSARY], ids=["alone", "adversary"])
def test_resumed_codec_training_equals_uninterrupted(clips, tmp_path, adversary):
    loop = replace(LOOP, steps=7, save_every_s=0.0, batch_most=2, validate_every=100)
    list(Trainer(stage(clips, adversary), loop, tmp_path / "whole").run())
    for steps in (4, 7):
        run = Trainer(stage(clips, adversary), loop, tmp_path / "parts").run()
        for _ in range(steps):
            next(run, None)
        run.close()
    whole, parts = final(tmp_path / "whole"), final(tmp_path / "parts")
    assert any(key.startswith("adversary.") for key in whole) == (adversary is not None)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    states = [
        trainer_state.read(checkpoints.newest_checkpoint(tmp_path / n) / checkpoints.TRAINER)
        for n in ("whole", "parts")
    ]
    ours, theirs = (state["optimiser"]["state"] for state in states)
    assert len(ours) == len([*stage(clips, adversary).module.parameters()])  # the adversary's moments, too
    assert all(torch.equal(ours[i]["exp_avg_sq"], theirs[i]["exp_avg_sq"]) for i in ours)


def test_both_sides_learn(clips, tmp_path):
    found = stage(clips, ADVERSARY)
    before = {key: value.clone() for key, value in found.module.state_dict().items()}
    rows = list(Trainer(found, replace(LOOP, steps=3, validate_every=3), tmp_path).run())
    assert {"mel", "wrong", "caught", "features", "commitment"} <= rows[0].keys()
    after = found.module.state_dict()
    for part in ("adversary.", "generator.", "decoder.", "encoder.", "quantizer."):
        assert any(not torch.equal(after[key], before[key]) for key in after if key.startswith(part)), part


def test_a_training_with_an_adversary_is_not_gone_on_with_without_it(clips, tmp_path):
    loop = replace(LOOP, steps=1, validate_every=9)
    list(Trainer(stage(clips, ADVERSARY), loop, tmp_path).run())
    with pytest.raises(FobenchError, match=r"another configuration \(adversary"):
        list(Trainer(stage(clips), loop, tmp_path).run())


def test_a_clip_of_another_rate_is_brought_to_the_codecs(tmp_path):
    path = manifest(tmp_path / "cd", TEXTS[:2], rate_hz=44_100)
    found = stage(path, frames=200).load([0], 0)
    spoken = torch.from_numpy(Beeps().speak(TEXTS[0], 0).samples)
    assert found.shape == (1, 200 * CODEC.hop)
    assert torch.nn.functional.cosine_similarity(found[0, : len(spoken)], spoken, 0) > 0.95
    assert not found[0, len(spoken) + 100 :].any()  # silence behind a short one


def command(*options):
    return CliRunner().invoke(output_1.main, [str(one) for one in ("--config", "tiny", *options)])


FEW = ("--set", "steps=2", "--set", "warmup=1", "--frames", 12)


def test_the_command_skips_and_lists_what_cannot_be_read(tmp_path):
    path = manifest(tmp_path / "clips", TEXTS)
    broken = tmp_path / "clips" / "3.flac"
    broken.write_bytes(broken.read_bytes()[:200])
    soundfile.write(tmp_path / "clips" / "4.flac", np.zeros(3), 16_000)
    done = command("--data", path, "--out", tmp_path / "out", *FEW, "--adversarial", "--width", 1)
    assert done.exit_code == 0, done.output
    listed = (tmp_path / "out" / training_log.SKIPPED).read_text()
    assert "manifest.jsonl:5" in listed  # too short
    assert "3.flac/clip-3" in listed  # broken
    assert len(load_codec(tmp_path / "out").encode(torch.zeros(1, 4000))[0, 0]) == 10


def test_the_codec_command_says_what_it_needs(tmp_path, clips):
    def told(*options):
        done = command("--out", tmp_path / "out", *options)
        assert done.exit_code == 2
        return done.output

    assert "Give either recordings" in told()
    assert "Give either recordings" in told("--data", clips, "--latents", tmp_path)
    assert "this configuration's codec has another" in told("--latents", tmp_path)
    assert "One clip is not enough" in told("--data", manifest(tmp_path / "one", TEXTS[:1]))
    assert "No clip of split train" in told("--data", manifest(tmp_path / "none", ()))


def test_the_papers_codec_is_trained_in_our_own_form():
    config = trainable_config(ModelConfig.load("paper").codec)
    assert (config.sample_rate_hz, config.hop, config.codebooks, config.cardinality) == (24_000, 600, 1, 1024)
    assert config.frame_rate_hz == 40
    assert trainable_config(CODEC) is CODEC


# ---- from a published generator's latents ------------------------------------------------------------------------------


def pairs(folder, count=4, frames=130):
    """A file of pairs as `latents` writes them: noise, smooth in time."""
    draws = torch.Generator().manual_seed(0)
    made = []
    for number in range(count):
        found = torch.randn(192, frames, generator=draws).cumsum(1) / 4
        audio = (torch.randn(frames * 256, generator=draws) * 3000).short()
        made.append(piper_latents.VoicedText(f"Text {number}.", audio, found.half()))
    folder.mkdir(exist_ok=True)
    piper_latents.write(folder / "pairs-0000.safetensors", made)
    return folder


def test_latents_are_learned_and_read_alike(tmp_path):
    torch.manual_seed(0)
    config = CodecConfig(width=16, code_size=8, cardinality=32, encoder_blocks=1, decoder_blocks=1)
    found = output_1.from_latents(config, pairs(tmp_path / "pairs"))
    assert (len(found.pairs), len(found.valid)) == (3, 1)
    rows = list(Trainer(found, replace(LOOP, steps=40), tmp_path / "out").run())
    assert rows[-1]["known"] < 0.7 * rows[0]["known"]
    codes = found.module.quantizer.encode(load_latents_encoder(tmp_path / "out")(torch.randn(1, 192, 20)))
    assert codes.shape == (1, 2, 10)


def test_latents_without_sound_teach_no_codec(tmp_path):
    (tmp_path / "silent").mkdir()
    piper_latents.write(
        tmp_path / "silent" / "pairs-0000.safetensors",
        [piper_latents.VoicedText("x", None, torch.zeros(192, 8).half())],
    )
    with pytest.raises(FobenchError, match=r"holds 0 pairs of audio and latents\. Make them without --silent"):
        output_1.from_latents(CodecConfig(), tmp_path / "silent")


def test_a_codec_from_recordings_reads_no_latents(learned):
    with pytest.raises(FobenchError, match="was not trained on latents"):
        load_latents_encoder(learned[1])
