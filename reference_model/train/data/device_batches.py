"""ASR batches made on the accelerator: all clips lie in device memory, and a whole batch is augmented at once.

The augmentation is that of `augmentation.Augmentation`; the random draws differ, and filters are applied in the frequency domain. A
GPU makes a batch in a few milliseconds, for which `AsrBatcher` needs many CPU cores.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from reference_model.train.data.asr_batches import QUIET, AsrBatch, AsrBatcher
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.ctc_targets import CTCTargets

ROWS = 32  # the rows of a batch are a multiple of it: few sizes, hence few FFT plans
SIZES = sorted(
    share << power for share in (4000, 5000, 6000, 7000) for power in range(12)
)  # allowed row lengths, samples
ROOM_S = 1.0  # seconds of a room impulse response that are used
RECORDED_NOISE, RECORDED_ROOM = 0.6, 0.5  # probability of a recorded one, where there are recordings


@dataclass(slots=True)
class DeviceClips:
    """Concatenated recordings: int16 samples [N] on the device, with the offset [R] and length [R] of each
    recording."""

    samples: Tensor
    offsets: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, clips: Sequence[np.ndarray], device: torch.device) -> DeviceClips:
        """Concatenates `clips`, each float [T]; without any, one sample of silence."""
        clips = [np.asarray(c * 32767, np.int16) for c in clips] or [np.zeros(1, np.int16)]
        lengths = torch.tensor([len(c) for c in clips])
        offsets = lengths.cumsum(0) - lengths
        return cls(torch.from_numpy(np.concatenate(clips)).to(device), offsets.to(device), lengths.to(device))

    def interpolate(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Samples [B, T] of recordings `rows` [B] at float positions [B, T], linearly interpolated; zeros outside a
        recording."""
        low = positions.floor()
        share = (positions - low).float()
        return self._sample(rows, low.long()) * (1 - share) + self._sample(rows, low.long() + 1) * share

    def _sample(self, rows: Tensor, positions: Tensor) -> Tensor:
        inside = (positions >= 0) & (positions < self.lengths[rows, None])
        indices = (self.offsets[rows, None] + positions).clamp(0, len(self.samples) - 1)
        return torch.where(inside, self.samples[indices].float() / 32767, 0.0)


