"""The former place of `fobench.api.hookspecs`. It goes with fobench 0.3."""

import warnings

from fobench.api.hookspecs import Factories, hookimpl, hookspec

__all__ = ["Factories", "hookimpl", "hookspec"]

warnings.warn(
    "fobench.hookspecs is now fobench.api (from fobench.api import hookimpl); the old name goes with fobench 0.3.",
    DeprecationWarning,
    stacklevel=2,
)
