"""A fobench plugin: `fobench run --backbone my-llm --suite my-calls --suite-args folder=recordings`."""

from fobench.api import create, hookimpl


def my_llm(repo: str = "HuggingFaceTB/SmolLM2-360M-Instruct", dtype: str = "auto"):
    """A frozen LLM that transformers can load: a local folder or a hub repository."""
    return create("backbones", f"hf:{repo}", {"dtype": dtype})


def my_calls(folder: str = "recordings", skip_bad: bool = True):
    """A suite of one's own recordings."""
    return create("suites", f"manifest:{folder}", {"skip_bad": skip_bad})


@hookimpl
def fobench_backbones():
    return {"my-llm": my_llm}


@hookimpl
def fobench_suites():
    return {"my-calls": my_calls}
