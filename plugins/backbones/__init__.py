"""Built-in backbones (frozen LLMs): {name: factory}. Heavy imports happen inside the factories.

Common options: `device` ("auto", "cpu", "cuda", "cuda:1"), `dtype` ("auto": on every CPU "mixed" for weights of 16 bits or
less, else "float32", on a GPU "bfloat16"; "float32", "bfloat16", "float16"; on a CPU also "mixed": float32 weights with a
float16 copy for few rows, "int8", and "int4" for matrices that 4 bits represent without loss), `threads` (torch's threads;
None: torch's default), `generation` ("no-repeat-4": greedy, but no four tokens in a row twice in a reply; "greedy"),
`offline` (no network access).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fobench.api.hookspecs import Factories
from fobench.api.option_ranges import Threads, Tokens
from fobench.assets import hub, store
from fobench.assets.hub import GB, HubModel
from fobench.errors import PrerequisiteError
from fobench_plugins.backbones import catalog, loading
from fobench_plugins.backbones.generation import Generation
from fobench_plugins.backbones.loading import Dtype

GGUF_ASSETS = {  # name: asset
    "smollm2-135m": "smollm2-135m-gguf",
    "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-gguf",
}


def hf(
    target: str,
    *,
    device: str = "auto",
    dtype: Dtype = "auto",
    threads: Threads | None = None,
    generation: Generation = "no-repeat-4",
    offline: bool = False,
    revision: str = "main",
) -> Any:
    """A causal LLM with a chat template by transformers: a repository of the Hugging Face hub, or a local folder.

    `revision`: branch, tag or commit of the repository.
    """
    path = Path(target).expanduser()
    if path.is_dir() or target.startswith((".", "/", "~")):
        folder = hub.local(path)
    else:
        folder = _folder(HubModel(target, revision=revision), device, dtype, offline)
    return loading.backbone(
        folder, name=f"hf:{target}", device=device, dtype=dtype, threads=threads, generation=generation
    )


def gguf(
    target: str,
    *,
    device: str = "auto",
    dtype: Dtype = "auto",
    threads: Threads | None = None,
    generation: Generation = "no-repeat-4",
) -> Any:
    """An LLM from a GGUF file by transformers; converted to safetensors once and cached."""
    path = Path(target).expanduser()
    return loading.from_gguf(
        path, name=f"gguf:{path.name}", device=device, dtype=dtype, threads=threads, generation=generation
    )


def llama_cpp(
    target: str,
    *,
    threads: Threads | None = None,
    context: Tokens = 4096,
    generation: Generation = "no-repeat-4",
    offline: bool = False,
) -> Any:
    """An LLM from a GGUF file by llama.cpp, in the file's own quantization: a path, smollm2-135m or qwen2.5-coder-0.5b.

    `context`: positions of the KV cache that all conversations and forks share. Needs the extra "llamacpp".
    """
    try:
        from fobench_plugins.backbones.llamacpp import backbone
    except ImportError as error:
        raise PrerequisiteError(
            f"{error.name} is not installed. Install it (it is compiled for this CPU): pip install 'fobench[llamacpp]'"
        ) from error
    path = _gguf_path(target, offline) if target in GGUF_ASSETS else Path(target).expanduser()
    return backbone(path, name=f"llamacpp:{target}", threads=threads, context=context, generation=generation)


def _gguf_path(name: str, offline: bool) -> Path:
    folder = store.get(GGUF_ASSETS[name], offline=offline or None)
    return next(iter(sorted(folder.glob("*.gguf"))))


def _hub_backbone(name: str, weights: HubModel) -> Callable[..., Any]:
    def factory(
        *,
        device: str = "auto",
        dtype: Dtype = "auto",
        threads: Threads | None = None,
        generation: Generation = "no-repeat-4",
        offline: bool = False,
    ) -> Any:
        folder = _folder(weights, device, dtype, offline)
        return loading.backbone(folder, name=name, device=device, dtype=dtype, threads=threads, generation=generation)

    factory.__doc__ = f"{weights.repo} ({weights.parameters} B parameters, license: {weights.license})."
    return factory


def _from_asset(name: str) -> Callable[..., Any]:
    def factory(
        *,
        device: str = "auto",
        dtype: Dtype = "auto",
        threads: Threads | None = None,
        generation: Generation = "no-repeat-4",
        offline: bool = False,
    ) -> Any:
        path = _gguf_path(name, offline)
        return loading.from_gguf(path, name=name, device=device, dtype=dtype, threads=threads, generation=generation)

    factory.__doc__ = (
        f"The pinned GGUF file of the asset {GGUF_ASSETS[name]}, converted to safetensors once and cached."
    )
    return factory


def _folder(weights: HubModel, device: str, dtype: str, offline: bool) -> Path:
    missing = catalog.missing_device(device)
    if weights.parameters and not missing:
        on_cpu = device == "cpu" or (device == "auto" and not shutil.which("nvidia-smi"))
        bytes_per_parameter = loading.BYTES.get("mixed" if dtype == "auto" and on_cpu else dtype, 2)
        missing = catalog.missing_memory(weights.parameters * GB * bytes_per_parameter, device)
    return hub.folder(weights, offline=offline, lacks=missing)


FACTORIES: Factories = {
    **{name: _from_asset(name) for name in GGUF_ASSETS},
    **{name: _hub_backbone(name, weights) for name, weights in catalog.NAMES.items()},
    "hf:": hf,
    "gguf:": gguf,
    "llamacpp:": llama_cpp,
}
