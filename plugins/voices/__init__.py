"""Built-in voices: {name: factory}. Heavy imports happen inside the factories.

`threads`: of the computation; None: all cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fobench.api.hookspecs import Factories
from fobench.assets import store
from fobench.errors import FobenchError


def piper(
    *,
    model: str = "joe",
    noise_scale: float = 0.0,
    noise_w: float = 0.0,
    length_scale: float = 1.0,
    threads: int | None = None,
    offline: bool = False,
) -> Any:
    """Piper. `model`: joe (en-US, male), or the path of an .onnx with its .onnx.json; above 1, `length_scale` is slower speech."""
    from fobench_plugins.voices.piper import PiperVoice

    path = Path(model).expanduser()
    if model == "joe":
        path = store.get("piper-joe-medium", offline=offline or None) / "en_US-joe-medium.onnx"
    elif not path.is_file() or not path.with_name(path.name + ".json").is_file():
        raise FobenchError(f"Piper model {model!r}: neither joe nor an .onnx file that has its .onnx.json beside it.")
    name = "joe" if model == "joe" else path.stem
    options = {"noise_scale": noise_scale, "noise_w": noise_w, "length_scale": length_scale, "threads": threads}
    return PiperVoice(path, name=name, **options)


def kokoro(*, speed: float = 1.0, language: str = "en-us", threads: int | None = None, offline: bool = False) -> Any:
    """Kokoro-82M: speakers jf_alpha, jf_gongitsune, jf_nezumi, jf_tebukuro, jm_kumo and mixtures of them."""
    from fobench_plugins.voices.kokoro import KokoroVoice

    folder = store.get("kokoro-82m-int8", offline=offline or None)
    return KokoroVoice(folder, speed=speed, language=language, threads=threads)


def espeak(*, words_per_minute: int = 165, pitch: int = 50) -> Any:
    """The espeak-ng program."""
    from fobench_plugins.voices.espeak import EspeakVoice

    return EspeakVoice(words_per_minute=words_per_minute, pitch=pitch)


def flite(*, duration_stretch: float = 1.0) -> Any:
    """The flite program: speakers slt, awb, rms, kal; above 1, `duration_stretch` is slower speech."""
    from fobench_plugins.voices.flite import FliteVoice

    return FliteVoice(duration_stretch=duration_stretch)


FACTORIES: Factories = {"piper": piper, "kokoro": kokoro, "espeak": espeak, "flite": flite}
