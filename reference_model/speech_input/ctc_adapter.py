"""An adapter that spells: encoder frames -> units of writing by CTC -> the LLM's own token embeddings.

A frozen LLM understands best what it was trained on: its own tokens, as its tokeniser cuts them. So what is heard is read as
text, and the LLM is given the embeddings of that text's tokens. Reading goes on with every chunk; where more sound changes how the
last word is cut into tokens, the rows of that word are taken back and given anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional

from reference_model.speech_input.adapter import AdapterState, Embedder
from reference_model.speech_input.bpe_units import BLANK, MARKS, BPEUnits, collapsed
from reference_model.speech_input.ctc_beam_search import BeamSearch, CTCPrefixBeam, rescore_jointly
from reference_model.speech_input.ngram_lm import ORDER, NGramLM

COUNTS = 2  # of the numbers in `Evidence` that are no features


@dataclass(frozen=True, slots=True)
class CTCAdapterConfig:
    """Sizes, and the units as `BPEUnits.merges` has them. Output i sees `kernel` frames, the newest number stride (i + 1) - 1."""

    encoder_size: int
    units: str = ""  # none learnt yet: letters
    kernel: int = 6  # encoder frames
    stride: int = 2  # encoder frames an output
    hidden: int = 384
    beam: BeamSearch | None = None  # None: the best unit of every output is read

    @property
    def context(self) -> int:
        return self.kernel - self.stride

    @property
    def evidence(self) -> int:
        """Size of what the state head learns from the sound itself."""
        return self.hidden + COUNTS

    def build(self) -> CTCAdapter:
        return CTCAdapter(self)


class CTCAdapter(nn.Module):
    """A causal strided convolution, LayerNorm, GELU, and a linear layer to the units; [B, n, U + hidden] an output."""

    def __init__(self, config: CTCAdapterConfig) -> None:
        super().__init__()
        self.config, self.units = config, BPEUnits(config.units) if config.units else BPEUnits.letters_only()
        self.conv = nn.Conv1d(config.encoder_size, config.hidden, config.kernel, config.stride)
        self.norm = nn.LayerNorm(config.hidden)
        self.spell = nn.Linear(config.hidden, len(self.units))
        if config.beam:
            self._register(*_table(config.beam.lm_entries))

    def read_with(self, beam: BeamSearch, grams: torch.Tensor, scores: torch.Tensor) -> None:
        """From now on by beam search, with the table of a `NGramLM`."""
        self.config = replace(self.config, beam=beam)
        self._register(grams, scores)
        self.__dict__.pop("lm", None)

    def _register(self, grams: torch.Tensor, scores: torch.Tensor) -> None:
        self.register_buffer("lm_grams", grams)
        self.register_buffer("lm_scores", scores)

    @cached_property
    def lm(self) -> NGramLM:
        """The language model that its output is read with, once its weights are there."""
        return NGramLM.of(self.lm_grams, self.lm_scores)

    def reader(self) -> CTCReader:
        """What reads its output in one user turn."""
        return CTCReader(self.units, self.config.beam and CTCPrefixBeam(self.config.beam, self.lm))

    def whole(self, hearings: Sequence[torch.Tensor], weights: Sequence[float], search: BeamSearch | None) -> list[int]:
        """The units of a whole turn, of natural logs of their chances [n, U] as it was heard once or more (`beam.agreed`).

        `search`: how, if not as its own output. Without a language model the first hearing alone is read.
        """
        if (search := search or self.config.beam) is None:
            return collapsed(hearings[0].argmax(-1).tolist())
        return rescore_jointly(hearings, weights, search, self.lm)

    def begin(self, batch: int) -> AdapterState:
        """New streams."""
        return AdapterState(self.conv.weight.new_zeros(batch, self.config.context, self.config.encoder_size))

    def step(self, frames: torch.Tensor, state: AdapterState) -> tuple[torch.Tensor, AdapterState]:
        """Frames [B, T, encoder_size] -> ([B, T / stride, U + hidden]: logits of the units and features; the next state).

        Raises `ValueError` where T is no multiple of the stride.
        """
        if frames.shape[1] % self.config.stride:
            raise ValueError(f"{frames.shape[1]} frames are no multiple of the adapter's stride, {self.config.stride}.")
        frames = torch.cat([state.frames, frames.to(state.frames.dtype)], 1)
        return torch.cat(self._heard(frames), -1), AdapterState(frames[:, frames.shape[1] - self.config.context :])

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Whole recordings: frames [B, T, encoder_size], mask [B, T] -> (logits [B, n, U], features [B, n, hidden], mask [B, n])."""
        frames = functional.pad(frames.masked_fill(~mask[..., None], 0.0), (0, 0, self.config.context, 0))
        logits, features = self._heard(frames)
        return logits, features, mask[:, self.config.stride - 1 :: self.config.stride]

    def _heard(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.conv(frames.transpose(1, 2)).transpose(1, 2)
        features = functional.gelu(self.norm(hidden))
        return self.spell(features), features


def _table(entries: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One of a `NGramLM`, to be filled."""
    return torch.zeros(entries, ORDER, dtype=torch.int16), torch.zeros(entries, 2, dtype=torch.float16)


@dataclass(slots=True)
class CTCReader:
    """Of an adapter that spells: what is read of its outputs so far, and the tokens that the LLM was given of it.

    What the sound itself tells, the evidence, does not depend on how it is read: it is counted in the best unit of every output.
    """

    units: BPEUnits
    beam: CTCPrefixBeam | None = None  # None: the best unit of every output is read
    greedy: list[int] = field(default_factory=list)  # those units, collapsed
    last: int = BLANK  # of the last frame
    given: list[int] = field(default_factory=list)  # token ids
    quiet: int = 0  # outputs since a unit was heard
    features: torch.Tensor | None = None  # [hidden] of the last output
    again: list[int] | None = None  # the units of a second pass, which count as long as it does

    @property
    def best(self) -> list[int]:
        """The units that are read; at the end of what was read again, the mark that is heard once silence follows."""
        own = self.beam.best if self.beam else self.greedy
        if self.again is None:
            return own
        marked = bool(own) and self.units.pieces[own[-1]] in MARKS
        return (
            [*self.again, own[-1]] if marked and not self.units.decode(self.again[-1:]).endswith(MARKS) else self.again
        )

    @property
    def text(self) -> str | None:
        return self.units.decode(self.best)

    def push(self, heard: torch.Tensor) -> None:
        logits, self.features = heard[0, :, : len(self.units)], heard[0, -1, len(self.units) :]
        for unit in logits.argmax(-1).tolist():
            fresh = unit not in (BLANK, self.last)
            if fresh:
                self.greedy.append(unit)
            self.quiet = 0 if fresh else self.quiet + 1
            self.last = unit
        if self.beam:
            self.beam.push(logits.float().log_softmax(-1))

    def rows(self, backbone: Embedder, following: bool) -> tuple[int, torch.Tensor]:
        text = self.text or ""
        ids = backbone.encode(f" {text}" if following and text else text)
        kept = next((i for i, pair in enumerate(zip(ids, self.given, strict=False)) if pair[0] != pair[1]), None)
        kept = min(len(ids), len(self.given)) if kept is None else kept
        back, self.given = len(self.given) - kept, ids
        return back, backbone.embed(torch.tensor([ids[kept:]], dtype=torch.long))

    def evidence(self) -> torch.Tensor:
        assert self.features is not None
        counts = [math.log1p(self.quiet) / 4, float(bool(self.greedy))]
        return torch.cat([self.features, self.features.new_tensor(counts)])
