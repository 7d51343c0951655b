"""Trains the second pass, by CTC: to spell a turn once it can be seen whole, or (--correct) to correct what the adapter spelt.

    python -m reference_model.train.stages.second_pass --data runs/data/input --on-device --adapter runs/train/input-1 --out runs/train/reread
    python -m reference_model.train.stages.second_pass --data runs/data/input --frames runs/data/frames --adapter ... --out runs/train/reread

On a GPU the clips of --data are heard anew each epoch. Elsewhere hearing costs more than learning: what it sees of the clips is then
made once, by `train.frames`, and --data only has the clips to be judged by. The units are those of the adapter, so that both are read
with one language model. One that corrects begins with what the adapter spells.
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
from reference_model.speech_input.bpe_units import BLANK, BPEUnits, collapsed
from reference_model.speech_input.ctc_adapter import CTCAdapter, CTCAdapterConfig
from reference_model.speech_input.log_mel import RATE_HZ
from reference_model.speech_input.second_pass import SecondPass, SecondPassConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig, WhisperStreamingEncoder
from reference_model.train.data.asr_batches import PLAIN, AsrBatcher
from reference_model.train.data.asr_validation import valid_sets, word_error_rate
from reference_model.train.data.augmentation import Sounds
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.ctc_targets import CTCTargets, mapped, needed
from reference_model.train.data.data_options import PATH, DataSources, with_sources
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.speech_input.ctc import CTCStage, UniformAlignmentWeight, uniform_alignment_loss
from reference_model.train.speech_input.second_pass_online import OnlineSecondPassLearner
from reference_model.train.stages import second_pass_features as kept
from reference_model.train.stages.dry_run import CLIP_S, NO_DATA, DryRunCase, NoData
from reference_model.train.stages.second_pass_features import FeatureClip, FeatureExtractor
from reference_model.train.stages.stage_command import StageRun, stage_command

FRAMES_HZ, FEATURES = 50.0, 2  # the encoder's frames a second; feature frames a frame
AROUND = (25, 50)  # feature frames of silence before and after the speech of a clip, about
MASKS, MASK = 2, 8  # spans of a clip's frames that are not shown, and how long they are at most


@dataclass(frozen=True, slots=True)
class SecondPassBatch:
    """Clips as the encoder's frames [B, T, 384] of `lengths` [B], maybe the adapter's features [B, n, F]; what is to be read."""

    frames: Tensor
    lengths: Tensor
    heard: Tensor | None
    texts: tuple[str, ...]
    targets: CTCTargets | None = None

    def on(self, device: torch.device) -> SecondPassBatch:
        found: SecondPassBatch = mapped(self, lambda tensor: tensor.to(device, non_blocking=True))
        return found


class SecondPassLearner(nn.Module):
    """The second pass; the adapter's own reading, which it corrects, is no part of it."""

    def __init__(self, rereader: SecondPass, adapter: CTCAdapter) -> None:
        super().__init__()
        self.rereader, self.units = rereader, adapter.units
        self._spell = [adapter.spell.requires_grad_(False)]
        self.evenness = 0.0  # weight

    @property
    def stride(self) -> int:
        return self.rereader.config.stride

    def forward(self, batch: SecondPassBatch) -> dict[str, Tensor]:
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
            sums["even"] = uniform_alignment_loss(log_p, batch.targets, FEATURES * self.stride)
            sums["loss"] = ctc + self.evenness * sums["even"]
        return sums

    def logits(self, batch: SecondPassBatch) -> Tensor:
        frames = batch.frames.to(self.rereader.conv.weight.dtype)
        inside = torch.arange(frames.shape[1], device=frames.device) < batch.lengths[:, None].to(frames.device)
        heard = None if batch.heard is None else batch.heard.to(frames.dtype)
        logits: Tensor = self.rereader(frames, inside, heard)[0]
        if heard is None:
            return logits
        spell = self._spell[0] = self._spell[0].to(frames.device)
        return logits + spell(heard)

    @torch.no_grad()
    def transcripts(self, batch: SecondPassBatch) -> list[str]:
        best = self.logits(batch.on(self.rereader.conv.weight.device)).argmax(-1).tolist()
        ends = (batch.lengths // self.stride).tolist()
        return [self.units.decode(collapsed(row[:n])) for row, n in zip(best, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class SecondPassClip:
    """One clip of a batch: what is said, frames [T, 384], maybe the adapter's features [n, F], the units of the text."""

    text: str
    frames: Tensor
    heard: Tensor | None
    units: list[int]


@dataclass(slots=True)
class SecondPassStage:
    """See the module."""

    module: SecondPassLearner
    clips: Sequence[FeatureClip]
    valid: Sequence[tuple[str, Sequence[SecondPassBatch]]]
    about: dict[str, Any]
    even: UniformAlignmentWeight
    faults: SkippedSamples
    seed: int = 0
    name: str = "reread"

    def batches(self, loop: LoopConfig) -> BatchSampler:
        return BatchSampler([clip.frames / FRAMES_HZ for clip in self.clips], loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> SecondPassBatch | None:
        rng = np.random.default_rng([self.seed, epoch, indices[0]])
        found = [one for i in indices if (one := self._clip(self.clips[i], rng)) is not None]
        return collate(found, self.module.units) if found else None

    def _clip(self, clip: FeatureClip, rng: np.random.Generator) -> SecondPassClip | None:
        """With some frames not shown."""
        units, room = self.module.units.encode(clip.text), clip.frames // self.module.stride
        if not units or needed(units) > room:
            self.faults.add(f"{clip.path.name}/{clip.key}", f"its text needs {needed(units)} outputs, of {room}")
            return None
        frames, heard = clip.load(bool(self.module.rereader.config.features))
        frames = frames.float()
        for _ in range(MASKS):
            begin, length = int(rng.integers(0, len(frames))), int(rng.integers(0, MASK))
            frames[begin : begin + length] = 0.0
        return SecondPassClip(clip.text, frames, heard, units)

    def at(self, step: int) -> None:
        self.module.evenness = self.even.at(step)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Word error rate of each validation set, greedy, after Whisper's normaliser."""
        return {f"wer_{name}": word_error_rate(batches, self.module.transcripts) for name, batches in self.valid}


def collate(clips: Sequence[SecondPassClip], units: BPEUnits) -> SecondPassBatch:
    """Clips, filled up to the longest."""
    spans = [(AROUND[0], max(AROUND[0] + 1, FEATURES * len(one.frames) - AROUND[1])) for one in clips]
    frames = nn.utils.rnn.pad_sequence([one.frames for one in clips], batch_first=True)
    own = [one.heard for one in clips if one.heard is not None]
    heard = nn.utils.rnn.pad_sequence(own, batch_first=True) if own else None
    lengths, texts = torch.tensor([len(one.frames) for one in clips]), tuple(one.text for one in clips)
    return SecondPassBatch(frames, lengths, heard, texts, CTCTargets.of([one.units for one in clips], spans, units))


def validation(
    ears: FeatureExtractor, units: BPEUnits, data: Sequence[Path], manifests: Sequence[Path], most: int
) -> list[tuple[str, list[SecondPassBatch]]]:
    """The sets' clips as they are: (name, batches)."""
    front, chunk = ears.whisper.front, ears.whisper.chunk
    listening = AsrBatcher(Corpus([], RATE_HZ), Sounds(RATE_HZ), PLAIN, front, chunk, clean=False)
    found = []
    for name, batches in valid_sets(data, manifests, listening, most):
        parts = [[SecondPassClip(t, *one, []) for t, one in zip(b.texts, ears.hear(b), strict=True)] for b in batches]
        found.append((name, [collate(some, units) for some in parts]))
    return found


def from_frames(
    ears: FeatureExtractor,
    spelling: CTCAdapter,
    rereader: SecondPass,
    folders: Sequence[Path],
    sources: DataSources,
    order: StageRun,
    even: UniformAlignmentWeight,
) -> SecondPassStage:
    """Of clips as `train.frames` keeps them."""
    learner, about = SecondPassLearner(rereader, spelling), _about(rereader, spelling.units)
    clips = [clip for one in folders for clip in kept.read(one)]
    hears = ears if rereader.config.features else FeatureExtractor(ears.whisper)
    sets = validation(hears, spelling.units, sources.data, sources.valid, sources.most)
    click.echo(f"{len(clips):,} clips, {sum(c.frames for c in clips) / FRAMES_HZ / 3600:.1f} h", err=True)
    return SecondPassStage(learner, clips, sets, about, even, SkippedSamples(), order.loop.seed)


def from_clips(
    whisper: WhisperStreamingEncoder,
    units: BPEUnits,
    rereader: SecondPass,
    sources: DataSources,
    order: StageRun,
    even: UniformAlignmentWeight,
) -> CTCStage:
    """Of clips heard anew each epoch."""
    corpus, learner = sources.corpus(RATE_HZ), OnlineSecondPassLearner(whisper, rereader, units)
    made = {"writing": units, "dropout": 0.0, "spacing": learner.spacing, "clean": False}
    listening = sources.listening(corpus, whisper, order.loop.seed, False, **made)
    click.echo(f"{len(corpus):,} clips, {corpus.hours:.1f} h", err=True)
    placed = sources.placed(listening, order.device)
    return CTCStage(learner, placed, sources.valid_sets(listening), _about(rereader, units), even, name="reread")


def begun(config: SecondPassConfig, spelling: CTCAdapter, *, correct: bool, kept: bool) -> SecondPass:
    """A new second pass, which writes with the adapter's units. Frames that were `kept` are those of an unchanged encoder."""
    features = spelling.config.hidden if correct else 0
    return replace(config, units=len(spelling.units), features=features, rank=0 if kept else config.rank).build()


def go_on(rereader: SecondPass, earlier: PretrainedWeights) -> None:
    """Fills it from an earlier training; changes that this did not have yet begin at nothing."""
    if rereader.config.rank and not (earlier.about("rereader") or {}).get("rank"):
        bare = replace(rereader.config, rank=0).build()
        earlier.fill(bare, "rereader")
        rereader.load_state_dict(bare.state_dict(), strict=False)
    else:
        earlier.fill(rereader, "rereader")


def _about(rereader: SecondPass, units: BPEUnits) -> dict[str, Any]:
    return {"rereader": asdict(rereader.config), "writing": units.merges}


def sample_reread(case: DryRunCase) -> DryRunBatch:
    """A dry run's batch: kept frames (--frames), or clips. FobenchError for a configuration without a second pass."""
    config = case.config.rereader
    if config is None:
        raise FobenchError(f"Configuration {case.config.name} has no second pass, no [rereader].")
    units = NoData(case).units(Path())
    return (_reread_of_frames if case.options.get("folders") else _reread_of_clips)(case, config, units)


def _reread_of_clips(case: DryRunCase, config: SecondPassConfig, units: BPEUnits) -> DryRunBatch:
    """Clips that Whisper's encoder hears anew."""
    with case.device:
        whisper = WhisperConfig(size=config.encoder_size, layers=config.encoder_layers).build()
        learner = OnlineSecondPassLearner(whisper, replace(config, units=len(units)).build(), units)
    stage = CTCStage(learner, NO_DATA, (), {}, UniformAlignmentWeight(), name="reread")
    return DryRunBatch(stage, case.heard(whisper, clean=False), case.said())


def _reread_of_frames(case: DryRunCase, config: SecondPassConfig, units: BPEUnits) -> DryRunBatch:
    """Frames that were kept of an unchanged encoder."""
    features = CTCAdapterConfig(0).hidden if case.options.get("correct") else 0
    config = replace(config, units=len(units), features=features, rank=0)
    with case.device:
        adapter = CTCAdapterConfig(config.encoder_size, units.merges).build()
        learner = SecondPassLearner(config.build(), adapter)
    frames = torch.zeros(round(CLIP_S * FRAMES_HZ), config.encoder_size)
    heard = torch.zeros(len(frames) // config.stride, config.features) if config.features else None
    batch = collate([SecondPassClip(case.text, frames, heard, units.encode(case.text))] * case.clips(), units)
    return DryRunBatch(
        SecondPassStage(learner, (), (), {}, UniformAlignmentWeight(), SkippedSamples()), batch, case.said()
    )


@stage_command(
    config="small",
    sample=sample_reread,
    steps=4000,
    lr=2e-3,
    warmup=200,
    validate_every=200,
    batch_s=160.0,
    batch_most=64,
)
@with_sources
@click.option("--frames", "folders", type=PATH, multiple=True, help="Folder of train.frames to learn from; repeatable.")
@click.option("--adapter", type=PATH, required=True, help="Folder or file with the adapter, whose units these are.")
@click.option("--init", type=PATH, help="Folder or file of an earlier training of it to begin with.")
@click.option("--correct", is_flag=True, help="Correct what the adapter spelt: of --frames that were made with --init.")
@click.option("--even", default=1.0, show_default=True, help="Weight of evenly spread units, at first.")
@click.option("--even-steps", default=300, show_default=True, help="Steps over which it falls to 0.")
def main(
    order: StageRun,
    sources: DataSources,
    folders: Sequence[Path],
    adapter: Path,
    init: Path | None,
    correct: bool,
    even: float,
    even_steps: int,
) -> None:
    """Trains the second pass: whole turns, spelt from the frames of Whisper's encoder, and its own changes to that.

    Without changes where --frames are given, which were heard without.
    """
    torch.manual_seed(order.loop.seed)
    if correct and not folders:
        raise FobenchError(
            "--correct learns from what the adapter heard: give --frames, made with fobench train frames --init."
        )
    config, ears = order.config.rereader, FeatureExtractor.of(PretrainedWeights.read(adapter))
    spelling = ears.adapter
    if config is None or not isinstance(order.config.adapter, CTCAdapterConfig):
        raise FobenchError(
            f"Configuration {order.config.name} has no second pass: it needs a [rereader], and an adapter that spells."
        )
    assert spelling is not None
    rereader = begun(config, spelling, correct=correct, kept=bool(folders))
    if init:
        go_on(rereader, PretrainedWeights.read(init))
    elif correct:
        nn.init.zeros_(rereader.spell.weight)  # it begins with what the adapter spells
        nn.init.zeros_(rereader.spell.bias)
    click.echo(f"{sum(p.numel() for p in rereader.parameters()) / 1e6:.2f} M parameters", err=True)
    slowly = UniformAlignmentWeight(even, even_steps)
    if folders:
        order.train(from_frames(ears, spelling, rereader, folders, sources, order, slowly))
    else:
        stage = from_clips(ears.whisper, spelling.units, rereader, sources, order, slowly)
        (order.in_process() if sources.on_device else order).train(stage)


if __name__ == "__main__":
    main()
