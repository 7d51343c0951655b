"""A fobench plugin: `fobench run --backbone my-llm --suite my-calls --suite-args folder=recordings`."""

from fobench.api import registry
from fobench.api.hookspecs import hookimpl


def my_llm(repo: str = "HuggingFaceTB/SmolLM2-360M-Instruct", dtype: str = "auto"):
    """A frozen LLM: any folder or hub repository that transformers can load. Options are typed keyword arguments."""
    return registry.create("backbones", f"hf:{repo}", {"dtype": dtype})


def my_calls(folder: str = "recordings", skip_bad: bool = True):
    """A suite of one's own recordings."""
    return registry.create("suites", f"manifest:{folder}", {"skip_bad": skip_bad})


@hookimpl
def fobench_backbones():
    return {"my-llm": my_llm}


@hookimpl
def fobench_suites():
    return {"my-calls": my_calls}
