"""Trains output stage 3, prefix tuning: what the LLM thought shapes how its reply is said (paper, speech output).

    python -m reference_model.train.stages.output_3 --replies runs/data/replies.jsonl --codec runs/train/output-1 \\
        --speech runs/train/output-2 --out runs/train/output-3

The decoder of output stage 2 stays as it is; only the prefix network, which reads the LLM's hidden states, learns. Replies are cut
into segments as in a live conversation and spoken once, before the training; that can be stopped, and goes on where it was.
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
    load_reader,
    thoughtful,
)
from reference_model.train.stages.dry_run import CLIP_S, LETTERS_S, DryRunCase
from reference_model.train.stages.output_2 import speaking_parts
from reference_model.train.stages.stage_command import StageRun, stage_command
from reference_model.train.synthesis.piper_latents import NOISE, LatentSpeaker

PATH = click.Path(path_type=Path)
LEARNS = "decoder.prefix."
READ = ("attention_norm.", "key.", "value.")  # of the prefix network's last layer
VALID = 0.04  # share of the replies kept aside where no question of the validation split is among them


class PrefixStage(SpeechDecoderStage):
    """Segments with thoughts; all but the prefix network is frozen."""

    def __init__(
        self,
        module: SpeechDecoderLearner,
        reader: TextReader,
        train: list[DecoderExample],
        valid: list[DecoderExample],
        frame_rate_hz: float,
        faults: SkippedSamples,
    ) -> None:
        about = {"decoder": asdict(module.decoder.config)}
        super().__init__(module, reader, train, valid, frame_rate_hz, about=about, name="output-3", faults=faults)
        last = f"{LEARNS}{module.decoder.config.layers - 1}."
        for name, parameter in module.named_parameters():
            used = not name.startswith(last) or name.removeprefix(last).startswith(READ)
            parameter.requires_grad_(name.startswith(LEARNS) and used)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        return [{"params": [p for p in self.module.parameters() if p.requires_grad], "lr": loop.lr}]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """As in stage 2, and the loss of the same segments without their thoughts."""
        bare = [replace(one, hidden=None) for one in self.valid]
        return {**self.scores(self.valid), "loss_without": self.scores(bare)["loss"]}


def shared(answers: Sequence[AnsweredQuestion]) -> tuple[list[AnsweredQuestion], list[AnsweredQuestion]]:
    """(to train on, kept aside): by the questions' split, or else the last ones."""
    valid = [one for one in answers if one.split == "valid"] or list(answers[-max(1, round(VALID * len(answers))) :])
    kept = {one.id for one in valid}
    train = [one for one in answers if one.id not in kept]
    if not train:
        raise FobenchError(
            f"{len(answers)} replies are too few to learn from and to validate with. Give more --replies."
        )
    return train, valid


def sample_output_3(case: DryRunCase) -> DryRunBatch:
    """A dry run's batch: reply segments with the LLM's hidden states."""
    config = replace(case.config.decoder, thoughts=True)
    hidden = torch.zeros(int(CLIP_S * LETTERS_S) // 4, case.config.llm_size)
    learner, batch, reader = speaking_parts(case, config, hidden)
    return DryRunBatch(PrefixStage(learner, reader, [], [], 1.0, SkippedSamples()), batch, case.said(noun="segments"))


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
@click.option("--replies", type=PATH, required=True, help="Lines of {question, reply}, as train.replies writes them.")
@click.option("--codec", "codec_folder", type=PATH, required=True, help="Folder of output stage 1.")
@click.option("--speech", type=PATH, required=True, help="Folder of output stage 2.")
@click.option("--voice", default="piper", show_default=True, help="That output stage 2 was taught to speak with.")
@click.option(
    "--silent", is_flag=True, help="Codes of Piper's latents, as --latents gave them to output stage 2: faster."
)
@click.option("--noise", default=NOISE, show_default=True, help="Of --silent: how much the voice varies.")
@click.option("--limit", type=int, help="Replies.  [default: all]")
@click.option("--backbone", help="The LLM.  [default: the configuration's]")
@named_args("--backbone-args", "backbone")
def main(
    order: StageRun,
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
    """Trains output stage 3: the prefix network, which reads the LLM's hidden states."""
    torch.manual_seed(order.loop.seed)
    state, faults = PartialState(), SkippedSamples()
    codec, decoder = load_codec(codec_folder), thoughtful(load_decoder(speech))
    check_codes(codec, decoder.config)
    config = replace(order.config, decoder=decoder.config)
    frozen = FrozenLLM.of_model(config, backbone, backbone_args, state.device)
    codec = codec.to(state.device)
    if silent:
        speak = reply_segments.by_latents(
            codec, load_reader(codec_folder).to(state.device), LatentSpeaker(1, True, noise)
        )
    else:
        speak = reply_segments.by_sound(codec, reply_segments.voice_of(voice))
    maker = SegmentMaker(frozen, speak, config, f"{fingerprint(codec)}{' by latents' if silent else ''}")
    train, valid = shared(reply_segments.read(replies, faults)[:limit])
    with state.main_process_first():
        sets = [
            reply_segments.prepared(maker, answers, order.out / name, faults)
            for name, answers in (("train", train), ("valid", valid))
        ]
    module = SpeechDecoderLearner(decoder, embeddings_of(frozen))
    reader = TextReader(frozen.backbone, config, phonetic=decoder.config.phonetic)
    stage = PrefixStage(module, reader, *sets, codec.config.frame_rate_hz, faults)
    seconds = sum(one.codes.shape[1] for one in sets[0]) / codec.config.frame_rate_hz
    click.echo(f"{len(train):,} replies, {len(sets[0]):,} segments, {seconds / 3600:.1f} h", err=True)
    order.train(stage)


if __name__ == "__main__":
    main()
