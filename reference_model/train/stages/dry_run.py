"""Inputs of a dry run: its case, and stand-ins for data, LLM and pretrained weights; each stage makes its batch of
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fobench.errors import FobenchError
from fobench.storage.run_config import DEFAULT_BACKBONE
from reference_model.config import ModelConfig
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.train.data.asr_batches import AsrBatch
from reference_model.train.data.corpus import Corpus
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.llm.shape_stub import ShapeOnlyLLM

CLIP_S = 4.0  # duration of a clip, s
LETTERS_S = 15  # letters spoken per second
REPLY = 40  # tokens of a reply
UNITS = 512  # BPE tokens
NO_DATA: Any = None  # stands for a stage's data, which a dry run never loads
WORDS = "".join(chr(ord("a") + (7 * i + i // 26) % 26) + (" " if i % 5 == 4 else "") for i in range(4000))


@dataclass(frozen=True, slots=True)
class DryRunCase:
    """Model, loop settings, command-line options and number of devices of a dry run."""

    config: ModelConfig
    loop: LoopConfig
    device: torch.device
    devices: int
    options: Mapping[str, Any]

    @property
    def transcript(self) -> str:
        """Transcript of a clip."""
        return WORDS[: int(CLIP_S * LETTERS_S)]

    def clip_count(self, seconds: float = CLIP_S) -> int:
        """Returns the number of clips of `seconds` each in one device's share of a batch."""
        total = min(self.loop.batch_most, max(1, int(self.loop.batch_s / seconds)))
        return max(1, total // self.devices)

    def describe_batch(self, seconds: float = CLIP_S, noun: str = "clips") -> str:
        """Describes one device's share of a batch: number and total duration of its clips."""
        return f"{self.clip_count(seconds)} {noun}, {self.clip_count(seconds) * seconds:.0f} s"

    def frozen_llm(self) -> FrozenLLM:
        """Returns a shape-only LLM. FobenchError where its hidden size differs from the configuration's."""
        given = self.options.get("backbone") or next(iter(self.options.get("backbones") or ()), "")
        name = given or self.config.backbone or ("tiny" if self.config.llm_size else DEFAULT_BACKBONE)
        dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        llm = ShapeOnlyLLM(name, self.device, dtype)
        if self.config.llm_size and llm.hidden_size != self.config.llm_size:
            raise FobenchError(
                f"Configuration {self.config.name} is for an LLM of hidden size {self.config.llm_size}; {name} has "
                f"{llm.hidden_size}. Choose another --backbone, or --config."
            )
        return FrozenLLM(llm)  # type: ignore[arg-type]  # implements only what training uses

    def asr_batch(self, encoder: SpeechEncoder, clean: bool) -> AsrBatch:
        """Returns a batch of zero features for an encoder; `clean`: with clean features for a teacher."""
        front, count = encoder.front, self.clip_count()
        frames = -(-round(CLIP_S * front.rate_hz / front.hop) // encoder.chunk) * encoder.chunk
        features = torch.zeros(count, frames, front.mels, device=self.device)
        spans = torch.tensor([[0, frames]] * count)
        lengths = torch.full((count,), frames)
        return AsrBatch(features, lengths, features if clean else None, (self.transcript,) * count, spans)


class NoData:
    """Stands in for `initialization.Initializer` where there are neither data nor pretrained weights."""

    corpus = Corpus([], 16_000)
    pretrained = None

    def __init__(self, case: DryRunCase) -> None:
        self.config, self._device = case.config, case.device

    def encoder(self) -> SpeechEncoder:
        with self._device:
            return self.config.encoder.build()

    @cached_property
    def _bpe_units(self) -> BPEUnits:
        return BPEUnits.learn([WORDS[i : i + 60] for i in range(0, len(WORDS), 60)], UNITS)

    def units(self, path: Path) -> BPEUnits:
        return self._bpe_units

    def load_part(self, part: nn.Module, name: str, config: Any) -> bool:
        return False

    def tensor(self, name: str, new: Tensor) -> Tensor:
        return new.to(self._device)