@dataclass(slots=True)
class DeviceAsrBatcher:
    """Makes the batches of `batcher` on a device; all clips are read at once.

    An unreadable clip is skipped and listed in the faults.
    """

    batcher: AsrBatcher
    device: torch.device
    _clips: DeviceClips = field(init=False)
    _has_audio: list[bool] = field(init=False)  # whether a clip has audio; kept on the CPU, to avoid a device sync
    _noises: DeviceClips = field(init=False)
    _rooms: Tensor = field(init=False)  # [R, samples]

    def __post_init__(self) -> None:
        silence, sounds = np.zeros(0, np.float32), self.batcher.sounds
        found = [self.corpus.samples(i) for i in range(len(self.corpus))]
        self._clips = DeviceClips.of([silence if s is None else s for s in found], self.device)
        self._has_audio = (self._clips.lengths > 0).tolist()
        self._noises = DeviceClips.of([n / max(1e-6, np.abs(n).max()) for n in sounds.noises], self.device)
        room = int(ROOM_S * sounds.rate_hz)
        responses = [np.pad(r[:room], (0, max(0, room - len(r)))) for r in sounds.rooms]
        self._rooms = torch.from_numpy(np.stack(responses or [np.eye(1, room)[0]])).float().to(self.device)

    @property
    def corpus(self) -> Corpus:
        return self.batcher.corpus

    def load(self, indices: Sequence[int], epoch: int) -> AsrBatch | None:
        """Returns the batch of these clips, reproducible on the same kind of device; None where none is usable."""
        rules, (rng, generator) = self.batcher, self._generators(epoch, indices[0])
        usable = [i for i in indices if self._has_audio[i]]
        if not usable:
            return None
        pairs = len(usable) > 1 and rng.random() < rules.join_probability
        groups = [usable[i : i + 1 + pairs] for i in range(0, len(usable), 1 + pairs)]
        clean, lengths = self._clean_speech([*groups, *[[]] * (-len(groups) % ROWS)], generator)
        augmented = self._add_noise(self._reverberate(clean, generator), clean, lengths, generator).clamp(-1.0, 1.0)
        frames = -(-lengths // rules.front.hop)
        features, plain = (
            self._spec_augment(self._features(augmented, frames), frames, generator),
            self._features(clean, frames),
        )
        return self._batch(groups, features, plain, lengths.tolist(), self._spans(clean), rng)

    def _batch(
        self,
        groups: Sequence[Sequence[int]],
        features: Tensor,
        plain: Tensor,
        samples: Sequence[int],
        spans: Tensor,
        rng: np.random.Generator,
    ) -> AsrBatch | None:
        """Returns the batch of the rows whose text fits into their CTC outputs; None without any."""
        rules = self.batcher
        texts = [" ".join(self.corpus.entries[i].text for i in group) for group in groups]
        encoded = [rules.units(t, n, g[0], rng) for t, n, g in zip(texts, samples, groups, strict=False)]
        kept = [row for row, units in enumerate(encoded) if units is not None]
        if not kept:
            return None
        lengths = torch.tensor([rules.whole_chunks(-(-samples[row] // rules.front.hop)) for row in kept])
        targets = [units for units in encoded if units is not None]
        return AsrBatch(
            features[kept, : int(lengths.max())],
            lengths,
            plain[kept, : int(lengths.max())] if rules.clean else None,
            tuple(texts[row] for row in kept),
            spans[kept],
            CTCTargets.of(targets, [tuple(s) for s in spans[kept].tolist()], rules.vocabulary)
            if rules.vocabulary
            else None,
            rules.chunks.draw(rng) if rules.chunks else None,
        )

    def _generators(self, epoch: int, index: int) -> tuple[np.random.Generator, torch.Generator]:
        name = zlib.crc32(self.corpus.entries[index].id.encode())
        rng = np.random.default_rng([self.batcher.seed, epoch, name])
        return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))

    def _uniform(self, generator: torch.Generator, size: int, low: float, high: float) -> Tensor:
        return (torch.rand(size, generator=generator) * (high - low) + low).to(self.device)

    def _normal(self, generator: torch.Generator, count: int, size: int) -> Tensor:
        """Returns standard normal noise [count, size], drawn on the device."""
        own = torch.Generator(self.device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
        return torch.randn(count, size, generator=own, device=self.device)

    def _bernoulli(self, generator: torch.Generator, size: int, chance: float) -> Tensor:
        return (torch.rand(size, generator=generator) < chance).to(self.device)

    def _clean_speech(self, groups: Sequence[Sequence[int]], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns the clean speech of each group, padded with silence and set to a random level: samples [B, T],
        lengths [B]."""
        count, rate = len(groups), self.batcher.sounds.rate_hz
        rules = self.batcher.rules
        speed = torch.where(
            self._bernoulli(generator, count, rules.speed_chance), self._uniform(generator, count, *rules.speed), 1.0
        )
        start = (self._uniform(generator, count, *rules.before_s) * rate).floor()
        pieces, ends = [], torch.zeros_like(start)
        for k in range(max(map(len, groups))):
            clips = torch.tensor([g[k] if k < len(g) else -1 for g in groups], device=self.device)
            length = torch.where(clips >= 0, self._clips.lengths[clips] / speed, 0.0).floor()
            pieces.append((clips, start))
            ends = torch.where(clips >= 0, start + length, ends)
            start = (
                start + length + (self._uniform(generator, count, *self.batcher.pause_s) * rate).floor() * (clips >= 0)
            )
        lengths = (ends + self._uniform(generator, count, *rules.after_s) * rate).long()
        longest = SIZES[bisect_left(SIZES, int(lengths.max()))]
        grid = torch.arange(longest, device=self.device, dtype=torch.float64)[None]
        clean = torch.zeros(count, grid.shape[1], device=self.device)
        for clips, begin in pieces:
            speech = self._clips.interpolate(clips.clamp(min=0), (grid - begin[:, None]) * speed[:, None])
            clean += speech * (clips >= 0)[:, None]
        return self._set_level(clean, lengths, generator), lengths

    def _set_level(self, clean: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Scales each row to a random RMS level, limited so that it does not clip."""
        wanted = 10 ** (self._uniform(generator, len(clean), *self.batcher.rules.level_db) / 20)
        power = (clean.square().sum(1) / lengths).sqrt()
        return clean * torch.minimum(wanted / (power + 1e-6), 1.0 / (clean.abs().amax(1) + 1e-6))[:, None]

    def _reverberate(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Convolves some rows with a room impulse response: a recorded one, or decaying noise."""
        count, size = len(clean), self._rooms.shape[1]
        time = torch.arange(size, device=self.device) / self.batcher.sounds.rate_hz
        length, depth = self._uniform(generator, count, 0.1, 0.5), self._uniform(generator, count, 0.02, 0.12)
        tails = self._normal(generator, count, size) * depth[:, None] * torch.exp(-6.9 * time[None] / length[:, None])
        tails[:, 0] = 1.0
        recorded = self._bernoulli(generator, count, RECORDED_ROOM if self.batcher.sounds.rooms else 0.0)
        chosen = self._rooms[torch.randint(len(self._rooms), (count,), generator=generator).to(self.device)]
        response = torch.where(recorded[:, None], chosen, tails)
        points = clean.shape[1] + size
        wet = torch.fft.irfft(torch.fft.rfft(clean, points) * torch.fft.rfft(response, points), points)[
            :, : clean.shape[1]
        ]
        return torch.where(self._bernoulli(generator, count, self.batcher.rules.room_chance)[:, None], wet, clean)

    def _add_noise(self, augmented: Tensor, clean: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Adds noise to some rows, and limits the band of some."""
        count, size = clean.shape
        rows = torch.randint(len(self._noises.lengths), (count,), generator=generator).to(self.device)
        longest = self._noises.lengths[rows]
        begin = (self._uniform(generator, count, 0.0, 1.0) * (longest - size).clamp(min=1)).floor()
        grid = torch.arange(size, device=self.device, dtype=torch.float64)[None]
        recorded = self._noises.interpolate(rows, (begin[:, None] + grid) % longest[:, None])
        made = self._colored_noise(count, size, generator)
        noise = torch.where(
            self._bernoulli(generator, count, RECORDED_NOISE if self.batcher.sounds.noises else 0.0)[:, None],
            recorded,
            made,
        )
        power = (clean.square().sum(1) / lengths).sqrt() / (noise.square().mean(1).sqrt() + 1e-9)
        gain = power * 10 ** (-self._uniform(generator, count, *self.batcher.rules.noise_db) / 20)
        augmented = (
            augmented + noise * (gain * self._bernoulli(generator, count, self.batcher.rules.noise_chance))[:, None]
        )
        return torch.where(
            self._bernoulli(generator, count, self.batcher.rules.band_chance)[:, None],
            self._band_limit(augmented, generator),
            augmented,
        )

    def _colored_noise(self, count: int, size: int, generator: torch.Generator) -> Tensor:
        """Returns noise [count, size] whose power spectrum has a random slope."""
        spectrum = torch.fft.rfft(self._normal(generator, count, size))
        bins = torch.arange(spectrum.shape[1], device=self.device).clamp(min=8)
        return torch.fft.irfft(spectrum * bins[None] ** (self._uniform(generator, count, -2.0, 0.5)[:, None] / 2), size)

    def _band_limit(self, augmented: Tensor, generator: torch.Generator) -> Tensor:
        """Applies a zero-phase band-pass of fourth order with random edges."""
        count = len(augmented)
        hz = torch.fft.rfftfreq(augmented.shape[1], 1 / self.batcher.sounds.rate_hz, device=self.device).clamp(min=1.0)[
            None
        ]
        low, high = (
            self._uniform(generator, count, 50, 300)[:, None],
            self._uniform(generator, count, 3000, 6500)[:, None],
        )
        shape = (1 + (low / hz) ** 8).rsqrt() * (1 + (hz / high) ** 8).rsqrt()
        return torch.fft.irfft(torch.fft.rfft(augmented) * shape, augmented.shape[1])

    def _features(self, samples: Tensor, frames: Tensor) -> Tensor:
        """Converts samples [B, T] to features [B, N, mels], padded with silence; N is a whole number of chunks."""
        step = self.batcher.front.hop * self.batcher.chunk
        padded = torch.nn.functional.pad(samples, (0, -samples.shape[1] % step))
        features = self.batcher.front.offline(padded)
        beyond = torch.arange(features.shape[1], device=self.device)[None] >= frames[:, None]
        return features.masked_fill(beyond[..., None], self.batcher.front.silence)

    def _spec_augment(self, features: Tensor, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Applies SpecAugment: random time and frequency masks are set to the clip's mean."""
        count, size, mels = features.shape
        rules, hop_s = self.batcher.rules, self.batcher.front.hop / self.batcher.front.rate_hz
        mean = features.mean((1, 2))[:, None, None]
        for _ in range(rules.time_masks):
            features = torch.where(
                self._random_mask(generator, frames, size, rules.time_mask_s / hop_s)[..., None], mean, features
            )
        for _ in range(rules.band_masks):
            bands = torch.full((count,), mels, device=self.device)
            features = torch.where(self._random_mask(generator, bands, mels, rules.band_mask)[:, None], mean, features)
        return features

    def _random_mask(self, generator: torch.Generator, lengths: Tensor, size: int, widest: float) -> Tensor:
        """Returns a mask [B, size] bool: one random run of fewer than `widest` positions within the first `lengths`
        [B]."""
        width = (self._uniform(generator, len(lengths), 0.0, 1.0) * widest).floor()
        begin = (self._uniform(generator, len(lengths), 0.0, 1.0) * (lengths - width).clamp(min=1)).floor()
        indices = torch.arange(size, device=self.device)[None]
        return (indices >= begin[:, None]) & (indices < (begin + width)[:, None])

    def _spans(self, clean: Tensor) -> Tensor:
        """Returns the speech bounds [B, 2] of each row, in feature frames."""
        loud = clean.abs() > QUIET * clean.abs().amax(1, keepdim=True).clamp(min=1e-9)
        first = loud.int().argmax(1)
        last = clean.shape[1] - loud.int().flip(1).argmax(1)
        return torch.stack([first // self.batcher.front.hop, last // self.batcher.front.hop + 1], 1).cpu()
