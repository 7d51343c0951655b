"""The second pass's training: frames are made once and kept; words are learnt from them; what cannot be is listed."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.config import ModelConfig
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.second_pass import SecondPassConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import Trainer
from reference_model.train.speech_input.ctc import UniformAlignmentWeight
from reference_model.train.stages import second_pass, second_pass_features
from reference_model.train.stages.stage_command import StageRun
from tests.support.beep_voice import RATE
from tests.train.stages.asr_samples import WORDS, manifest, sources

SIZE = 24
LOOP = LoopConfig(steps=150, lr=5e-3, warmup=10, batch_s=100.0, validate_every=150, save_every_s=9e9)
CONFIG = SecondPassConfig(features=16, encoder_size=SIZE, size=32, heads=2, layers=1, dropout=0.0)


def ears():
    """Neither Whisper's nor trained, but of their kind, and as frozen."""
    torch.manual_seed(0)
    whisper, encoder = (WhisperConfig(SIZE, 1, 2).build().requires_grad_(False).eval() for _ in range(2))
    adapter = CTCAdapterConfig(SIZE, BPEUnits.letters_only().merges, hidden=16).build().requires_grad_(False).eval()
    return second_pass_features.FeatureExtractor(whisper, encoder, adapter)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames")
    corpus = Corpus.open([manifest(path / "clips", WORDS, slower=2)], RATE)
    heard = ears()
    batcher = sources(path).batcher(corpus, heard.encoder, 0, False, clean=False)
    second_pass_features.write(
        second_pass_features.extract_clips(batcher, range(len(corpus)), 0, heard), path / "frames-0000.safetensors"
    )
    return path


def stage(clips, faults=None, correct=True):
    adapter = ears().adapter
    config = replace(CONFIG, units=len(adapter.units), features=16 if correct else 0)
    learner = second_pass.SecondPassLearner(config.build(), adapter)
    whole = [second_pass.SecondPassClip(one.text, *one.load(correct), adapter.units.encode(one.text)) for one in clips]
    valid = [("train", [second_pass.collate(whole, adapter.units)])]
    found = SkippedSamples() if faults is None else faults
    return second_pass.SecondPassStage(
        learner, clips, valid, {"rereader": asdict(config)}, UniformAlignmentWeight(1.0, 60), found
    )


