"""Output stage 2: what is taught is said, live, to the code; longer segments by joining; what cannot be learned from is listed."""

import difflib
import json
from dataclasses import asdict, replace
from functools import cache

import pytest
import torch
from click.testing import CliRunner

from reference_model.checkpoint import loading, safetensors_io
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.config import FOLDER as CONFIGS
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_output.phonemizer import phonemes
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.segmenter import normalize
from reference_model.speech_output.speech_decoder import EOS, SpeechDecoder
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine import checkpoints, training_log
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import LoopConfig, Trainer
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output import batch_synthesis
from reference_model.train.speech_output.batch_synthesis import SynthesisLine
from reference_model.train.speech_output.codec_training import WaveformCodecLearner
from reference_model.train.speech_output.decoder_training import (
    DecoderExample,
    SpeechDecoderLearner,
    SpeechDecoderStage,
    TextReader,
    collate,
    concatenate,
    embeddings_of,
)
from reference_model.train.speech_output.stage_checkpoints import load_codec, load_decoder
from reference_model.train.stages import output_2
from tests.support.beep_voice import manifest
from tests.support.tiny_models import backbone, folder

CONFIG = ModelConfig.load("tiny")
TEXTS = (
    "Hello big world.",
    "The quick brown fox.",
    "It jumps over.",
    "A lazy dog sleeps.",
    "Pack my box.",
    "With jugs.",
)
LOOP = LoopConfig(steps=60, lr=1e-2, warmup=5, validate_every=60, save_every_s=1e9)
LETTERS = replace(CONFIG.decoder, thoughts=False, characters=128)


@cache
def frozen():
    return FrozenLLM(backbone("qwen2"))


@cache
def items():
    draws = torch.Generator().manual_seed(0)
    return [DecoderExample(text, torch.randint(32, (2, 9 + n), generator=draws)) for n, text in enumerate(TEXTS)]


def stage(config=LETTERS, **options):
    torch.manual_seed(0)
    module = SpeechDecoderLearner(SpeechDecoder(config), embeddings_of(frozen()))
    reader = TextReader(frozen().backbone, CONFIG)
    return SpeechDecoderStage(module, reader, items(), items(), 40.0, about={"decoder": asdict(config)}, **options)


@pytest.fixture(scope="module", params=[0, 128], ids=["tokens", "letters"])
def learned(request, tmp_path_factory):
    """(the log's rows, the folder) of a training on a few texts."""
    path = tmp_path_factory.mktemp("output-2")
    return list(Trainer(stage(replace(LETTERS, characters=request.param)), LOOP, path).run()), path


def test_the_loss_falls_until_every_code_is_right(learned):
    first, last = learned[0][0], learned[0][-1]
    assert last["valid_loss"] < 0.02 * first["loss"]
    assert last["valid_right"] == 1.0


@pytest.mark.parametrize("top_k", [1, 2])
def test_live_it_says_exactly_what_it_was_taught(learned, top_k):
    decoder = load_decoder(learned[1])
    config = replace(CONFIG, decoder=decoder.config)
    parts = batch_synthesis.make_parts(
        decoder, frozen(), config, [SynthesisLine(text) for text in TEXTS], use_hidden=False
    )
    found = batch_synthesis.synthesize(decoder, parts, Sampling(top_k=top_k))
    assert all(torch.equal(codes, one.codes) and ended for (codes, ended), one in zip(found, items(), strict=True))


def test_steps_have_the_logits_of_teacher_forcing(learned):
    decoder, one = load_decoder(learned[1]), items()[0]
    learner = SpeechDecoderLearner(decoder, embeddings_of(frozen()))
    batch = collate(TextReader(frozen().backbone, CONFIG), [one, items()[3]])  # the other fills up the batch
    with torch.no_grad():
        forced, _ = decoder(*learner.rows(batch), batch.codes, batch.lengths)
    [part] = batch_synthesis.make_parts(decoder, frozen(), CONFIG, [SynthesisLine(one.text)], use_hidden=False)
    state = decoder.prefill(part.rows)
    inputs, _ = decoder.delayed(one.codes[None], batch.lengths[:1])
    for step in range(inputs.shape[2]):
        state.last = inputs[0, :, step].tolist()
        torch.testing.assert_close(decoder.logits([state])[0], forced[0, :, step], atol=1e-4, rtol=1e-4)


