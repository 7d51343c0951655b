"""CTC targets of a batch: BPE tokens, and their approximate positions in the audio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from reference_model.speech_input.bpe_units import BLANK


class CTCVocabulary(Protocol):
    """Encodes text as token ids from 1 on; 0 is the CTC blank. Implemented by `BPEUnits` and `LLMTokenVocabulary`."""

    def encode(self, text: str, dropout: float = ..., draw: Callable[[], float] = ...) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def letters(self, ids: Sequence[int]) -> list[int]:
        """Returns the number of letters of each token."""


@dataclass(frozen=True, slots=True)
class CTCTargets:
    """Token ids of a batch's texts, concatenated [U], and the number of tokens of each text [B].

    `positions` [U]: where each token would be spoken, in feature frames, if every letter took the same time.
    """

    units: Tensor
    sizes: Tensor
    positions: Tensor

    def to_device(self, device: torch.device) -> CTCTargets:
        moved: CTCTargets = map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))
        return moved

    @classmethod
    def of(
        cls, token_ids: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]], vocabulary: CTCVocabulary
    ) -> CTCTargets:
        """Makes targets of token ids by text (`token_ids`) and the speech bounds of each clip (`spans`, feature
        frames)."""
        positions = [_letter_centers(vocabulary.letters(ids), span) for ids, span in zip(token_ids, spans, strict=True)]
        units = torch.tensor([unit for ids in token_ids for unit in ids], dtype=torch.long)
        positions_all = np.concatenate([*positions, np.zeros(0)]).astype(np.float32)
        return cls(units, torch.tensor([len(ids) for ids in token_ids]), torch.from_numpy(positions_all))


def _letter_centers(letters: Sequence[int], span: tuple[int, int]) -> np.ndarray:
    ends = np.cumsum(letters)
    middles = (ends - np.asarray(letters) / 2) / max(1, sum(letters))
    return np.asarray(middles * (span[1] - span[0]) + span[0])


def min_outputs(units: Sequence[int]) -> int:
    """Returns the fewest CTC outputs that emit `units`: a blank separates two equal tokens."""
    return len(units) + sum(one == other != BLANK for one, other in pairwise(units))


def map_tensors(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Returns a copy of a dataclass with `function` applied to its tensors and to those of a `CTCTargets` field."""
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    changed = {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}
    nested = {name: map_tensors(value, function) for name, value in values.items() if isinstance(value, CTCTargets)}
    return replace(batch, **changed, **nested)
