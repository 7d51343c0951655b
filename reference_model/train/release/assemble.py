"""Assembles the checkpoints of the stages into one checkpoint.

    fobench train assemble --input runs/train/input-1 --states runs/train/input-3 --codec runs/train/output-1 \\
        --speech runs/train/output-3 --lm runs/train/unit_lm.safetensors --out runs/train/small.safetensors

    fobench train assemble --base reference_model/shipped/any --states runs/train/input-3 --out runs/train/small.safetensors

Without --states the state head keeps its random initialization, and the voice activity detector ends turns. With --lm
the CTC adapter is decoded by beam search. With --base, a complete checkpoint, the parts that no folder is given for are its
own. `reference_model.train.release.package_weights` packages the file for
release.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from fobench.errors import FobenchError
from reference_model.checkpoint import loading
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.config import ModelConfig
from reference_model.model import FreezeOmni, new_prompt
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.train.data.data_options import PATH
from reference_model.train.engine.command import StageCommand
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.speech_input import ngram_lm_training
from reference_model.train.speech_output.stage_checkpoints import check_codes, load_codec, load_decoder
from reference_model.turn_taking.state_head import StateHead

SPEECH_INPUT = ("encoder", "adapter")
HEAD = ("state_middle", "prompts")  # sizes set by input stage 3
HEAD_PARTS = {"state_inputs": ("hidden", "evidence"), "state_memory": 0}  # as well, with what earlier checkpoints have


def assemble(
    config: ModelConfig, speech_input: PretrainedWeights, states: PretrainedWeights | None, codec: Path, speech: Path
) -> FreezeOmni:
    """Returns the model of `config` with the sizes and weights of the stages.

    Raises FobenchError if a folder holds the checkpoint of another stage, or if two stages do not fit each other.
    """
    model = FreezeOmni(_sized_config(config, speech_input, states))
    for name in SPEECH_INPUT:
        speech_input.fill_checked(getattr(model, name), name, getattr(model.config, name))
    if states:
        states.fill(model.state_head, "state_head", optional=True)
        if model.config.prompts:
            model.prompt.data.copy_(states.tensors["prompt"])
    model.codec, model.decoder = load_codec(codec), load_decoder(speech)
    check_codes(model.codec, model.decoder.config)
    parts: dict[str, Any] = {"codec": model.codec.config, "decoder": model.decoder.config}
    model.config = replace(model.config, **parts, **llm_of(speech))
    return model.eval()


def set_beam_search(model: FreezeOmni, lm: Path) -> None:
    """Sets beam search with the language model of a file. Raises FobenchError if it does not fit the adapter."""
    if not isinstance(model.adapter, CTCAdapter):
        raise FobenchError(f"{model.config.name} has no CTC adapter: leave --lm out.")
    model.adapter.read_with(*ngram_lm_training.load(lm, model.adapter.units))
    model.config = replace(model.config, adapter=model.adapter.config)


def add_second_pass(model: FreezeOmni, second_pass: PretrainedWeights) -> None:
    """Adds a second-pass recognizer to the model. Raises FobenchError if its BPE tokens differ from the adapter's."""
    part = second_pass.part_config("rereader")
    if part is None or not isinstance(model.adapter, CTCAdapter):
        raise FobenchError(f"{second_pass.path} holds no second pass, or {model.config.name} has no CTC adapter.")
    if second_pass.config.get("writing") != model.adapter.units.merges:
        raise FobenchError(
            f"{second_pass.path} has other BPE tokens than the adapter. Train it with --adapter of this --input."
        )
    config = ModelConfig.from_json(model.config.to_json() | {"rereader": part}).rereader
    assert config is not None
    model.rereader = config.build()
    second_pass.fill(model.rereader, "rereader")
    model.config = replace(model.config, rereader=config)


def _sized_config(
    config: ModelConfig, speech_input: PretrainedWeights, states: PretrainedWeights | None
) -> ModelConfig:
    """Returns the configuration with the sizes of the stages; without `states`, the voice activity detector ends turns.

    Raises FobenchError if `states` has no state head, or one of another adapter or LLM.
    """
    data = config.to_json()
    data |= {name: {**data[name], **(speech_input.part_config(name) or {})} for name in SPEECH_INPUT} | {
        "rereader": None
    }
    if states is None:
        data["settings"]["duplex"]["turn_end"] = "vad"
        return ModelConfig.from_json(data)
    if missing := [key for key in HEAD if key not in states.config]:
        raise FobenchError(
            f"{states.path} holds no state head: it has no {' and no '.join(missing)}. Give input stage 3's."
        )
    sized = ModelConfig.from_json(data | _head_config(states))
    _check_head(states, sized)
    return sized


def _head_config(states: PretrainedWeights) -> dict[str, Any]:
    """Returns what input stage 3 sets of a configuration."""
    head = {key: states.config[key] for key in HEAD}
    return head | {key: states.config.get(key, earlier) for key, earlier in HEAD_PARTS.items()}