def test_texts_of_a_batch_are_read_as_one_by_one():
    learner, reader = stage().module, stage().reader
    rows, lengths = learner.rows(collate(reader, items()))
    for row, length, one in zip(rows, lengths, items(), strict=True):
        ids, pieces = reader(one.text)
        alone = learner.decoder.text_rows(frozen().embed(ids), pieces)[0]
        assert torch.equal(row[:length], alone)
        assert not row[length:].any()


# ---- phonemes and their durations --------------------------------------------------------------------------------------

PACED = replace(LETTERS, characters=1024, phonetic=True, paced=True)


def timed():
    """What is to be learned: each phoneme has codes of its own, and lasts one to three frames."""
    found = []
    for text in TEXTS:
        said = phonemes(normalize(text))
        durations = torch.tensor([1 + ord(p) % 3 for p in said])
        codes = torch.tensor([[ord(p) * factor % 32 for p in said] for factor in (7, 11)])
        found.append(DecoderExample(text, codes.repeat_interleave(durations, 1), None, said, durations))
    return found


@pytest.mark.slow
def test_a_paced_decoder_says_what_it_was_taught_for_as_long_as_it_lasted(tmp_path):
    torch.manual_seed(0)
    items, reader = timed(), TextReader(frozen().backbone, CONFIG, phonetic=True)
    module = SpeechDecoderLearner(SpeechDecoder(PACED), embeddings_of(frozen()))
    made = SpeechDecoderStage(module, reader, items, items, 40.0, about={"decoder": asdict(PACED)})
    rows = list(Trainer(made, replace(LOOP, steps=150), tmp_path).run())
    assert rows[-1]["valid_right"] == 1.0
    decoder = load_decoder(tmp_path)
    parts = batch_synthesis.make_parts(
        decoder, frozen(), replace(CONFIG, decoder=PACED), [SynthesisLine(t) for t in TEXTS], use_hidden=False
    )
    found = batch_synthesis.synthesize(decoder, parts, Sampling(top_k=1))
    for (codes, ended), one in zip(found, items, strict=True):
        assert ended and abs(codes.shape[1] - one.codes.shape[1]) <= 3
        said, taught = (torch.unique_consecutive(found[0]).tolist() for found in (codes, one.codes))
        assert difflib.SequenceMatcher(None, said, taught).ratio() > 0.9  # each sound in its turn


def test_durations_are_those_of_the_phonemes_which_are_a_text_s_last_rows():
    items, reader = timed(), TextReader(frozen().backbone, CONFIG, phonetic=True)
    learner = SpeechDecoderLearner(SpeechDecoder(PACED), embeddings_of(frozen()))
    batch = collate(reader, [items[0], concatenate(items[1], items[2])])
    text, lengths = learner.rows(batch)
    lasting = learner.row_durations(batch, text, lengths)
    ids = reader(items[0].text)[0]
    own = len(ids) * 64 // PACED.size
    assert lengths[0] == own + len(items[0].phonemes)
    assert lasting[0].tolist()[own : int(lengths[0])] == items[0].durations.tolist()
    assert not lasting[0, :own].any()
    assert torch.equal(lasting.sum(1), torch.tensor([float(one.sum()) for one in batch.durations]))
    assert batch.pieces[1][-1] == items[1].phonemes + items[2].phonemes


# ---- joining ---------------------------------------------------------------------------------------------------------


def test_joined_clips_are_said_one_after_the_other():
    batch = stage(join_probability=1.0).load([0, 1, 4], 0)
    first, second, third = (items()[i] for i in (0, 1, 4))
    reader = stage().reader
    assert batch.ids == (reader(f"{first.text} {second.text}")[0], reader(third.text)[0])
    assert batch.lengths.tolist() == [9 + 10, 13]
    assert torch.equal(batch.codes[0], torch.cat([first.codes, second.codes], 1))


