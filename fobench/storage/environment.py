"""The machine and the packages of a run, as recorded with each result."""

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
    *("piper-tts", "jiwer", "whisper-normalizer", "soundfile", "soxr", "speechmos"),
)
INSTRUCTION_SETS = (  # those that numeric kernels have paths of their own for: a CPU without them can take twice the time
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2", "sme"),
)
ARM_NAMES = {"asimd": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "advsimd": "neon"}  # as kernels write them


@cache
def about() -> dict[str, Any]:
    """CPU and its instruction sets, cores, memory, operating system, GPU; nothing that names the machine or its user.

    A virtual machine's CPU may be called "AMD EPYC", whatever its generation: `cpu_model` and `instruction_sets` tell that.
    """
    described = _described()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "cpu": cpu(described),
        "cpu_model": cpu_model(described),
        "instruction_sets": instruction_sets(described),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
    }


def told(about: Mapping[str, Any]) -> str:
    """What of `about` times depend on, in words; what it does not record is said to be unknown."""
    sets = about.get("instruction_sets")
    has = (
        ", ".join(map(str, sets)) or "no vector instructions" if isinstance(sets, list) else "instruction sets unknown"
    )
    model = f"{about['cpu_model']}: " if about.get("cpu_model") else ""
    cores = f", {about['cores']} cores" if about.get("cores") else ""
    gpu = f", {about['gpu']}" if about.get("gpu") else ""
    return f"{about.get('cpu') or 'CPU'} ({model}{has}){cores}{gpu}" if about else ""


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
    root = within or Path(__file__).parents[2]
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD") if within or (root / ".git").exists() else None
    if not commit:
        return {}
    return {"commit": commit, "dirty": bool(_output("git", "-C", str(root), "status", "--porcelain"))}


def cpu(described: str) -> str:
    """The CPU's name in `described`, the text of /proc/cpuinfo or of macOS's sysctl."""
    return _line(described, r"model name|machdep\.cpu\.brand_string") or platform.processor()


def cpu_model(described: str) -> str | None:
    """Which CPU of that name it is: family and model, or ARM's implementer and part; None where it is not told."""
    for names in (("cpu family", "model"), ("CPU implementer", "CPU part")):
        if numbers := [number for name in names if (number := _line(described, name))]:
            return "/".join(numbers)
    return None


def instruction_sets(described: str) -> list[str] | None:
    """Those of `INSTRUCTION_SETS` that the CPU has; None where it is not told."""
    words = (_line(described, r"flags|Features") or "").split()
    words += re.findall(r"^hw\.optional\.(?:arm\.FEAT_)?(\w+?)(?:_0)?: 1$", described, re.MULTILINE)
    names = {ARM_NAMES.get(word.lower(), word.lower()) for word in words}
    return [name for name in INSTRUCTION_SETS if name in names] if names else None


def _described() -> str:
    """What the operating system says of the CPU; empty where nobody says anything."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return _output("sysctl", "machdep.cpu", "hw.optional") or ""


def _line(text: str, name: str) -> str | None:
    """The value of the first line `name: value`."""
    found = re.search(rf"^(?:{name})\s*:[ \t]*(.*)$", text, re.MULTILINE)
    return found[1].strip() or None if found else None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.strip() or None
