"""Whisper by OpenAI's package: the reference ASR. tiny.en is converted once from the pinned CTranslate2 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fobench.api.types import NS_PER_S, AudioChunk, Samples, Transcript, Word
from fobench.assets import ctranslate2, store
from fobench.audio import audible_bounds, resample
from fobench.errors import PrerequisiteError, unknown

RATE_HZ = 16000  # of Whisper's input
WINDOW_S = 30  # Whisper's input window
ASSET = "whisper-tiny.en-ct2"


class OpenAIWhisper:
    """A Whisper model in PyTorch; greedy by default, temperature 0 without fallback, float16 only on a GPU.

    `transcribe` gives an empty transcript for inaudible audio, where Whisper hallucinates.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        language: str = "en",
        beam_size: int | None = None,
        word_timestamps: bool = False,
    ) -> None:
        """`model`: a `whisper.Whisper`. `beam_size`: None for greedy decoding."""
        self._model = model.eval().requires_grad_(False)
        self._word_timestamps = word_timestamps
        self._options = {"language": language, "beam_size": beam_size, "fp16": model.device.type == "cuda"}
        self._about = {
            "recognizer": f"whisper {name}",
            "model": f"whisper {name}",
            "device": str(model.device),
            **self._options,
        }

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return dict(self._about)

    def transcribe(self, audio: AudioChunk) -> Transcript:
        """The transcript of a clip; with `word_timestamps` also the words' times in ns from the first sample."""
        if audible_bounds(audio.samples, audio.rate_hz) is None:
            return Transcript("")
        samples = np.ascontiguousarray(resample(audio, RATE_HZ).samples, dtype=np.float32)
        if self._word_timestamps or len(samples) > WINDOW_S * RATE_HZ:
            return self._transcribe_long(samples)
        return Transcript(self._transcribe_window(samples))

    def _transcribe_window(self, samples: Samples) -> str:
        """The text of a clip that fits into one window."""
        import whisper

        options = whisper.DecodingOptions(temperature=0.0, without_timestamps=True, **self._options)
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), self._model.dims.n_mels)  # [mels, 3000]
        return str(whisper.decode(self._model, mel.to(self._model.device), options).text).strip()

    def _transcribe_long(self, samples: Samples) -> Transcript:
        """Transcribes window by window, segmented at the predicted timestamps."""
        options = {**self._options, "temperature": 0.0, "condition_on_previous_text": False}
        result = self._model.transcribe(samples, word_timestamps=self._word_timestamps, **options)
        words = [word for segment in result["segments"] for word in segment.get("words", ())]
        return Transcript(str(result["text"]).strip(), tuple(_word(word) for word in words))


def load(model: str, device: str, offline: bool) -> Any:
    """The `whisper.Whisper` of a model size or a checkpoint's path.

    Raises FobenchError for an unknown one, PrerequisiteError if it is not available.
    """
    import torch
    import whisper

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if model == "tiny.en":
        return _from_asset(device, offline)
    if model not in whisper.available_models() and not Path(model).is_file():
        raise unknown("Whisper model", model, whisper.available_models())
    if model in whisper.available_models() and offline and not _cached(model):
        raise PrerequisiteError(_unavailable_message(model, "offline by request"))
    try:
        return whisper.load_model(model, device=device)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError
        raise PrerequisiteError(_unavailable_message(model, str(error))) from error


def _cached(model: str) -> bool:
    import os

    import whisper

    root = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "whisper"
    return (root / whisper._MODELS[model].rsplit("/", 1)[-1]).is_file()


def _unavailable_message(model: str, reason: str) -> str:
    command = f"python -c \"import whisper; whisper.load_model('{model}')\""
    return (
        f"Whisper {model} is not in the local cache: {reason}. "
        f"Get it where there is network access: {command}; or use model=tiny.en."
    )


def _from_asset(device: str, offline: bool) -> Any:
    """tiny.en from the pinned CTranslate2 file."""
    import torch
    import whisper

    from reference_model.checkpoint import safetensors_io

    source = store.get(ASSET, offline=offline or None)
    folder = store.converted("whisper-tiny.en-openai1", source / "model.bin", lambda target: _convert(source, target))
    state = safetensors_io.tensors(folder / "model.safetensors")
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    model = whisper.Whisper(whisper.model.ModelDimensions(**ctranslate2.dimensions(arrays)))
    safetensors_io.fill(model, state, folder)
    heads = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    for layer, head in ctranslate2.alignment_heads(source / "config.json"):
        heads[layer, head] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return model.to(device)


def _convert(source: Path, target: Path) -> None:
    from safetensors.numpy import save_file

    state = ctranslate2.whisper_state(ctranslate2.read(source / "model.bin"))
    save_file(
        {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in state.items()}, target / "model.safetensors"
    )


def _word(word: dict[str, Any]) -> Word:
    return Word(word["word"].strip(), round(word["start"] * NS_PER_S), round(word["end"] * NS_PER_S))
