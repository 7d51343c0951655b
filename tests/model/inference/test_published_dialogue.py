"""Two turns of the published dialogue: LLM inputs, states and tokens."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
import transformers

from fobench_plugins.backbones.transformers_backbone import CausalBackbone
from reference_model.checkpoint.published.audiollm_keys import RENAMES, UNUSED
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.inference.chat_layout import TurnLayout
from reference_model.inference.llm_context import LLMContext, Role
from reference_model.speech_input.adapter import Adapter, AdapterConfig
from reference_model.speech_input.conv_transformer import ConvTransformerConfig, ConvTransformerEncoder
from reference_model.speech_input.log_mel import KaldiFbank
from reference_model.turn_taking.state_head import StateHead, TurnState
from tests.support.golden_data import FOLDER, golden, meta, weights
from tests.support.tiny_models import CHATML

CLOSE = {"atol": 5e-5, "rtol": 0}
NAMES = {TurnState.KEEP_LISTENING: "cl", TurnState.ANSWER: "ss", TurnState.IGNORE: "el"}


def byte_tokenizer():
    """One id a byte, then the three special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocabulary = {sign: byte for byte, sign in bytes_to_unicode().items()}
    vocabulary |= {"<|endoftext|>": 256, "<|im_start|>": 257, "<|im_end|>": 258}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|endoftext|>", "<|im_start|>"]})
    fast.chat_template = CHATML
    return fast


@cache
def parts():
    """The LLM as a backbone, and encoder, adapter, prompt and state head."""
    config = {k: v for k, v in meta("dialogue")["llm_conf"].items() if k != "torch_dtype"}
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**config))
    model.load_state_dict(weights("dialogue", "llm_decoder."), strict=True)
    nets = torch.nn.Module()
    nets.encoder = ConvTransformerEncoder(
        ConvTransformerConfig(32, 2, 4, 64, dropout=0.0, lagging_positions=True, zero_context=True)
    )
    nets.adapter = Adapter(AdapterConfig(32, 64, left=4))
    nets.prompt = torch.nn.Parameter(torch.zeros(25, 64))
    nets.state_head = StateHead(64)
    listening = {k: v for k, v in weights("dialogue", "").items() if not k.startswith("llm_decoder.")}
    names = rename(listening, RENAMES, UNUSED)
    nets.load_state_dict({name: listening[key] for key, name in names.items()}, strict=True)
    return CausalBackbone(model, byte_tokenizer(), name="golden"), nets.eval()


class Noting:
    """The LLM, and all that it was given: `inputs` and what came of them, `hidden`. `rounded`: as float16 holds the inputs."""

    def __init__(self, llm, rounded):
        self.llm, self.rounded, self.inputs, self.hidden = llm, rounded, [], []
        self.embed, self.fork, self.crop = llm.embed, llm.fork, llm.crop

    def step(self, x, state=None, *, logits=None):
        x = x.half().float() if self.rounded else x
        result = self.llm.step(x, state, logits=logits)
        self.inputs.append(x[0])
        self.hidden.append(result[0][0])
        return result


@cache
@torch.no_grad()
def dialogue(rounded=False):
    """Both turns as we live them: {call: (hidden states [n, D], state logits, LM logits)}, and "given", a `Noting`."""
    llm, _ = parts()
    given = Noting(llm, rounded)
    context, heard = LLMContext(given, TurnLayout.of(llm.chat, meta("dialogue")["role"])), {"given": given}
    for turn in (1, 2):
        hear(context, turn, heard)
        speak(context, turn, heard)
    return heard


def hear(context, turn, heard):
    _, nets = parts()
    wav = golden("dialogue")[f"in/turn{turn}_wav_i16"]
    wav = torch.nn.functional.pad(wav, (0, -len(wav) % 2560)).float()[None] / 32768
    features, _ = KaldiFbank().step(wav, None)
    encoder, adapter = nets.encoder.begin(1), nets.adapter.begin(1)
    for i, chunk in enumerate(features.split(16, 1)):
        frames, encoder = nets.encoder.step(chunk, encoder)
        rows, adapter = nets.adapter.step(frames, adapter)
        first = i == 0
        given = torch.cat([nets.prompt[None], rows], 1) if first else rows
        hidden, _ = context.open(Role.USER, given) if first else context.extend(given)
        heard[f"t{turn}_listen{i}_{'sl' if first else 'cl'}"] = (hidden[0], nets.state_head(hidden[0]), None)


