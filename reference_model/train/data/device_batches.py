"""Batches for the listening side made on the accelerator: all clips lie in its memory, and a batch is made harder at once.

The rules are those of `augment`; the draws are not the same ones, and filters act on spectra. A GPU makes a batch in a few
milliseconds, where the clips of `AsrBatcher` would keep many cores busy.
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

ROWS = 32  # a batch's rows are a multiple of it: few sizes, few plans for Fourier transforms
SIZES = sorted(share << power for share in (4000, 5000, 6000, 7000) for power in range(12))  # of its rows, in samples
ROOM_S = 1.0  # of a room's response that is kept
RECORDED_NOISE, RECORDED_ROOM = 0.6, 0.5  # shares, where there are recordings


@dataclass(slots=True)
class DeviceClips:
    """Recordings one behind the other: int16 [N] on the device, with where each begins and how long it is."""

    sound: Tensor
    begins: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, clips: Sequence[np.ndarray], device: torch.device) -> DeviceClips:
        """`clips`: float [T] each. Without any, one of silence."""
        clips = [np.asarray(c * 32767, np.int16) for c in clips] or [np.zeros(1, np.int16)]
        lengths = torch.tensor([len(c) for c in clips])
        begins = lengths.cumsum(0) - lengths
        return cls(torch.from_numpy(np.concatenate(clips)).to(device), begins.to(device), lengths.to(device))

    def at(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Recordings `rows` [B] at float positions [B, T], between two samples in proportion; silence outside them."""
        low = positions.floor()
        share = (positions - low).float()
        return self._sample(rows, low.long()) * (1 - share) + self._sample(rows, low.long() + 1) * share

    def _sample(self, rows: Tensor, positions: Tensor) -> Tensor:
        inside = (positions >= 0) & (positions < self.lengths[rows, None])
        places = (self.begins[rows, None] + positions).clamp(0, len(self.sound) - 1)
        return torch.where(inside, self.sound[places].float() / 32767, 0.0)


