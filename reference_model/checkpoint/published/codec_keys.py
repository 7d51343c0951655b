"""The keys of the published codec/final.pt: the codec (`reference_model.codec.ticodec.TiCodec`).

The file has one dict of tensors for each of `ENTRIES`; a key here is the entry, a dot, and the key in that dict, after
`fuse_weight_norm`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from fobench.errors import FobenchError

ENTRIES = ("generator", "quantizer", "encoder")
STAGES, BLOCKS = 4, 3  # of the generator and of the encoder; the file numbers the blocks consecutively


def _blocks() -> Iterator[tuple[str, str]]:
    for number in range(STAGES * BLOCKS):
        stage, block = divmod(number, BLOCKS)
        theirs, ours = rf"(generator|encoder)\.resblocks\.{number}", rf"\1.stages.{stage}.blocks.{block}"
        yield rf"{theirs}\.convs1\.(.+)", rf"{ours}.dilated.\2"
        yield rf"{theirs}\.convs2\.(.+)", rf"{ours}.plain.\2"
        yield rf"encoder\.normalize\.{number}\.(.+)", rf"encoder.stages.{stage}.norms.{block}.\1"


RENAMES: tuple[tuple[str, str], ...] = (
    (r"(generator|encoder)\.conv_(pre|post)\.(.+)", r"\1.\2.\3"),
    (r"generator\.ups\.(\d+)\.(.+)", r"generator.stages.\1.up.\2"),
    (r"encoder\.ups\.(\d+)\.(.+)", r"encoder.stages.\1.down.\2"),
    *_blocks(),
    (r"encoder\.GlobalTokenEncoder\.conv\.0\.(.+)", r"encoder.voice.convs.0.\1"),
    (r"encoder\.GlobalTokenEncoder\.conv\.2\.(.+)", r"encoder.voice.convs.1.\1"),
    (r"encoder\.GlobalTokenEncoder\.conv\.4\.(.+)", r"encoder.voice.convs.2.\1"),
    (r"encoder\.GlobalTokenEncoder\.fn\.0\.(.+)", r"encoder.voice.linear.\1"),
    (r"encoder\.GlobalTokenEncoder\.fn\.2\.(.+)", r"encoder.voice.norm.\1"),
    (r"quantizer\.quantizer_modules\.0\.embedding\.(.+)", r"quantizer.local.\1"),
    (r"quantizer\.quantizer_modules_globaltokens\.(\d+)\.embedding\.(.+)", r"quantizer.voices.\1.\2"),
)

UNUSED: tuple[str, ...] = (r"encoder\.linear\..+",)  # a layer that is never called
WITHOUT_ENCODER: tuple[str, ...] = (r"encoder\..+",)  # unused, too, in a codec without the encoder


def fuse_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace every pair `X.weight_g`, `X.weight_v` by `X.weight` = g * v / |v|, the norm over all axes but the first.

    Other tensors are unchanged. Raises FobenchError for an incomplete pair.
    """
    plain = {key: value for key, value in tensors.items() if not key.endswith((".weight_g", ".weight_v"))}
    stems = {key[: -len("_g")] for key in tensors.keys() - plain.keys()}
    if alone := sorted(stem for stem in stems if not {f"{stem}_g", f"{stem}_v"} <= tensors.keys()):
        raise FobenchError(
            f"The codec's weight norm is incomplete: one of weight_g and weight_v is missing of {alone[0]}."
        )
    return plain | {stem: _weight(stem, tensors[stem + "_g"], tensors[stem + "_v"]) for stem in sorted(stems)}


def _weight(stem: str, g: Tensor, v: Tensor) -> Tensor:
    needed = [len(v) if v.dim() else 0, *[1] * (v.dim() - 1)]
    if list(g.shape) != needed:
        raise FobenchError(f"The codec's {stem}_g has the shape {list(g.shape)}; {stem}_v needs {needed}.")
    return g * v / v.flatten(1).norm(dim=1).view(-1, *[1] * (v.dim() - 1))  # [O, I, K]
