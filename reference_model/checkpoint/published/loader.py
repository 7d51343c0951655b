"""Loads the three published files of Freeze-Omni as one of our models. License of the weights: research only.

Loading is strict: every key is used or listed as unused; a missing or unknown key is an error, never a random weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fobench.assets import weight_files
from fobench.errors import FobenchError, PrerequisiteError, first_line
from reference_model.checkpoint import safetensors_io
from reference_model.checkpoint.published import audiollm_keys, codec_keys, decoder_keys
from reference_model.checkpoint.published.key_mapping import rename
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni

AUDIOLLM, DECODER, CODEC = "audiollm/final.pt", "decoder/final.pt", "codec/final.pt"


def load(folder: Path, config: ModelConfig | None = None) -> FreezeOmni:
    """The model of a folder with the three files (at any depth), on the CPU; by default in the published sizes.

    Raises PrerequisiteError for a missing file, FobenchError with the names of keys that do not fit.
    """
    paths = [find(folder, name) for name in (AUDIOLLM, DECODER, CODEC)]
    config = config or ModelConfig.load("paper")
    tensors = renamed(*(read(path) for path in paths), encoder=getattr(config.codec, "with_encoder", False))
    model = FreezeOmni(config)
    safetensors_io.fill(model, tensors, folder, assign=True)
    return model


def renamed(
    audiollm: Mapping[str, Any], decoder: Mapping[str, Any], codec: Mapping[str, Any], *, encoder: bool = False
) -> dict[str, torch.Tensor]:
    """The contents of the three files under the names of `FreezeOmni`. `encoder`: include the codec's encoder."""
    if "model" in decoder:
        (decoder,) = _entries(decoder, ("model",), DECODER)
    return {
        **_named("", audiollm, audiollm_keys.RENAMES, audiollm_keys.UNUSED),
        **_named("decoder.", decoder, decoder_keys.RENAMES, decoder_keys.UNUSED),
        **renamed_codec(codec, "codec.", encoder=encoder),
    }


def renamed_codec(codec: Mapping[str, Any], prefix: str = "", *, encoder: bool) -> dict[str, torch.Tensor]:
    """The contents of the codec's file under the names of `TiCodec`, each with the prefix `prefix`; weight norm is fused.

    `encoder`: include the encoder's tensors. Raises FobenchError with the names of keys that do not fit.
    """
    unused = codec_keys.UNUSED if encoder else (*codec_keys.UNUSED, *codec_keys.WITHOUT_ENCODER)
    entries = _entries(codec, codec_keys.ENTRIES, CODEC)
    if others := [name for name, one in zip(codec_keys.ENTRIES, entries, strict=True) if not isinstance(one, Mapping)]:
        raise FobenchError(f"{CODEC} holds no tensors by name under {', '.join(others)}.")
    each = zip(codec_keys.ENTRIES, entries, strict=True)
    parts = {f"{entry}.{key}": value for entry, tensors in each for key, value in tensors.items()}
    if others := [key for key, value in parts.items() if not isinstance(value, torch.Tensor)]:
        raise FobenchError(f"{CODEC} holds entries that are no tensors: {', '.join(others[:5])}.")
    return _named(prefix, codec_keys.fuse_weight_norm(parts), codec_keys.RENAMES, unused)


def _entries(data: Mapping[str, Any], names: Sequence[str], file: str) -> list[Mapping[str, torch.Tensor]]:
    """The dicts of tensors under `names` in a file. FobenchError for a missing or unknown name."""
    if data.keys() != set(names):
        raise FobenchError(
            f"{file} holds {', '.join(map(str, data)) or 'nothing'}; it must hold {', '.join(names)}, and no more."
        )
    return [data[name] for name in names]


def _named(
    part: str, tensors: Mapping[str, torch.Tensor], renames: Sequence[tuple[str, str]], unused: Sequence[str]
) -> dict[str, torch.Tensor]:
    """The tensors of one file under our names."""
    if not isinstance(tensors, Mapping):
        raise FobenchError(f"The checkpoint holds a {type(tensors).__name__} where there should be tensors by name.")
    if others := [
        str(key) for key, value in tensors.items() if not isinstance(value, torch.Tensor) or type(key) is not str
    ]:
        raise FobenchError(f"The checkpoint holds entries that are no tensors: {', '.join(others[:5])}.")
    return {part + name: tensors[key] for key, name in rename(tensors, renames, unused).items()}


def find(folder: Path, name: str) -> Path:
    """The published file `name` at any depth of the folder. Raises PrerequisiteError if there is none."""
    found = sorted(folder.rglob(name))
    if not found:
        raise PrerequisiteError(
            f"{folder} holds no {name}. The published checkpoint is {AUDIOLLM}, {DECODER} and {CODEC}."
        )
    return found[0]


def read(path: Path) -> Mapping[str, Any]:
    """The contents of a torch file, loaded as tensors only, without executing any code. FobenchError for any other file."""
    try:
        if reason := weight_files.defect(path):
            raise ValueError(reason)
        data: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many types for invalid files
        reason = first_line(error)
        raise FobenchError(f"{path} cannot be read as a torch checkpoint of tensors alone: {reason}.") from error
    if not isinstance(data, Mapping):
        raise FobenchError(f"{path} holds a {type(data).__name__}, not tensors by name.")
    return data
