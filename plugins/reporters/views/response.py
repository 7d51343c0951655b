"""The response latency as a headline states it: early replies and unanswered questions are failures that never improve it."""

from __future__ import annotations

from dataclasses import dataclass

from fobench.api.results import EARLY_LIMIT, RESPONSE, Results, early_share
from fobench.api.types import Score
from fobench.formatting import percent
from fobench_plugins.reporters.views.formatting import finite_value


@dataclass(frozen=True, slots=True)
class ResponseLatency:
    """The median in ms over all questions, failures counted as later than any reply; None where it is not to be stated.

    `early` of `replies` began before the user's end, `unanswered` of the `questions` got no reply (failed scenarios, which a
    report counts apart, are not among them).
    """

    median_ms: float | None
    early: int
    replies: int
    unanswered: int
    share: float

    @property
    def questions(self) -> int:
        return self.replies + self.unanswered

    @property
    def too_early(self) -> bool:
        """Whether so many replies are early that a median over the others would mislead."""
        return self.share > EARLY_LIMIT

    @property
    def early_text(self) -> str:
        """E.g. "36 % of replies began before the user's end (14 of 39)"; empty without any."""
        if not self.early:
            return "half of the replies or more began before the user's end" if self.too_early else ""
        return f"{share_text(self.share)} of replies began before the user's end ({self.early:,} of {self.replies:,})"

    @property
    def unanswered_text(self) -> str:
        """E.g. "2 of 41 questions got no reply"; empty without any."""
        return f"{self.unanswered:,} of {self.questions:,} questions got no reply" if self.unanswered else ""

    @property
    def failures(self) -> str:
        """Both of these as a clause; empty without any."""
        return " and ".join(filter(None, (self.early_text, self.unanswered_text)))


def share_text(share: float) -> str:
    """A share of early replies, e.g. "36 %", "2.6 %"."""
    return percent(share, 0 if share >= 0.1 or not share else 1)


def response_latency(results: Results) -> ResponseLatency | None:
    """The run's response latency; None if no question was asked, or none was scored."""
    score = results.total(RESPONSE)
    if score is None:
        return None
    early, unanswered = _count(score, "early"), max(0, _count(score, "unanswered") - _count(score, "failed_due"))
    apart = "early_share" in score.detail  # else early replies are among the n
    replies = score.n + early if apart else score.n
    if not replies and not unanswered:
        return None
    share = early_share(score)
    median = score.detail.get("p50_all", finite_value(score)) if share <= EARLY_LIMIT else None
    return ResponseLatency(median, early, replies, unanswered, share)


def _count(score: Score, key: str) -> int:
    value = score.detail.get(key)
    return int(value) if isinstance(value, int | float) else 0