def test_kept_frames_are_those_of_the_clips(folder):
    clips = second_pass_features.read(folder)
    assert sorted(clip.text.lower().strip(".") for clip in clips) == sorted(WORDS)
    for clip in clips:
        seen, heard = clip.load(with_adapter=True)
        assert seen.shape == (clip.frames, SIZE) and heard.shape == (clip.frames // 2, 16)
        assert seen.dtype == heard.dtype == torch.float16
    with pytest.raises(FobenchError, match="holds no frames"):
        second_pass_features.read(folder / "clips")


@pytest.mark.parametrize("correct", [True, False])
def test_words_are_learned_from_frames(folder, tmp_path, monkeypatch, correct):
    monkeypatch.setattr(second_pass, "MASKS", 0)  # so few clips are learnt as they are
    rows = list(Trainer(stage(second_pass_features.read(folder), correct=correct), LOOP, tmp_path).run())
    assert rows[-1]["ctc"] < 0.1 * rows[0]["ctc"]
    assert rows[-1]["valid_wer_train"] == 0.0
    assert "even" in rows[0] and "even" not in rows[-1]


@pytest.mark.parametrize(
    ("on_device", "rank"), [*(pytest.param(device, 0, marks=pytest.mark.slow) for device in (False, True)), (False, 2)]
)
def test_words_are_learned_from_clips_heard_anew_and_the_encoder_stays_as_it_is(tmp_path, on_device, rank):
    whisper, units = ears().whisper, BPEUnits.letters_only()
    before = {name: value.clone() for name, value in whisper.state_dict().items()}
    given = replace(sources(tmp_path), data=(manifest(tmp_path / "clips", WORDS, slower=2),), on_device=on_device)
    order = StageRun(ModelConfig.load("small"), LOOP, tmp_path / "out")
    rereader = replace(CONFIG, units=len(units), features=0, encoder_layers=1, rank=rank).build()
    made = second_pass.online_stage(whisper, units, rereader, given, order, UniformAlignmentWeight(1.0, 60))
    made = replace(made, valid=[("train", [made.load(range(len(WORDS)), 0)])])
    rows = list(Trainer(made, replace(LOOP, steps=250, validate_every=250), order.out).run())
    assert rows[-1]["ctc"] < 0.1 * rows[0]["ctc"]
    assert rows[-1]["valid_wer_train"] == 0.0
    assert all(torch.equal(value, before[name]) for name, value in whisper.state_dict().items())
    rereader.spell.weight.data.zero_()
    PretrainedWeights.read(order.out).fill(rereader, "rereader")
    assert rereader.spell.weight.abs().sum() > 0
    learnt = [value.abs().sum() > 0 for name, value in rereader.state_dict().items() if name.endswith(".up")]
    assert learnt == [True] * (6 if rank else 0)


@pytest.mark.parametrize(("kept", "rank"), [(True, 0), (False, 2)])
def test_frames_that_were_kept_are_learned_from_without_changes_to_the_encoder(kept, rank):
    adapter = ears().adapter
    made = second_pass.build_second_pass(replace(CONFIG, rank=2), adapter, correct=False, frozen_encoder=kept)
    assert (made.config.rank, made.config.features, made.config.units) == (rank, 0, len(adapter.units))
    assert (made.change is None) == kept


def test_a_training_without_changes_is_gone_on_with_by_one_that_has_them():
    adapter = ears().adapter
    before, after = (
        second_pass.build_second_pass(replace(CONFIG, rank=rank), adapter, correct=False, frozen_encoder=False)
        for rank in (0, 2)
    )
    tensors = {f"rereader.{name}": tensor for name, tensor in before.state_dict().items()}
    second_pass.load_pretrained(after, PretrainedWeights(Path("earlier"), {"rereader": {"rank": 0}}, tensors))
    own = after.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in before.state_dict().items())
    assert all(not own[name].any() for name in own if name.startswith("change.") and name.endswith(".up"))


def test_what_corrects_is_learned_from_kept_frames_alone(folder, tmp_path):
    options = ["--data", str(folder), "--adapter", str(folder), "--out", str(tmp_path / "out"), "--correct"]
    found = CliRunner().invoke(second_pass.main, options)
    assert found.exit_code == 2 and "fobench train frames --init" in found.output


def test_batches_are_the_same_in_every_run_and_change_with_the_epoch(folder):
    one, same, other = (stage(second_pass_features.read(folder)).load([0, 1], epoch) for epoch in (0, 0, 1))
    assert torch.equal(one.frames, same.frames)
    assert not torch.equal(one.frames, other.frames)


def test_a_text_too_long_for_its_sound_is_listed(folder):
    [clip, *_] = second_pass_features.read(folder)
    faults = SkippedSamples()
    made = stage([replace(clip, text="far too many words for this " * 9)], faults)
    assert made.load([0], 0) is None
    assert "its text needs" in str(faults)


def test_frames_without_an_adapter_correct_nothing(folder, tmp_path):
    clips = [(clip.text, clip.load(with_adapter=False)[0], None) for clip in second_pass_features.read(folder)]
    second_pass_features.write(clips, tmp_path / "frames-0000.safetensors")
    with pytest.raises(FobenchError, match="has no adapter features"):
        stage(second_pass_features.read(tmp_path))


def test_a_configuration_without_a_second_pass_is_refused():
    with pytest.raises(FobenchError, match="has no second pass"):
        from reference_model.train.stages.dry_run import DryRunCase
        from reference_model.train.stages.second_pass import sample_reread

        sample_reread(DryRunCase(ModelConfig.load("tiny"), LOOP, torch.device("cpu"), 1, {}))
