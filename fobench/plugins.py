"""The former place of `fobench.api.registry`. It goes with fobench 0.3."""

import warnings
from collections.abc import Mapping
from typing import Any

from fobench.api.registry import GROUP, KINDS, create, factories, find, manager, option_types, spec
from fobench.api.typed import convert

__all__ = ["GROUP", "KINDS", "checked", "convert", "create", "factories", "find", "manager", "option_types"]

warnings.warn(
    "fobench.plugins is now fobench.api (from fobench.api import create); the old name goes with fobench 0.3.",
    DeprecationWarning,
    stacklevel=2,
)


def checked(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `fobench.api.registry.spec`, as a dictionary."""
    return dict(spec(kind, name, options).options)
