"""Trainers of the reference system: {name: factory}, in the order of use. A factory returns the command of a step."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import click

from fobench.api.hookspecs import Factories

STEPS = {  # name: (module, what it does)
    "render": ("synthesis.render", "Data: texts to spoken clips of many voices, in shards."),
    "latents": ("synthesis.piper_latents", "Data: the codec voice's speech, with its latents."),
    "replies": ("synthesis.llm_replies", "Data: the frozen LLM's own answers to questions."),
    "input-1": ("stages.input_1", "Encoder: what is said, by CTC."),
    "frames": ("stages.second_pass_features", "Data: what Whisper's frozen encoder makes of clips, for reread."),
    "reread": ("stages.second_pass", "Second pass: whole turns, spelt from those frames."),
    "input-2": ("stages.input_2", "Encoder and adapter: transcripts through the frozen LLM."),
    "input-3": ("stages.input_3", "Prompts and state head: when to answer, and what."),
    "output-1": ("stages.output_1", "Codec: speech to codes and back."),
    "output-2": ("stages.output_2", "Speech decoder: text to codes."),
    "output-3": ("stages.output_3", "Prefix network: the LLM's thoughts shape how its reply is said."),
    "unit-lm": ("speech_input.ngram_lm_training", "Language model of units, which a spelling adapter is read with."),
    "beam-search": (
        "speech_input.decoding_eval",
        "How well what is spelt is read; finds the best weights of the search.",
    ),
    "say": ("speech_output.intelligibility_eval", "Judges the speaking side by a recogniser."),
    "assemble": ("release.assemble", "What the stages have trained, as one checkpoint."),
    "curves": ("release.learning_curves", "Losses and scores over steps, of one run or several, as a picture."),
}


def _factory(module: str, what: str) -> Callable[[], click.Command]:
    def trainer() -> click.Command:
        command: click.Command = importlib.import_module(f"reference_model.train.{module}").main
        return command

    trainer.__doc__ = what
    return trainer


FACTORIES: Factories = {name: _factory(*step) for name, step in STEPS.items()}
