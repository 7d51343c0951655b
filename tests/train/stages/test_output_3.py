"""Output stage 3: thoughts tell what the text leaves open; nothing but the prefix network learns; what does not fit is refused."""

import json
from dataclasses import asdict, replace
from functools import cache

import pytest
import torch
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.config import ModelConfig
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.speech_decoder import SpeechDecoder
from reference_model.train.engine import checkpoints, training_log
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import LoopConfig, Trainer
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output.codec_training import WaveformCodecLearner
from reference_model.train.speech_output.decoder_training import (
    DecoderExample,
    SpeechDecoderLearner,
    SpeechDecoderStage,
    TextReader,
    embeddings_of,
)
from reference_model.train.speech_output.reply_segments import AnsweredQuestion
from reference_model.train.speech_output.stage_checkpoints import load_decoder, with_prefix_network
from reference_model.train.stages import output_3
from reference_model.train.stages.output_3 import PrefixStage, split_answers
from tests.support.beep_voice import Beeps
from tests.support.tiny_models import backbone, folder

CONFIG = ModelConfig.load("tiny")
TEXTS = ("Hello big world.", "The quick brown fox.", "It jumps over.", "A lazy dog sleeps.")
LOOP = LoopConfig(steps=60, lr=1e-2, warmup=5, validate_every=60, save_every_s=1e9)


@cache
def frozen():
    return FrozenLLM(backbone("qwen2"))


@cache
def moods():
    """Each text twice, said otherwise each time; only the thoughts tell which is meant."""
    draws = torch.Generator().manual_seed(0)
    made = []
    for number, text in enumerate(TEXTS):
        for mood in (-3.0, 3.0):
            hidden = torch.randn(len(text), CONFIG.llm_size, generator=draws) / 2
            hidden[:, 0] = mood
            made.append(DecoderExample(text, torch.randint(32, (2, 10 + number), generator=draws), hidden))
    return made


def learner(decoder):
    return SpeechDecoderLearner(decoder, embeddings_of(frozen()))


def reader():
    return TextReader(frozen().backbone, CONFIG)


@pytest.fixture(scope="module")
def stage_2(tmp_path_factory):
    """The folder of a training that has learnt both ways to say each text, without knowing the thoughts."""
    torch.manual_seed(0)
    module = learner(SpeechDecoder(replace(CONFIG.decoder, thoughts=False)))
    items = [replace(one, hidden=None) for one in moods()]
    about = {"decoder": asdict(module.decoder.config)}
    path = tmp_path_factory.mktemp("output-2")
    list(Trainer(SpeechDecoderStage(module, reader(), items, items, 40.0, about=about), LOOP, path).run())
    return path


@pytest.fixture(scope="module")
def tuned(stage_2, tmp_path_factory):
    """(the log's rows, the folder) of prefix tuning on top of it."""
    path = tmp_path_factory.mktemp("output-3")
    return list(Trainer(prefix_stage(stage_2), LOOP, path).run()), path


def prefix_stage(stage_2):
    torch.manual_seed(1)
    return PrefixStage(
        learner(with_prefix_network(load_decoder(stage_2))), reader(), moods(), moods(), 40.0, SkippedSamples()
    )


@torch.no_grad()
def live(decoder, one, hidden):
    """A segment's likeliest codes [K, F], said step by step."""
    ids, pieces = reader()(one.text)
    rows = decoder.text_rows(frozen().embed(ids), pieces)
    state = decoder.prefill(rows, None if hidden is None else decoder.text_rows(hidden))
    frames = []
    while (frame := decoder.step(state, Sampling(top_k=1), torch.Generator())) is not None:
        frames.append(frame)
    return torch.stack(frames, -1)


def test_thoughts_tell_what_the_text_leaves_open(tuned):
    last = tuned[0][-1]
    assert last["valid_loss"] < last["valid_loss_without"] / 5
    assert last["valid_right"] == 1.0


def test_live_each_is_said_exactly_as_it_was_taught(tuned):
    decoder = load_decoder(tuned[1])
    assert all(torch.equal(live(decoder, one, one.hidden), one.codes) for one in moods())


def test_other_thoughts_say_the_other_thing(tuned):
    decoder = load_decoder(tuned[1])
    for one, other in zip(moods()[::2], moods()[1::2], strict=True):
        assert torch.equal(live(decoder, one, other.hidden), other.codes)


def test_without_thoughts_it_is_the_decoder_of_stage_2_to_the_bit(stage_2, tuned):
    before, after = load_decoder(stage_2), load_decoder(tuned[1])
    assert all(torch.equal(live(after, one, None), live(before, one, None)) for one in moods())


