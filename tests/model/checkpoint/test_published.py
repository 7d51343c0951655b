"""The three published files: every key is mapped or listed as unused, no weight is left random, and speech output is theirs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from fobench.errors import FobenchError, PrerequisiteError
from reference_model.checkpoint.published import audiollm_keys, decoder_keys
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.checkpoint.published.loader import load, renamed
from reference_model.codec.hifigan import GeneratorConfig
from reference_model.codec.ticodec import TiCodecConfig
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_output.packets import SegmentSynthesizer
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.silence_splitter import SilenceSplitConfig, SilenceSplitter
from reference_model.speech_output.speech_decoder import SpeechDecoderConfig
from tests.support.golden_data import FOLDER, golden, meta, weights

PAPER = ModelConfig.load("paper")


def listed(name):
    return json.loads((FOLDER / f"keys_{name}.json").read_text())["keys"]


def empty(keys):
    return {key: torch.empty(told["shape"], device="meta") for key, told in keys.items()}


def codec_entries():
    """The three entries of the codec's file, each with its tensors."""
    return {entry: empty(keys) for entry, keys in listed("codec").items()}


def test_the_parameters_of_the_published_model():
    """Encoder 358.0 M, adapter 17.8 M, decoder 164.7 M; with prompts, head and the unused task embeddings the file's 375.96 M."""
    with torch.device("meta"):
        counts = FreezeOmni(PAPER).counts()
    assert (counts["encoder"], counts["adapter"], counts["decoder"]) == (357_950_464, 17_835_520, 164_718_980)
    task_embeddings = 71_680
    heard = counts["encoder"] + counts["adapter"] + counts["prompt"] + counts["state_head"]
    assert heard + task_embeddings == 375_961_604


def test_the_published_habits_are_one_setting_and_ours_have_none():
    """Lagging positions, zeros before a stream, one frame of history more, sampling without the crossing token."""

    def habits(config):
        encoder, adapter = config.encoder, config.adapter
        return encoder.lagging_positions, encoder.zero_context, adapter.context, config.settings.text.keep_crossing

    assert PAPER.compat
    assert habits(PAPER) == (True, True, 4, False)
    assert habits(ModelConfig.from_json({**PAPER.to_json(), "compat": True})) == habits(PAPER)
    tiny = ModelConfig.load("tiny")
    assert not tiny.compat
    assert habits(tiny) == (False, False, tiny.adapter.kernel - tiny.adapter.stride, True)
    assert (PAPER.settings.text.temperature, PAPER.settings.text.top_k, PAPER.settings.text.top_p) == (0.8, 20, 0.8)
    assert (PAPER.settings.speech.top_k, PAPER.settings.packets.first, PAPER.settings.packets.later) == (2, 20, 40)


def test_every_key_of_the_three_files_is_used_or_named():
    """On the meta device: names and shapes are exactly those of our model."""
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in FreezeOmni(PAPER).state_dict().items()}
    files = empty(listed("audiollm")), {"model": empty(listed("decoder"))}, codec_entries()
    assert {name: tuple(value.shape) for name, value in renamed(*files).items()} == own


def test_the_unused_keys_are_few_and_known():
    used = rename(listed("audiollm"), audiollm_keys.RENAMES, audiollm_keys.UNUSED)
    assert set(listed("audiollm")) - set(used) == {"task_embeddings.weight"}
    assert decoder_keys.UNUSED == ()  # and of the codec: tests/model/codec/test_ticodec.py


def test_a_key_that_nothing_uses_is_an_error():
    files = {**empty(listed("audiollm")), "surprise.weight": torch.empty(1)}, empty(listed("decoder")), codec_entries()
    with pytest.raises(FobenchError, match=r"1 keys that nothing here uses: surprise\.weight"):
        renamed(*files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda decoder, codec: codec.pop("encoder"),
            "codec/final.pt holds generator, quantizer; it must hold generator",
        ),
        (lambda decoder, codec: codec.update(steps={}), "generator, quantizer, encoder, steps; it must hold"),
        (
            lambda decoder, codec: decoder.update(optimizer={}),
            "decoder/final.pt holds model, optimizer; it must hold model",
        ),
        (lambda decoder, codec: decoder["model"].update(epoch=3), "no tensors: epoch"),
        (lambda decoder, codec: codec["generator"].pop("conv_pre.weight_g"), "missing of generator.conv_pre.weight"),
        (lambda decoder, codec: codec["quantizer"].update(x=torch.empty(1)), r"nothing here uses: quantizer\.x"),
    ],
)
def test_unexpected_and_missing_entries_are_an_error(change, message):
    decoder, codec = {"model": empty(listed("decoder"))}, codec_entries()
    change(decoder, codec)
    with pytest.raises(FobenchError, match=message):
        renamed(empty(listed("audiollm")), decoder, codec)