def speak(context, turn, heard):
    """Greedy, up to the number of tokens that were sampled; the last is not fed."""
    tokens = []
    for i in range(meta("dialogue")[f"turn{turn}_tokens"]):
        if i == 0:
            hidden, logits = context.open(Role.REPLY, context.embed(()))
        else:
            hidden, logits = context.extend(context.embed(tokens[-1:]))
        label = f"t{turn}_ss" if i == 0 else f"t{turn}_cs{i - 1}"
        heard[label] = (hidden[0], parts()[1].state_head(hidden[0]), logits[0, -1])
        tokens.append(int(logits[0, -1].argmax()))
    heard[f"turn{turn}"] = tokens


CALLS = json.loads((FOLDER / "dialogue.json").read_text())["layout"]


@pytest.mark.parametrize("call", [c["label"] for c in CALLS["calls"] if c["label"] != "pre"])
def test_every_call_gives_the_published_hidden_states_and_logits(call):
    hidden, states, logits = dialogue()[call]
    out = golden("dialogue")
    expected = out[f"out/{call}/last_hidden"]
    own = hidden[-len(expected) :]  # the opening of the very first turn was given with the system prompt
    assert torch.allclose(own, expected[-len(own) :], **CLOSE)
    if f"out/{call}/state_logits" in out:
        assert torch.allclose(states[-1], out[f"out/{call}/state_logits"][-1], **CLOSE)
    if f"out/{call}/lm_logits" in out:
        assert torch.allclose(logits, out[f"out/{call}/lm_logits"], **CLOSE)


@torch.no_grad()
def test_the_llm_is_given_the_published_inputs_and_no_others():
    """The layout of turns, row by row: template, prompt and audio, then token by token."""
    llm, out, given = parts()[0], golden("dialogue"), dialogue()["given"]
    inputs, hidden, states = [], [], []
    for call in CALLS["calls"]:
        start = f"out/{call['label']}"
        ids = out.get(f"{start}/input_ids")
        rows = out[f"{start}/inputs_embeds"].reshape(-1, 64) if ids is None else llm.embed(ids[None])[0]
        assert sum(map(len, inputs)) == call["past_len"]
        assert len(rows) == call["q_len"]
        inputs.append(rows)
        hidden.append(out[f"{start}/last_hidden"].reshape(-1, 64))
        states.append(out.get(f"{start}/state_logits", torch.zeros(0, 4)).reshape(-1, 4))
    torch.testing.assert_close(torch.cat(given.inputs), torch.cat(inputs), **CLOSE)
    torch.testing.assert_close(torch.cat(given.hidden), torch.cat(hidden), **CLOSE)
    judged = torch.cat([hidden for hidden, state in zip(hidden, states, strict=True) if len(state)])
    torch.testing.assert_close(parts()[1].state_head(judged), torch.cat(states), **CLOSE)


@torch.no_grad()
def test_with_inputs_rounded_to_float16_as_the_server_has_them():
    heard, out, close = dialogue(rounded=True), golden("dialogue"), {"atol": 2e-3, "rtol": 0}
    states = torch.stack([logits[-1] for label, (_, logits, _) in _calls(heard) if "listen" in label])
    torch.testing.assert_close(states, out["out/fp16_rounded_inputs/listen_state_logits_last"], **close)
    spoken = torch.stack(
        [hidden[-1] for label, (hidden, _, _) in _calls(heard) if label.startswith(("t1_ss", "t1_cs"))]
    )
    torch.testing.assert_close(spoken, out["out/fp16_rounded_inputs/turn1_tts_hidden"], **close)


def _calls(heard):
    return [(label, made) for label, made in heard.items() if label.startswith(("t1_", "t2_"))]


def test_the_tokens_are_the_published_ones():
    assert dialogue()["turn1"] == CALLS["turn1_tokens"]
    assert dialogue()["turn2"] == CALLS["turn2_tokens"]


@torch.no_grad()
def test_the_states_are_the_published_ones():
    """The layout's `stat_out` is what the head said before the script overrode it."""
    head, heard = parts()[1].state_head, dialogue()
    calls = [c for c in CALLS["calls"] if "listen" in c["label"]]
    probabilities = torch.stack([head.probabilities(heard[c["label"]][0][-1]) for c in calls])
    assert torch.allclose(probabilities, golden("dialogue")["out/listen_state_probs3_last"], **CLOSE)
    assert [NAMES[head.decide(p)] for p in probabilities] == [c["stat_out"] for c in calls]


@torch.no_grad()
def test_the_speech_decoder_gets_the_state_that_predicted_each_token():
    heard = dialogue()
    for turn in (1, 2):
        expected = golden("dialogue")[f"out/turn{turn}_tts_hidden"]
        labels = [f"t{turn}_ss", *(f"t{turn}_cs{i}" for i in range(len(expected) - 1))]
        own = torch.stack([heard[label][0][-1] for label in labels])
        assert torch.allclose(own, expected, **CLOSE)