def _check_head(states: PretrainedWeights, config: ModelConfig) -> None:
    """Raises FobenchError if a state head was trained with another adapter, or on hidden states of another LLM."""
    expected = {"evidence": config.adapter.evidence}
    if config.prompts or "hidden" in config.state_inputs:
        expected["llm_size"] = config.llm_size
    for key, value in expected.items():
        if states.config.get(key) != value:
            difference = f"{key}: {states.config.get(key)}, not {value}"
            raise FobenchError(f"{states.path} was trained with another speech input ({difference}). Train it again.")


def replace_parts(
    base: FreezeOmni,
    config: ModelConfig,
    speech_input: PretrainedWeights | None,
    states: PretrainedWeights | None,
    speech: Path | None,
    blank_rows: float | None = None,
) -> FreezeOmni:
    """Gives the model `base` the parts of some stages in place of its own, for the LLM of `config`, and returns it.

    `blank_rows`: the decoder gets so many rows of zeros per letter in place of the LLM's embeddings; its weights stay.
    Raises FobenchError for a checkpoint of another stage, and if the parts do not fit each other.
    """
    model, data = base, base.config.to_json() | {"backbone": config.backbone, "llm_size": config.llm_size}
    if speech:
        model.decoder = load_decoder(speech)
        data |= {"decoder": asdict(model.decoder.config), **llm_of(speech)}
    if blank_rows is not None:
        model.decoder.config = replace(model.decoder.config, llm_rows=False, blank_rows=blank_rows)
        data |= {"decoder": asdict(model.decoder.config)}
    if speech_input:
        data |= {name: {**data[name], **(speech_input.part_config(name) or {})} for name in SPEECH_INPUT}
    model.config = ModelConfig.from_json(data | (_head_config(states) if states else {}))
    if speech_input:
        for name in SPEECH_INPUT:
            part = getattr(model.config, name)
            setattr(model, name, part.build())
            speech_input.fill_checked(getattr(model, name), name, part)
    if states:
        _check_head(states, model.config)
        model.state_head, model.prompt = (
            StateHead(model.config.head_size, model.config.state_middle, model.config.state_memory),
            new_prompt(model.config),
        )
        states.fill(model.state_head, "state_head")
        if model.config.prompts:
            model.prompt.data.copy_(states.tensors["prompt"])
    if isinstance(model.codec, ReferenceCodec):
        check_codes(model.codec, model.decoder.config)
    return model.eval()


def llm_of(speech: Path) -> dict[str, Any]:
    """Returns the backbone and its hidden size that a folder of output stage 3 is tied to; nothing for one of stage 2."""
    return dict(PretrainedWeights.read(speech).config.get("llm") or {})


def _folder_option(name: str, help_text: str, required: bool = True) -> Callable[[Any], Any]:
    """Returns a click option for the folder of a stage."""
    return click.option(name, type=click.Path(path_type=Path), required=required, help=help_text)


@click.command(cls=StageCommand)
@click.option("--config", default="small", show_default=True, help="Configuration: small, tiny, or a TOML file.")
@_folder_option("--base", "A complete checkpoint, whose own parts are used where no folder is given.", required=False)
@_folder_option("--input", "Folder of input stage 1 or 2: encoder and adapter.", required=False)
@_folder_option("--states", "Folder of input stage 3: state head and prompt embeddings.", required=False)
@_folder_option("--codec", "Folder of output stage 1.", required=False)
@_folder_option("--speech", "Folder of output stage 2 or 3: speech decoder.", required=False)
@_folder_option("--reread", "Folder of `fobench train reread`: second-pass recognizer.", required=False)
@click.option(
    "--blank-rows",
    type=click.FloatRange(0, 10),
    help="With --base: its decoder gets rows of zeros, so many per letter, in place of the LLM's embeddings.",
)
@click.option("--lm", type=PATH, help="File of `fobench train unit-lm`: n-gram language model.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The checkpoint to write.")
def main(
    config: str,
    base: Path | None,
    input: Path | None,
    states: Path | None,
    codec: Path | None,
    speech: Path | None,
    reread: Path | None,
    blank_rows: float | None,
    lm: Path | None,
    out: Path,
) -> None:
    """Assembles the checkpoints of the stages into one checkpoint."""
    head, own = (PretrainedWeights.read(path) if path else None for path in (states, input))
    if base and not codec:
        model = replace_parts(loading.load(base, device="cpu"), ModelConfig.load(config), own, head, speech, blank_rows)
    elif own and codec and speech and not base:
        model = assemble(ModelConfig.load(config), own, head, codec, speech)
    else:
        raise FobenchError(
            "Give --input, --codec and --speech; or --base, with the folders of the parts to replace (no --codec)."
        )
    if reread:
        add_second_pass(model, PretrainedWeights.read(reread))
    if lm:
        set_beam_search(model, lm)
    loading.save(model, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
