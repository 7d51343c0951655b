"""The pluggy hooks of a plugin; each returns {name: factory}.

The keyword arguments of a factory are the component's options, with annotated types and a docstring. A name that ends
in ":" is a family: `hf:` provides `hf:some/model`, and its factory takes the part after the colon as its first argument.
Heavy imports belong inside the factories.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

Factories = dict[str, Callable[..., Any]]

hookspec = pluggy.HookspecMarker("fobench")
hookimpl = pluggy.HookimplMarker("fobench")


@hookspec
def fobench_systems() -> Factories: ...  # type: ignore[empty-body]


@hookspec
def fobench_backbones() -> Factories: ...  # type: ignore[empty-body]


@hookspec
def fobench_codecs() -> Factories: ...  # type: ignore[empty-body]


@hookspec
def fobench_checkpoints() -> Factories:  # type: ignore[empty-body]
    """Trained weights by name, `<system>/<backbone>`: each factory takes no options and returns their path."""


@hookspec
def fobench_recognizers() -> Factories: ...  # type: ignore[empty-body]


@hookspec
def fobench_voices() -> Factories: ...  # type: ignore[empty-body]


@hookspec
def fobench_suites() -> Factories: ...  # type: ignore[empty-body]


@hookspec
def fobench_metrics() -> Factories: ...  # type: ignore[empty-body]


@hookspec
def fobench_trainers() -> Factories:  # type: ignore[empty-body]
    """Stages of training, in the order of use: each factory takes no options and returns a click command."""


@hookspec
def fobench_reporters() -> Factories: ...  # type: ignore[empty-body]
