"""A CTC adapter: encoder frames -> BPE units by CTC -> text -> the LLM's own token embeddings.

A frozen LLM understands best what it was trained on, the tokens of its own tokenizer. So speech is recognized as text, and the LLM
gets the embeddings of its tokens. Recognition advances with every chunk; where further audio changes the text or its tokens, the
rows from the first changed token on are removed and replaced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional

from reference_model.packed_linear import PackedConv1d, PackedLinear
from reference_model.speech_input.adapter import AdapterState, Embedder
from reference_model.speech_input.bpe_units import BLANK, MARKS, BPEUnits, collapsed, with_mark
from reference_model.speech_input.ctc_beam_search import BeamSearch, CTCPrefixBeam, rescore_jointly
from reference_model.speech_input.ngram_lm import ORDER, NGramLM

COUNTS = 2  # entries of `CTCReader.evidence` beside the features


@dataclass(frozen=True, slots=True)
class CTCAdapterConfig:
    """Sizes and units of a `CTCAdapter`. Output i sees `kernel` frames, the newest of them number stride (i + 1) - 1."""

    encoder_size: int
    units: str = ""  # `BPEUnits.merges`; "": letters
    kernel: int = 6  # encoder frames
    stride: int = 2  # encoder frames per output
    hidden: int = 384
    beam: BeamSearch | None = None  # None: greedy decoding

    @property
    def context(self) -> int:
        """Past frames that a step needs."""
        return self.kernel - self.stride

    @property
    def evidence(self) -> int:
        """Number of acoustic features for the state head."""
        return self.hidden + COUNTS

    def build(self) -> CTCAdapter:
        return CTCAdapter(self)


class CTCAdapter(nn.Module):
    """A causal strided convolution, LayerNorm, GELU, and a linear layer to the logits of U units."""

    lm_grams: torch.Tensor  # of the beam search's language model, with `lm_scores`
    lm_scores: torch.Tensor

    def __init__(self, config: CTCAdapterConfig) -> None:
        super().__init__()
        self.config, self.units = config, BPEUnits(config.units) if config.units else BPEUnits.letters_only()
        self.conv = nn.Conv1d(config.encoder_size, config.hidden, config.kernel, config.stride)
        self.norm = nn.LayerNorm(config.hidden)
        self.spell = nn.Linear(config.hidden, len(self.units))
        self._conv, self._spell = PackedConv1d(self.conv), PackedLinear(self.spell)
        if config.beam:
            self._register(*_table(config.beam.lm_entries))

    def read_with(self, beam: BeamSearch, grams: torch.Tensor, scores: torch.Tensor) -> None:
        """Decode by beam search from now on, with the table of a `NGramLM`."""
        self.config = replace(self.config, beam=beam)
        self._register(grams, scores)
        self.__dict__.pop("lm", None)

    def _register(self, grams: torch.Tensor, scores: torch.Tensor) -> None:
        self.register_buffer("lm_grams", grams)
        self.register_buffer("lm_scores", scores)

    @cached_property
    def lm(self) -> NGramLM:
        """The language model of the beam search, built when first used, after the weights are loaded."""
        return NGramLM.of(self.lm_grams, self.lm_scores)

    def reader(self) -> CTCReader:
        """The reader of one user turn."""
        beam = self.config.beam
        return CTCReader(self.units, CTCPrefixBeam(beam, self.lm) if beam else None)

    def decode(
        self,
        log_ps: Sequence[torch.Tensor],
        weights: Sequence[float],
        search: BeamSearch | None,
        searched: CTCPrefixBeam | None = None,
    ) -> list[int]:
        """The units of a complete turn, from one or more recognizers' log-probabilities [n, U] (`rescore_jointly`).

        `search`: the beam search, None for the adapter's own; without either, greedy decoding of the first recognizer.
        `searched`: the beam of the last recognizer, where there is one already.
        """
        if (search := search or self.config.beam) is None:
            return collapsed(log_ps[0].argmax(-1).tolist())
        return rescore_jointly(log_ps, weights, search, self.lm, searched)

    def begin(self, batch: int) -> AdapterState:
        """The state of `batch` new streams."""
        return AdapterState(self.conv.weight.new_zeros(batch, self.config.context, self.config.encoder_size))

    def step(self, frames: torch.Tensor, state: AdapterState) -> tuple[torch.Tensor, AdapterState]:
        """Frames [B, T, encoder_size] -> ([B, T / stride, U + hidden]: logits of the units and features; the next state).

        Raises `ValueError` if T is not a multiple of the stride.
        """
        if frames.shape[1] % self.config.stride:
            raise ValueError(
                f"{frames.shape[1]} frames are not a multiple of the adapter's stride, {self.config.stride}."
            )
        frames = torch.cat([state.frames, frames.to(state.frames.dtype)], 1)
        return torch.cat(self._adapt(frames), -1), AdapterState(frames[:, frames.shape[1] - self.config.context :])

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Whole recordings: frames [B, T, encoder_size], mask [B, T] -> (logits [B, n, U], features [B, n, hidden], mask [B, n])."""
        frames = functional.pad(frames.masked_fill(~mask[..., None], 0.0), (0, 0, self.config.context, 0))
        logits, features = self._adapt(frames)
        return logits, features, mask[:, self.config.stride - 1 :: self.config.stride]

    def _adapt(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = functional.gelu(self.norm(self._conv(frames)[0]))
        return self._spell(features)[0], features


def _table(entries: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The table of an `NGramLM`, still empty."""
    return torch.zeros(entries, ORDER, dtype=torch.int16), torch.zeros(entries, 2, dtype=torch.float16)


@dataclass(slots=True)
class CTCReader:
    """The transcript of one user turn so far, and the tokens of it that the LLM has.

    The evidence does not depend on the beam search: it is computed from greedy decoding.
    """

    units: BPEUnits
    beam: CTCPrefixBeam | None = None  # None: greedy decoding
    greedy: list[int] = field(default_factory=list)  # units of greedy decoding
    last: int = BLANK  # best unit of the last output
    given: list[int] = field(default_factory=list)  # token ids that the LLM has
    quiet: int = 0  # outputs since the last unit
    features: torch.Tensor | None = None  # [hidden] of the last output
    second_pass: str | None = None  # transcript of the second pass; None: no valid one

    @property
    def text(self) -> str | None:
        """The transcript: of the second pass, with a final mark that the first pass has added since; else of the first pass."""
        own = self.units.decode(self.beam.best if self.beam else self.greedy)
        if self.second_pass is None:
            return own
        return with_mark(self.second_pass, own) if own.endswith(MARKS) else self.second_pass

    def push(self, output: torch.Tensor) -> None:
        logits, self.features = output[0, :, : len(self.units)], output[0, -1, len(self.units) :]
        for unit in logits.argmax(-1).tolist():
            new = unit not in (BLANK, self.last)
            if new:
                self.greedy.append(unit)
            self.quiet = 0 if new else self.quiet + 1
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
