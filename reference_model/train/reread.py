"""Trains the second pass: a CTC head that spells whole turns from what Whisper's frozen encoder makes of them.

    python -m reference_model.train.reread --frames runs/data/frames --adapter runs/train/input-1 --valid MANIFEST --out runs/train/reread

The units are those of the adapter, so that both are read with one language model. Frames are made once, by `train.frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fobench.errors import FobenchError
from reference_model.features import RATE_HZ
from reference_model.rereading import Rereader
from reference_model.spelling import SpellingConfig
from reference_model.train import frames as kept
from reference_model.train.augment import Sounds
from reference_model.train.batches import Batches
from reference_model.train.corpus import Corpus
from reference_model.train.earlier import Earlier
from reference_model.train.engine import Loop
from reference_model.train.frames import Framed
from reference_model.train.hearing import DROPOUT, PLAIN, Listening
from reference_model.train.shards import Faults
from reference_model.train.sources import PATH
from reference_model.train.spelling_ctc import Even, evenness
from reference_model.train.stage import Order, stage_command
from reference_model.train.targets import Targets, mapped, needed
from reference_model.train.validation import valid_sets, word_error_rate
from reference_model.units import BLANK, Units, collapsed
from reference_model.whisper_weights import full_context, ranged

FRAMES_HZ, FEATURES = 50.0, 2  # the encoder's frames a second; feature frames a frame
AROUND = (25, 50)  # feature frames of silence before and after the speech of a clip, about
MASKS, MASK = 2, 12  # spans of a clip's frames that are not shown, and how long they are at most


@dataclass(frozen=True, slots=True)
class Whole:
    """Clips as the encoder's frames [B, T, 384], `lengths` [B], and what is to be read in them."""

    frames: Tensor
    lengths: Tensor
    texts: tuple[str, ...]
    targets: Targets | None = None

    def on(self, device: torch.device) -> Whole:
        found: Whole = mapped(self, lambda tensor: tensor.to(device, non_blocking=True))
        return found


