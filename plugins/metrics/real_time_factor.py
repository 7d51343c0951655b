"""Computing against real time: `rtf_input`, `rtf_output`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, Score
from fobench.statistics.bootstrap import blocks, bootstrap_ratio
from fobench_plugins.metrics.aggregation import failed, given, groups, known, missing, no_total, total


class RealTimeFactor:
    """Compute time / media time of one path of the system; below 1 it keeps up. Pooled over the run.

    `rtf_input`: its input path / the user audio pushed. `rtf_output`: its output path / the reply audio it generated.
    """

    version = 1
    unit = "ratio"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, path: Literal["input", "output"]) -> None:
        self.name, self.path = f"rtf_{path}", path

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed(self, trace)
        spent = trace.compute.get(f"{self.path}_ns")
        media = trace.duration_ns if self.path == "input" else sum(reply.generated_ns for reply in trace.replies)
        if spent is None:
            return missing(self, "no compute time was recorded", scenario)
        if not media:
            return missing(self, "no audio was pushed" if self.path == "input" else "no audio was generated", scenario)
        return given(self, spent / media, scenario, compute_ns=spent, media_ns=media)

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = known(scores)
        if not found:
            return [no_total(self, scores)]
        spent, media = ([score.detail[key] for score in found] for key in ("compute_ns", "media_ns"))
        detail = {
            "compute_s": sum(spent) / NS_PER_S,
            "media_s": sum(media) / NS_PER_S,
            "max": max(score.value for score in found if score.value is not None),
            "blocked_by": blocks(groups(found), len(found)).unit,
        }
        ci = bootstrap_ratio(spent, media, groups(found))
        return [total(self, sum(spent) / sum(media), len(found), scores, ci, **detail)]
