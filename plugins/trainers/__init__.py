"""Trainers of the reference system: {name: factory}, in the order of use. A factory returns the command of a step."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import click

from fobench.hookspecs import Factories

STEPS = {  # name: (module, what it does)
    "render": ("render", "Data: texts to spoken clips of many voices, in shards."),
    "latents": ("latents", "Data: the codec voice's speech, with its latents."),
    "replies": ("replies", "Data: the frozen LLM's own answers to questions."),
    "input-1": ("input_1", "Encoder: what is said, by CTC."),
    "frames": ("frames", "Data: what Whisper's frozen encoder makes of clips, for reread."),
    "reread": ("reread", "Second pass: whole turns, spelt from those frames."),
    "input-2": ("input_2", "Encoder and adapter: transcripts through the frozen LLM."),
    "input-3": ("input_3", "Prompts and state head: when to answer, and what."),
    "output-1": ("output_1", "Codec: speech to codes and back."),
    "output-2": ("output_2", "Speech decoder: text to codes."),
    "output-3": ("output_3", "Prefix network: the LLM's thoughts shape how its reply is said."),
    "unit-lm": ("unit_lm", "Language model of units, which a spelling adapter is read with."),
    "beam-search": ("beam_search", "How well what is spelt is read; finds the best weights of the search."),
    "say": ("say", "Judges the speaking side by a recogniser."),
    "assemble": ("assemble", "What the stages have trained, as one checkpoint."),
    "curves": ("curves", "Losses and scores over steps, of one run or several, as a picture."),
}


def _factory(module: str, what: str) -> Callable[[], click.Command]:
    def trainer() -> click.Command:
        command: click.Command = importlib.import_module(f"reference_model.train.{module}").main
        return command

    trainer.__doc__ = what
    return trainer


FACTORIES: Factories = {name: _factory(*step) for name, step in STEPS.items()}
