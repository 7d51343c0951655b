"""The former place of `fobench.api`'s types and protocols, under their former names. It goes with fobench 0.3."""

import warnings

from fobench.api import *  # noqa: F403
from fobench.api import AudioMetric as Measuring  # noqa: F401
from fobench.api import Cacheable as Replayable  # noqa: F401
from fobench.api import Detokenizer as Pieces  # noqa: F401
from fobench.api import MultiRunReporter as SideBySide  # noqa: F401
from fobench.comparison.reporters import ComparisonReporter as Comparing  # noqa: F401
from fobench.comparison.reporters import TrendReporter as Trending  # noqa: F401

warnings.warn(
    "fobench.types is now fobench.api (from fobench.api import AudioChunk, ...); the old name goes with fobench 0.3.",
    DeprecationWarning,
    stacklevel=2,
)
