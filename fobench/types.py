"""The former place of `fobench.api`'s types and protocols, under their former names. It goes with fobench 0.3."""

import warnings

from fobench.api.components import AudioMetric as Measuring
from fobench.api.components import (
    Backbone,
    Codec,
    Metric,
    Recognizer,
    Reporter,
    Session,
    Suite,
    System,
    TextRoute,
    Voice,
)
from fobench.api.components import Cacheable as Replayable
from fobench.api.components import Detokenizer as Pieces
from fobench.api.components import MultiRunReporter as SideBySide
from fobench.api.types import (
    NS_PER_MS,
    NS_PER_S,
    Action,
    AudioChunk,
    Event,
    EventKind,
    Message,
    Samples,
    Score,
    Transcript,
    Word,
    ns_to_samples,
    samples_to_ns,
)
from fobench.comparison.reporters import ComparisonReporter as Comparing
from fobench.comparison.reporters import TrendReporter as Trending

__all__ = [
    "NS_PER_MS",
    "NS_PER_S",
    "Action",
    "AudioChunk",
    "Backbone",
    "Codec",
    "Comparing",
    "Event",
    "EventKind",
    "Measuring",
    "Message",
    "Metric",
    "Pieces",
    "Recognizer",
    "Replayable",
    "Reporter",
    "Samples",
    "Score",
    "Session",
    "SideBySide",
    "Suite",
    "System",
    "TextRoute",
    "Transcript",
    "Trending",
    "Voice",
    "Word",
    "ns_to_samples",
    "samples_to_ns",
]

warnings.warn(
    "fobench.types is now fobench.api (from fobench.api import AudioChunk, ...); the old name goes with fobench 0.3.",
    DeprecationWarning,
    stacklevel=2,
)
