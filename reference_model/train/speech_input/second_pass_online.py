"""Second-pass training on augmented clips: the full-context encoder runs in the training loop."""

from __future__ import annotations

import torch
from torch import Tensor

from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.second_pass import SecondPass
from reference_model.speech_input.whisper_encoder import WhisperStreamingEncoder
from reference_model.speech_input.whisper_weights import ranged
from reference_model.train.data.asr_batches import AsrBatch
from reference_model.train.speech_input.ctc import CTCLearner


class OnlineSecondPassLearner(CTCLearner):
    """CTC learner of a second pass that decodes independently of the adapter; the encoder is frozen except for its LoRA
    updates."""

    rereader: SecondPass

    def __init__(self, encoder: WhisperStreamingEncoder, rereader: SecondPass, units: BPEUnits) -> None:
        super().__init__(encoder.requires_grad_(False).eval(), {"rereader": rereader}, units, rereader.config.stride)
        if rereader.change is not None:
            rereader.change.attach(encoder)

    def frames(self, batch: AsrBatch) -> tuple[Tensor, Tensor]:
        """Encodes whole clips with full context: (frames [B, T, 384], mask [B, T])."""
        self.encoder.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.rereader.change is not None):
            frames: tuple[Tensor, Tensor] = self.encoder(ranged(batch.features), batch.lengths)
        return frames

    def ctc_logits(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.rereader(frames, mask)[0], {}
