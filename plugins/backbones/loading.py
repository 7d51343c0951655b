"""Loading of backbones: device, dtype, threads, and the conversion of GGUF files."""

from __future__ import annotations

import contextlib
import gc
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fobench import compute_threads
from fobench.assets import store, weight_files
from fobench.errors import FobenchError, PrerequisiteError, first_line
from fobench_plugins import transformers_weights
from fobench_plugins.backbones import catalog, gguf_file
from fobench_plugins.backbones.generation import Generation
from fobench_plugins.devices import usable

if TYPE_CHECKING:
    from fobench_plugins.backbones.transformers_backbone import CausalBackbone

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}  # per parameter


def backbone(
    folder: Path,
    *,
    name: str,
    device: str,
    dtype: Dtype,
    threads: int | None,
    generation: Generation = "no-repeat-4",
) -> CausalBackbone:
    """The model in `folder` (transformers' layout, safetensors), frozen, on `device`.

    Raises PrerequisiteError for a missing package, GPU or memory, FobenchError for incompatible options.
    """
    if missing := catalog.missing_device(device):
        raise PrerequisiteError("\n".join(missing))
    torch, transformers = libraries()
    device = usable(device)
    dtype = _dtype(torch, device, dtype)
    parameters = catalog.file_bytes(folder) / _bytes_per_parameter(folder)
    if missing := catalog.missing_memory(parameters * BYTES[dtype], device):
        raise PrerequisiteError(f"{name} cannot run here.\n" + "\n".join(missing))
    compute_threads.settle_torch(torch, threads, parameters)
    from fobench_plugins.backbones.transformers_backbone import CausalBackbone

    placement = {} if device == "cpu" else {"device_map": {"": device}}
    tokenizer = load_tokenizer(folder, name)
    model = transformers_weights.load(
        transformers.AutoModelForCausalLM, folder, name, dtype=getattr(torch, dtype), **placement
    )
    found = CausalBackbone(model, tokenizer, name=name)
    found.generation = generation
    found.check_chat()
    return found


def load_tokenizer(folder: Path, name: str) -> Any:
    """The tokenizer in `folder`. Raises FobenchError if it cannot be loaded or has no chat template."""
    import transformers

    from fobench_plugins.backbones.chat_template import no_chat_template

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of any type, by the many formats of tokenizers
        reason = first_line(error)
        raise FobenchError(f"The tokenizer of {name} cannot be loaded: {reason}. {weight_files.REFETCH}") from error
    if not getattr(tokenizer, "chat_template", None):
        raise FobenchError(no_chat_template(name))
    return tokenizer


def from_gguf(path: Path, *, name: str, **options: Any) -> CausalBackbone:
    """The model of a GGUF file, converted to safetensors once (about 25 s for 135 M parameters) and cached.

    Raises FobenchError for a file that is broken, has no chat template, or whose tensors do not fit its architecture.
    """
    gguf_file.check_start(path)
    folder = store.converted(f"{slug(path)}-hf1", path, lambda target: _convert(path, target))
    return backbone(folder, name=name, **options)


def slug(path: Path) -> str:
    """The file's name, reduced to the characters allowed in the name of a conversion."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._") or "model"


def _convert(path: Path, target: Path) -> None:
    """Writes the dequantized model (float32) and its tokenizer in the layout of transformers."""
    torch, transformers = libraries("gguf")
    reader = gguf_file.read(path)
    source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    auto_class = transformers.AutoModelForCausalLM
    try:
        model = transformers_weights.load_checked(auto_class, path.name, dtype=torch.float32, **source)
    except FobenchError:  # in terms of transformers: first those of the file, if they tell
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError), torch.device("meta"):
            config = transformers.AutoConfig.from_pretrained(**source, local_files_only=True)
            gguf_file.check_fits(reader, auto_class.from_config(config), path)
        raise
    gguf_file.check_fits(reader, model, path)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source, local_files_only=True)
    except Exception as error:  # of any type, by the many formats of tokenizers
        raise FobenchError(f"{path.name} cannot be converted: {first_line(error)}.") from error
    del model.config.quantization_config  # save_pretrained refuses otherwise, and the weights are no longer quantized
    model.hf_quantizer = None
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    del model
    gc.collect()


def libraries(*extra_packages: str) -> tuple[Any, Any]:
    """(torch, transformers). Raises PrerequisiteError if they or one of `extra_packages` are not installed."""
    try:
        import torch
        import transformers

        for name in extra_packages:
            __import__(name)
    except ImportError as error:
        raise PrerequisiteError(f"{error.name} is not installed. Get it: pip install 'fobench[models]'") from error
    return torch, transformers


def _dtype(torch: Any, device: str, dtype: Dtype) -> Dtype:
    """The dtype, with "auto" resolved: float32 on every CPU, so that replies do not depend on the machine."""
    if dtype != "auto":
        return dtype
    if device == "cpu":
        return "float32"
    return "bfloat16" if not device.startswith("cuda") or torch.cuda.is_bf16_supported() else "float16"


def _bytes_per_parameter(folder: Path) -> int:
    """Bytes per parameter in the folder's files, from the header of the first one."""
    header = weight_files.safetensors_header(next(iter(sorted(folder.glob("*.safetensors")))))
    kind = next(iter(header.values()), ("F32", ()))[0]
    return {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}.get(kind, 1)
