"""Batches for the listening side: clips, made harder, as features, with what is to be heard in them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from reference_model.speech_input.conv_transformer import draw_chunk
from reference_model.speech_input.log_mel import FrontEnd
from reference_model.speech_input.streaming_encoder import SpeechEncoder
from reference_model.speech_input.whisper_encoder import WhisperStreamingEncoder
from reference_model.train.data.augmentation import Augmentation, Sounds, masked, spoken
from reference_model.train.data.corpus import Corpus, Samples
from reference_model.train.data.ctc_targets import CTCTargets, CTCVocabulary, mapped, needed

QUIET = 0.02  # of the peak: below it there is no speech in a clean clip
AROUND_S = 0.9  # of silence around a clip, about
DROPOUT = 0.1  # of BPE merges in training
LONGEST_S, HISTORY_S = 1.0, 10.0  # of a chunk, and of the chunks to its left that are seen, where they are drawn
PLAIN = Augmentation(
    speed_chance=0,
    room_chance=0,
    noise_chance=0,
    band_chance=0,
    level_db=(-25.0, -25.0),
    before_s=(0.3, 0.3),
    after_s=(0.6, 0.6),
    time_masks=0,
    band_masks=0,
)


@dataclass(frozen=True, slots=True)
class AsrBatch:
    """Clips as features [B, N, mels], silence beyond their `lengths` [B]; `clean`: the same without room, noise and masks.

    `seen`: (chunk, left) of the attention for this batch, see `draw_chunk`; None: what the encoder is made for.
    """

    features: Tensor
    lengths: Tensor
    clean: Tensor | None
    texts: tuple[str, ...]
    spans: Tensor  # [B, 2]: where speech begins and ends, in feature frames
    targets: CTCTargets | None = None
    seen: tuple[int | None, int | None] | None = None

    def pin_memory(self) -> AsrBatch:
        """For the data loader: in memory that a GPU reads while it computes."""
        found: AsrBatch = mapped(self, lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())
        return found

    def on(self, device: torch.device) -> AsrBatch:
        found: AsrBatch = mapped(self, lambda tensor: tensor.to(device, non_blocking=True))
        return found


@dataclass(frozen=True, slots=True)
class ChunkSampler:
    """Dynamic chunk training: what attention sees is drawn for every batch. All in frames of the encoder."""

    longest: int
    history: int
    step: int = 1  # chunks are multiples of it

    @classmethod
    def of(cls, encoder: SpeechEncoder) -> ChunkSampler:
        """As in the paper; an encoder that began with Whisper's weights, of long frames, keeps to whole chunks of its own."""
        longest, history = (round(seconds * encoder.frame_rate_hz) for seconds in (LONGEST_S, HISTORY_S))
        return cls(longest, history, encoder.config.chunk if isinstance(encoder, WhisperStreamingEncoder) else 1)

    def draw(self, rng: np.random.Generator) -> tuple[int | None, int | None]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        chunk, left = draw_chunk(generator, self.longest // self.step, self.history // self.step)
        return (None, None) if chunk is None else (chunk * self.step, left)


@dataclass(frozen=True, slots=True)
class AsrBatcher:
    """How clips become batches. `joined`: chance that the clips of a batch are joined in pairs, with a pause between.

    `spacing`: feature frames an output of CTC, which must have room for the text; 0 where there is no CTC.
    """

    corpus: Corpus
    sounds: Sounds
    rules: Augmentation
    front: FrontEnd
    chunk: int  # feature frames: lengths are multiples of it
    seed: int = 0
    joined: float = 0.15
    pause_s: tuple[float, float] = (0.1, 0.9)
    writing: CTCVocabulary | None = None
    dropout: float = DROPOUT
    spacing: int = 0
    clean: bool = True  # make clean features, for a teacher
    chunks: ChunkSampler | None = None

    def load(self, indices: Sequence[int], epoch: int) -> AsrBatch | None:
        """The clips of a batch; one that cannot be used is left out, and listed in the corpus's faults. None: not one can be."""
        rng = self._rng(epoch, indices[0])
        groups = [[index] for index in indices]
        if len(indices) > 1 and rng.random() < self.joined:  # all clips of a batch, which are of like length
            groups = [list(indices[i : i + 2]) for i in range(0, len(indices), 2)]
        made = [one for group in groups if (one := self._clip(group, epoch)) is not None]
        seen = self.chunks.draw(rng) if self.chunks else None
        return self._collated(made, seen) if made else None

    def plain(self, corpus: Corpus) -> AsrBatcher:
        """The same for clips as they are, one by one."""
        return replace(self, corpus=corpus, rules=PLAIN, joined=0.0, dropout=0.0, clean=False, chunks=None)

    def _clip(self, group: Sequence[int], epoch: int) -> _Clip | None:
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
        units = self.units(" ".join(texts), len(heard), group[0], rng)
        if units is None:
            return None
        features = self._features(heard)
        hop_s = self.front.hop / self.front.rate_hz
        noisy = torch.from_numpy(masked(features.numpy(), self.rules, hop_s, rng))
        plain = (features if heard is clean else self._features(clean)) if self.clean else None
        return _Clip(noisy, plain, " ".join(texts), span(clean, self.front.hop), units)

    def units(self, text: str, samples: int, index: int, rng: np.random.Generator) -> list[int] | None:
        """What is to be heard; None, and a line in the faults, where nothing is or CTC has no room for it."""
        if self.writing is None:
            return []
        units, room = self.writing.encode(text, self.dropout, rng.random), self._room(samples)
        if needed(units) > room:
            units = self.writing.encode(text)
        something = bool(self.writing.decode(units))
        if something and needed(units) <= room:
            return units
        entry = self.corpus.entries[index]
        reason = (
            f"its text needs {needed(units)} outputs, of {room}" if something else "nothing of its text can be written"
        )
        self.corpus.faults.add(f"{entry.path.name}/{entry.id}", reason)
        return None

    def _room(self, samples: int) -> float:
        """Outputs of CTC in a clip."""
        return self.padded(samples // self.front.hop) // self.spacing if self.spacing else math.inf

    def _rng(self, epoch: int, index: int) -> np.random.Generator:
        name = self.corpus.entries[index].id.encode()
        return np.random.default_rng([self.seed, epoch, zlib.crc32(name)])

    def _features(self, samples: Samples) -> Tensor:
        return self.front.offline(torch.from_numpy(samples)[None])[0]

    def padded(self, frames: int) -> int:
        """As whole chunks."""
        return -(-frames // self.chunk) * self.chunk

    def _collated(self, clips: Sequence[_Clip], seen: tuple[int | None, int | None] | None) -> AsrBatch:
        """Clips as one batch, filled up with silence to whole chunks."""
        lengths = [self.padded(len(clip.features)) for clip in clips]
        spans = [clip.span for clip in clips]
        return AsrBatch(
            self._filled([clip.features for clip in clips], max(lengths)),
            torch.tensor(lengths),
            self._filled([clip.clean for clip in clips if clip.clean is not None], max(lengths))
            if self.clean
            else None,
            tuple(clip.text for clip in clips),
            torch.tensor(spans),
            CTCTargets.of([clip.units for clip in clips], spans, self.writing) if self.writing else None,
            seen,
        )

    def _filled(self, features: Sequence[Tensor], length: int) -> Tensor:
        filled = torch.full((len(features), length, self.front.mels), self.front.silence)
        for row, one in zip(filled, features, strict=True):
            row[: len(one)] = one
        return filled


@dataclass(frozen=True, slots=True)
class _Clip:
    """One clip of a batch, or several joined."""

    features: Tensor  # [N, mels]
    clean: Tensor | None
    text: str
    span: tuple[int, int]
    units: list[int]


def span(clean: Samples, hop: int) -> tuple[int, int]:
    """Where speech begins and ends in a clean clip, in frames of `hop` samples."""
    loud = np.flatnonzero(np.abs(clean) > QUIET * np.abs(clean).max())
    return (int(loud[0]) // hop, int(loud[-1]) // hop + 1) if len(loud) else (0, 1)
