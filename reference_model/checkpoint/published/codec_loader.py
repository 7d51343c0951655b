"""Loads the codec alone from the published files of Freeze-Omni. License of the weights: research only."""

from __future__ import annotations

from pathlib import Path

from reference_model.checkpoint import safetensors_io
from reference_model.checkpoint.published import loader
from reference_model.codec.ticodec import TiCodec, TiCodecConfig


def load(folder: Path, config: TiCodecConfig | None = None) -> TiCodec:
    """The codec of a folder with the authors' codec/final.pt (at any depth), on the CPU; by default with its encoder.

    Raises PrerequisiteError for a missing file, FobenchError with the names of keys that do not fit.
    """
    config = config or TiCodecConfig(with_encoder=True)
    path = loader.find(folder, loader.CODEC)
    tensors = loader.renamed_codec(loader.read(path), encoder=config.with_encoder)
    codec = TiCodec(config)
    safetensors_io.fill(codec, tensors, path)
    return codec
