"""From weights to a backbone: device, dtype, threads, and the one-off conversion of GGUF files."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fobench.assets import store
from fobench.errors import FobenchError, PrerequisiteError
from fobench_plugins.backbones import catalog
from fobench_plugins.devices import usable

if TYPE_CHECKING:
    from fobench_plugins.backbones.cpu.quantized_linear import Form
    from fobench_plugins.backbones.transformers_backbone import CausalBackbone

Dtype = Literal["auto", "float32", "bfloat16", "float16", "mixed", "int8", "int4"]
BYTES = {
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "mixed": 6,
    "int8": 3,
    "int4": 2.6,
}  # a parameter; the narrow forms keep the dense one
NARROW = ("mixed", "int8", "int4")  # forms for few rows: on a CPU, by the packed decoder


def backbone(
    folder: Path, *, name: str, device: str, dtype: Dtype, threads: int | None, quantised: bool = False
) -> CausalBackbone:
    """The model in `folder` (transformers' layout, safetensors), frozen, on `device`.

    `quantised`: its weights came from 4 bits, so that "auto" can hold them in few bits again without loss.
    Raises PrerequisiteError for a missing package, GPU or memory, FobenchError for options that do not go together.
    """
    if lacks := catalog.device_lack(device):
        raise PrerequisiteError("\n".join(lacks))
    torch, transformers = libraries()
    if threads is not None:
        torch.set_num_threads(threads)
    device, asked = usable(device), dtype
    stored = _stored_bytes(folder)
    dtype = _dtype(torch, device, dtype, quantised, stored)
    parameters = catalog.file_bytes(folder) / stored
    if asked == "auto" and dtype == "mixed" and catalog.memory_lack(parameters * BYTES[dtype], device):
        dtype = "float32"
    if lacks := catalog.memory_lack(parameters * BYTES[dtype], device):
        raise PrerequisiteError(f"{name} cannot run here.\n" + "\n".join(lacks))
    if dtype == "mixed":
        libraries("numba")
    from fobench_plugins.backbones.transformers_backbone import CausalBackbone

    held = {"mixed": "float32", "int8": "bfloat16", "int4": "bfloat16"}.get(dtype, dtype)
    placed = {} if device == "cpu" else {"device_map": {"": device}}
    safe = {"local_files_only": True, "trust_remote_code": False}
    with _quiet(transformers):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, held), use_safetensors=True, **safe, **placed
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safe)
    return CausalBackbone(model, tokenizer, name=name, form=_form(model, name, dtype, asked))


def from_gguf(path: Path, **options: Any) -> CausalBackbone:
    """The model in a GGUF file, converted to safetensors once (about 25 s for 135 M parameters) and kept."""
    if not path.is_file():
        raise FobenchError(f"There is no file {path}.")
    folder = store.converted(f"{slug(path)}-hf1", path, lambda into: _convert(path, into))
    return backbone(folder, quantised=True, **options)


def slug(path: Path) -> str:
    """The file's name, as it may stand in that of a conversion."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._") or "model"


def _convert(path: Path, into: Path) -> None:
    """Writes the de-quantised model, float32, and its tokenizer as transformers saves them."""
    torch, transformers = libraries("gguf")
    source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name, "local_files_only": True}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise FobenchError(f"{path.name} cannot be converted: {error}") from error
    del model.config.quantization_config  # else save_pretrained refuses: the weights are no longer quantised
    model.hf_quantizer = None
    model.save_pretrained(into)
    tokenizer.save_pretrained(into)
    del model
    gc.collect()


def libraries(*further: str) -> tuple[Any, Any]:
    try:
        import torch
        import transformers

        for name in further:
            __import__(name)
    except ImportError as error:
        raise PrerequisiteError(f"{error.name} is not installed. Get it: pip install 'fobench[models]'") from error
    return torch, transformers


def _dtype(torch: Any, device: str, dtype: Dtype, quantised: bool, stored: int) -> Dtype:
    """The dtype itself. "auto": the fastest form for this CPU or GPU whose replies stay near those of float32.

    SmolLM2, 48 questions, greedy: 1 reply differs in mixed, 15 in bfloat16.

    `stored`: bytes a parameter in the files; of two, float16 holds them, and bfloat16 as well but for what is below 1e-5.
    """
    if dtype in NARROW and device != "cpu":
        raise FobenchError(f"--dtype {dtype} is for the CPU; on {device} use bfloat16.")
    if dtype != "auto":
        return dtype
    if device == "cpu":
        if torch.cpu._is_avx512_bf16_supported():
            return "int4" if quantised else "bfloat16"
        return "mixed" if quantised or stored <= 2 else "float32"
    return "bfloat16" if not device.startswith("cuda") or torch.cuda.is_bf16_supported() else "float16"


def _form(model: Any, name: str, dtype: Dtype, asked: Dtype) -> Form | None:
    """Of the narrow forms. Raises FobenchError where one is asked for and this architecture is not written for it."""
    from fobench_plugins.backbones.cpu.packed_decoder import ARCHITECTURES, PackedDecoder

    if dtype not in NARROW:
        return None
    if PackedDecoder.fits(model):
        return dtype
    if asked == "auto":
        return None
    raise FobenchError(
        f"Backbone {name!r} is a {type(model).__name__}; --dtype {dtype} is for {', '.join(ARCHITECTURES)} without a "
        "sliding window. Use bfloat16."
    )


def _stored_bytes(folder: Path) -> int:
    """Bytes a parameter in the folder's files, from the first one's header."""
    from safetensors import safe_open

    with safe_open(next(iter(sorted(folder.glob("*.safetensors")))), "np") as file:
        kind = file.get_slice(next(iter(file.keys()))).get_dtype()
    return {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}.get(kind, 1)


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bar: loading from a local disk takes a second a gigabyte."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
