"""What is to be heard in a batch, as CTC wants it: units of writing, and about where they are spoken."""

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
    """Text <-> units of writing from 1 on; 0 is CTC's blank (`units.Units`, `token_space.Tokens`)."""

    def encode(self, text: str, dropout: float = ..., draw: Callable[[], float] = ...) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def letters(self, ids: Sequence[int]) -> list[int]:
        """How long each unit is in writing."""


@dataclass(frozen=True, slots=True)
class CTCTargets:
    """The units of a batch's texts, one text behind the other [U], and how many there are of each [B].

    `places` [U]: where a unit would be spoken, in feature frames, if every letter took the same time.
    """

    units: Tensor
    sizes: Tensor
    places: Tensor

    def on(self, device: torch.device) -> CTCTargets:
        found: CTCTargets = mapped(self, lambda tensor: tensor.to(device, non_blocking=True))
        return found

    @classmethod
    def of(cls, found: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]], writing: CTCVocabulary) -> CTCTargets:
        """`found`: each text's units; `spans`: where its speech begins and ends, in feature frames."""
        places = [_spread(writing.letters(ids), span) for ids, span in zip(found, spans, strict=True)]
        units = torch.tensor([unit for ids in found for unit in ids], dtype=torch.long)
        together = np.concatenate([*places, np.zeros(0)]).astype(np.float32)
        return cls(units, torch.tensor([len(ids) for ids in found]), torch.from_numpy(together))


def _spread(letters: Sequence[int], span: tuple[int, int]) -> np.ndarray:
    ends = np.cumsum(letters)
    middles = (ends - np.asarray(letters) / 2) / max(1, sum(letters))
    return np.asarray(middles * (span[1] - span[0]) + span[0])


def needed(units: Sequence[int]) -> int:
    """Outputs that CTC needs for units: a blank goes between two of the same."""
    return len(units) + sum(one == other != BLANK for one, other in pairwise(units))


def mapped(part: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A dataclass with its tensors changed, those of `CTCTargets` within it as well."""
    values = {f.name: getattr(part, f.name) for f in fields(part)}
    changed = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
    inner = {name: mapped(value, change) for name, value in values.items() if isinstance(value, CTCTargets)}
    return replace(part, **changed, **inner)
