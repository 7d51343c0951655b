"""Freeze-Omni, the reference system: a frozen LLM with speech input and output, without a separate ASR or TTS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fobench import compute_threads
from fobench.api import registry
from fobench.api.option_ranges import Tokens
from fobench.api.types import Message
from fobench.assets import store
from fobench.errors import FobenchError, PrerequisiteError
from fobench.storage.run_config import ANY_BACKBONE, DEFAULT_BACKBONE
from reference_model.turn_taking.energy_vad import EnergyVAD
from reference_model.turn_taking.silero_vad import RATE_HZ, WINDOW, SileroDetector, SileroVAD

if TYPE_CHECKING:
    from reference_model.config import Settings
    from reference_model.inference.engine import InferenceEngine
    from reference_model.inference.session import FreezeOmniSession
    from reference_model.model import FreezeOmni
    from reference_model.turn_taking.speech_activity import VoiceActivityDetector

SecondPassKind = Literal["joint", "ctc", "attention", "none"]
ENDS = {"head": "the state head", "vad": "voice activity", "either": "the state head and voice activity"}
RULES = ", loudness and rules on the words"


class FreezeOmniSystem:
    """The system: an inference engine (backbone and checkpoint), shared by its sessions."""

    input_rate_hz = RATE_HZ
    chunk = WINDOW  # 32 ms, the window of the detector; the encoder's chunk is five of them

    def __init__(self, live: InferenceEngine, about: Mapping[str, Any]) -> None:
        self._live, self._about = live, about
        self.output_rate_hz = live.model.codec.sample_rate_hz

    def about(self) -> dict[str, Any]:
        backbone = self._live.backbone
        details = {"backbone": backbone.about()} if hasattr(backbone, "about") else {}
        if details and not self._live.no_repeat:
            details["backbone"]["generation"] = "greedy" if self._live.settings.text.greedy else "checkpoint"
        parts = {"parts": details, "parameter_hash": backbone.parameter_hash()}
        return {**self._about, **self._live.about(), **parts}

    def open(self, seed: int) -> FreezeOmniSession:
        from reference_model.inference.session import FreezeOmniSession

        return FreezeOmniSession(self._live, seed)

    def answer(self, history: Sequence[Message], seed: int) -> str:
        return self._live.answer(history, seed)


def freeze_omni(
    backbone: str | None = None,
    backbone_args: Mapping[str, Any] | None = None,
    checkpoint: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    generation: str | None = None,
    system_prompt: str | None = None,
    max_tokens: Tokens | None = None,
    vad: Literal["silero", "loudness", "none"] | None = None,
    turn_end: Literal["head", "vad", "either"] | None = None,
    barge_in_at: Literal["onset", "end"] | None = None,
    manners: bool | None = None,
    first_after: Tokens | None = None,
    second_pass: SecondPassKind | None = None,
    speculate: bool = True,
    compile: bool = False,
) -> FreezeOmniSystem:
    """Freeze-Omni (arXiv 2411.00774): streaming encoder and adapter -> frozen LLM -> speech decoder and codec.

    `checkpoint`: a name (fobench ls checkpoints) or path; default: the backbone's own, else `freeze-omni/any`, which fits every
    LLM. The backbone's default is that of the checkpoint, SmolLM2-135M where it fits every one.
    `generation`: the backbone's rule of decoding ("no-repeat-4" or "greedy"), for speech-in and for text-in; a checkpoint whose own
    settings sample or penalize has no such rule. `vad`: the voice activity detector that opens turns; "none": all audio is a turn. `turn_end`: whether the state head, the
    detector's silence or either ends the user's turn. `barge_in_at`: whether a barge-in stops the reply during the user's
    speech or at its end. `manners`: whether the turn-taking policy (rules on loudness, echo and partial transcripts) applies
    beside the state head. `first_after`: tokens after which the first segment may be synthesized without waiting for a comma.
    `second_pass`: how a turn is recognized again at its end, with full context: by CTC, by attention (Whisper tiny.en's own
    decoder), jointly by both, or not at all.
    `speculate`: whether a reply is begun while the silence after a turn is still waited for; the reply is the same without.
    `compile`: compile the speech decoder's steps with torch.compile (CUDA graphs on a GPU; the first reply waits for the
    compiler). Defaults are the checkpoint's settings.
    """
    import torch

    from reference_model.checkpoint import loading
    from reference_model.inference.engine import InferenceEngine

    placement = {"device": device, "dtype": dtype, "generation": generation}
    path, llm = _prerequisites(backbone, {**placement, **(backbone_args or {})}, checkpoint)
    run_on = getattr(llm, "device", "cpu")
    model = loading.load(path, device=run_on)
    compute_threads.settle_torch(torch, parameters=sum(parameter.numel() for parameter in model.parameters()))
    trained = not str(path).startswith(loading.UNTRAINED)
    loading.check_backbone(model, llm.name, llm.hidden_size, trained=trained)
    _set_second_pass(model, second_pass)
    if compile:
        model.decoder.layers.compile_steps("reduce-overhead" if str(run_on).startswith("cuda") else "default")
    duplex = {"vad": vad, "turn_end": turn_end, "barge_in_at": barge_in_at, "manners": manners}
    settings = _settings(model.config.settings, system_prompt, max_tokens, duplex, first_after)
    if not speculate:
        settings = replace(settings, speculative_s=0.0)
    live = InferenceEngine(model, llm, settings, _detectors(settings.duplex.vad))
    about = {
        "checkpoint": checkpoint or f"freeze-omni/{path.name}",
        "second_pass": model.rereader.config.kind if model.rereader else "none",
        "checkpoint_sha256": loading.digest(path),
        "duplex": f"{ENDS[settings.duplex.turn_end]}{RULES if settings.duplex.manners else ''}",
    }
    return FreezeOmniSystem(live, {**about, "trained": trained, "backbone": llm.name})


def _set_second_pass(model: FreezeOmni, kind: SecondPassKind | None) -> None:
    """Make the model's second pass that of `kind`, None for the checkpoint's, and load its frozen parts now, not in the first turn."""
    if kind == "none":
        model.rereader = None
    elif model.rereader is not None:
        if kind:
            model.rereader.config = model.rereader.config.of(kind)
        model.rereader.load()
    elif kind:
        raise FobenchError(f"second_pass={kind}: this checkpoint has no second pass. Omit the option, or give none.")


def _detectors(vad: str) -> Callable[[], VoiceActivityDetector] | None:
    """The factory of the sessions' detectors; None: no detector."""
    if vad == "loudness":
        return EnergyVAD
    if vad == "none":
        return None
    network = SileroVAD(next(store.get("silero-vad").glob("*.onnx")))
    return lambda: SileroDetector(network)


