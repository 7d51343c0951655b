"""Puts what the stages have trained together into one checkpoint.

    python -m reference_model.train.release.assemble --input runs/train/input-1 --states runs/train/input-3 --codec runs/train/output-1 \\
        --speech runs/train/output-3 --lm runs/train/unit_lm.safetensors --out runs/train/small.safetensors

Without --states the state head keeps its random weights, and the silence of the voice activity detector ends turns instead. With
--lm an adapter that spells is read by beam search. Then
`reference_model.train.release.package_weights` puts the file among the checkpoints that fobench ships.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fobench.errors import FobenchError
from reference_model.checkpoint import loading
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.train.data.data_options import PATH
from reference_model.train.engine.command import StageCommand
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.speech_input import ngram_lm_training
from reference_model.train.speech_output.stage_checkpoints import check_codes, load_codec, load_decoder

LISTENING = ("encoder", "adapter")
HEAD = ("state_middle", "prompts")  # sizes that input stage 3 chooses


def assemble(
    config: ModelConfig, heard: PretrainedWeights, states: PretrainedWeights | None, codec: Path, speech: Path
) -> FreezeOmni:
    """The model of `config`, of the sizes that the stages trained.

    Raises FobenchError where a stage's folder holds something else, or where two stages do not fit each other.
    """
    model = FreezeOmni(_sizes(config, heard, states))
    for name in LISTENING:
        heard.give(getattr(model, name), name, getattr(model.config, name))
    if states:
        states.fill(model.state_head, "state_head")
        if model.config.prompts:
            model.prompt.data.copy_(states.tensors["prompt"])
    model.codec, model.decoder = load_codec(codec), load_decoder(speech)
    check_codes(model.codec, model.decoder.config)
    model.config = replace(model.config, codec=model.codec.config, decoder=model.decoder.config)
    return model.eval()


def read_by_beam(model: FreezeOmni, lm: Path) -> None:
    """Has what the adapter spells read with the language model in a file. FobenchError where the two do not fit each other."""
    if not isinstance(model.adapter, CTCAdapter):
        raise FobenchError(f"The adapter of {model.config.name} does not spell: leave --lm out.")
    model.adapter.read_with(*ngram_lm_training.load(lm, model.adapter.units))
    model.config = replace(model.config, adapter=model.adapter.config)


def read_twice(model: FreezeOmni, second: PretrainedWeights) -> None:
    """Gives a model its second pass. FobenchError where that writes with other units than the adapter."""
    about = second.about("rereader")
    if about is None or not isinstance(model.adapter, CTCAdapter):
        raise FobenchError(f"{second.path} holds no second pass, or the adapter of {model.config.name} does not spell.")
    if second.config.get("writing") != model.adapter.units.merges:
        raise FobenchError(
            f"{second.path} writes with other units than the adapter. Train it with --adapter of this --input."
        )
    config = ModelConfig.from_json(model.config.to_json() | {"rereader": about}).rereader
    assert config is not None
    model.rereader = config.build()
    second.fill(model.rereader, "rereader")
    model.config = replace(model.config, rereader=config)


def _sizes(config: ModelConfig, heard: PretrainedWeights, states: PretrainedWeights | None) -> ModelConfig:
    """The configuration with the stages' own sizes; without trained states, turns end by the detector alone."""
    data = config.to_json()
    data |= {name: {**data[name], **(heard.about(name) or {})} for name in LISTENING} | {"rereader": None}
    if states is None:
        data["settings"]["duplex"]["turn_end"] = "vad"
        return ModelConfig.from_json(data)
    if missing := [key for key in HEAD if key not in states.config]:
        raise FobenchError(
            f"{states.path} holds no state head: it has no {' and no '.join(missing)}. Give input stage 3's."
        )
    made = ModelConfig.from_json(data | {key: states.config[key] for key in HEAD})
    for key, own in (("llm_size", made.llm_size), ("evidence", made.adapter.evidence)):
        if states.config.get(key) != own:
            told = f"{key}: {states.config.get(key)}, not {own}"
            raise FobenchError(f"{states.path} was trained with another listening part ({told}). Train it again.")
    return made


def _folder(name: str, told: str, required: bool = True) -> Callable[[Any], Any]:
    return click.option(name, type=click.Path(path_type=Path), required=required, help=told)


@click.command(cls=StageCommand)
@click.option("--config", default="small", show_default=True, help="Configuration: small, tiny, or a TOML file.")
@_folder("--input", "Folder of input stage 1 or 2: encoder and adapter.")
@_folder("--states", "Folder of input stage 3: state head, prompts.", required=False)
@_folder("--codec", "Folder of output stage 1.")
@_folder("--speech", "Folder of output stage 2 or 3: speech decoder.")
@_folder("--reread", "Folder of train.reread: the second pass.", required=False)
@click.option(
    "--lm", type=PATH, help="Language model of units, of reference_model.train.speech_input.ngram_lm_training."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The checkpoint to write.")
def main(
    config: str,
    input: Path,
    states: Path | None,
    codec: Path,
    speech: Path,
    reread: Path | None,
    lm: Path | None,
    out: Path,
) -> None:
    """Puts what the stages have trained together into one checkpoint."""
    head = PretrainedWeights.read(states) if states else None
    model = assemble(ModelConfig.load(config), PretrainedWeights.read(input), head, codec, speech)
    if reread:
        read_twice(model, PretrainedWeights.read(reread))
    if lm:
        read_by_beam(model, lm)
    loading.save(model, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
