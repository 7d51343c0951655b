"""Reader of CTranslate2's `model.bin`, and conversion of a Whisper model in it to openai-whisper's state dict."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fobench.errors import FobenchError

VERSION = 6  # of the container format
DTYPES = {
    0: "<f4",
    1: "i1",
    2: "<i2",
    3: "<i4",
    4: "<f2",
}  # bfloat16 (5) has no numpy type; Whisper files do not use it
LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/")
HEAD = 64  # channels per attention head in every Whisper model
Array = npt.NDArray[Any]
PROJECTION = "decoder/projection/weight"  # another name of decoder/embeddings/weight
ANY, KERNEL = 0, -3  # any size; three positions of a convolution
SHAPES: dict[str, tuple[int, ...]] = {  # of arrays by name, in units of the width but for ANY and KERNEL
    r".*/position_encodings/encodings|decoder/(embeddings|projection)/weight": (ANY, 1),
    r".*layer_norm/(gamma|beta)|encoder/conv\d/bias": (1,),
    r"encoder/conv1/weight": (1, ANY, KERNEL),
    r"encoder/conv2/weight": (1, 1, KERNEL),
    r".*/self_attention/linear_0/(weight|bias)": (3, 1),
    r".*/self_attention/linear_1/(weight|bias)": (1, 1),
    r".*/attention/linear_[02]/(weight|bias)": (1, 1),
    r".*/attention/linear_1/(weight|bias)": (2, 1),
    r".*/ffn/linear_0/(weight|bias)": (4, 1),
    r".*/ffn/linear_1/(weight|bias)": (1, 4),
}


def read(path: Path) -> dict[str, Array]:
    """{name: array} of a CTranslate2 container with aliases resolved; the arrays are read-only views of the file's bytes.

    Layout: uint32 version; string specification; uint32 revision; uint32 count; then each variable: string name, uint8 rank, uint32
    dimensions, uint8 dtype, uint32 bytes, data; uint32 count of aliases, each two strings. A string is uint16 length, bytes, NUL.
    Raises FobenchError for another version, an unknown dtype or a truncated file.
    """
    reader = _Reader(path.read_bytes())
    try:
        if (version := reader.number("I")) != VERSION:
            raise FobenchError(
                f"{path.name} is a CTranslate2 container of version {version}; only {VERSION} can be read."
            )
        reader.string(), reader.number("I")  # the specification's name and revision
        arrays = dict(reader.variable() for _ in range(reader.number("I")))
        for _ in range(reader.number("I")):
            alias, name = reader.string(), reader.string()
            arrays[alias] = arrays[name]
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise FobenchError(f"{path.name} is not a readable CTranslate2 container: {error}") from error
    return arrays


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from("<" + kind, self._data, self._at)
        self._at += struct.calcsize("<" + kind)
        return int(value)

    def string(self) -> str:
        length = self.number("H")
        self._at += length
        return self._data[self._at - length : self._at - 1].decode()

    def variable(self) -> tuple[str, Array]:
        name, rank = self.string(), self.number("B")
        shape = tuple(self.number("I") for _ in range(rank))
        dtype, size = np.dtype(DTYPES[self.number("B")]), self.number("I")
        if size != dtype.itemsize * int(np.prod(shape)) or self._at + size > len(self._data):
            raise ValueError(f"variable {name} has the wrong size")
        self._at += size
        return name, np.frombuffer(self._data, dtype, size // dtype.itemsize, self._at - size).reshape(shape)


def whisper_state(arrays: dict[str, Array]) -> dict[str, Array]:
    """The state dict of openai-whisper's `Whisper` class from the arrays of a CTranslate2 Whisper model.

    Raises FobenchError naming an array that is missing, not used, or whose shape, type or values are wrong.
    """
    recorder = _Recorder(arrays)
    try:
        _check(arrays)
        state = _whisper_state(recorder)
    except KeyError as error:
        raise FobenchError(f"The CTranslate2 model is not a complete Whisper: it lacks {error.args[0]}.") from error
    except ValueError as error:
        raise FobenchError(f"The CTranslate2 model is not a Whisper: {error}.") from error
    ignored = {name for name, array in arrays.items() if not array.shape or name == PROJECTION}
    if extra := sorted(arrays.keys() - recorder.names - ignored):
        more = f" and {len(extra) - 4} more" if extra[4:] else ""
        raise FobenchError(f"The CTranslate2 model is not a Whisper: it has unexpected {', '.join(extra[:4])}{more}.")
    return state


class _Recorder(dict[str, Array]):
    """Arrays, with the names of those that were read."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        super().__init__(arrays)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        self.names.add(name)
        return super().__getitem__(name)


