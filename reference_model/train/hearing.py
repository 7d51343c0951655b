"""Batches for the listening side: clips, made harder, as features."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reference_model.features import FrontEnd
from reference_model.train.augment import Augmentation, Sounds, masked, spoken
from reference_model.train.corpus import Corpus, Samples

Ready = tuple[Tensor, Tensor, str, tuple[int, int]]  # features made harder, clean ones, the text, where speech is
QUIET = 0.02  # of the peak: below it there is no speech in a clean clip


@dataclass(frozen=True, slots=True)
class Heard:
    """Clips as features [B, N, mels], zero beyond their `lengths` [B]; `clean`: the same without room, noise and masks."""

    features: Tensor
    lengths: Tensor
    clean: Tensor
    texts: tuple[str, ...]
    spans: Tensor  # [B, 2]: where speech begins and ends, in feature frames


@dataclass(frozen=True, slots=True)
class Listening:
    """How clips become batches. `joined`: chance that the clips of a batch are joined in pairs, with a pause between."""

    corpus: Corpus
    sounds: Sounds
    rules: Augmentation
    front: FrontEnd
    chunk: int  # feature frames: lengths are multiples of it
    seed: int = 0
    joined: float = 0.15
    pause_s: tuple[float, float] = (0.1, 0.9)

    def load(self, indices: Sequence[int], epoch: int) -> Heard:
        """The clips of a batch; one that cannot be read is left out, and listed in the corpus's faults."""
        rng = self._rng(epoch, indices[0])
        groups = [[index] for index in indices]
        if len(indices) > 1 and rng.random() < self.joined:  # all clips of a batch, which are of like length
            groups = [list(indices[i : i + 2]) for i in range(0, len(indices), 2)]
        made = [one for group in groups if (one := self._clip(group, epoch)) is not None]
        return collate(made, self.front, self.chunk)

    def _clip(self, group: Sequence[int], epoch: int) -> Ready | None:
        """The clips of a group, one after the other."""
        rng = self._rng(epoch, group[0])
        parts: list[Samples] = []
        texts = []
        for index in group:
            if (samples := self.corpus.samples(index)) is not None:
                pause = np.zeros(int(rng.uniform(*self.pause_s) * self.sounds.rate_hz) if parts else 0, np.float32)
                parts += [pause, samples]
                texts.append(self.corpus.entries[index].text)
        if not parts:
            return None
        heard, clean = spoken(np.concatenate(parts), self.rules, self.sounds, rng)
        features = self._features(heard)
        hop_s = self.front.hop / self.front.rate_hz
        noisy = torch.from_numpy(masked(features.numpy(), self.rules, hop_s, rng))
        plain = features if heard is clean else self._features(clean)
        return noisy, plain, " ".join(texts), span(clean, self.front.hop)

    def _rng(self, epoch: int, index: int) -> np.random.Generator:
        name = self.corpus.entries[index].id.encode()
        return np.random.default_rng([self.seed, epoch, zlib.crc32(name)])

    def _features(self, samples: Samples) -> Tensor:
        return self.front.offline(torch.from_numpy(samples)[None])[0]


def span(clean: Samples, hop: int) -> tuple[int, int]:
    """Where speech begins and ends in a clean clip, in frames of `hop` samples."""
    loud = np.flatnonzero(np.abs(clean) > QUIET * np.abs(clean).max())
    return (int(loud[0]) // hop, int(loud[-1]) // hop + 1) if len(loud) else (0, 1)


def collate(clips: Sequence[Ready], front: FrontEnd, chunk: int) -> Heard:
    """Clips as one batch, filled up with silence to whole chunks."""
    lengths = torch.tensor([-(-len(one[0]) // chunk) * chunk for one in clips])
    longest = int(lengths.max()) if len(clips) else chunk
    features, clean = (torch.full((len(clips), longest, front.mels), front.silence) for _ in range(2))
    for row, (noisy, plain, _, _) in enumerate(clips):
        features[row, : len(noisy)], clean[row, : len(plain)] = noisy, plain
    spans = torch.tensor([one[3] for one in clips]).reshape(-1, 2)
    return Heard(features, lengths, clean, tuple(one[2] for one in clips), spans)
