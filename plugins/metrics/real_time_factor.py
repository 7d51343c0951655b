"""Real-time factors (RTF): `rtf_input`, `rtf_output`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, Score
from fobench_plugins.metrics.aggregation import (
    failed_score,
    missing_score,
    missing_total,
    pooled_interval,
    scenario_score,
    scores_with_value,
    total,
)


class RealTimeFactor:
    """RTF = compute time / media time of one path of the system, summed over the run; below 1 the path is real-time
    capable.

    `rtf_input`: compute time of the input path / duration of the user audio. `rtf_output`: compute time of the output
    path / duration of the generated reply audio.
    """

    version = 1
    unit = "ratio"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, path: Literal["input", "output"]) -> None:
        self.name, self.path = f"rtf_{path}", path

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        spent = trace.compute.get(f"{self.path}_ns")
        media = trace.duration_ns if self.path == "input" else sum(reply.generated_ns for reply in trace.replies)
        if spent is None:
            return missing_score(self, "no compute time was recorded", scenario)
        if not media:
            return missing_score(
                self, "no audio was pushed" if self.path == "input" else "no audio was generated", scenario
            )
        return scenario_score(self, spent / media, scenario, compute_ns=spent, media_ns=media)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        if not found:
            return [missing_total(self, scores)]
        spent, media = ([score.detail[key] for score in found] for key in ("compute_ns", "media_ns"))
        ci, blocked = pooled_interval(spent, media, found)
        detail = {
            "compute_s": sum(spent) / NS_PER_S,
            "media_s": sum(media) / NS_PER_S,
            "max": max(score.value for score in found if score.value is not None),
            **blocked,
        }
        return [total(self, sum(spent) / sum(media), len(found), scores, ci, **detail)]
