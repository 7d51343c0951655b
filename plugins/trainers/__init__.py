"""Training commands of the reference model: {name: factory}, in the order of use. A factory returns a click command."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import click

from fobench.api.hookspecs import Factories

STEPS = {  # name: (module, help line of at most 60 characters)
    "render": ("synthesis.render", "Data: TTS rendering of texts in many voices, as shards."),
    "latents": ("synthesis.piper_latents", "Data: texts of the codec's voice with their latents."),
    "replies": ("synthesis.llm_replies", "Data: the frozen LLM's own replies to questions."),
    "input-1": ("stages.input_1", "Speech encoder: ASR pretraining (CTC)."),
    "frames": ("stages.second_pass_features", "Data: cached Whisper frames for the second pass (reread)."),
    "reread": ("stages.second_pass", "Second pass: full-context recognition (CTC)."),
    "input-2": ("stages.input_2", "Adapter training through the frozen LLM."),
    "input-3": ("stages.input_3", "Prompt and turn-state training."),
    "output-1": ("stages.output_1", "Speech codec: audio to discrete codes and back."),
    "output-2": ("stages.output_2", "Speech decoder: text-to-codec speech LM."),
    "output-3": ("stages.output_3", "Prefix tuning on the LLM's hidden states."),
    "unit-lm": ("speech_input.ngram_lm_training", "N-gram LM over BPE tokens, for CTC beam search."),
    "beam-search": ("speech_input.decoding_eval", "WER of greedy and beam search; tunes the search weights."),
    "say": ("speech_output.intelligibility_eval", "TTS WER of the speech decoder, by a reference ASR."),
    "assemble": ("release.assemble", "One checkpoint from the parts that the stages trained."),
    "curves": ("release.learning_curves", "Learning curves of one or several runs, as a picture."),
}


def _factory(module: str, help_line: str) -> Callable[[], click.Command]:
    def trainer() -> click.Command:
        command: click.Command = importlib.import_module(f"reference_model.train.{module}").main
        return command

    trainer.__doc__ = help_line
    return trainer


FACTORIES: Factories = {name: _factory(*step) for name, step in STEPS.items()}
