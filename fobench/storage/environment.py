"""The environment of a run, recorded with its results: machine, package versions and git commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("fobench", "numpy", "torch", "transformers", "openai-whisper", "faster-whisper", "ctranslate2", "onnxruntime"),
    *("piper-tts", "xllamacpp", "jiwer", "whisper-normalizer", "soundfile", "soxr", "speechmos"),
)
INSTRUCTION_SETS = (  # sets with specialized numeric kernels: a CPU without them can be half as fast
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2", "sme"),
)
ARM_NAMES = {"asimd": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "advsimd": "neon"}  # Linux names


@cache
def about() -> dict[str, Any]:
    """CPU and its instruction sets, cores, memory, operating system, GPU; nothing that identifies the machine or its user.

    The CPU name of a virtual machine may lack the generation; `cpu_model` and `instruction_sets` show it.
    """
    description = _cpu_description()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "cpu": cpu(description),
        "cpu_model": cpu_model(description),
        "instruction_sets": instruction_sets(description),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
    }


def describe(about: Mapping[str, Any]) -> str:
    """The machine `about` in words, as far as latencies depend on it; missing instruction sets are called unknown."""
    sets = about.get("instruction_sets")
    has = (
        ", ".join(map(str, sets)) or "no vector instructions" if isinstance(sets, list) else "instruction sets unknown"
    )
    model = f"{about['cpu_model']}: " if about.get("cpu_model") else ""
    cores = f", {about['cores']} cores" if about.get("cores") else ""
    gpu = f", {about['gpu']}" if about.get("gpu") else ""
    return f"{about.get('cpu') or 'CPU'} ({model}{has}){cores}{gpu}" if about else ""


def packages() -> dict[str, str]:
    """{name: version} of the installed packages that results depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def git(within: Path | None = None) -> dict[str, Any]:
    """Commit of a git checkout and whether it has changes; empty outside of one. Default: the checkout of fobench itself."""
    root = within or Path(__file__).parents[2]
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD") if within or (root / ".git").exists() else None
    if not commit:
        return {}
    return {"commit": commit, "dirty": bool(_output("git", "-C", str(root), "status", "--porcelain"))}


def cpu(description: str) -> str:
    """The CPU name in `description`, the text of /proc/cpuinfo or of macOS's sysctl."""
    return _field(description, r"model name|machdep\.cpu\.brand_string") or platform.processor()


def cpu_model(description: str) -> str | None:
    """The CPU model: family and model, or ARM implementer and part; None if unknown."""
    for names in (("cpu family", "model"), ("CPU implementer", "CPU part")):
        if numbers := [number for name in names if (number := _field(description, name))]:
            return "/".join(numbers)
    return None


def instruction_sets(description: str) -> list[str] | None:
    """Those of `INSTRUCTION_SETS` that the CPU supports; None if unknown."""
    words = (_field(description, r"flags|Features") or "").split()
    words += re.findall(r"^hw\.optional\.(?:arm\.FEAT_)?(\w+?)(?:_0)?: 1$", description, re.MULTILINE)
    names = {ARM_NAMES.get(word.lower(), word.lower()) for word in words}
    return [name for name in INSTRUCTION_SETS if name in names] if names else None


def _cpu_description() -> str:
    """The operating system's description of the CPU; empty if unavailable."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return _output("sysctl", "machdep.cpu", "hw.optional") or ""


def _field(text: str, name: str) -> str | None:
    """The value of the first line `name: value`."""
    found = re.search(rf"^(?:{name})\s*:[ \t]*(.*)$", text, re.MULTILINE)
    return found[1].strip() or None if found else None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.strip() or None
