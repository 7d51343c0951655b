"""fobench: evaluation of live spoken dialogue with a frozen LLM."""

__version__ = "0.1.0"
