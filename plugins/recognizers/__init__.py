"""Built-in speech recognizers (ASR): {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

from fobench import compute_threads
from fobench.api.hookspecs import Factories
from fobench.api.option_ranges import Between, Few, Threads
from fobench.assets import store
from fobench.errors import FobenchError, PrerequisiteError, unknown

TINY = "tiny.en"
TINY_ASSET = "whisper-tiny.en-ct2"


def openai(
    *,
    model: str = TINY,
    device: str = "auto",
    threads: Threads | None = None,
    language: str = "en",
    beam_size: Few | None = None,
    word_timestamps: bool = False,
    offline: bool = False,
    engine: Literal["auto", "torch", "numpy"] = "auto",
) -> Any:
    """Whisper (Radford et al. 2022, arXiv 2212.04356) by OpenAI's package: the reference ASR.

    `model`: a model size, or the path of a checkpoint. `beam_size`: None for greedy decoding. `word_timestamps`: report
    the times of words. `threads`: torch's threads (None: OMP_NUM_THREADS, else up to 4). `offline`: no network access.
    `engine`: "torch" is OpenAI's package; "numpy" computes the same weights (tiny.en, greedy, on the CPU) without it; "auto" takes
    torch where it is installed.
    """
    if engine == "numpy" or (engine == "auto" and not all(map(importlib.util.find_spec, ("torch", "whisper")))):
        further = {"model": model != TINY, "device": device not in ("auto", "cpu"), "language": language != "en"}
        further |= {"beam_size": beam_size not in (None, 1), "word_timestamps": word_timestamps}
        return _arrays([name for name, given in further.items() if given], offline)
    try:
        import torch

        from fobench_plugins.recognizers.whisper import OpenAIWhisper, load

        loaded = load(model, device, offline)
    except ImportError as error:
        raise _not_installed(error) from error
    compute_threads.settle_torch(torch, threads, sum(p.numel() for p in loaded.parameters()), whole_clips=True)
    return OpenAIWhisper(loaded, name=model, language=language, beam_size=beam_size, word_timestamps=word_timestamps)


def _arrays(further: list[str], offline: bool) -> Any:
    """Whisper in numpy. `further`: the options that only OpenAI's package has and that were given."""
    if further:
        raise PrerequisiteError(
            f"Whisper in numpy knows only {TINY}, greedy and without word times: leave out {', '.join(further)}, or get "
            "OpenAI's package: pip install 'fobench[models,whisper]'"
        )
    from fobench_plugins.recognizers.whisper_arrays import ArrayWhisper

    return ArrayWhisper(store.get(TINY_ASSET, offline=offline or None), name=TINY)


def ctranslate2(
    *,
    model: str = TINY,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    compute_type: str = "int8",
    threads: Threads | None = None,
    language: str = "en",
    beam_size: Few = 1,
    word_timestamps: bool = False,
    window_s: Annotated[float, Between(5.0, 30.0)] = 12.0,
    offline: bool = False,
) -> Any:
    """Whisper by CTranslate2 (faster-whisper), the fast ASR for CPUs.

    `model`: a model size of faster-whisper, or a folder. `compute_type`: int8, float32, float16, ... `beam_size`: 1 for
    greedy decoding. `word_timestamps`: report the times of words. `window_s`: audio is padded to so many seconds; below Whisper's
    30 it is faster and as accurate (word times need 30). `threads`: CPU threads, as of whisper. `offline`: no
    network access.
    """
    try:
        from fobench_plugins.recognizers.faster_whisper import FasterWhisper

        folder = _ctranslate2_folder(model, offline)
        weights = folder / "model.bin"
        parameters = weights.stat().st_size / 2 if weights.is_file() else 0  # stored in float16
        return FasterWhisper(
            folder,
            name=model,
            device=device,
            compute_type=compute_type,
            threads=compute_threads.count(threads, parameters, whole_clips=True),
            language=language,
            beam_size=beam_size,
            word_timestamps=word_timestamps,
            window_s=window_s,
        )
    except ImportError as error:
        raise _not_installed(error) from error
    except ValueError as error:  # raised by CTranslate2 for an unsupported compute type or device
        raise FobenchError(f"faster-whisper {model} with compute_type={compute_type} on {device}: {error}") from error


def _ctranslate2_folder(model: str, offline: bool) -> Path:
    from faster_whisper import available_models, download_model

    if model == TINY:
        return store.get(TINY_ASSET, offline=offline or None)
    if Path(model).is_dir():
        return Path(model)
    if model not in available_models() and "/" not in model:
        raise unknown("faster-whisper model", model, available_models())
    try:
        return Path(download_model(model, local_files_only=offline))
    except Exception as error:  # the hub client raises errors of its own, of its HTTP library and of the system
        raise PrerequisiteError(
            f"faster-whisper {model} is not in the local hub cache and cannot be downloaded ({type(error).__name__}). Where "
            f"the hub can be reached: python -c \"import faster_whisper; faster_whisper.download_model('{model}')\"; "
            f"or use model={TINY}."
        ) from error


def _not_installed(error: ImportError) -> PrerequisiteError:
    return PrerequisiteError(f"{error.name} is not installed. Get it: pip install 'fobench[models,whisper]'")


FACTORIES: Factories = {"whisper": openai, "faster-whisper": ctranslate2}
