"""Second-pass recognition with full context; not in the Freeze-Omni paper, it supplements its section 3.2.

    fobench train reread --data runs/data/input --on-device --adapter runs/train/input-1 --out runs/train/reread
    fobench train reread --data runs/data/input --frames runs/data/frames --adapter ... --out runs/train/reread

Trains, with CTC over the adapter's BPE tokens, a recognizer on the frames of full-context Whisper that transcribes a complete turn; with
--correct it adds a correction to the adapter's logits, and starts from these. Both share one language model.

On a GPU, Whisper encodes the augmented clips of --data in every epoch, with LoRA updates. On a CPU, encoding costs more than training:
`fobench train frames` extracts the frames once, and --data only provides the validation clips.
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
from reference_model.train.data.asr_validation import validation_sets, word_error_rate
from reference_model.train.data.augmentation import Sounds
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.ctc_targets import CTCTargets, map_tensors, min_outputs
from reference_model.train.data.data_options import PATH, DataSources, with_sources
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.speech_input.ctc import CTCStage, UniformAlignmentWeight, uniform_alignment_loss
from reference_model.train.speech_input.second_pass_online import OnlineSecondPassLearner
from reference_model.train.stages import second_pass_features
from reference_model.train.stages.dry_run import CLIP_S, NO_DATA, DryRunCase, NoData
from reference_model.train.stages.second_pass_features import FeatureClip, FeatureExtractor
from reference_model.train.stages.stage_command import StageRun, stage_command

FRAMES_HZ, FEATURES = 50.0, 2  # encoder frames per second; feature frames per encoder frame
AROUND = (25, 50)  # approximate silence before and after the speech of a clip, feature frames
MASKS, MASK = 2, 8  # time masks per clip, and their maximum length in frames


@dataclass(frozen=True, slots=True)
class SecondPassBatch:
    """Clips as encoder frames [B, T, 384] of `lengths` [B], optional adapter features [B, n, F], texts and CTC
    targets."""

    frames: Tensor
    lengths: Tensor
    adapter_features: Tensor | None
    texts: tuple[str, ...]
    targets: CTCTargets | None = None

    def to_device(self, device: torch.device) -> SecondPassBatch:
        found: SecondPassBatch = map_tensors(self, lambda tensor: tensor.to(device, non_blocking=True))
        return found


class SecondPassLearner(nn.Module):
    """The second pass on cached frames; the adapter's frozen output layer, whose logits it may correct, is not a
    submodule."""

    def __init__(self, second_pass: SecondPass, adapter: CTCAdapter) -> None:
        super().__init__()
        self.rereader, self.units = second_pass, adapter.units
        self._spell = [adapter.spell.requires_grad_(False)]
        self.alignment_weight = 0.0  # set by the stage before every step

    @property
    def stride(self) -> int:
        return self.rereader.config.stride

    def forward(self, batch: SecondPassBatch) -> dict[str, Tensor]:
        """Returns the losses of a batch, summed over its clips, and the number of clips as "count"."""
        assert batch.targets is not None
        sizes, lengths = batch.targets.sizes, batch.lengths // self.stride  # on the CPU, as CTC takes them
        batch = batch.to_device(self.rereader.conv.weight.device)
        assert batch.targets is not None
        log_p = self.logits(batch).float().log_softmax(-1)
        units = batch.targets.units
        losses = functional.ctc_loss(log_p.transpose(0, 1), units, lengths, sizes, BLANK, "none", True)
        ctc = (losses / sizes.clamp(min=1).to(losses.device)).sum()  # per token
        sums = {"loss": ctc, "ctc": ctc, "count": torch.tensor(float(len(batch.texts)), device=log_p.device)}
        if self.alignment_weight:
            sums["even"] = uniform_alignment_loss(log_p, batch.targets, FEATURES * self.stride)
            sums["loss"] = ctc + self.alignment_weight * sums["even"]
        return sums

    def logits(self, batch: SecondPassBatch) -> Tensor:
        """Computes CTC logits [B, n, U], including the adapter's where the second pass corrects them."""
        frames = batch.frames.to(self.rereader.conv.weight.dtype)
        inside = torch.arange(frames.shape[1], device=frames.device) < batch.lengths[:, None].to(frames.device)
        adapter_features = None if batch.adapter_features is None else batch.adapter_features.to(frames.dtype)
        logits: Tensor = self.rereader(frames, inside, adapter_features)[0]
        if adapter_features is None:
            return logits
        spell = self._spell[0] = self._spell[0].to(frames.device)
        return logits + spell(adapter_features)

    @torch.no_grad()
    def transcripts(self, batch: SecondPassBatch) -> list[str]:
        """Transcribes each clip by greedy CTC decoding."""
        best = self.logits(batch.to_device(self.rereader.conv.weight.device)).argmax(-1).tolist()
        ends = (batch.lengths // self.stride).tolist()
        return [self.units.decode(collapsed(row[:n])) for row, n in zip(best, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class SecondPassClip:
    """One clip of a batch: transcript, frames [T, 384], optional adapter features [n, F], token ids of the text."""

    text: str
    frames: Tensor
    adapter_features: Tensor | None
    units: list[int]


@dataclass(slots=True)
class SecondPassStage:
    """Training stage of the second pass on cached frames."""

    module: SecondPassLearner
    clips: Sequence[FeatureClip]
    valid: Sequence[tuple[str, Sequence[SecondPassBatch]]]
    about: dict[str, Any]
    alignment_weight: UniformAlignmentWeight
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
        """Loads a clip with random time masks; None, and an entry in the faults, where its text does not fit."""
        units, outputs = self.module.units.encode(clip.text), clip.frames // self.module.stride
        if not units or min_outputs(units) > outputs:
            self.faults.add(
                f"{clip.path.name}/{clip.key}", f"its text needs {min_outputs(units)} CTC outputs and has {outputs}"
            )
            return None
        frames, adapter_features = clip.load(bool(self.module.rereader.config.features))
        frames = frames.float()
        for _ in range(MASKS):
            begin, length = int(rng.integers(0, len(frames))), int(rng.integers(0, MASK))
            frames[begin : begin + length] = 0.0
        return SecondPassClip(clip.text, frames, adapter_features, units)

    def before_step(self, step: int) -> None:
        self.module.alignment_weight = self.alignment_weight.at(step)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": list(self.module.parameters()), "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns the WER of each validation set: greedy decoding, normalized by `fobench-en-2`."""
        return {f"wer_{name}": word_error_rate(batches, self.module.transcripts) for name, batches in self.valid}


def collate(clips: Sequence[SecondPassClip], units: BPEUnits) -> SecondPassBatch:
    """Collates clips into a batch, padded to the longest."""
    spans = [(AROUND[0], max(AROUND[0] + 1, FEATURES * len(one.frames) - AROUND[1])) for one in clips]
    frames = nn.utils.rnn.pad_sequence([one.frames for one in clips], batch_first=True)
    features = [one.adapter_features for one in clips if one.adapter_features is not None]
    adapter_features = nn.utils.rnn.pad_sequence(features, batch_first=True) if features else None
    lengths, texts = torch.tensor([len(one.frames) for one in clips]), tuple(one.text for one in clips)
    return SecondPassBatch(
        frames, lengths, adapter_features, texts, CTCTargets.of([one.units for one in clips], spans, units)
    )


def validation_batches(
    extractor: FeatureExtractor, units: BPEUnits, data: Sequence[Path], manifests: Sequence[Path], max_clips: int
) -> list[tuple[str, list[SecondPassBatch]]]:
    """Returns (name, batches) of the validation sets, without augmentation."""
    front, chunk = extractor.whisper.front, extractor.whisper.chunk
    batcher = AsrBatcher(Corpus([], RATE_HZ), Sounds(RATE_HZ), PLAIN, front, chunk, clean=False)
    found = []
    for name, batches in validation_sets(data, manifests, batcher, max_clips):
        parts = [
            [SecondPassClip(t, *one, []) for t, one in zip(b.texts, extractor.extract(b), strict=True)] for b in batches
        ]
        found.append((name, [collate(some, units) for some in parts]))
    return found


def cached_stage(
    extractor: FeatureExtractor,
    adapter: CTCAdapter,
    second_pass: SecondPass,
    folders: Sequence[Path],
    sources: DataSources,
    run: StageRun,
    alignment_weight: UniformAlignmentWeight,
) -> SecondPassStage:
    """Makes the stage that trains on the cached frames of `fobench train frames`."""
    learner, about = SecondPassLearner(second_pass, adapter), _about(second_pass, adapter.units)
    clips = [clip for one in folders for clip in second_pass_features.read(one)]
    validation_extractor = extractor if second_pass.config.features else FeatureExtractor(extractor.whisper)
    sets = validation_batches(validation_extractor, adapter.units, sources.data, sources.valid, sources.max_clips)
    click.echo(f"{len(clips):,} clips, {sum(c.frames for c in clips) / FRAMES_HZ / 3600:.1f} h", err=True)
    return SecondPassStage(learner, clips, sets, about, alignment_weight, SkippedSamples(), run.loop.seed)


def online_stage(
    whisper: WhisperStreamingEncoder,
    units: BPEUnits,
    second_pass: SecondPass,
    sources: DataSources,
    run: StageRun,
    alignment_weight: UniformAlignmentWeight,
) -> CTCStage:
    """Makes the stage that encodes the clips in every epoch."""
    corpus, learner = sources.corpus(RATE_HZ), OnlineSecondPassLearner(whisper, second_pass, units)
    batch_options = {"vocabulary": units, "dropout": 0.0, "spacing": learner.spacing, "clean": False}
    batcher = sources.batcher(corpus, whisper, run.loop.seed, False, **batch_options)
    click.echo(f"{len(corpus):,} clips, {corpus.hours:.1f} h", err=True)
    device_batcher = sources.device_batcher(batcher, run.device)
    return CTCStage(
        module=learner,
        batcher=device_batcher,
        valid=sources.validation_sets(batcher),
        about=_about(second_pass, units),
        alignment_weight=alignment_weight,
        name="reread",
    )


def build_second_pass(
    config: SecondPassConfig, adapter: CTCAdapter, *, correct: bool, frozen_encoder: bool
) -> SecondPass:
    """Builds a second pass with the adapter's vocabulary. `frozen_encoder`: without LoRA, as for cached frames."""
    features = adapter.config.hidden if correct else 0
    return replace(
        config, units=len(adapter.units), features=features, rank=0 if frozen_encoder else config.rank
    ).build()


def load_pretrained(second_pass: SecondPass, pretrained: PretrainedWeights) -> None:
    """Loads pretrained weights; LoRA updates that these lack keep their zero initialization."""
    if second_pass.config.rank and not (pretrained.part_config("rereader") or {}).get("rank"):
        without_lora = replace(second_pass.config, rank=0).build()
        pretrained.fill(without_lora, "rereader")
        second_pass.load_state_dict(without_lora.state_dict(), strict=False)
    else:
        pretrained.fill(second_pass, "rereader")


def _about(second_pass: SecondPass, units: BPEUnits) -> dict[str, Any]:
    return {"rereader": asdict(second_pass.config), "writing": units.merges}


def sample_reread(case: DryRunCase) -> DryRunBatch:
    """Makes the dry run's batch: cached frames (--frames), or clips.

    FobenchError for a configuration without a second pass.
    """
    config = case.config.rereader
    if config is None:
        raise FobenchError(f"Configuration {case.config.name} has no second pass: it lacks a [rereader] table.")
    units = NoData(case).units(Path())
    return (_cached_sample if case.options.get("folders") else _online_sample)(case, config, units)


def _online_sample(case: DryRunCase, config: SecondPassConfig, units: BPEUnits) -> DryRunBatch:
    """Makes a batch of clips, encoded by Whisper in the training step."""
    with case.device:
        whisper = WhisperConfig(size=config.encoder_size, layers=config.encoder_layers).build()
        learner = OnlineSecondPassLearner(whisper, replace(config, units=len(units)).build(), units)
    stage = CTCStage(
        module=learner,
        batcher=NO_DATA,
        valid=(),
        about={},
        alignment_weight=UniformAlignmentWeight(),
        name="reread",
    )
    return DryRunBatch(stage, case.asr_batch(whisper, clean=False), case.describe_batch())


def _cached_sample(case: DryRunCase, config: SecondPassConfig, units: BPEUnits) -> DryRunBatch:
    """Makes a batch of cached frames of the frozen encoder."""
    features = CTCAdapterConfig(0).hidden if case.options.get("correct") else 0
    config = replace(config, units=len(units), features=features, rank=0)
    with case.device:
        adapter = CTCAdapterConfig(config.encoder_size, units.merges).build()
        learner = SecondPassLearner(config.build(), adapter)
    frames = torch.zeros(round(CLIP_S * FRAMES_HZ), config.encoder_size)
    adapter_features = torch.zeros(len(frames) // config.stride, config.features) if config.features else None
    batch = collate(
        [SecondPassClip(case.transcript, frames, adapter_features, units.encode(case.transcript))] * case.clip_count(),
        units,
    )
    return DryRunBatch(
        SecondPassStage(learner, (), (), {}, UniformAlignmentWeight(), SkippedSamples()), batch, case.describe_batch()
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
@click.option("--frames", "folders", type=PATH, multiple=True, help="Folder of fobench train frames; repeatable.")
@click.option("--adapter", type=PATH, required=True, help="Folder or file with the CTC adapter and its BPE vocabulary.")
@click.option("--init", type=PATH, help="Folder or file of pretrained second-pass weights.")
@click.option("--correct", is_flag=True, help="Correct the adapter's logits; needs --frames made with --init.")
@click.option(
    "--even", "alignment_weight", default=1.0, show_default=True, help="Initial weight of the uniform alignment loss."
)
@click.option(
    "--even-steps", "alignment_steps", default=300, show_default=True, help="Steps over which that weight falls to 0."
)
def main(
    run: StageRun,
    sources: DataSources,
    folders: Sequence[Path],
    adapter: Path,
    init: Path | None,
    correct: bool,
    alignment_weight: float,
    alignment_steps: int,
) -> None:
    """Trains the second pass: full-context recognition of complete turns on Whisper's frames, with LoRA updates of its encoder.

    With --frames, which come from the unchanged encoder, there are no LoRA updates.
    """
    torch.manual_seed(run.loop.seed)
    if correct and not folders:
        raise FobenchError(
            "--correct needs the adapter's features: give --frames made with fobench train frames --init."
        )
    config, extractor = run.config.rereader, FeatureExtractor.of(PretrainedWeights.read(adapter))
    ctc_adapter = extractor.adapter
    if config is None or not isinstance(run.config.adapter, CTCAdapterConfig):
        raise FobenchError(
            f"Configuration {run.config.name} has no second pass: it needs a [rereader] table and a CTC adapter."
        )
    assert ctc_adapter is not None
    second_pass = build_second_pass(config, ctc_adapter, correct=correct, frozen_encoder=bool(folders))
    if init:
        load_pretrained(second_pass, PretrainedWeights.read(init))
    elif correct:
        nn.init.zeros_(second_pass.spell.weight)  # the initial logits are the adapter's
        nn.init.zeros_(second_pass.spell.bias)
    click.echo(f"{sum(p.numel() for p in second_pass.parameters()) / 1e6:.2f} M parameters", err=True)
    weight = UniformAlignmentWeight(alignment_weight, alignment_steps)
    if folders:
        run.train(cached_stage(extractor, ctc_adapter, second_pass, folders, sources, run, weight))
    else:
        stage = online_stage(extractor.whisper, ctc_adapter.units, second_pass, sources, run, weight)
        (run.in_process() if sources.on_device else run).train(stage)


if __name__ == "__main__":
    main()