@dataclass(slots=True)
class DeviceAsrBatcher:
    """As `listening`, which says how: all its clips are read at once. What cannot be read is in no batch, and in the faults."""

    listening: AsrBatcher
    device: torch.device
    _clips: DeviceClips = field(init=False)
    _known: list[bool] = field(init=False)  # whether a clip has sound; on the device it would have to be waited for
    _noises: DeviceClips = field(init=False)
    _rooms: Tensor = field(init=False)  # [R, samples]

    def __post_init__(self) -> None:
        silence, sounds = np.zeros(0, np.float32), self.listening.sounds
        found = [self.corpus.samples(i) for i in range(len(self.corpus))]
        self._clips = DeviceClips.of([silence if s is None else s for s in found], self.device)
        self._known = (self._clips.lengths > 0).tolist()
        self._noises = DeviceClips.of([n / max(1e-6, np.abs(n).max()) for n in sounds.noises], self.device)
        room = int(ROOM_S * sounds.rate_hz)
        padded = [np.pad(r[:room], (0, max(0, room - len(r)))) for r in sounds.rooms]
        self._rooms = torch.from_numpy(np.stack(padded or [np.eye(1, room)[0]])).float().to(self.device)

    @property
    def corpus(self) -> Corpus:
        return self.listening.corpus

    def load(self, indices: Sequence[int], epoch: int) -> AsrBatch | None:
        """The batch of these clips, the same whenever it is made on this kind of device; None where none can be used."""
        rules, (rng, draw) = self.listening, self._draws(epoch, indices[0])
        usable = [i for i in indices if self._known[i]]
        if not usable:
            return None
        pairs = len(usable) > 1 and rng.random() < rules.joined
        groups = [usable[i : i + 1 + pairs] for i in range(0, len(usable), 1 + pairs)]
        clean, lengths = self._clean([*groups, *[[]] * (-len(groups) % ROWS)], draw)
        heard = self._noisy(self._roomy(clean, draw), clean, lengths, draw).clamp(-1.0, 1.0)
        frames = -(-lengths // rules.front.hop)
        features, plain = self._masked(self._features(heard, frames), frames, draw), self._features(clean, frames)
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
        """Of the rows, those whose text CTC has room for."""
        rules = self.listening
        texts = [" ".join(self.corpus.entries[i].text for i in group) for group in groups]
        written = [rules.units(t, n, g[0], rng) for t, n, g in zip(texts, samples, groups, strict=False)]
        kept = [row for row, units in enumerate(written) if units is not None]
        if not kept:
            return None
        lengths = torch.tensor([rules.padded(-(-samples[row] // rules.front.hop)) for row in kept])
        targets = [units for units in written if units is not None]
        return AsrBatch(
            features[kept, : int(lengths.max())],
            lengths,
            plain[kept, : int(lengths.max())] if rules.clean else None,
            tuple(texts[row] for row in kept),
            spans[kept],
            CTCTargets.of(targets, [tuple(s) for s in spans[kept].tolist()], rules.writing) if rules.writing else None,
            rules.chunks.draw(rng) if rules.chunks else None,
        )

    def _draws(self, epoch: int, index: int) -> tuple[np.random.Generator, torch.Generator]:
        name = zlib.crc32(self.corpus.entries[index].id.encode())
        rng = np.random.default_rng([self.listening.seed, epoch, name])
        return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))

    def _uniform(self, draw: torch.Generator, size: int, low: float, high: float) -> Tensor:
        return (torch.rand(size, generator=draw) * (high - low) + low).to(self.device)

    def _normal(self, draw: torch.Generator, count: int, size: int) -> Tensor:
        """Much of it, so drawn on the device."""
        own = torch.Generator(self.device).manual_seed(int(torch.randint(2**62, (), generator=draw)))
        return torch.randn(count, size, generator=own, device=self.device)

    def _chance(self, draw: torch.Generator, size: int, chance: float) -> Tensor:
        return (torch.rand(size, generator=draw) < chance).to(self.device)

    def _clean(self, groups: Sequence[Sequence[int]], draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """The clips of each group with silence around them, at a level: samples [B, T], lengths [B]."""
        count, rate = len(groups), self.listening.sounds.rate_hz
        rules = self.listening.rules
        speed = torch.where(
            self._chance(draw, count, rules.speed_chance), self._uniform(draw, count, *rules.speed), 1.0
        )
        start = (self._uniform(draw, count, *rules.before_s) * rate).floor()
        pieces, ends = [], torch.zeros_like(start)
        for k in range(max(map(len, groups))):
            clips = torch.tensor([g[k] if k < len(g) else -1 for g in groups], device=self.device)
            length = torch.where(clips >= 0, self._clips.lengths[clips] / speed, 0.0).floor()
            pieces.append((clips, start))
            ends = torch.where(clips >= 0, start + length, ends)
            start = start + length + (self._uniform(draw, count, *self.listening.pause_s) * rate).floor() * (clips >= 0)
        lengths = (ends + self._uniform(draw, count, *rules.after_s) * rate).long()
        longest = SIZES[bisect_left(SIZES, int(lengths.max()))]
        grid = torch.arange(longest, device=self.device, dtype=torch.float64)[None]
        clean = torch.zeros(count, grid.shape[1], device=self.device)
        for clips, begin in pieces:
            said = self._clips.at(clips.clamp(min=0), (grid - begin[:, None]) * speed[:, None])
            clean += said * (clips >= 0)[:, None]
        return self._levelled(clean, lengths, draw), lengths

    def _levelled(self, clean: Tensor, lengths: Tensor, draw: torch.Generator) -> Tensor:
        """At a drawn level of its root mean square, unless it would clip."""
        wanted = 10 ** (self._uniform(draw, len(clean), *self.listening.rules.level_db) / 20)
        power = (clean.square().sum(1) / lengths).sqrt()
        return clean * torch.minimum(wanted / (power + 1e-6), 1.0 / (clean.abs().amax(1) + 1e-6))[:, None]

    def _roomy(self, clean: Tensor, draw: torch.Generator) -> Tensor:
        """In a room, some of them: a recorded one or decaying noise."""
        count, size = len(clean), self._rooms.shape[1]
        time = torch.arange(size, device=self.device) / self.listening.sounds.rate_hz
        length, depth = self._uniform(draw, count, 0.1, 0.5), self._uniform(draw, count, 0.02, 0.12)
        tails = self._normal(draw, count, size) * depth[:, None] * torch.exp(-6.9 * time[None] / length[:, None])
        tails[:, 0] = 1.0
        recorded = self._chance(draw, count, RECORDED_ROOM if self.listening.sounds.rooms else 0.0)
        chosen = self._rooms[torch.randint(len(self._rooms), (count,), generator=draw).to(self.device)]
        response = torch.where(recorded[:, None], chosen, tails)
        points = clean.shape[1] + size
        wet = torch.fft.irfft(torch.fft.rfft(clean, points) * torch.fft.rfft(response, points), points)[
            :, : clean.shape[1]
        ]
        return torch.where(self._chance(draw, count, self.listening.rules.room_chance)[:, None], wet, clean)

    def _noisy(self, heard: Tensor, clean: Tensor, lengths: Tensor, draw: torch.Generator) -> Tensor:
        """With noise over some, and some through a narrow band."""
        count, size = clean.shape
        rows = torch.randint(len(self._noises.lengths), (count,), generator=draw).to(self.device)
        longest = self._noises.lengths[rows]
        begin = (self._uniform(draw, count, 0.0, 1.0) * (longest - size).clamp(min=1)).floor()
        grid = torch.arange(size, device=self.device, dtype=torch.float64)[None]
        recorded = self._noises.at(rows, (begin[:, None] + grid) % longest[:, None])
        made = self._coloured(count, size, draw)
        noise = torch.where(
            self._chance(draw, count, RECORDED_NOISE if self.listening.sounds.noises else 0.0)[:, None], recorded, made
        )
        power = (clean.square().sum(1) / lengths).sqrt() / (noise.square().mean(1).sqrt() + 1e-9)
        gain = power * 10 ** (-self._uniform(draw, count, *self.listening.rules.noise_db) / 20)
        heard = heard + noise * (gain * self._chance(draw, count, self.listening.rules.noise_chance))[:, None]
        return torch.where(
            self._chance(draw, count, self.listening.rules.band_chance)[:, None], self._narrow(heard, draw), heard
        )

    def _coloured(self, count: int, size: int, draw: torch.Generator) -> Tensor:
        """Noise whose power falls with frequency to a drawn power."""
        spectrum = torch.fft.rfft(self._normal(draw, count, size))
        bins = torch.arange(spectrum.shape[1], device=self.device).clamp(min=8)
        return torch.fft.irfft(spectrum * bins[None] ** (self._uniform(draw, count, -2.0, 0.5)[:, None] / 2), size)

    def _narrow(self, heard: Tensor, draw: torch.Generator) -> Tensor:
        """A fourth-order band, its edges drawn, without phase."""
        count = len(heard)
        hz = torch.fft.rfftfreq(heard.shape[1], 1 / self.listening.sounds.rate_hz, device=self.device).clamp(min=1.0)[
            None
        ]
        low, high = self._uniform(draw, count, 50, 300)[:, None], self._uniform(draw, count, 3000, 6500)[:, None]
        shape = (1 + (low / hz) ** 8).rsqrt() * (1 + (hz / high) ** 8).rsqrt()
        return torch.fft.irfft(torch.fft.rfft(heard) * shape, heard.shape[1])

    def _features(self, samples: Tensor, frames: Tensor) -> Tensor:
        """Samples [B, T] -> features [B, N, mels], silence beyond each clip's frames; N is a whole number of chunks."""
        step = self.listening.front.hop * self.listening.chunk
        padded = torch.nn.functional.pad(samples, (0, -samples.shape[1] % step))
        features = self.listening.front.offline(padded)
        beyond = torch.arange(features.shape[1], device=self.device)[None] >= frames[:, None]
        return features.masked_fill(beyond[..., None], self.listening.front.silence)

    def _masked(self, features: Tensor, frames: Tensor, draw: torch.Generator) -> Tensor:
        """SpecAugment: some frames and some bands at the clip's mean."""
        count, size, mels = features.shape
        rules, hop_s = self.listening.rules, self.listening.front.hop / self.listening.front.rate_hz
        mean = features.mean((1, 2))[:, None, None]
        for _ in range(rules.time_masks):
            features = torch.where(
                self._stripe(draw, frames, size, rules.time_mask_s / hop_s)[..., None], mean, features
            )
        for _ in range(rules.band_masks):
            bands = torch.full((count,), mels, device=self.device)
            features = torch.where(self._stripe(draw, bands, mels, rules.band_mask)[:, None], mean, features)
        return features

    def _stripe(self, draw: torch.Generator, lengths: Tensor, size: int, widest: float) -> Tensor:
        """[B, size] bool: one run of fewer than `widest` places within the first `lengths` [B]."""
        width = (self._uniform(draw, len(lengths), 0.0, 1.0) * widest).floor()
        begin = (self._uniform(draw, len(lengths), 0.0, 1.0) * (lengths - width).clamp(min=1)).floor()
        places = torch.arange(size, device=self.device)[None]
        return (places >= begin[:, None]) & (places < (begin + width)[:, None])

    def _spans(self, clean: Tensor) -> Tensor:
        """[B, 2]: where speech begins and ends, in feature frames."""
        loud = clean.abs() > QUIET * clean.abs().amax(1, keepdim=True).clamp(min=1e-9)
        first = loud.int().argmax(1)
        last = clean.shape[1] - loud.int().flip(1).argmax(1)
        return torch.stack([first // self.listening.front.hop, last // self.listening.front.hop + 1], 1).cpu()
