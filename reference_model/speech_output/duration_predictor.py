"""A duration predictor and length regulator (FastSpeech, arXiv 1905.09263) for the autoregressive speech decoder.

Every text row has a duration, learned from the training voice. Each codec frame is conditioned on the text row aligned with it, so
that attention need not find the position in the text, and a segment ends where its text ends.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SILENT = 0.3  # frames below which a row counts as silent, as the rows of LLM embeddings are
SCALE = 10.0  # frames: the unit of positions within a row


class DurationPredictor(nn.Module):
    """Aligns text rows [B, H, d], outputs of the pre-network, with codec frames. Durations are in codec frames."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.lasting = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, 1))  # durations
        self.now = nn.Linear(size, size)  # content of the aligned row
        self.when = nn.Linear(2, size)  # position within the aligned row

    def durations(self, rows: Tensor) -> Tensor:
        """The duration of every row [B, H]; 0 for silent rows."""
        durations = self._log(rows).expm1().clamp(min=0.0)
        return durations.masked_fill(durations < SILENT, 0.0)

    def loss(self, rows: Tensor, wanted: Tensor, seen: Tensor) -> Tensor:
        """The L1 loss of log(1 + duration) to the targets `wanted` [B, H], summed over the valid rows `seen` [B, H] bool."""
        return ((self._log(rows) - wanted.log1p()).abs() * seen).sum()

    def read(self, rows: Tensor, durations: Tensor, steps: int) -> Tensor:
        """The conditioning of codec frames 0 ... `steps` - 1 [B, steps, d]; frames beyond the text are aligned with the last row."""
        ends = durations.cumsum(1)  # [B, H]
        middle = (torch.arange(steps, device=rows.device, dtype=ends.dtype) + 0.5).expand(len(rows), -1).contiguous()
        last = (durations > 0).float().cumsum(1).argmax(1)  # the last row that is not silent
        at = torch.minimum(torch.searchsorted(ends, middle, right=True), last[:, None])  # [B, steps]
        end, duration = ends.gather(1, at), durations.gather(1, at)
        position = torch.stack([middle - end + duration, end - middle], -1) / SCALE  # from the row's start, to its end
        content = self.now(rows).gather(1, at[..., None].expand(-1, -1, rows.shape[-1]))
        return content + self.when(position.to(rows.dtype))

    def _log(self, rows: Tensor) -> Tensor:
        """The prediction, log(1 + duration) [B, H]."""
        return functional.softplus(self.lasting(rows)[..., 0].float())