def test_an_llm_within_the_file_is_left_alone():
    """Their training saved the whole wrapper, LLM included; the LLM has its own folder here."""
    audiollm = {**empty(listed("audiollm")), "llm_decoder.model.norm.weight": torch.empty(3584, device="meta")}
    assert not any("llm" in name for name in renamed(audiollm, {"model": empty(listed("decoder"))}, codec_entries()))


# ---- loading, and the whole speech path ------------------------------------------------------------------------------

TINY = replace(
    PAPER,
    llm_size=64,
    encoder=replace(PAPER.encoder, size=32, layers=2, heads=4, feed_forward=64),
    adapter=replace(PAPER.adapter, encoder_size=32, llm_size=64),
    decoder=SpeechDecoderConfig(32, 4, 64, layers=2, pre_layers=1, codes=60, allow_special=True),
    codec=TiCodecConfig(
        cardinality=64,
        generator=GeneratorConfig(
            inputs=64,
            channels=32,
            rates=(8, 5, 5, 3),
            kernels=(16, 11, 11, 5),
            block_kernels=(3, 7, 11),
            dilations=((1, 3, 5),) * 3,
            global_size=8,
        ),
        voice=tuple(golden("tts_run")["in/global_tokens"].tolist()),
    ),
)


@pytest.fixture
def folder(tmp_path):
    """The published layout with tiny weights, as their own training saved it."""
    listening = {k: v for k, v in weights("dialogue", "").items() if not k.startswith("llm_decoder.")}
    codec = {"generator": {}, "quantizer": {}, "encoder": {}}
    for key, value in weights("tts_run", "codec.").items():
        entry, _, rest = key.partition(".")
        codec[entry][rest] = value
    for name, data in (
        ("audiollm", listening),
        ("decoder", {"model": weights("tts_run", "decoder.")}),
        ("codec", codec),
    ):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        torch.save(data, tmp_path / "checkpoints" / name / "final.pt")
    return tmp_path


def test_three_files_make_a_model_that_speaks_as_published(folder):
    """Text and hidden states -> 66 codec tokens -> two pieces of audio, cut at a quiet place."""
    model, data = load(folder, TINY).eval(), golden("tts_run")
    assert meta("tts_run")["top_k"] == 1
    with torch.no_grad():
        text, prefix = (model.decoder.text_rows(data[f"in/{name}"]) for name in ("text_embeddings", "llm_hidden"))
        state, cutter = model.decoder.prefill(text, prefix), SilenceSplitter(SilenceSplitConfig(2401, 0.25))
        draw = lambda saying: model.decoder.step(*saying)  # noqa: E731
        speech = SegmentSynthesizer(state, draw, model.codec, Sampling(top_k=1), torch.Generator(), cutter)
        pieces = []
        while not speech.done:
            pieces.append(speech.packet(20))
    assert [row[0] for row in state.rows[: state.end]] == data["out/tokens"].tolist()
    sounding = [piece for piece in pieces if len(piece)]
    assert [len(piece) for piece in sounding] == data["out/segment_lengths"].tolist()
    assert torch.allclose(torch.cat(sounding), data["out/segments_concat"], atol=2e-5, rtol=0)


def test_a_missing_published_file_is_named(folder):
    (folder / "checkpoints" / "decoder" / "final.pt").unlink()
    with pytest.raises(PrerequisiteError, match=r"holds no decoder/final\.pt"):
        load(folder, TINY)


def test_a_file_of_other_sizes_is_refused(folder):
    with pytest.raises(FobenchError, match="does not fit FreezeOmni: it lacks"):
        load(folder, replace(TINY, encoder=replace(TINY.encoder, layers=3)))


def test_a_file_that_is_no_checkpoint_is_refused_and_never_executed(folder):
    (folder / "checkpoints" / "decoder" / "final.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(FobenchError, match="cannot be read as a torch checkpoint"):
        load(folder, TINY)
