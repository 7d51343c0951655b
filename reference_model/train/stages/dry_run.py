"""A dry run's case and its stand-ins for data, LLM and earlier weights; each stage makes its own batch from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fobench.errors import FobenchError
from reference_model.config import ModelConfig
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.train.data.asr_batches import AsrBatch
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.llm.shape_stub import ShapeOnlyLLM

CLIP_S = 4.0  # of a clip
LETTERS_S = 15  # letters spoken a second
REPLY = 40  # tokens of a reply
UNITS = 512
NO_DATA: Any = None  # in place of a stage's data, which a dry run never loads
WORDS = "".join(chr(ord("a") + (7 * i + i // 26) % 26) + (" " if i % 5 == 4 else "") for i in range(4000))


@dataclass(frozen=True, slots=True)
class DryRunCase:
    """For which model, with which settings and options, on how many devices."""

    config: ModelConfig
    loop: LoopConfig
    device: torch.device
    devices: int
    options: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What is said in a clip."""
        return WORDS[: int(CLIP_S * LETTERS_S)]

    def clips(self, seconds: float = CLIP_S) -> int:
        """Of one device's share of a batch, if each lasts so long."""
        whole = min(self.loop.batch_most, max(1, int(self.loop.batch_s / seconds)))
        return max(1, whole // self.devices)

    def said(self, seconds: float = CLIP_S, noun: str = "clips") -> str:
        return f"{self.clips(seconds)} {noun}, {self.clips(seconds) * seconds:.0f} s"

    def frozen(self) -> FrozenLLM:
        """The LLM's stand-in. FobenchError for one that the model does not fit."""
        name = self.options.get("backbone") or self.config.backbone or "tiny"
        dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        made = ShapeOnlyLLM(name, self.device, dtype)
        if made.hidden_size != self.config.llm_size:
            raise FobenchError(
                f"Configuration {self.config.name} is for an LLM of hidden size {self.config.llm_size}; {name} has "
                f"{made.hidden_size}. Choose another --backbone, or --config."
            )
        return FrozenLLM(made)  # type: ignore[arg-type]  # no more than training asks for

    def heard(self, encoder: SpeechEncoder, clean: bool) -> AsrBatch:
        front, count = encoder.front, self.clips()
        frames = -(-round(CLIP_S * front.rate_hz / front.hop) // encoder.chunk) * encoder.chunk
        features = torch.zeros(count, frames, front.mels, device=self.device)
        spans = torch.tensor([[0, frames]] * count)
        lengths = torch.full((count,), frames)
        return AsrBatch(features, lengths, features if clean else None, (self.text,) * count, spans)


class NoData:
    """Where a training begins that has no data and no earlier weights (as `initialization.Start`)."""

    corpus = Corpus([], 16_000)

    def __init__(self, case: DryRunCase) -> None:
        self.config, self._device = case.config, case.device

    def encoder(self) -> SpeechEncoder:
        with self._device:
            return self.config.encoder.build()

    @cached_property
    def _learnt(self) -> BPEUnits:
        return BPEUnits.learn([WORDS[i : i + 60] for i in range(0, len(WORDS), 60)], UNITS)

    def units(self, path: Path) -> BPEUnits:
        return self._learnt

    def give(self, part: nn.Module, name: str, config: Any) -> bool:
        return False

    def tensor(self, name: str, new: Tensor) -> Tensor:
        return new.to(self._device)