def test_all_but_the_prefix_network_is_as_it_was_to_the_bit(stage_2, tuned):
    before, after = load_decoder(stage_2).state_dict(), load_decoder(tuned[1]).state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    learnt = after.keys() - before.keys()
    assert learnt and all(key.startswith("prefix.") for key in learnt)
    first = prefix_stage(stage_2).module.decoder.state_dict()
    changed = [key for key in learnt if not torch.equal(after[key], first[key])]
    unused = {
        key
        for key in learnt
        if key.startswith("prefix.1.")
        and not key.startswith(("prefix.1.key", "prefix.1.value", "prefix.1.attention_norm"))
    }
    assert set(changed) == learnt - unused  # of the last layer only keys and values are read


def test_resumed_prefix_tuning_equals_uninterrupted(stage_2, tmp_path):
    loop = replace(LOOP, steps=12, save_every_s=0.0, batch_most=3)
    list(Trainer(prefix_stage(stage_2), loop, tmp_path / "whole").run())
    for steps in (5, 12):
        run = Trainer(prefix_stage(stage_2), loop, tmp_path / "parts").run()
        for _ in range(steps):
            next(run, None)
        run.close()
    whole, parts = (
        safetensors_io.load(checkpoints.newest_checkpoint(tmp_path / name) / checkpoints.MODEL)[1]
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_replies_are_shared_by_their_questions():
    answers = [AnsweredQuestion(str(n), f"Question number {n}?", "Yes.") for n in range(200)]
    train, valid = split_answers(answers)
    assert len(train) + len(valid) == 200
    assert 0 < len(valid) < 30
    assert split_answers(answers[::-1])[1] == valid[::-1]  # whatever the order
    assert not {one.question for one in train} & {one.question for one in valid}


def test_a_few_replies_are_shared_somehow_and_one_is_too_few():
    few = [
        one for one in (AnsweredQuestion(str(n), f"What is {n}?", "It is.") for n in range(60)) if one.split == "train"
    ][:8]
    assert split_answers(few) == (few[:7], few[7:])
    with pytest.raises(FobenchError, match="1 replies are too few"):
        split_answers(few[:1])


# ---- the command -----------------------------------------------------------------------------------------------------

REPLIES = [("Why not?", "...!"), ("What is it?", "It is a fox, a quick one. It runs."), ("Who are you?", "Me.")]
FEW = ("--set", "steps=3", "--set", "precision=no", "--set", "validate_every=3")


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    """A codec as output stage 1 leaves it, not trained."""
    path = tmp_path_factory.mktemp("codec")
    torch.manual_seed(0)
    checkpoints.write(WaveformCodecLearner(ReferenceCodec(CONFIG.codec)), {"codec": asdict(CONFIG.codec)}, {}, path, 1)
    return path


@pytest.fixture
def command(tmp_path, registered, codec, stage_2):
    """Runs the command on a few replies, spoken in beeps."""
    registered(voices=Beeps())
    replies = tmp_path / "replies.jsonl"
    replies.write_text("\n".join([*(json.dumps({"question": q, "reply": r}) for q, r in REPLIES * 2), "{}"]))

    def run(*options):
        given = [
            "--replies",
            replies,
            "--codec",
            codec,
            "--speech",
            stage_2,
            "--out",
            tmp_path / "out",
            "--voice",
            "toy",
        ]
        model = ("--config", "tiny", "--backbone", f"hf:{folder('qwen2')}")
        return CliRunner().invoke(output_3.main, [str(one) for one in (*given, *model, *FEW, *options)])

    return run


def test_the_command_speaks_replies_once_lists_what_it_leaves_out_and_goes_on(command, tmp_path):
    done = command()
    assert done.exit_code == 0, done.output
    assert "5 replies, 7 segments" in done.output
    listed = (tmp_path / "out" / training_log.SKIPPED).read_text()
    assert "replies.jsonl:7: 'question'" in listed
    assert "1.0: nothing to say: '...!'" in listed
    assert load_decoder(tmp_path / "out").config == replace(CONFIG.decoder, thoughts=True)
    again = command("--set", "steps=4")
    assert again.exit_code == 0, again.output
    assert checkpoints.newest_checkpoint(tmp_path / "out").name == "step-0000004"


def test_another_llm_or_codec_is_refused_with_names(command, codec, stage_2):
    assert "is for an LLM of hidden size 64" in command("--backbone", f"hf:{folder('qwen2', 128)}").output
    assert "holds no codec" in command("--codec", stage_2).output
    assert "holds no speech decoder" in command("--speech", codec).output
    assert command().exit_code == 0
    assert "was made with another backbone" in command("--backbone", f"hf:{folder('llama3')}").output
