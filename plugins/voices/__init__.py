"""Built-in TTS voices: {name: factory}. Heavy imports happen inside the factories.

Common options: `threads` (CPU threads; None: OMP_NUM_THREADS, else up to 4), `offline` (no network access).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fobench.api.hookspecs import Factories
from fobench.api.option_ranges import Amount, Between, Factor, Threads
from fobench.assets import store
from fobench.errors import FobenchError


def piper(
    *,
    model: str = "joe",
    noise_scale: Amount = 0.0,
    noise_w: Amount = 0.0,
    length_scale: Factor = 1.0,
    threads: Threads | None = None,
    offline: bool = False,
) -> Any:
    """Piper, a VITS TTS voice (arXiv 2106.06103).

    `model`: joe (en-US, male), or the path of an .onnx file with its .onnx.json.

    `length_scale`: speech is slower above 1. `noise_scale`, `noise_w`: variation of the acoustics and of the durations;
    0 for deterministic speech.
    """
    from fobench_plugins.voices.piper import PiperVoice

    path = Path(model).expanduser()
    if model == "joe":
        path = store.get("piper-joe-medium", offline=offline or None) / "en_US-joe-medium.onnx"
    elif not path.is_file() or not path.with_name(path.name + ".json").is_file():
        raise FobenchError(f"Piper model {model!r}: neither joe nor an .onnx file that has its .onnx.json beside it.")
    name = "joe" if model == "joe" else path.stem
    return PiperVoice(
        path, name=name, noise_scale=noise_scale, noise_w=noise_w, length_scale=length_scale, threads=threads
    )


def kokoro(
    *, speed: Factor = 1.0, language: str | None = None, threads: Threads | None = None, offline: bool = False
) -> Any:
    """Kokoro-82M, a StyleTTS 2 voice: 20 American (af_heart, am_michael, ...), 8 British (bf_emma, bm_george, ...) and 5
    Japanese-accented speakers (jf_alpha, jf_gongitsune, jf_nezumi, jf_tebukuro, jm_kumo), and mixtures of them.

    `speed`: speech is faster above 1. `language`: espeak-ng's language code for the phonemizer; that of the speaker's
    accent by default.
    """
    from fobench_plugins.voices.kokoro import MODEL, KokoroVoice

    folder = store.get(MODEL, offline=offline or None)
    return KokoroVoice(folder, speed=speed, language=language, threads=threads, offline=offline)


def espeak(
    *, words_per_minute: Annotated[int, Between(10, 1000)] = 165, pitch: Annotated[int, Between(0, 99)] = 50
) -> Any:
    """eSpeak NG, a formant synthesizer. `words_per_minute`: speaking rate. `pitch`: 0 to 99."""
    from fobench_plugins.voices.espeak import EspeakVoice

    return EspeakVoice(words_per_minute=words_per_minute, pitch=pitch)


def flite(*, duration_stretch: Factor = 1.0) -> Any:
    """CMU Flite: speakers slt, awb, rms, kal. `duration_stretch`: speech is slower above 1."""
    from fobench_plugins.voices.flite import FliteVoice

    return FliteVoice(duration_stretch=duration_stretch)


FACTORIES: Factories = {"piper": piper, "kokoro": kokoro, "espeak": espeak, "flite": flite}
