"""N-gram language models of units: from texts to a checkpoint that is read by beam search."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.checkpoint import loading
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BLANK, BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.ctc_beam_search import BeamSearch
from reference_model.speech_input.ngram_lm import NGramLM
from reference_model.speech_input.second_pass import SecondPassConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.train.data.corpus import Corpus
from reference_model.train.release.assemble import set_beam_search
from reference_model.train.speech_input import decoding_eval, ngram_lm_training
from reference_model.train.speech_input.decoding_eval import DecodingMethod, ScoredClip, tune_search
from reference_model.train.synthesis import render_plan
from reference_model.train.synthesis.render_plan import RenderItem
from reference_model.train.synthesis.speakers import OUTPUT
from tests.support import beep_voice

TEXTS = ("bad cab", "go high", "deaf egg", "hide a bed")
UNITS = BPEUnits.learn(TEXTS * 5, 30)
ADAPTER = CTCAdapterConfig(encoder_size=32, units=UNITS.merges, kernel=3, stride=1, hidden=8)
ASKED = "Which city serves as the capital of France?"  # by the benchmark


def item(number, text, split):
    return RenderItem(f"input-{number}", f"{split}-00000", text, "talk", "made", split, OUTPUT, 16000, number)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The folder of a plan: texts to train on, one to validate on, and one that the benchmark asks."""
    folder = tmp_path_factory.mktemp("plan")
    items = [item(n, text, "train") for n, text in enumerate((*TEXTS, ASKED))] + [item(9, "a dead hedge", "valid")]
    render_plan.write(folder, items, render_plan.metadata("input", items, 0))
    return folder


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return FreezeOmni(replace(ModelConfig.load("tiny"), adapter=ADAPTER)).eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    loading.save(model, path)
    return path


@pytest.fixture
def lm(planned, checkpoint, tmp_path):
    """A file that the command has made."""
    out = tmp_path / "lm.safetensors"
    called(ngram_lm_training.main, "--units", checkpoint, "--plan", planned, "--entries", 300, "--out", out)
    return out


def called(command, *options):
    told = CliRunner().invoke(command, list(map(str, options)))
    assert told.exit_code == 0, told.output
    return told.output


def test_texts_are_of_the_training_split_and_not_the_benchmarks(planned):
    assert ngram_lm_training.training_texts([planned], None, None) == sorted(TEXTS)


def test_without_texts_it_is_refused(tmp_path):
    with pytest.raises(FobenchError, match="There is no plan in"):
        ngram_lm_training.training_texts([tmp_path], None, None)
    with pytest.raises(FobenchError, match="no training texts"):
        ngram_lm_training.training_texts([], None, None)


def test_the_command_writes_a_table_of_the_checkpoints_units(lm):
    search, grams, scores = ngram_lm_training.load(lm, UNITS)
    assert search == BeamSearch(len(grams)) and len(grams) == len(scores) <= 300
    found = NGramLM.of(grams, scores)
    first, second = UNITS.encode("bad cab")[:2]
    assert found.score(1 << 12 | first + 1, second) > found.score(0, second)  # after "START first"


def test_a_table_of_other_units_is_refused(lm):
    with pytest.raises(FobenchError, match="another BPE vocabulary than the adapter"):
        ngram_lm_training.load(lm, BPEUnits.letters_only())


def test_another_file_is_refused(checkpoint):
    with pytest.raises(FobenchError, match="is not an n-gram language model"):
        ngram_lm_training.load(checkpoint, UNITS)


def clip(text, said=0.6):
    """A text of which every unit is heard with the chance `said`, and otherwise another; blanks between."""
    units = UNITS.encode(text)
    log_p = torch.full((2 * len(units), len(UNITS)), 1e-6)
    log_p[1::2, BLANK] = 1.0
    for row, unit in zip(log_p[::2], units, strict=True):
        row[unit], row[unit % (len(UNITS) - 1) + 1] = said, 1.0 - said
    return ScoredClip(text, log_p.log(), 4)


def test_by_beam_fewer_words_are_wrong_where_sound_is_doubtful():
    grams, scores = ngram_lm_training.learn(map(UNITS.encode, TEXTS), len(UNITS), 300)
    clips = [clip(text, said=0.45) for text in TEXTS]
    beam = DecodingMethod(UNITS, BeamSearch(len(grams)), NGramLM.of(grams, scores))
    assert DecodingMethod(UNITS).wer(clips) == 1.0
    assert replace(beam, search=tune_search(beam, clips)).wer(clips) == 0.0


def test_the_command_judges_both_ways_and_keeps_what_it_tunes(checkpoint, lm, tmp_path):
    path = beep_voice.manifest(tmp_path / "clips", TEXTS, split="valid")
    before = lm.read_bytes()
    told = called(decoding_eval.main, "--checkpoint", checkpoint, "--lm", lm, "--valid", path)
    assert "4 clips, WER" in told and lm.read_bytes() == before
    told = called(decoding_eval.main, "--checkpoint", checkpoint, "--lm", lm, "--valid", path, "--tune")
    assert "every other clip: 2 clips, WER" in told
    search, *_ = ngram_lm_training.load(lm, UNITS)
    assert search.lm_weight in decoding_eval.LM_WEIGHTS and search.unit_bonus in decoding_eval.UNIT_BONUSES


def test_a_checkpoint_that_has_a_language_model_is_judged_with_its_own(model, checkpoint, lm, tmp_path):
    path = beep_voice.manifest(tmp_path / "clips", TEXTS, split="valid")
    refused = CliRunner().invoke(decoding_eval.main, ["--checkpoint", str(checkpoint), "--valid", str(path)])
    assert refused.exit_code == 2 and "give --lm" in refused.output
    own = loading.load(checkpoint, device="cpu")
    set_beam_search(own, lm)
    loading.save(own, tmp_path / "own.safetensors")
    told = called(decoding_eval.main, "--checkpoint", tmp_path / "own.safetensors", "--valid", path)
    wanted = called(decoding_eval.main, "--checkpoint", checkpoint, "--lm", lm, "--valid", path)
    assert "WER" in told and told.rpartition(",")[0] == wanted.rpartition(",")[0]  # all but the time it took


@pytest.mark.parametrize("corrects", [False, True])
def test_of_a_second_pass_both_hearings_are_read_unless_it_has_heard_the_first(corrects, tmp_path, monkeypatch):
    torch.manual_seed(0)
    second = SecondPassConfig(len(UNITS), 8 if corrects else 0, 32, size=16, heads=2, layers=1)
    sizes = replace(ModelConfig.load("tiny"), encoder=WhisperConfig(32, 1, 2), rereader=second)
    made = FreezeOmni(replace(sizes, adapter=replace(ADAPTER, kernel=6, stride=2))).eval()
    made.rereader._encoder.append(WhisperConfig(32, 1, 2).build().eval())
    entries = Corpus.open([beep_voice.manifest(tmp_path / "clips", TEXTS, split="valid")], 16000, "valid").entries
    once, second_pass = (
        decoding_eval.score_clips(made, entries, 9, second_pass=second_pass) for second_pass in (False, True)
    )
    for one, both in zip(once, second_pass, strict=True):
        assert one.text == both.text and one.adapter_log_p is None
        assert both.weights == ((1.0, 0.0) if corrects else (0.5, 0.5))
        assert torch.equal(both.adapter_log_p, one.log_p) and not torch.equal(both.log_p, one.log_p)
