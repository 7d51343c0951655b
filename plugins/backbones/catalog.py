"""Named LLMs on the Hugging Face hub, and checks of GPU and memory that run before torch is imported."""

from __future__ import annotations

import shutil
from pathlib import Path

from fobench.assets.hub import GB, HubModel

HEADROOM = 1.2  # factor on the weights for KV cache and activations

LLAMA_32 = "Llama 3.2 Community License"
GEMMA = "Gemma Terms of Use"
NAMES = {
    "qwen2-0.5b": HubModel("Qwen/Qwen2-0.5B-Instruct", 0.49, "Apache-2.0"),
    "qwen2-1.5b": HubModel("Qwen/Qwen2-1.5B-Instruct", 1.54, "Apache-2.0"),
    "qwen2-7b": HubModel("Qwen/Qwen2-7B-Instruct", 7.62, "Apache-2.0"),
    "qwen2.5-0.5b": HubModel("Qwen/Qwen2.5-0.5B-Instruct", 0.49, "Apache-2.0"),
    "qwen2.5-1.5b": HubModel("Qwen/Qwen2.5-1.5B-Instruct", 1.54, "Apache-2.0"),
    "qwen2.5-3b": HubModel("Qwen/Qwen2.5-3B-Instruct", 3.09, "Qwen Research License, non-commercial"),
    "qwen2.5-7b": HubModel("Qwen/Qwen2.5-7B-Instruct", 7.62, "Apache-2.0"),
    "qwen3-0.6b": HubModel("Qwen/Qwen3-0.6B", 0.6, "Apache-2.0"),
    "qwen3-1.7b": HubModel("Qwen/Qwen3-1.7B", 1.72, "Apache-2.0"),
    "qwen3-4b": HubModel("Qwen/Qwen3-4B", 4.02, "Apache-2.0"),
    "qwen3-8b": HubModel("Qwen/Qwen3-8B", 8.19, "Apache-2.0"),
    "llama-3-8b": HubModel("meta-llama/Meta-Llama-3-8B-Instruct", 8.03, "Llama 3 Community License", gated=True),
    "llama-3.1-8b": HubModel("meta-llama/Llama-3.1-8B-Instruct", 8.03, "Llama 3.1 Community License", gated=True),
    "llama-3.2-1b": HubModel("meta-llama/Llama-3.2-1B-Instruct", 1.24, LLAMA_32, gated=True),
    "llama-3.2-3b": HubModel("meta-llama/Llama-3.2-3B-Instruct", 3.21, LLAMA_32, gated=True),
    "smollm2-360m": HubModel("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36, "Apache-2.0"),
    "smollm2-1.7b": HubModel("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.71, "Apache-2.0"),
    "smollm3-3b": HubModel("HuggingFaceTB/SmolLM3-3B", 3.08, "Apache-2.0"),
    "gemma-3-270m": HubModel("google/gemma-3-270m-it", 0.27, GEMMA, gated=True),
    "gemma-3-1b": HubModel("google/gemma-3-1b-it", 1.0, GEMMA, gated=True),
    "mistral-7b": HubModel("mistralai/Mistral-7B-Instruct-v0.3", 7.25, "Apache-2.0"),
    "phi-3.5-mini": HubModel("microsoft/Phi-3.5-mini-instruct", 3.82, "MIT"),
    "phi-4-mini": HubModel("microsoft/Phi-4-mini-instruct", 3.84, "MIT"),
}


def file_bytes(path: Path) -> int:
    """Total size of the safetensors files of a folder."""
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def missing_memory(needed: float, device: str) -> list[str]:
    """A message if `needed` bytes of weights do not fit, in RAM for "cpu" (and "auto" without a GPU), else in GPU
    memory; else [].
    """
    needed *= HEADROOM
    free, memory_kind = _free_memory(device)
    if free is None or free >= needed:
        return []
    advice = (
        "Use a smaller backbone, --dtype bfloat16, a GGUF file (gguf:PATH), or another machine."
        if memory_kind == "RAM"
        else "Free some, or use --device cpu."
    )
    return [f"{memory_kind}: needs about {needed / GB:.1f} GB, {free / GB:.1f} GB are free. {advice}"]


def missing_device(device: str) -> list[str]:
    """A message if a GPU is requested and not available; else []."""
    if not device.startswith("cuda") or shutil.which("nvidia-smi"):
        return []
    import torch

    return (
        []
        if torch.cuda.is_available()
        else [f"GPU: device {device} is requested and no CUDA device is visible. Use --device cpu."]
    )


def _free_memory(device: str) -> tuple[int | None, str]:
    """(free bytes or None if unknown, kind of memory); torch is imported only where there may be a GPU."""
    if device.startswith("cuda") or (device == "auto" and shutil.which("nvidia-smi")):
        import torch

        if torch.cuda.is_available():
            return torch.cuda.mem_get_info(None if device == "auto" else device)[0], "GPU memory"
    if device not in ("auto", "cpu"):
        return None, device
    import psutil

    return psutil.virtual_memory().available, "RAM"
