"""Built-in backbones (frozen LLMs): {name: factory}. Heavy imports happen inside the factories.

Common options: `device` ("auto", "cpu", "cuda", "cuda:1"), `dtype` of torch ("auto": "float32" on a CPU, "bfloat16" on a GPU;
"float32", "bfloat16", "float16"), `threads` (CPU threads; None: OMP_NUM_THREADS, else one, and from 0.5 B parameters on all
cores), `generation` ("no-repeat-4": greedy, but no four tokens in a row twice in a reply; "greedy"), `offline` (no network
access).

GGUF files also have `engine`: "llamacpp" computes on the CPU in the file's own quantization; "torch" converts the file to
safetensors once (needs minutes and 4 bytes per parameter on disk), runs on GPUs, and gives gradients. "auto" is llamacpp on a
CPU where it is installed and no `dtype` is given, else torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fobench.api.hookspecs import Factories
from fobench.api.option_ranges import Threads
from fobench.assets import hub, store
from fobench.assets.hub import GB, HubModel
from fobench.errors import FobenchError
from fobench_plugins.backbones import catalog, llama_library, loading
from fobench_plugins.backbones.generation import Generation
from fobench_plugins.backbones.loading import Dtype

Engine = Literal["auto", "llamacpp", "torch"]

GGUF_ASSETS = {  # name: asset
    "smollm2-135m": "smollm2-135m-gguf",
    "qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-gguf",
    "qwen2.5-coder-1.5b": "qwen2.5-coder-1.5b-gguf",
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
    engine: Engine = "auto",
    device: str = "auto",
    dtype: Dtype = "auto",
    threads: Threads | None = None,
    generation: Generation = "no-repeat-4",
) -> Any:
    """An LLM from a GGUF file, by llama.cpp or torch (`engine`)."""
    path = Path(target).expanduser()
    return _from_gguf(path, f"gguf:{path.name}", engine, device, dtype, threads=threads, generation=generation)


def _from_gguf(path: Path, name: str, engine: Engine, device: str, dtype: Dtype, **options: Any) -> Any:
    """The model of a GGUF file by the engine for these options."""
    if engine == "llamacpp" and device not in ("auto", "cpu"):
        raise FobenchError(f"The engine llamacpp runs on the CPU, not on {device}. Use engine=torch, or --device cpu.")
    if engine == "llamacpp" and dtype != "auto":
        raise FobenchError(
            f"The engine llamacpp computes in the file's own quantization, not in {dtype}. Use engine=torch, or leave "
            "--dtype out."
        )
    if engine == "llamacpp" or (engine == "auto" and dtype == "auto" and _llamacpp_serves(device)):
        from fobench_plugins.backbones import llamacpp

        try:
            return llamacpp.backbone(path, name=name, **options)
        except llamacpp.UnsupportedArchitecture:
            if engine == "llamacpp":
                raise
    return loading.from_gguf(path, name=name, device=device, dtype=dtype, **options)


def _llamacpp_serves(device: str) -> bool:
    """Whether llama.cpp is installed, and `device` means a CPU."""
    if device not in ("auto", "cpu") or not llama_library.installed():
        return False
    torch, _ = loading.libraries()
    return device == "cpu" or not torch.cuda.is_available()


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
        engine: Engine = "auto",
        device: str = "auto",
        dtype: Dtype = "auto",
        threads: Threads | None = None,
        generation: Generation = "no-repeat-4",
        offline: bool = False,
    ) -> Any:
        path = next(iter(sorted(store.get(GGUF_ASSETS[name], offline=offline or None).glob("*.gguf"))))
        return _from_gguf(path, name, engine, device, dtype, threads=threads, generation=generation)

    factory.__doc__ = f"The pinned GGUF file of the asset {GGUF_ASSETS[name]}, by llama.cpp or torch (`engine`)."
    return factory


def _folder(weights: HubModel, device: str, dtype: str, offline: bool) -> Path:
    missing = catalog.missing_device(device)
    if weights.parameters and not missing:
        on_cpu = device == "cpu" or (device == "auto" and not shutil.which("nvidia-smi"))
        bytes_per_parameter = loading.BYTES.get("float32" if dtype == "auto" and on_cpu else dtype, 2)
        missing = catalog.missing_memory(weights.parameters * GB * bytes_per_parameter, device)
    return hub.folder(weights, offline=offline, lacks=missing)


FACTORIES: Factories = {
    **{name: _from_asset(name) for name in GGUF_ASSETS},
    **{name: _hub_backbone(name, weights) for name, weights in catalog.NAMES.items()},
    "hf:": hf,
    "gguf:": gguf,
}
