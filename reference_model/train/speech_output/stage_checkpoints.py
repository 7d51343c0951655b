"""Codec and speech decoder from the newest checkpoints of the output stages."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io
from reference_model.codec.convnext import ConvNeXtEncoder
from reference_model.codec.hifigan import fused, weight_normed
from reference_model.codec.reference_codec import CodecConfig, ReferenceCodec
from reference_model.speech_output.speech_decoder import SpeechDecoder, SpeechDecoderConfig
from reference_model.train.engine.checkpoints import MODEL, newest_checkpoint
from reference_model.train.synthesis.piper_latents import piper_generator

TRAINING_ONLY = ("steps", "reader.", "adversary.")  # tensors of output stage 1 that are not part of the codec


def load_codec(folder: Path) -> ReferenceCodec:
    """Returns the codec of output stage 1, with its trained generator or, if it was trained on latents, with Piper's
    generator.
    """
    codec, tensors = _codec(folder)
    codec_tensors = {key: value for key, value in tensors.items() if not key.startswith(TRAINING_ONLY)}
    if any(key.startswith("generator.") for key in codec_tensors):
        weight_normed(codec.generator)
        safetensors_io.fill(codec, codec_tensors, folder)
        fused(codec.generator)
    else:
        codec.generator = piper_generator()
        generator = {f"generator.{key}": value for key, value in codec.generator.state_dict().items()}
        safetensors_io.fill(codec, {**codec_tensors, **generator}, folder)
    return codec.eval()


def load_latents_encoder(folder: Path) -> ConvNeXtEncoder:
    """Returns the encoder of Piper's latents that was trained with the codec.

    Raises FobenchError for a codec of recordings.
    """
    codec, tensors = _codec(folder)
    encoder = build_latents_encoder(codec.config)
    weights = {key.removeprefix("reader."): value for key, value in tensors.items() if key.startswith("reader.")}
    if not weights:
        raise FobenchError(
            f"The codec in {folder} was not trained on latents: give --data, or train the codec with --latents."
        )
    safetensors_io.fill(encoder, weights, folder)
    return encoder.eval()


def build_latents_encoder(config: CodecConfig) -> ConvNeXtEncoder:
    """Returns a new encoder of generator latents [B, C, stack * F], in place of the codec's encoder of mel
    spectrograms.
    """
    return ConvNeXtEncoder(config.generator.inputs, config.stack, config.width, config.encoder_blocks)


@torch.no_grad()
def latents_to_codes(codec: ReferenceCodec, encoder: ConvNeXtEncoder, latents: Tensor) -> Tensor:
    """Returns the codes [K, F] of latents [C, stack * F], on the codec's device; the last latent pads an incomplete
    frame.
    """
    batch = latents.to(codec.device).float()[None]
    missing = -batch.shape[-1] % codec.config.stack
    return codec.quantizer.encode(encoder(functional.pad(batch, (0, missing), "replicate")))[0]


def load_decoder(folder: Path) -> SpeechDecoder:
    """Returns the speech decoder of output stage 2 or 3. Raises FobenchError if the folder holds none."""
    about, tensors = safetensors_io.load(newest_checkpoint(folder) / MODEL)
    if "decoder" not in about:
        raise FobenchError(f"{folder} holds no speech decoder. Give the --out folder of output stage 2 or 3.")
    decoder = SpeechDecoder(SpeechDecoderConfig(**about["decoder"]))
    safetensors_io.fill(decoder, {key.removeprefix("decoder."): value for key, value in tensors.items()}, folder)
    return decoder.eval()


def with_prefix_network(decoder: SpeechDecoder) -> SpeechDecoder:
    """Returns the decoder with a prefix network, randomly initialized if it had none."""
    extended = SpeechDecoder(dataclasses.replace(decoder.config, thoughts=True))
    extended.load_state_dict({**extended.state_dict(), **decoder.state_dict()})
    return extended


def check_codes(codec: ReferenceCodec, decoder: SpeechDecoderConfig) -> None:
    """Raises FobenchError if the decoder's codebooks do not fit the codec's."""
    codec_size, decoder_size = (codec.config.codebooks, codec.config.cardinality), (decoder.codebooks, decoder.codes)
    if codec_size[0] != decoder_size[0] or codec_size[1] > decoder_size[1]:
        raise FobenchError(
            f"The codec's codes, {codec_size[0]} books of {codec_size[1]}, do not fit the speech decoder's, "
            f"{decoder_size[0]} of {decoder_size[1]}. "
            "Choose the --config that the codec was trained with, or train it again."
        )


def fingerprint(codec: ReferenceCodec) -> str:
    """Returns 12 hex digits of a hash of the codec's codebooks, which identify its codes."""
    books = codec.quantizer.codebooks.detach().cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(books).hexdigest()[:12]


def _codec(folder: Path) -> tuple[ReferenceCodec, dict[str, Tensor]]:
    """Returns the untrained codec of a folder's configuration, and the tensors of its newest checkpoint."""
    about, tensors = safetensors_io.load(newest_checkpoint(folder) / MODEL)
    if "codec" not in about:
        raise FobenchError(f"{folder} holds no codec. Give the --out folder of output stage 1.")
    return ReferenceCodec(CodecConfig.from_json(about["codec"])), tensors
