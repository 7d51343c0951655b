"""When each sound of a text is said: a length regulator (FastSpeech, arXiv 1905.09263) beside the autoregressive speech decoder.

Every row of the text has a duration, learnt from the voice's own. A code is then drawn with the row whose time it is at hand, so
that where in the text it is need not be found by attention, and a segment ends when its text does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SILENT = 0.3  # frames below which a row is not said: the LLM's vectors last none
SCALE = 10.0  # frames


class DurationPredictor(nn.Module):
    """Text rows [B, H, d], as the pre-network reads them, on the time of the codes. Durations are in codec frames."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.lasting = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, 1))
        self.now = nn.Linear(size, size)
        self.when = nn.Linear(2, size)

    def durations(self, rows: Tensor) -> Tensor:
        """Of every row [B, H], at least 0; rows that are not said get 0."""
        lasting = self._log(rows).expm1().clamp(min=0.0)
        return lasting.masked_fill(lasting < SILENT, 0.0)

    def loss(self, rows: Tensor, wanted: Tensor, seen: Tensor) -> Tensor:
        """Sum over the rows that are `seen` [B, H] of how far log(1 + duration) is from that of `wanted` [B, H]."""
        return ((self._log(rows) - wanted.log1p()).abs() * seen).sum()

    def read(self, rows: Tensor, durations: Tensor, steps: int) -> Tensor:
        """What the codes of frames 0 ... `steps` - 1 are drawn with [B, steps, d]; beyond the last row's end, that row."""
        ends = durations.cumsum(1)  # [B, H]
        middle = (torch.arange(steps, device=rows.device, dtype=ends.dtype) + 0.5).expand(len(rows), -1).contiguous()
        last = (durations > 0).float().cumsum(1).argmax(1)  # the last row that is said
        at = torch.minimum(torch.searchsorted(ends, middle, right=True), last[:, None])  # [B, steps]
        end, lasts = ends.gather(1, at), durations.gather(1, at)
        place = torch.stack([middle - end + lasts, end - middle], -1) / SCALE  # since its beginning, until its end
        now = self.now(rows).gather(1, at[..., None].expand(-1, -1, rows.shape[-1]))
        return now + self.when(place.to(rows.dtype))

    def _log(self, rows: Tensor) -> Tensor:
        """log(1 + duration) [B, H]."""
        return functional.softplus(self.lasting(rows)[..., 0].float())
