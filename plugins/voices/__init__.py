"""Built-in voices: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from typing import Any

from fobench import assets
from fobench.hookspecs import Factories


def piper(noise: float = 0.0, length: float = 1.0, threads: int | None = None) -> Any:
    """Piper en_US-joe-medium, 22.05 kHz. `noise` 0 is deterministic; `length`: more is slower speech."""
    from fobench_plugins.voices.piper import Piper

    return Piper(next(assets.get("piper-joe-medium").glob("*.onnx")), noise=noise, length=length, threads=threads)


def kokoro(speed: float = 1.0, threads: int | None = None) -> Any:
    """Kokoro-82M, 24 kHz: five speakers and mixtures of them, e.g. a+b:0.3."""
    from fobench_plugins.voices.kokoro import Kokoro

    return Kokoro(assets.get("kokoro-82m-int8"), speed=speed, threads=threads)


FACTORIES: Factories = {"piper": piper, "kokoro": kokoro}