class RereadLearner(nn.Module):
    def __init__(self, rereader: Rereader, units: Units) -> None:
        super().__init__()
        self.rereader, self.units = rereader, units
        self.evenness = 0.0  # weight

    @property
    def stride(self) -> int:
        return self.rereader.config.stride

    def forward(self, batch: Whole) -> dict[str, Tensor]:
        """Sums over the clips of a batch."""
        assert batch.targets is not None
        sizes, lengths = batch.targets.sizes, batch.lengths // self.stride  # where CTC wants them: on the CPU
        batch = batch.on(self.rereader.conv.weight.device)
        assert batch.targets is not None
        log_p = self.logits(batch).float().log_softmax(-1)
        units = batch.targets.units
        losses = functional.ctc_loss(log_p.transpose(0, 1), units, lengths, sizes, BLANK, "none", True)
        ctc = (losses / sizes.clamp(min=1).to(losses.device)).sum()  # a unit
        sums = {"loss": ctc, "ctc": ctc, "count": torch.tensor(float(len(batch.texts)), device=log_p.device)}
        if self.evenness:
            sums["even"] = evenness(log_p, batch.targets, FEATURES * self.stride)
            sums["loss"] = ctc + self.evenness * sums["even"]
        return sums

    def logits(self, batch: Whole) -> Tensor:
        frames = batch.frames.to(self.rereader.conv.weight.dtype)
        inside = torch.arange(frames.shape[1], device=frames.device) < batch.lengths[:, None].to(frames.device)
        logits: Tensor = self.rereader(frames, inside)[0]
        return logits

    @torch.no_grad()
    def transcripts(self, batch: Whole) -> list[str]:
        best = self.logits(batch.on(self.rereader.conv.weight.device)).argmax(-1).tolist()
        ends = (batch.lengths // self.stride).tolist()
        return [self.units.decode(collapsed(row[:n])) for row, n in zip(best, ends, strict=True)]


@dataclass(slots=True)
class RereadStage:
    """See the module."""

    module: RereadLearner
    clips: Sequence[Framed]
    valid: Sequence[tuple[str, Sequence[Whole]]]
    about: dict[str, Any]
    even: Even
    faults: Faults
    seed: int = 0
    name: str = "reread"

    def batches(self, loop: Loop) -> Batches:
        return Batches([clip.frames / FRAMES_HZ for clip in self.clips], loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> Whole | None:
        rng = np.random.default_rng([self.seed, epoch, indices[0]])
        found = [one for i in indices if (one := self._clip(self.clips[i], rng)) is not None]
        return collate(found, self.module.units) if found else None

    def _clip(self, clip: Framed, rng: np.random.Generator) -> tuple[str, Tensor, list[int]] | None:
        """(text, frames, units): with some frames not shown, and some merges of units not made."""
        units = self.module.units.encode(clip.text, DROPOUT, rng.random)
        room = clip.frames // self.module.stride
        units = units if needed(units) <= room else self.module.units.encode(clip.text)
        if not units or needed(units) > room:
            self.faults.add(f"{clip.path.name}/{clip.key}", f"its text needs {needed(units)} outputs, of {room}")
            return None
        frames = clip.load().float()
        for _ in range(MASKS):
            begin = int(rng.integers(0, len(frames)))
            frames[begin : begin + int(rng.integers(0, MASK))] = 0.0
        return clip.text, frames, units

    def at(self, step: int) -> None:
        self.module.evenness = self.even.at(step)

    def groups(self, loop: Loop) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Word error rate of each validation set, greedy, after Whisper's normaliser."""
        return {f"wer_{name}": word_error_rate(batches, self.module.transcripts) for name, batches in self.valid}


def collate(clips: Sequence[tuple[str, Tensor, list[int]]], units: Units) -> Whole:
    """Clips of (text, frames [T, D], units), filled up to the longest."""
    texts, frames, written = zip(*clips, strict=True)
    spans = [(AROUND[0], max(AROUND[0] + 1, FEATURES * len(one) - AROUND[1])) for one in frames]
    lengths = torch.tensor([len(one) for one in frames])
    return Whole(
        nn.utils.rnn.pad_sequence(list(frames), batch_first=True),
        lengths,
        tuple(texts),
        Targets.of(written, spans, units),
    )


@torch.inference_mode()
def validation(data: Sequence[Path], manifests: Sequence[Path], most: int) -> list[tuple[str, list[Whole]]]:
    """The sets' clips as they are, read by Whisper's encoder: (name, batches)."""
    whisper = full_context()
    listening = Listening(Corpus([], RATE_HZ), Sounds(RATE_HZ), PLAIN, whisper.front, whisper.chunk, clean=False)
    found = []
    for name, batches in valid_sets(data, manifests, listening, most):
        read = [whisper(ranged(batch.features), batch.lengths)[0].half() for batch in batches]
        whole = [Whole(f, b.lengths // FEATURES, b.texts) for f, b in zip(read, batches, strict=True)]
        found.append((name, whole))
    return found


@stage_command(config="small", steps=4000, lr=2e-3, warmup=200, validate_every=200, batch_s=160.0, batch_most=64)
@click.option("--frames", "folder", type=PATH, multiple=True, required=True, help="Folder of train.frames; repeatable.")
@click.option("--adapter", type=PATH, required=True, help="Folder or file with the adapter, whose units these are.")
@click.option("--data", type=PATH, multiple=True, help="Shards whose validation split it is judged by.")
@click.option("--valid", type=PATH, multiple=True, help="Manifest to validate on; repeatable.")
@click.option("--most", default=200, show_default=True, help="Clips of each set to validate on.")
@click.option("--even", default=1.0, show_default=True, help="Weight of evenly spread units, at first.")
@click.option("--even-steps", default=300, show_default=True, help="Steps over which it falls to 0.")
def main(
    order: Order,
    folder: Sequence[Path],
    adapter: Path,
    data: Sequence[Path],
    valid: Sequence[Path],
    most: int,
    even: float,
    even_steps: int,
) -> None:
    """Trains the second pass: whole turns, spelt from the frames of Whisper's frozen encoder."""
    torch.manual_seed(order.loop.seed)
    config, earlier = order.config.rereader, Earlier.read(adapter)
    if config is None or not isinstance(order.config.adapter, SpellingConfig):
        raise FobenchError(
            f"Configuration {order.config.name} has no second pass: it needs a [rereader], and an adapter that spells."
        )
    units = Units((earlier.about("adapter") or {})["units"])
    config = replace(config, units=len(units))
    clips = [clip for one in folder for clip in kept.read(one)]
    about = {"rereader": asdict(config), "writing": units.merges}
    learner, faults = RereadLearner(config.build(), units), Faults()
    sets = validation(data, valid, most)
    hours, count = sum(c.frames for c in clips) / FRAMES_HZ / 3600, sum(p.numel() for p in learner.parameters())
    click.echo(f"{len(clips):,} clips, {hours:.1f} h; {count / 1e6:.2f} M parameters", err=True)
    order.train(RereadStage(learner, clips, sets, about, Even(even, even_steps), faults, order.loop.seed))


if __name__ == "__main__":
    main()