def _check(arrays: dict[str, Array]) -> None:
    """Raises ValueError naming an array with a wrong shape or type, or a value that is not finite, and missing layers."""
    positions = arrays["encoder/position_encodings/encodings"]
    width = positions.shape[-1] if positions.ndim else 0
    for name, array in arrays.items():
        for sizes in (sizes for pattern, sizes in SHAPES.items() if re.fullmatch(pattern, name)):
            own = sizes[:1] if name.endswith("/bias") else sizes
            needed = [ANY if size == ANY else abs(KERNEL) if size == KERNEL else size * width for size in own]
            fits = len(needed) == array.ndim and all(n in (ANY, m) for n, m in zip(needed, array.shape, strict=True))
            if not fits:
                wanted = ["any" if size == ANY else size for size in needed]
                raise ValueError(f"{name} has the shape {list(array.shape)}, not {wanted}")
            if array.dtype.kind != "f":
                raise ValueError(f"{name} has the type {array.dtype}; only floating point can be read")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} has NaN or infinity")
    if PROJECTION in arrays and not np.array_equal(arrays[PROJECTION], arrays["decoder/embeddings/weight"]):
        raise ValueError(f"{PROJECTION} is not decoder/embeddings/weight, as in every Whisper")
    for part in ("encoder", "decoder"):
        layers = {int(m[2]) for m in map(LAYER.match, arrays) if m and m[1] == part}
        if layers != {*range(len(layers))}:
            raise ValueError(f"its {part} has no layer {min({*range(max(layers))} - layers)}")
        crossing = [f"decoder/layer_{i}/attention/linear_0/weight" for i in sorted(layers)] if part == "decoder" else []
        if lacking := [name for name in crossing if name not in arrays]:
            raise ValueError(f"it lacks {lacking[0]}")


def _whisper_state(arrays: dict[str, Array]) -> dict[str, Array]:
    state: dict[str, Array] = {
        "encoder.positional_embedding": arrays["encoder/position_encodings/encodings"],
        "decoder.positional_embedding": arrays["decoder/position_encodings/encodings"],
        "decoder.token_embedding.weight": arrays["decoder/embeddings/weight"],
        **_pair(arrays, "encoder/conv1", "encoder.conv1"),
        **_pair(arrays, "encoder/conv2", "encoder.conv2"),
        **_norm(arrays, "encoder/layer_norm", "encoder.ln_post"),
        **_norm(arrays, "decoder/layer_norm", "decoder.ln"),
    }
    for part, i in sorted({(m[1], m[2]) for m in map(LAYER.match, arrays) if m}):
        state |= _block(arrays, f"{part}/layer_{i}", f"{part}.blocks.{i}")
    return state


def dimensions(state: dict[str, Array]) -> dict[str, int]:
    """The arguments of openai-whisper's `ModelDimensions`, derived from the shapes of a state dict."""
    positions, width = state["encoder.positional_embedding"].shape
    return {
        "n_mels": state["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": positions,
        "n_audio_state": width,
        "n_audio_head": width // HEAD,
        "n_audio_layer": sum(bool(re.fullmatch(r"encoder\.blocks\.\d+\.attn_ln\.weight", name)) for name in state),
        "n_vocab": len(state["decoder.token_embedding.weight"]),
        "n_text_ctx": len(state["decoder.positional_embedding"]),
        "n_text_state": width,
        "n_text_head": width // HEAD,
        "n_text_layer": sum(bool(re.fullmatch(r"decoder\.blocks\.\d+\.attn_ln\.weight", name)) for name in state),
    }


def alignment_heads(config: Path) -> list[tuple[int, int]]:
    """(layer, head) of the cross-attention heads that align words with audio, read from config.json."""
    return [(layer, head) for layer, head in json.loads(config.read_text())["alignment_heads"]]


def _block(arrays: dict[str, Array], source: str, target: str) -> dict[str, Array]:
    """The state of one transformer layer. CTranslate2 fuses query, key and value; decoder layers also have cross-attention."""
    state = {
        **_attention(arrays, f"{source}/self_attention", f"{target}.attn"),
        **_norm(arrays, f"{source}/self_attention/layer_norm", f"{target}.attn_ln"),
        **_norm(arrays, f"{source}/ffn/layer_norm", f"{target}.mlp_ln"),
        **_pair(arrays, f"{source}/ffn/linear_0", f"{target}.mlp.0"),
        **_pair(arrays, f"{source}/ffn/linear_1", f"{target}.mlp.2"),
    }
    if f"{source}/attention/linear_0/weight" in arrays:
        state |= _attention(arrays, f"{source}/attention", f"{target}.cross_attn")
        state |= _norm(arrays, f"{source}/attention/layer_norm", f"{target}.cross_attn_ln")
    return state


def _attention(arrays: dict[str, Array], source: str, target: str) -> dict[str, Array]:
    """The state of one attention block. Self-attention is linear_0 (query, key, value) and linear_1 (out); cross-attention linear_0 (query), 1 (key, value), 2 (out)."""
    linears = [f"{source}/linear_{i}" for i in range(3) if f"{source}/linear_{i}/weight" in arrays]
    weight = np.concatenate([arrays[f"{name}/weight"] for name in linears])  # [query, key, value, out]
    bias = np.concatenate([arrays[f"{name}/bias"] for name in linears])
    state = {}
    for name, w, b in zip(("query", "key", "value", "out"), np.split(weight, 4), np.split(bias, 4), strict=True):
        state[f"{target}.{name}.weight"] = w
        if name != "key":  # Whisper's key has no bias; CTranslate2 stores zeros
            state[f"{target}.{name}.bias"] = b
    return state


def _pair(arrays: dict[str, Array], source: str, target: str) -> dict[str, Array]:
    return {f"{target}.{end}": arrays[f"{source}/{end}"] for end in ("weight", "bias")}


def _norm(arrays: dict[str, Array], source: str, target: str) -> dict[str, Array]:
    return {f"{target}.weight": arrays[f"{source}/gamma"], f"{target}.bias": arrays[f"{source}/beta"]}
