"""Speech quality without a reference: `dnsmos`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, AudioChunk, Score
from fobench.audio import resample
from fobench.errors import PrerequisiteError
from fobench.statistics.bootstrap import blocks, bootstrap_mean
from fobench_plugins.metrics.aggregation import failed, given, groups, known, missing, no_total, total

RATE_HZ = 16_000  # of the model
MIN_NS = NS_PER_S // 2  # shorter audio is not measured: the model would hear it looped to 9 s
PARTS = ("ovrl", "sig", "bak", "p808")


class Dnsmos:
    """DNSMOS P.835 overall quality, 1 to 5 (Reddy et al. 2022), of the reply's audio; sig, bak and P.808 in detail.

    Measured by the `speechmos` package, which carries its weights. Mean over scenarios with a 95 % bootstrap interval.
    """

    name = "dnsmos"
    version = 1
    unit = "mos"
    better: Literal["higher", "lower", "none"] = "higher"

    def measure(self, audio: AudioChunk) -> dict[str, float]:
        """{ovrl, sig, bak, p808} of mono audio at any rate; {} for less than 0.5 s."""
        if audio.duration_ns < MIN_NS:
            return {}
        try:
            from speechmos import dnsmos
        except ImportError as error:
            raise PrerequisiteError(f"The metric dnsmos lacks {error.name}: pip install 'fobench[models]'.") from error
        samples = np.clip(resample(audio, RATE_HZ).samples, -1.0, 1.0)
        found = dnsmos.run(samples, RATE_HZ)
        return {part: float(found[f"{part}_mos"]) for part in PARTS}

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        if trace.answer is None:
            return missing(self, "no reply", scenario)
        if self.name not in trace.measured:
            return missing(self, "not measured", scenario)
        found = trace.measured[self.name]
        if "ovrl" not in found:
            return missing(self, "less than 0.5 s of the reply was audible", scenario)
        return given(self, found["ovrl"], scenario, **{part: found[part] for part in PARTS if part in found})

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = known(scores)
        if not found:
            return [no_total(self, scores)]
        values = [score.value for score in found if score.value is not None]
        means = {
            part: sum(with_part) / len(with_part)
            for part in PARTS
            if (with_part := [score.detail[part] for score in found if part in score.detail])
        }
        ci = bootstrap_mean(values, groups(found))
        unit = blocks(groups(found), len(found)).unit
        return [total(self, sum(values) / len(values), len(values), scores, ci, **means, blocked_by=unit)]
