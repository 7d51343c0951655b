"""GGUF files: read with errors that say what is wrong, and compared with the model that was made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fobench.assets import weight_files
from fobench.errors import FobenchError, first_line
from reference_model.checkpoint import tensor_checks

MAGIC = b"GGUF"
CHAT_TEMPLATE = "tokenizer.chat_template"
ONE_TO_ONE = ("TensorProcessor", "LlamaTensorProcessor")  # conversions of transformers that merge no tensors
NOT_WEIGHTS = ("rope_freqs.weight",)  # a table that follows from the configuration


def check_start(path: Path) -> None:
    """Raises FobenchError if `path` is no file, or does not begin as a GGUF file."""
    if not path.is_file():
        raise FobenchError(f"There is no file {path}.")
    try:
        reason = weight_files.defect(path)
        with path.open("rb") as file:
            if not reason and file.read(len(MAGIC)) != MAGIC:
                reason = "it does not begin with the letters GGUF"
    except OSError as error:
        reason = str(error)
    if reason:
        raise FobenchError(f"{path} is not a GGUF file: {reason}.")


def read(path: Path) -> Any:
    """The `gguf.GGUFReader` of a file whose tensors are all there.

    Raises FobenchError for a broken or truncated file, and for one without a chat template.
    """
    from gguf import GGUFReader

    check_start(path)
    try:
        reader = GGUFReader(path)
        end = max((int(tensor.data_offset) + int(tensor.n_bytes) for tensor in reader.tensors), default=0)
        if not reader.tensors or "general.architecture" not in reader.fields:
            raise ValueError("it holds no model")
        if end > path.stat().st_size:
            raise ValueError(f"it has {path.stat().st_size:,} bytes of {end:,}")
    except Exception as error:  # the reader raises many types for broken files
        cut = "reshape" in str(error)  # of the bytes of a tensor, which are too few
        reason = "it ends before its last tensor" if cut else first_line(error)
        raise FobenchError(f"{path} is not a complete GGUF file: {reason}. {weight_files.REFETCH}") from error
    if CHAT_TEMPLATE not in reader.fields:
        raise FobenchError(
            f"{path} has no chat template, which a conversation needs: it is a base model, or was converted without. "
            "Use the file of an instruct variant."
        )
    return reader


def check_fits(reader: Any, model: Any, path: Path) -> None:
    """Raises FobenchError naming the tensors of the file that a model of transformers, made for it, does not use, or that
    have another size in it. The model may be on the meta device.
    """
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    architecture = reader.fields["general.architecture"].contents()
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=model.config.to_dict())
    names, needed = get_gguf_hf_weights_map(model, processor), model.state_dict()
    extra = [tensor.name for tensor in reader.tensors if tensor.name not in {*names, *NOT_WEIGHTS}]
    shapes = {}
    for tensor in reader.tensors if type(processor).__name__ in ONE_TO_ONE else ():
        wanted = needed.get(names.get(tensor.name, ""))
        if wanted is not None and wanted.numel() != int(tensor.n_elements):
            shapes[tensor.name] = ([int(size) for size in reversed(tensor.shape)], wanted.shape)
    if problem := tensor_checks.misfit((), extra, shapes):
        raise FobenchError(f"{path} does not fit {type(model).__name__}: it {problem}. {weight_files.REFETCH}")
