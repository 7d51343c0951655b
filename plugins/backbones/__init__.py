"""Built-in backbones: {name: factory}. Heavy imports happen inside the factories.

Options of every one: `device` ("auto", "cpu", "cuda", "cuda:1"), `dtype` ("auto", "float32", "bfloat16", "float16"; on a CPU also
"mixed": float32 with a float16 copy for few rows, "int8", and "int4" for matrices that 4 bits hold without loss), `threads` (of
torch; None: as the environment says), `offline` (never ask a hub or index).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fobench.api.hookspecs import Factories
from fobench.assets import hub as places
from fobench.assets import store
from fobench.assets.hub import GB, HubModel
from fobench.errors import PrerequisiteError
from fobench_plugins.backbones import catalog, loading
from fobench_plugins.backbones.loading import Dtype

GGUF = {  # name: asset
    "smollm2-135m": "smollm2-135m-gguf",
    "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-gguf",
}


def hf(
    target: str,
    *,
    device: str = "auto",
    dtype: Dtype = "auto",
    threads: int | None = None,
    offline: bool = False,
    revision: str = "main",
) -> Any:
    """`hf:` any causal model with a chat template: a repository of the hub, or a local folder."""
    path = Path(target).expanduser()
    if path.is_dir() or target.startswith((".", "/", "~")):
        folder = places.local(path)
    else:
        folder = _folder(HubModel(target, revision=revision), device, dtype, offline)
    return loading.backbone(folder, name=f"hf:{target}", device=device, dtype=dtype, threads=threads)


def gguf(target: str, *, device: str = "auto", dtype: Dtype = "auto", threads: int | None = None) -> Any:
    """`gguf:` a GGUF file, converted to safetensors once."""
    path = Path(target).expanduser()
    return loading.from_gguf(path, name=f"gguf:{path.name}", device=device, dtype=dtype, threads=threads)


def llama_cpp(target: str, *, threads: int | None = None, context: int = 4096, offline: bool = False) -> Any:
    """`llamacpp:` a GGUF file run by llama.cpp, from its own few bits (extra "llamacpp"): a path, smollm2-135m or qwen2.5-coder-0.5b.

    `context`: positions of the cache that all conversations and forks share.
    """
    try:
        from fobench_plugins.backbones.llamacpp import backbone
    except ImportError as error:
        raise PrerequisiteError(
            f"{error.name} is not installed. Get it (it is built for this CPU): pip install 'fobench[llamacpp]'"
        ) from error
    path = _gguf_of(target, offline) if target in GGUF else Path(target).expanduser()
    return backbone(path, name=f"llamacpp:{target}", threads=threads, context=context)


def _gguf_of(name: str, offline: bool) -> Path:
    folder = store.get(GGUF[name], offline=offline or None)
    return next(iter(sorted(folder.glob("*.gguf"))))


def _named(name: str, weights: HubModel) -> Callable[..., Any]:
    def factory(
        *, device: str = "auto", dtype: Dtype = "auto", threads: int | None = None, offline: bool = False
    ) -> Any:
        folder = _folder(weights, device, dtype, offline)
        return loading.backbone(folder, name=name, device=device, dtype=dtype, threads=threads)

    factory.__doc__ = f"{weights.repo} ({weights.parameters} G parameters, {weights.licence})."
    return factory


def _from_asset(name: str) -> Callable[..., Any]:
    def factory(
        *, device: str = "auto", dtype: Dtype = "auto", threads: int | None = None, offline: bool = False
    ) -> Any:
        return loading.from_gguf(_gguf_of(name, offline), name=name, device=device, dtype=dtype, threads=threads)

    factory.__doc__ = f"The pinned GGUF file of the asset {GGUF[name]}, converted to safetensors once."
    return factory


def _folder(weights: HubModel, device: str, dtype: str, offline: bool) -> Path:
    lacks = catalog.device_lack(device)
    if weights.parameters and not lacks:
        bytes_each = loading.BYTES.get(dtype, 2)
        lacks = catalog.memory_lack(weights.parameters * GB * bytes_each, device)
    return places.folder(weights, offline=offline, lacks=lacks)


FACTORIES: Factories = {
    **{name: _from_asset(name) for name in GGUF},
    **{name: _named(name, weights) for name, weights in catalog.NAMES.items()},
    "hf:": hf,
    "gguf:": gguf,
    "llamacpp:": llama_cpp,
}
