"""Output stage 3, prefix tuning (Freeze-Omni, arXiv 2411.00774, section 3.3).

    fobench train output-3 --replies runs/data/replies.jsonl --codec runs/train/output-1 \\
        --speech runs/train/output-2 --out runs/train/output-3

Trains the prefix network, which reads the LLM's hidden states, with the cross-entropy of the codec tokens of the LLM's own replies; the
speech decoder of output stage 2 is frozen. Replies are cut into segments as in live inference and synthesized once, before training; an
interrupted synthesis resumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import torch
from accelerate import PartialState

from fobench.cli.options import named_args
from fobench.errors import FobenchError
from reference_model.train.engine.cost_estimate import DryRunBatch
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output import reply_segments
from reference_model.train.speech_output.decoder_training import (
    DecoderExample,
    SpeechDecoderLearner,
    SpeechDecoderStage,
    TextReader,
    embeddings_of,
)
from reference_model.train.speech_output.reply_segments import AnsweredQuestion, SegmentMaker
from reference_model.train.speech_output.stage_checkpoints import (
    check_codes,
    fingerprint,
    load_codec,
    load_decoder,
    load_latents_encoder,
    with_prefix_network,
)
from reference_model.train.stages.dry_run import CLIP_S, LETTERS_S, DryRunCase
from reference_model.train.stages.output_2 import dry_run_parts
from reference_model.train.stages.stage_command import StageRun, stage_command
from reference_model.train.synthesis.piper_latents import NOISE, LatentSpeaker

PATH = click.Path(path_type=Path)
PREFIX = "decoder.prefix."
USED_IN_LAST_LAYER = (
    "attention_norm.",
    "key.",
    "value.",
)  # parameters of the prefix network's last layer that have an effect: only its keys and values are used
VALID = 0.04  # share of the replies held out where no question is of the validation split


class PrefixStage(SpeechDecoderStage):
    """Training stage on segments with hidden states; everything but the prefix network is frozen."""

    def __init__(
        self,
        module: SpeechDecoderLearner,
        reader: TextReader,
        train: list[DecoderExample],
        valid: list[DecoderExample],
        frame_rate_hz: float,
        faults: SkippedSamples,
        llm: Mapping[str, Any] | None = None,
    ) -> None:
        """`llm`: backbone and llm_size, to which the hidden states tie the decoder."""
        about = {"decoder": asdict(module.decoder.config), "llm": dict(llm or {})}
        super().__init__(module, reader, train, valid, frame_rate_hz, about=about, name="output-3", faults=faults)
        last = f"{PREFIX}{module.decoder.config.layers - 1}."
        for name, parameter in module.named_parameters():
            used = not name.startswith(last) or name.removeprefix(last).startswith(USED_IN_LAST_LAYER)
            parameter.requires_grad_(name.startswith(PREFIX) and used)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": [p for p in self.module.parameters() if p.requires_grad], "lr": loop.lr}]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Returns the scores of stage 2, and the loss of the same segments without hidden states."""
        without_hidden = [replace(one, hidden=None) for one in self.valid]
        return {**self.scores(self.valid), "loss_without": self.scores(without_hidden)["loss"]}


def split_answers(answers: Sequence[AnsweredQuestion]) -> tuple[list[AnsweredQuestion], list[AnsweredQuestion]]:
    """Splits answers into (training, validation): by the questions' split, or else the last ones for validation."""
    valid = [one for one in answers if one.split == "valid"] or list(answers[-max(1, round(VALID * len(answers))) :])
    validation_ids = {one.id for one in valid}
    train = [one for one in answers if one.id not in validation_ids]
    if not train:
        raise FobenchError(f"{len(answers)} replies are too few to train on and to validate with. Give more --replies.")
    return train, valid


def sample_output_3(case: DryRunCase) -> DryRunBatch:
    """Makes the dry run's batch: reply segments with the LLM's hidden states."""
    config = replace(case.config.decoder, thoughts=True)
    hidden = torch.zeros(int(CLIP_S * LETTERS_S) // 4, case.frozen_llm().size)
    learner, batch, reader = dry_run_parts(case, config, hidden)
    return DryRunBatch(
        PrefixStage(learner, reader, [], [], 1.0, SkippedSamples()), batch, case.describe_batch(noun="segments")
    )


@stage_command(
    config="small",
    sample=sample_output_3,
    steps=2000,
    lr=1e-3,
    warmup=100,
    validate_every=250,
    batch_s=160.0,
    batch_most=96,
    precision="bf16",
)
@click.option("--replies", type=PATH, required=True, help="File of fobench train replies: lines of {question, reply}.")
@click.option("--codec", "codec_folder", type=PATH, required=True, help="Folder of output stage 1.")
@click.option("--speech", type=PATH, required=True, help="Folder of output stage 2.")
@click.option("--voice", default="piper", show_default=True, help="TTS voice that output stage 2 was trained with.")
@click.option("--silent", is_flag=True, help="Encode Piper's latents without audio, as stage 2: faster.")
@click.option("--noise", default=NOISE, show_default=True, help="With --silent: noise scale of the voice.")
@click.option("--limit", type=click.IntRange(1, 10_000_000), help="Number of replies.  [default: all]")
@click.option("--backbone", help="The LLM.  [default: the configuration's]")
@named_args("--backbone-args", "backbone")
def main(
    run: StageRun,
    replies: Path,
    codec_folder: Path,
    speech: Path,
    voice: str,
    silent: bool,
    noise: float,
    limit: int | None,
    backbone: str | None,
    backbone_args: Mapping[str, str],
) -> None:
    """Trains output stage 3: the prefix network over the LLM's hidden states."""
    torch.manual_seed(run.loop.seed)
    state, faults = PartialState(), SkippedSamples()
    codec, decoder = load_codec(codec_folder), with_prefix_network(load_decoder(speech))
    check_codes(codec, decoder.config)
    frozen = FrozenLLM.of_model(run.config, backbone, backbone_args, state.device)
    config = replace(run.config, decoder=decoder.config, llm_size=frozen.size)
    codec = codec.to(state.device)
    if silent:
        synthesize = reply_segments.latent_synthesizer(
            codec, load_latents_encoder(codec_folder).to(state.device), LatentSpeaker(1, True, noise)
        )
    else:
        synthesize = reply_segments.audio_synthesizer(codec, reply_segments.reply_voice(voice))
    maker = SegmentMaker(frozen, synthesize, config, f"{fingerprint(codec)}{' by latents' if silent else ''}")
    train, valid = split_answers(reply_segments.read(replies, faults)[:limit])
    with state.main_process_first():
        sets = [
            reply_segments.load_or_make(maker, answers, run.out / name, faults)
            for name, answers in (("train", train), ("valid", valid))
        ]
    module = SpeechDecoderLearner(decoder, embeddings_of(frozen) if decoder.config.llm_rows else None)
    reader = TextReader(frozen.backbone, config, phonetic=decoder.config.phonetic)
    llm = {"backbone": frozen.backbone.name, "llm_size": frozen.size}
    stage = PrefixStage(module, reader, sets[0], sets[1], codec.config.frame_rate_hz, faults, llm)
    seconds = sum(one.codes.shape[1] for one in sets[0]) / codec.config.frame_rate_hz
    click.echo(f"{len(train):,} replies, {len(sets[0]):,} segments, {seconds / 3600:.1f} h", err=True)
    run.train(stage)


if __name__ == "__main__":
    main()