def test_the_chance_of_joining_is_that_of_a_batch_and_the_same_in_every_run():
    def lengths():
        made = stage(join_probability=0.3)
        return [made.load([0, 1], epoch).lengths.tolist() for epoch in range(200)]

    found = lengths()
    assert 0.2 < sum(one == [19] for one in found) / 200 < 0.4
    assert all(one in ([19], [9, 10]) for one in found)
    assert found == lengths()
    assert stage(join_probability=1.0).load([2], 0).lengths.tolist() == [11]


# ---- the command -----------------------------------------------------------------------------------------------------


def codec_folder(path, seed):
    """A codec as output stage 1 leaves it, not trained."""
    torch.manual_seed(seed)
    checkpoints.write(WaveformCodecLearner(ReferenceCodec(CONFIG.codec)), {"codec": asdict(CONFIG.codec)}, {}, path, 1)
    return path


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return codec_folder(tmp_path_factory.mktemp("codec"), 0)


def command(codec, *options):
    given = ["--config", "tiny", "--codec", codec, "--backbone", f"hf:{folder('qwen2')}", *options]
    return CliRunner().invoke(output_2.main, [str(one) for one in given])


FEW = ("--set", "steps=3", "--set", "precision=no")


def test_the_command_encodes_clips_once_lists_those_that_say_nothing_and_goes_on(tmp_path, codec):
    data = manifest(tmp_path / "clips", [*TEXTS, "***"])
    done = command(codec, "--data", data, "--out", tmp_path / "out", *FEW)
    assert done.exit_code == 0, done.output
    assert "'***'" in (tmp_path / "out" / training_log.SKIPPED).read_text()
    about, _ = safetensors_io.load(checkpoints.newest_checkpoint(tmp_path / "out") / checkpoints.MODEL)
    assert about == {"decoder": asdict(replace(CONFIG.decoder, thoughts=False))}
    for clip in (tmp_path / "clips").glob("*.flac"):
        clip.write_bytes(clip.read_bytes()[:200])  # what has been encoded is not read again
    again = command(codec, "--data", data, "--out", tmp_path / "out", "--set", "steps=4", "--set", "precision=no")
    assert again.exit_code == 0, again.output
    assert checkpoints.newest_checkpoint(tmp_path / "out").name == "step-0000004"


def test_a_clip_of_another_rate_has_as_many_codes(tmp_path, codec):
    made = load_codec(codec)
    for rate_hz in (16_000, 44_100):
        corpus = Corpus.open([manifest(tmp_path / str(rate_hz), TEXTS[:1], rate_hz=rate_hz)], made.sample_rate_hz)
        [one] = output_2.encode_recordings(made, corpus, tmp_path / f"{rate_hz}.safetensors")
        assert (one.text, one.codes.shape) == (TEXTS[0], (2, 2 * len(TEXTS[0])))


def test_codes_beyond_the_decoders_are_refused(tmp_path, codec):
    data = manifest(tmp_path / "clips", TEXTS)
    done = command(codec, "--data", data, "--out", tmp_path / "out", "--config", "paper")
    assert done.exit_code == 2
    assert "The codec's codes, 2 books of 32, do not fit the speech decoder's, 1 of 1024" in done.output


def test_codes_of_another_codec_are_refused(tmp_path, codec):
    data = manifest(tmp_path / "clips", TEXTS)
    assert command(codec, "--data", data, "--out", tmp_path / "out", *FEW).exit_code == 0
    done = command(codec_folder(tmp_path / "other", 1), "--data", data, "--out", tmp_path / "out", *FEW)
    assert "was made with another codec" in done.output


def test_the_speech_decoder_command_says_what_it_needs(tmp_path, codec):
    assert "Give either recordings" in command(codec, "--out", tmp_path / "out").output
    data = manifest(tmp_path / "clips", ["***", "---"])
    assert "the transcript has no words: '---'" in command(codec, "--data", data, "--out", tmp_path / "out").output
    latents = command(codec, "--latents", tmp_path, "--out", tmp_path / "out").output
    assert "was not trained on latents" in latents
    nothing = command(tmp_path / "none", "--data", data, "--out", tmp_path / "out").output
    assert "holds no checkpoint of a stage" in nothing


