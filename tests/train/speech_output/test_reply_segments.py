"""Training segments of replies: hidden states and segmentation as in inference, codes of the audio, cache and resume."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fobench.api.types import AudioChunk
from fobench.errors import FobenchError
from reference_model.checkpoint import loading
from reference_model.codec.reference_codec import CodecConfig
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.llm_context import Role
from reference_model.inference.session import FreezeOmniSession
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.segmenter import Segmentation
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output import reply_segments
from reference_model.train.speech_output.reply_segments import (
    AnsweredQuestion,
    SegmentMaker,
    audio_synthesizer,
    latent_synthesizer,
)
from reference_model.train.speech_output.stage_checkpoints import build_latents_encoder, latents_to_codes
from reference_model.train.synthesis import piper_latents
from reference_model.turn_taking.energy_vad import EnergyVAD
from tests.support.beep_voice import Beeps
from tests.support.tiny_models import SHAPES, backbone

RATE, WINDOW = 16_000, 512
RULES = Segmentation(most=8)


@pytest.fixture(scope="module", params=SHAPES)
def replied(request):
    """A live model, and the state of a session in which it has just thought a reply."""
    model = loading.untrained("tiny").eval()
    duplex = replace(model.config.settings.duplex, turn_end="vad")
    saying = {"text": Sampling(temperature=99.0), "segmentation": RULES, "ahead_s": 1e9}  # any token, seldom the end
    live = InferenceEngine(
        model, backbone(request.param), replace(model.config.settings, duplex=duplex, **saying), EnergyVAD
    )
    wave = np.random.default_rng(0).normal(0, 0.2, RATE).astype(np.float32)
    heard = np.concatenate([wave, np.zeros(RATE, np.float32)])
    session = FreezeOmniSession(live, 0)
    for begin in range(0, len(heard) - WINDOW, WINDOW):
        for _ in session.push(AudioChunk(heard[begin : begin + WINDOW], RATE, begin)):
            if session._state.reply is not None and session._state.reply.generated:
                return live, session._state
    raise AssertionError("no reply")


def test_thoughts_are_those_of_a_live_reply(replied):
    live, state = replied
    user, reply = state.context.turns
    assert (user.role, reply.role) == (Role.USER, Role.REPLY)
    tokens = state.reply.tokens
    found = reply_segments.reply_hidden_states(
        FrozenLLM(live.backbone), live.layout, [(torch.cat(user.rows, 1)[0], tokens)] * 2
    )
    torch.testing.assert_close(found[1], torch.stack(state.reply.hidden), atol=1e-4, rtol=1e-4)


def test_replies_of_unlike_length_do_not_disturb_each_other(replied):
    live, state = replied
    frozen, tokens = FrozenLLM(live.backbone), state.reply.tokens
    rows = torch.cat(state.context.turns[0].rows, 1)[0]
    talks = [(rows, tokens), (rows[:3], tokens[:5]), (rows[:5], tokens[:1])]
    together = reply_segments.reply_hidden_states(frozen, live.layout, talks)
    for found, talk in zip(together, talks, strict=True):
        torch.testing.assert_close(
            found, reply_segments.reply_hidden_states(frozen, live.layout, [talk])[0], atol=1e-4, rtol=1e-4
        )
        assert len(found) == len(talk[1])


def test_segments_are_those_of_a_live_reply(replied):
    live, state = replied
    said = [one.segment for one in state.reply.spoken]
    assert reply_segments.split_segments(live.backbone, state.reply.tokens, RULES) == [*said, *state.reply.waiting]


# ---- made and kept ---------------------------------------------------------------------------------------------------

ANSWERS = [
    AnsweredQuestion("a", "What is it?", "It is a fox, a quick one. It runs."),
    AnsweredQuestion("b", "Who?", "...!"),
    AnsweredQuestion("c", "Why?", "because"),
]


def maker(voice=None, **settings):
    model = loading.untrained("tiny")
    config = replace(model.config, settings=replace(model.config.settings, **settings))
    return SegmentMaker(
        FrozenLLM(backbone("qwen2")), audio_synthesizer(model.codec, voice or Beeps()), config, "a codec"
    )


def test_a_segment_has_its_text_its_codes_and_its_own_tokens_thoughts():
    made, faults = maker(), SkippedSamples()
    found = dict(made.make(ANSWERS[:1], faults))
    texts = [one.text for one in found.values()]
    assert texts == ["It is a fox,", " a quick one.", " It runs."]
    tokens = made.frozen.backbone.encode(ANSWERS[0].reply)
    whole = reply_segments.reply_hidden_states(
        made.frozen,
        reply_segments.TurnLayout.of(made.frozen.backbone.chat, made.config.settings.system_prompt),
        [(made.frozen.embed(made.frozen.backbone.encode("What is it?")), tokens)],
    )[0]
    assert torch.equal(torch.cat([one.hidden for one in found.values()]), whole)
    for one, text in zip(found.values(), texts, strict=True):
        assert one.codes.shape == (2, 2 * len(text.strip()))  # two frames a tone
        assert (
            loading.untrained("tiny")
            .codec.encode(torch.from_numpy(Beeps().speak(text.strip(), 0).samples)[None])[0]
            .equal(one.codes)
        )
    assert not faults


class Silent:
    """Says latents, three for two letters, of a generator with as many channels as Piper's."""

    def synthesize(self, text):
        frames = torch.linspace(-1, 1, 3 * len(text) // 2)
        return piper_latents.VoicedText(text, None, frames.expand(192, -1).half()) if text != "because" else None


def test_codes_may_be_those_of_latents():
    codec = CodecConfig(width=16, code_size=8, encoder_blocks=1, decoder_blocks=1).build()
    reads = build_latents_encoder(codec.config)
    made, faults = replace(maker(), synthesize=latent_synthesizer(codec, reads, Silent())), SkippedSamples()
    found = dict(made.make([ANSWERS[0], ANSWERS[2]], faults))
    one = found["a.0"]
    said = Silent().synthesize("It is a fox,").latents.float()[None]
    assert one.codes.shape == (2, 9)
    assert torch.equal(one.codes, codec.quantizer.encode(reads(said))[0])
    assert found["a.12"].codes.shape == (2, 9)  # of 18 letters, without the space before
    assert "c.0: nothing to say: 'because'" in str(faults)


def test_an_odd_number_of_latents_is_filled_up():
    codec = CodecConfig(width=16, code_size=8, encoder_blocks=1, decoder_blocks=1).build()
    reads, said = build_latents_encoder(codec.config), torch.randn(192, 7)
    filled = torch.cat([said, said[:, -1:]], 1)
    assert torch.equal(latents_to_codes(codec, reads, said), latents_to_codes(codec, reads, filled))


def test_what_has_no_sound_or_too_much_is_listed():
    made, faults = maker(), SkippedSamples()
    made = replace(made, config=replace(made.config, decoder=replace(made.config.decoder, max_frames=30)))
    long = AnsweredQuestion("d", "Who?", "abcdefghijklmnopqrstuvwxyz")
    found = [name for name, _ in made.make([*ANSWERS[1:], long], faults)]
    assert found == ["c.0"]
    assert [where for where, _ in faults.entries] == ["b.0", "d.0"]
    assert "nothing to say: '...!'" in str(faults)
    assert "52 frames, more than 30" in str(faults)


class Counting(Beeps):
    said = 0

    def speak(self, text, seed, speaker=None):
        self.said += 1
        return super().speak(text, seed, speaker)


def test_what_is_made_once_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(reply_segments, "REPLIES_PER_FILE", 2)
    voice, faults = Counting(), SkippedSamples()
    first = reply_segments.load_or_make(maker(voice), ANSWERS, tmp_path, faults)
    assert (voice.said, len(first), len(faults)) == (4, 4, 1)
    (tmp_path / "segments-0001.safetensors").unlink()  # as if it had been killed there
    again = SkippedSamples()
    second = reply_segments.load_or_make(maker(voice), ANSWERS, tmp_path, again)
    assert voice.said == 5
    assert again.entries == faults.entries
    assert [one.text for one in first] == [one.text for one in second]
    assert all(
        torch.equal(a.codes, b.codes) and torch.equal(a.hidden, b.hidden) for a, b in zip(first, second, strict=True)
    )
    reply_segments.load_or_make(
        maker(voice), [*ANSWERS, AnsweredQuestion("d", "Who?", "me")], tmp_path, SkippedSamples()
    )
    assert voice.said == 7  # only the file that has grown is made anew


def test_segments_of_another_making_are_refused(tmp_path):
    reply_segments.load_or_make(maker(), ANSWERS, tmp_path, SkippedSamples())
    with pytest.raises(FobenchError, match="made with another prompt"):
        reply_segments.load_or_make(maker(system_prompt="Shout."), ANSWERS, tmp_path, SkippedSamples())
    with pytest.raises(FobenchError, match="made with another codec"):
        reply_segments.load_or_make(replace(maker(), codec="other"), ANSWERS, tmp_path, SkippedSamples())


def test_where_nothing_can_be_said_it_stops(tmp_path):
    with pytest.raises(FobenchError, match=r"None of 1 replies has a segment.*\nb.0: nothing to say"):
        reply_segments.load_or_make(maker(), ANSWERS[1:2], tmp_path, SkippedSamples())


# ---- the file of replies ---------------------------------------------------------------------------------------------


def test_lines_that_are_no_replies_are_listed(tmp_path):
    path = tmp_path / "replies.jsonl"
    lines = [json.dumps({"id": "x", "question": "Who?", "reply": "Me."}), "{", '{"question": "Who?"}', "[]"]
    empty = json.dumps({"question": "Who?", "reply": " "})
    lists = json.dumps({"question": ["Who?", "Why?"], "reply": "Me."})
    twice = json.dumps({"id": "x", "question": "When?", "reply": "Then."})
    path.write_text("\n".join([*lines, empty, json.dumps({"question": "Why?", "reply": "So."}), lists, twice, ""]))
    faults = SkippedSamples()
    assert reply_segments.read(path, faults) == [
        AnsweredQuestion("x", "Who?", "Me."),
        AnsweredQuestion("6", "Why?", "So."),
    ]
    assert [where for where, _ in faults.entries] == [f"replies.jsonl:{n}" for n in (2, 3, 4, 5, 7, 8)]
    assert "its id 'x' is that of an earlier line" in str(faults)


def test_no_file_and_an_empty_one_say_what_to_do(tmp_path):
    with pytest.raises(FobenchError, match=r"Create it: fobench train replies"):
        reply_segments.read(tmp_path / "none.jsonl", SkippedSamples())
    (tmp_path / "empty.jsonl").write_text("{}\n")
    with pytest.raises(FobenchError, match=r"holds no reply. 1 lines were skipped"):
        reply_segments.read(tmp_path / "empty.jsonl", SkippedSamples())