def _prerequisites(backbone: str | None, options: Mapping[str, Any], checkpoint: str | None) -> tuple[Path, Any]:
    """The checkpoint's path and the backbone. PrerequisiteError with all that is missing for either."""
    missing = []
    path, llm = None, None
    try:
        path = _checkpoint(checkpoint, backbone)
    except PrerequisiteError as error:
        missing.append(str(error))
    try:
        llm = registry.create(
            "backbones", backbone or _backbone(path, str(checkpoint)), {k: v for k, v in options.items() if v}
        )
    except PrerequisiteError as error:
        missing.append(str(error))
    if missing or path is None or llm is None:
        raise PrerequisiteError("\n".join(missing))
    return path, llm


def _checkpoint(checkpoint: str | None, backbone: str | None) -> Path:
    names = registry.factories("checkpoints")
    name = checkpoint or f"freeze-omni/{backbone or DEFAULT_BACKBONE}"
    if not checkpoint and name not in names:
        name = f"freeze-omni/{ANY_BACKBONE}"
    if name in names or name.startswith("untrained:"):
        path: Path = registry.create("checkpoints", name)
        return path
    if checkpoint is None:
        known = ", ".join(n.removeprefix("freeze-omni/") for n in names if n.startswith("freeze-omni/"))
        raise FobenchError(
            f"There is no checkpoint for backbone {backbone or DEFAULT_BACKBONE!r}: there are some for {known or 'none'}. Give a "
            "trained one with --checkpoint PATH, or measure speed alone with --checkpoint untrained:small."
        )
    return Path(checkpoint).expanduser()


def _backbone(path: Path | None, checkpoint: str) -> str:
    """The backbone that a checkpoint was trained for; the default one if it fits every LLM."""
    from reference_model.checkpoint.loading import ANY, PUBLISHED_FOR, made_for

    backbone = made_for(path) if path else PUBLISHED_FOR
    if not backbone:
        raise FobenchError(f"Checkpoint {checkpoint!r} names no backbone that it was made for: give --backbone.")
    return DEFAULT_BACKBONE if backbone == ANY else backbone


def _settings(
    settings: Settings,
    system_prompt: str | None,
    max_tokens: int | None,
    duplex: Mapping[str, Any],
    first_after: int | None,
) -> Settings:
    """The checkpoint's settings, with the options that were given."""
    options: dict[str, Any] = {"system_prompt": system_prompt, "max_tokens": max_tokens}
    settings = replace(settings, **{k: v for k, v in options.items() if v is not None})
    settings = replace(settings, duplex=replace(settings.duplex, **{k: v for k, v in duplex.items() if v is not None}))
    if first_after is not None:
        settings = replace(settings, segmentation=replace(settings.segmentation, first_after=first_after))
    return settings
