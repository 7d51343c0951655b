"""A tiny random LLM that can be steered by what it is given; those of `tiny_models`, whose norms are random too, hardly listen."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
import transformers

from reference_model.train.llm.frozen_llm import FrozenLLM
from tests.support import tiny_models

STD = 0.2  # of matrices


@cache
def folder() -> Path:
    """Where it lies, in transformers' layout; hidden size 64, one token a byte."""
    source = tiny_models.folder("qwen2")
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=STD) if parameter.dim() > 1 else torch.nn.init.ones_(parameter)
    made = Path(mkdtemp(prefix="fobench-lively-"))
    model.save_pretrained(made)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(made)
    return made


def frozen() -> FrozenLLM:
    return FrozenLLM.load(f"hf:{folder()}", "cpu", {"threads": "1"})
