"""`dnsmos`: non-intrusive speech quality (DNSMOS P.835)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, AudioChunk, Score
from fobench.audio import resample
from fobench.errors import PrerequisiteError
from fobench_plugins.metrics.aggregation import (
    failed_score,
    missing_score,
    missing_total,
    pooled_interval,
    scenario_score,
    scores_with_value,
    total,
)

if TYPE_CHECKING:
    from fobench_plugins.metrics.dnsmos_model import DnsmosModel

MIN_NS = NS_PER_S // 2  # shorter audio is not measured: it would be repeated until it fills 9 s
PARTS = ("ovrl", "sig", "bak", "p808")


class Dnsmos:
    """DNSMOS P.835 overall quality (OVRL), 1 to 5 (Reddy et al. 2022, arXiv 2110.01763), of the reply's audio.

    Computed with the weights that the `speechmos` package ships; SIG, BAK and P.808 MOS are in detail. Mean over
    scenarios with a 95 % bootstrap interval.
    """

    name = "dnsmos"
    version = 1
    unit = "mos"
    better: Literal["higher", "lower", "none"] = "higher"

    def measure(self, audio: AudioChunk) -> dict[str, float]:
        """{ovrl, sig, bak, p808} of mono audio at any sample rate; {} for audio shorter than 0.5 s.

        PrerequisiteError without the package.
        """
        if audio.duration_ns < MIN_NS:
            return {}
        model = _model()
        samples = np.clip(resample(audio, model.rate_hz).samples, -1.0, 1.0)
        return model(samples)

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        if trace.answer is None:
            return missing_score(self, "no reply", scenario)
        if self.name not in trace.measured:
            return missing_score(self, "not measured", scenario)
        result = trace.measured[self.name]
        if "ovrl" not in result:
            return missing_score(self, "less than 0.5 s of the reply was audible", scenario)
        return scenario_score(
            self, result["ovrl"], scenario, **{part: result[part] for part in PARTS if part in result}
        )

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        if not found:
            return [missing_total(self, scores)]
        values = [score.value for score in found if score.value is not None]
        means = {
            part: sum(with_part) / len(with_part)
            for part in PARTS
            if (with_part := [score.detail[part] for score in found if part in score.detail])
        }
        ci, blocked = pooled_interval(values, None, found)
        return [total(self, sum(values) / len(values), len(values), scores, ci, **means, **blocked)]


@cache
def _model() -> DnsmosModel:
    """The networks, loaded once in a process. Raises PrerequisiteError without the packages."""
    try:
        from fobench_plugins.metrics.dnsmos_model import DnsmosModel

        return DnsmosModel()
    except ImportError as error:
        raise PrerequisiteError(f"The metric dnsmos needs {error.name}: pip install 'fobench[models]'.") from error
