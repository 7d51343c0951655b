"""The machine and the packages of a run, as recorded with each result."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("fobench", "numpy", "torch", "transformers", "openai-whisper", "faster-whisper", "ctranslate2", "onnxruntime"),
    *("piper-tts", "jiwer", "whisper-normalizer", "soundfile", "soxr", "speechmos"),
)


@cache
def about() -> dict[str, Any]:
    """CPU, cores, memory, operating system and GPU; nothing that names the machine or its user."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
    }


def packages() -> dict[str, str]:
    """Versions of the packages that results depend on, where installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git(within: Path | None = None) -> dict[str, Any]:
    """Commit of a checkout, and whether it has changes; empty where there is none. Default: the one that fobench runs from."""
    root = within or Path(__file__).parents[1]
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD") if within or (root / ".git").exists() else None
    if not commit:
        return {}
    return {"commit": commit, "dirty": bool(_output("git", "-C", str(root), "status", "--porcelain"))}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.strip() or None
