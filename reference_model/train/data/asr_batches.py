"""ASR batches: augmented clips as log-mel features, with their CTC targets."""

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
from reference_model.train.data.augmentation import Augmentation, Sounds, augment, spec_augment
from reference_model.train.data.corpus import Corpus, Samples
from reference_model.train.data.ctc_targets import CTCTargets, CTCVocabulary, map_tensors, min_outputs

QUIET = 0.02  # share of the peak below which a clean clip counts as silent
AROUND_S = 0.9  # mean silence added around a clip, s
DROPOUT = 0.1  # BPE dropout in training
LONGEST_S, HISTORY_S = 1.0, 10.0  # longest chunk and left context of dynamic chunk training
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
    """Clips as features [B, N, mels], padded with silence beyond their `lengths` [B], feature frames.

    `clean`: the same features without room, noise and masks, for a teacher. `attention`: (chunk, left context) of the encoder's
    attention for this batch, see `draw_chunk`; None: the encoder's configuration.
    """

    features: Tensor
    lengths: Tensor
    clean: Tensor | None
    texts: tuple[str, ...]
    spans: Tensor  # [B, 2]: where speech begins and ends, in feature frames
    targets: CTCTargets | None = None
    attention: tuple[int | None, int | None] | None = None

    def pin_memory(self) -> AsrBatch:
        """Returns a copy in pinned memory, for the data loader."""
        found: AsrBatch = map_tensors(self, lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())
        return found

    def to_device(self, device: torch.device) -> AsrBatch:
        found: AsrBatch = map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))
        return found