def test_a_text_without_sound_and_too_long_a_clip_are_listed():
    faults = SkippedSamples()
    items = [DecoderExample(text, torch.zeros(2, n)) for text, n in (("One.", 5), ("Two.", 6), ("***", 5), ("", 0))]
    assert [one.text for one in output_2.usable_examples(items, stage().reader, 5, faults)] == ["One."]
    assert str(faults).splitlines() == [
        "text 1: 6 frames, not 1 to 5: 'Two.'",
        "text 2: the text has nothing to speak: '***'",
        "text 3: the text has nothing to speak: ''",
    ]


# ---- a teacher ---------------------------------------------------------------------------------------------------------

TEACHER = replace(CONFIG.decoder, thoughts=False, characters=128, max_frames=30)


@pytest.fixture
def taught(tmp_path):
    """(a complete checkpoint whose decoder has rows of the LLM, the options that train one without them)"""
    torch.manual_seed(0)
    model = FreezeOmni(replace(CONFIG, decoder=TEACHER, settings=replace(CONFIG.settings, speech=Sampling())))
    with torch.no_grad():
        model.decoder.out.bias[model.decoder.special(EOS)] += 2  # it speaks a few frames, then ends
    loading.save(model, tmp_path / "teacher.safetensors", storage=None)
    lines = [{"text": text, "split": "valid" if n < 2 else "train"} for n, text in enumerate(TEXTS)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    free = (
        (CONFIGS / "tiny.toml")
        .read_text()
        .replace("[codec]", "thoughts = false\nllm_rows = false\ncharacters = 128\n[codec]")
    )
    (tmp_path / "free.toml").write_text(free)
    options = ["--config", str(tmp_path / "free.toml"), "--teacher", str(tmp_path / "teacher.safetensors")]
    options += ["--texts", str(tmp_path / "texts.jsonl"), "--backbone", f"hf:{folder('qwen2')}"]
    return model, [*options, "--out", str(tmp_path / "out"), "--set=precision=no", "--set=lr=0.003", "--set=warmup=1"]


def test_a_decoder_learns_from_another_to_do_without_the_llms_rows(taught, tmp_path):
    model, options = taught
    result = CliRunner().invoke(output_2.main, [*options, "--set=steps=40", "--set=validate_every=40"])
    assert result.exit_code == 0, result.output
    losses = [value for _, value in training_log.read(tmp_path / "out")["loss"]]
    assert losses[-1] < 0.7 * losses[0]
    student = load_decoder(tmp_path / "out")
    assert student.config.any_llm and set(student.state_dict()) == set(model.decoder.state_dict())
    pairs = sorted((tmp_path / "out/spoken-train").glob("*.safetensors"))
    about, tensors = safetensors_io.load(pairs[0])
    assert about["lines"] == list(TEXTS[2:]) and tensors["0.codes"].shape[0] == TEACHER.codebooks


def test_what_the_teacher_has_spoken_is_kept(taught, tmp_path, monkeypatch):
    _, options = taught
    assert CliRunner().invoke(output_2.main, [*options, "--set=steps=2"]).exit_code == 0
    monkeypatch.setattr(batch_synthesis, "synthesize", lambda *args: pytest.fail("it speaks again"))
    assert CliRunner().invoke(output_2.main, [*options, "--set=steps=4"]).exit_code == 0


def test_a_student_of_other_sizes_is_refused(taught, tmp_path):
    _, options = taught
    path = tmp_path / "free.toml"
    path.write_text(path.read_text().replace("ffn = 64", "ffn = 96"))
    told = CliRunner().invoke(output_2.main, [*options, "--set=steps=2"])
    assert told.exit_code == 2 and "other sizes than the configuration's" in told.output


@pytest.mark.parametrize(
    "given", [[], ["--teacher", "t"], ["--data", "d"], ["--teacher", "t", "--texts", "x", "--codec", "c"]]
)
def test_pairs_come_from_one_source(given, tmp_path):
    told = CliRunner().invoke(output_2.main, ["--config", "tiny", *given, "--out", str(tmp_path)])
    assert told.exit_code == 2 and "Give either recordings (--data)" in told.output
