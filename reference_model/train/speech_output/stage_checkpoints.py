"""What the output stages have trained, taken from the newest checkpoints in their folders."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io
from reference_model.codec.convnext import ConvNeXtEncoder
from reference_model.codec.hifigan import fused, weight_normed
from reference_model.codec.reference_codec import CodecConfig, ReferenceCodec
from reference_model.speech_output.speech_decoder import SpeechDecoder, SpeechDecoderConfig
from reference_model.train.engine.checkpoints import MODEL, newest
from reference_model.train.synthesis.piper_latents import piper_generator

LEARNT_WITH = ("steps", "reader.", "adversary.")  # parts of output stage 1 that are no parts of a codec


def load_codec(folder: Path) -> ReferenceCodec:
    """The codec of output stage 1: with the generator that it learnt, or else Piper's, whose latents it learnt."""
    codec, tensors = _codec(folder)
    ours = {key: value for key, value in tensors.items() if not key.startswith(LEARNT_WITH)}
    if any(key.startswith("generator.") for key in ours):
        weight_normed(codec.generator)
        safetensors_io.fill(codec, ours, folder)
        fused(codec.generator)
    else:
        codec.generator = piper_generator()
        safetensors_io.fill(codec, {**ours, **_named("generator.", codec.generator.state_dict())}, folder)
    return codec.eval()


def load_reader(folder: Path) -> ConvNeXtEncoder:
    """What turns Piper's latents into what that codec's quantiser takes. FobenchError where it learnt from recordings."""
    codec, tensors = _codec(folder)
    found = latents_reader(codec.config)
    learnt = {key.removeprefix("reader."): value for key, value in tensors.items() if key.startswith("reader.")}
    if not learnt:
        raise FobenchError(
            f"The codec in {folder} has not learnt to read latents: give --data, or train it with --latents."
        )
    safetensors_io.fill(found, learnt, folder)
    return found.eval()


def latents_reader(config: CodecConfig) -> ConvNeXtEncoder:
    """Latents of the codec's generator [B, C, stack * F] -> what its quantiser takes, as the encoder makes it of mels."""
    return ConvNeXtEncoder(config.generator.inputs, config.stack, config.width, config.encoder_blocks)


@torch.no_grad()
def codes_of(codec: ReferenceCodec, reads: ConvNeXtEncoder, latents: Tensor) -> Tensor:
    """The codes [K, F] of a generator's latents [C, stack * F], which may lack a few at the end; all on the codec's device."""
    found = latents.to(codec.device).float()[None]
    lacking = -found.shape[-1] % codec.config.stack
    return codec.quantizer.encode(reads(functional.pad(found, (0, lacking), "replicate")))[0]


def load_decoder(folder: Path) -> SpeechDecoder:
    """The speech decoder of output stage 2 or 3."""
    about, tensors = safetensors_io.load(newest(folder) / MODEL)
    if "decoder" not in about:
        raise FobenchError(f"{folder} holds no speech decoder. Give the --out folder of output stage 2 or 3.")
    decoder = SpeechDecoder(SpeechDecoderConfig(**about["decoder"]))
    safetensors_io.fill(decoder, {key.removeprefix("decoder."): value for key, value in tensors.items()}, folder)
    return decoder.eval()


def thoughtful(decoder: SpeechDecoder) -> SpeechDecoder:
    """The same decoder with a prefix network: a new one, if it had none."""
    wide = SpeechDecoder(dataclasses.replace(decoder.config, thoughts=True))
    wide.load_state_dict({**wide.state_dict(), **decoder.state_dict()})
    return wide


def check_codes(codec: ReferenceCodec, decoder: SpeechDecoderConfig) -> None:
    """FobenchError where the decoder has no room for the codec's codes."""
    own, room = (codec.config.codebooks, codec.config.cardinality), (decoder.codebooks, decoder.codes)
    if own[0] != room[0] or own[1] > room[1]:
        raise FobenchError(
            f"The codec's codes, {own[0]} books of {own[1]}, do not fit the speech decoder's, {room[0]} of {room[1]}. "
            "Choose the --config that the codec was trained with, or train it again."
        )


def fingerprint(codec: ReferenceCodec) -> str:
    """12 hex digits that tell a codec's codes from another's."""
    books = codec.quantizer.codebooks.detach().cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(books).hexdigest()[:12]


def _codec(folder: Path) -> tuple[ReferenceCodec, dict[str, Tensor]]:
    about, tensors = safetensors_io.load(newest(folder) / MODEL)
    if "codec" not in about:
        raise FobenchError(f"{folder} holds no codec. Give the --out folder of output stage 1.")
    return ReferenceCodec(CodecConfig.from_json(about["codec"])), tensors


def _named(prefix: str, tensors: dict[str, Any]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in tensors.items()}