@dataclass(frozen=True, slots=True)
class ChunkSampler:
    """Dynamic chunk training: draws the attention chunk and left context of every batch.

    All values are encoder frames.
    """

    longest: int
    history: int
    step: int = 1  # chunk sizes are multiples of it

    @classmethod
    def of(cls, encoder: SpeechEncoder) -> ChunkSampler:
        """Returns the paper's ranges for an encoder; for a `WhisperStreamingEncoder`, multiples of its own chunk."""
        longest, history = (round(seconds * encoder.frame_rate_hz) for seconds in (LONGEST_S, HISTORY_S))
        return cls(longest, history, encoder.config.chunk if isinstance(encoder, WhisperStreamingEncoder) else 1)

    def draw(self, rng: np.random.Generator) -> tuple[int | None, int | None]:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        chunk, left = draw_chunk(generator, self.longest // self.step, self.history // self.step)
        return (None, None) if chunk is None else (chunk * self.step, left)


@dataclass(frozen=True, slots=True)
class AsrBatcher:
    """Makes batches of clips. `join_probability`: probability that the clips of a batch are concatenated in pairs, with a pause.

    `spacing`: feature frames per CTC output; a text that does not fit into its outputs is skipped. 0: no CTC, no check.
    """

    corpus: Corpus
    sounds: Sounds
    rules: Augmentation
    front: FrontEnd
    chunk: int  # feature frames; batch lengths are multiples of it
    seed: int = 0
    join_probability: float = 0.15
    pause_s: tuple[float, float] = (0.1, 0.9)
    vocabulary: CTCVocabulary | None = None
    dropout: float = DROPOUT
    spacing: int = 0
    clean: bool = True  # whether to make clean features, for a teacher
    chunks: ChunkSampler | None = None

    def load(self, indices: Sequence[int], epoch: int) -> AsrBatch | None:
        """Loads the clips of a batch; unusable ones are skipped and listed in the corpus's faults.

        None: no clip is usable.
        """
        rng = self._generator(epoch, indices[0])
        groups = [[index] for index in indices]
        if (
            len(indices) > 1 and rng.random() < self.join_probability
        ):  # all clips of a batch, which are of similar length
            groups = [list(indices[i : i + 2]) for i in range(0, len(indices), 2)]
        clips = [one for group in groups if (one := self._clip(group, epoch)) is not None]
        attention = self.chunks.draw(rng) if self.chunks else None
        return self._collate(clips, attention) if clips else None

    def plain(self, corpus: Corpus) -> AsrBatcher:
        """Returns a batcher of `corpus` without augmentation, joining or dropout, for validation."""
        return replace(self, corpus=corpus, rules=PLAIN, join_probability=0.0, dropout=0.0, clean=False, chunks=None)

    def _clip(self, group: Sequence[int], epoch: int) -> _Clip | None:
        """Returns the concatenated, augmented clips of a group; None where none is usable."""
        rng = self._generator(epoch, group[0])
        parts: list[Samples] = []
        texts = []
        for index in group:
            if (samples := self.corpus.samples(index)) is not None:
                pause = np.zeros(int(rng.uniform(*self.pause_s) * self.sounds.rate_hz) if parts else 0, np.float32)
                parts += [pause, samples]
                texts.append(self.corpus.entries[index].text)
        if not parts:
            return None
        augmented, clean = augment(np.concatenate(parts), self.rules, self.sounds, rng)
        units = self.units(" ".join(texts), len(augmented), group[0], rng)
        if units is None:
            return None
        features = self._features(augmented)
        hop_s = self.front.hop / self.front.rate_hz
        features_masked = torch.from_numpy(spec_augment(features.numpy(), self.rules, hop_s, rng))
        plain = (features if augmented is clean else self._features(clean)) if self.clean else None
        return _Clip(features_masked, plain, " ".join(texts), speech_span(clean, self.front.hop), units)

    def units(self, text: str, samples: int, index: int, rng: np.random.Generator) -> list[int] | None:
        """Encodes a text as token ids; None, and an entry in the faults, where it is empty or does not fit into its CTC
        outputs."""
        if self.vocabulary is None:
            return []
        units, outputs = self.vocabulary.encode(text, self.dropout, rng.random), self._output_count(samples)
        if min_outputs(units) > outputs:
            units = self.vocabulary.encode(text)
        encodable = bool(self.vocabulary.decode(units))
        if encodable and min_outputs(units) <= outputs:
            return units
        entry = self.corpus.entries[index]
        reason = (
            f"its text needs {min_outputs(units)} CTC outputs and has {outputs}"
            if encodable
            else "its text has no token in the vocabulary"
        )
        self.corpus.faults.add(f"{entry.path.name}/{entry.id}", reason)
        return None

    def _output_count(self, samples: int) -> float:
        """Returns the CTC outputs of a clip of so many samples."""
        return self.whole_chunks(samples // self.front.hop) // self.spacing if self.spacing else math.inf

    def _generator(self, epoch: int, index: int) -> np.random.Generator:
        name = self.corpus.entries[index].id.encode()
        return np.random.default_rng([self.seed, epoch, zlib.crc32(name)])

    def _features(self, samples: Samples) -> Tensor:
        return self.front.offline(torch.from_numpy(samples)[None])[0]

    def whole_chunks(self, frames: int) -> int:
        """Rounds feature frames up to whole chunks."""
        return -(-frames // self.chunk) * self.chunk

    def _collate(self, clips: Sequence[_Clip], attention: tuple[int | None, int | None] | None) -> AsrBatch:
        """Collates clips into one batch, padded with silence to whole chunks."""
        lengths = [self.whole_chunks(len(clip.features)) for clip in clips]
        spans = [clip.speech_span for clip in clips]
        return AsrBatch(
            self._pad([clip.features for clip in clips], max(lengths)),
            torch.tensor(lengths),
            self._pad([clip.clean for clip in clips if clip.clean is not None], max(lengths)) if self.clean else None,
            tuple(clip.text for clip in clips),
            torch.tensor(spans),
            CTCTargets.of([clip.units for clip in clips], spans, self.vocabulary) if self.vocabulary else None,
            attention,
        )

    def _pad(self, features: Sequence[Tensor], length: int) -> Tensor:
        filled = torch.full((len(features), length, self.front.mels), self.front.silence)
        for row, one in zip(filled, features, strict=True):
            row[: len(one)] = one
        return filled


@dataclass(frozen=True, slots=True)
class _Clip:
    """One clip of a batch, or several concatenated."""

    features: Tensor  # [N, mels]
    clean: Tensor | None
    text: str
    speech_span: tuple[int, int]
    units: list[int]


def speech_span(clean: Samples, hop: int) -> tuple[int, int]:
    """Returns the bounds of speech in a clean clip, in frames of `hop` samples."""
    loud = np.flatnonzero(np.abs(clean) > QUIET * np.abs(clean).max())
    return (int(loud[0]) // hop, int(loud[-1]) // hop + 1) if len(loud) else (0, 1)
