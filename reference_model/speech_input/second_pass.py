"""Second-pass recognition of a user turn with full context.

The first pass, the streaming encoder, has no lookahead: enough to detect the end of turn, at the cost of recognition errors. At the
end of the turn, a frozen Whisper encoder processes all of it with full context, followed by a CTC network (two-pass recognition,
arXiv 1908.10992); or, with the adapter's features as further inputs, the network corrects the first pass's logits (cascaded
encoders, arXiv 2010.14606). In the former case the results of both passes are combined (`rescore_jointly`). Whisper's own decoder
may rescore the result and complete it (`attention_pass`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.errors import FobenchError
from reference_model.speech_input.attention_pass import LONGEST_S, SILENCE_S, AttentionPass, Hypothesis
from reference_model.speech_input.ctc_beam_search import BeamSearch
from reference_model.speech_input.lora import LoRA
from reference_model.speech_input.whisper_encoder import WhisperBlock, WhisperConfig, WhisperStreamingEncoder
from reference_model.speech_input.whisper_weights import full_context, ranged

JOINT = 0.75  # weight of attention in joint scoring


@dataclass(frozen=True, slots=True)
class SecondPassConfig:
    """Sizes of a `SecondPass`. An output sees `kernel` encoder frames around its own `stride`, and by attention all outputs."""

    units: int = 0  # units of the adapter's vocabulary, the blank included; 0: not trained yet
    features: int = 0  # size of the adapter's features, for a network that corrects; 0: independent recognition
    encoder_size: int = 384
    encoder_layers: int = 4
    rank: int = 0  # of the LoRA of the encoder; 0: none
    size: int = 288
    heads: int = 6
    layers: int = 3
    kernel: int = 6
    stride: int = 2
    dropout: float = 0.1
    beam: BeamSearch | None = None  # beam search; None: the adapter's
    trust: float = (
        0.5  # weight of this pass in joint rescoring, for independent recognition; the rest is the first pass's
    )
    attention: float = 0.0  # weight of Whisper's decoder in the joint score; the rest is CTC's; 0: CTC alone

    def __post_init__(self) -> None:
        for name, share in (("trust", self.trust), ("attention", self.attention)):
            if not 0 <= share <= 1:
                raise FobenchError(f"A second pass's {name} is a share, from 0 to 1, not {share}.")
        if self.rank < 0:
            raise FobenchError(f"A second pass's rank is 0, for no LoRA, or more, not {self.rank}.")

    @property
    def weights(self) -> tuple[float, float]:
        """Weights of the second and the first pass in joint rescoring; a network that corrects includes the first pass."""
        return (1.0, 0.0) if self.features else (self.trust, 1.0 - self.trust)

    @property
    def kind(self) -> str:
        """How the transcript is selected: "ctc", "attention" or "joint"."""
        return {0.0: "ctc", 1.0: "attention"}.get(self.attention, "joint")

    def of(self, kind: str) -> SecondPassConfig:
        """The same networks, used as this kind; "joint" with the weight of `JOINT` unless it has one of its own."""
        own = self.attention if self.kind == "joint" else JOINT
        return replace(self, attention={"ctc": 0.0, "attention": 1.0}.get(kind, own))

    def build(self) -> SecondPass:
        return SecondPass(self)


class SecondPass(nn.Module):
    """Frames of the frozen encoder [B, T, 384] -> logits of units [B, n, U], n = T / stride.

    The weights include the encoder's LoRA, but not the encoder. A network that corrects also takes the adapter's features
    [B, n, F], and its output is added to the adapter's logits.
    """

    def __init__(self, config: SecondPassConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.Conv1d(config.encoder_size, config.size, config.kernel, config.stride)
        self.first = nn.Linear(config.features, config.size) if config.features else None
        self.norm = nn.LayerNorm(config.size)
        block = WhisperConfig(config.size, config.layers, config.heads, dropout=config.dropout)
        self.blocks = nn.ModuleList(WhisperBlock(block) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self.spell = nn.Linear(config.size, config.units)
        self.change = LoRA(config.encoder_size, config.encoder_layers, config.rank) if config.rank else None
        self._encoder: list[WhisperStreamingEncoder] = []  # in a list, so that it is not a submodule
        self._frozen: list[tuple[WhisperStreamingEncoder, AttentionPass]] = []  # the same

    def forward(self, frames: Tensor, mask: Tensor, heard: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames [B, T, 384], mask [B, T], adapter's features [B, n, F] if it corrects -> (logits [B, n, U], mask [B, n])."""
        config, around = self.config, self.config.kernel - self.config.stride
        frames = functional.pad(frames.masked_fill(~mask[..., None], 0.0), (0, 0, around // 2, around - around // 2))
        x = self.conv(frames.transpose(1, 2)).transpose(1, 2)
        if self.first is not None:
            assert heard is not None
            x = x + self.first(heard.to(x.dtype))
        x = self.dropout(functional.gelu(self.norm(x)))
        valid = mask[:, config.stride - 1 :: config.stride]
        for block in self.blocks:
            x, _ = block(x, valid[:, None, None], None)
        return self.spell(x), valid

    @torch.no_grad()
    def read(self, features: Tensor, heard: Tensor) -> Tensor:
        """A complete turn -> the units' log-probabilities [1, n, U].

        `features`: log-mel [1, N, mels], of complete chunks; `heard`: the adapter's output [1, n, U + F] (`CTCAdapter.step`).
        """
        device, dtype = self.conv.weight.device, self.conv.weight.dtype
        frames, mask = self.encoder().to(device)(ranged(features.to(device)))
        frames = frames.to(dtype)
        if not self.config.features:
            return self(frames, mask)[0].float().log_softmax(-1)
        logits, own = heard.to(device, dtype).split([self.config.units, self.config.features], -1)
        return (logits + self(frames, mask, own)[0]).float().log_softmax(-1)

    @torch.no_grad()
    def hypotheses(self, features: Tensor, draft: str) -> list[Hypothesis]:
        """Transcripts of a complete turn by Whisper's encoder and decoder, which begin with the draft; none of a long turn."""
        encoder, attention = self.frozen()
        rate_hz = encoder.front.rate_hz / encoder.front.hop
        if features.shape[1] > LONGEST_S * rate_hz:
            return []
        device = self.conv.weight.device
        silence = features.new_full((1, int(SILENCE_S * rate_hz), features.shape[2]), encoder.front.silence)
        frames, _ = encoder.to(device)(ranged(torch.cat([features, silence], 1).to(device)))
        return attention.hypotheses(frames, draft)

    def frozen(self) -> tuple[WhisperStreamingEncoder, AttentionPass]:
        """Whisper tiny.en's encoder and decoder as they are, loaded when first used."""
        if not self._frozen:
            encoder = self.encoder() if self.change is None else full_context()
            self._frozen.append((encoder, AttentionPass.load()))
        return self._frozen[0]

    def load(self) -> None:
        """Load the frozen parts now, not in the first turn."""
        self.encoder()
        if self.config.attention:
            self.frozen()

    def encoder(self) -> WhisperStreamingEncoder:
        """Whisper tiny.en's encoder with the trained LoRA, loaded when first used."""
        if not self._encoder:
            encoder = full_context()
            if self.change is not None:
                self.change.merge(encoder)
            self._encoder.append(encoder)
        return self._encoder[0]
