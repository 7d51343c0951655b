"""The summary of a run in one sentence, computed from its totals."""

from __future__ import annotations

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.console import counted
from fobench.formatting import duration, interval, one_line, percent
from fobench_plugins.reporters.views.formatting import finite_value
from fobench_plugins.reporters.views.metric_labels import PARITIES
from fobench_plugins.reporters.views.response import response_latency
from fobench_plugins.reporters.views.tables import margin, name_of

VERDICTS = {
    "non-inferior": "With 95 % confidence, any loss is smaller than {margin}.",
    "inferior": "With 95 % confidence, the loss is larger than {margin}.",
    "inconclusive": "There are too few questions to tell whether the loss is smaller than {margin}.",
}


def title(results: Results) -> str:
    """The system and, where known, its backbone."""
    system = name_of(results, "system") or one_line((results.run.get("config") or {}).get("system") or "A system")
    backbone = name_of(results, "backbone")
    return f"{system} with {backbone}" if backbone and backbone != system else system


def headline(results: Results) -> str:
    """E.g. "cascade retains 92 % of its text accuracy from speech to speech (95 % interval 85–98 %) and responds with ..."."""
    system = one_line((results.run.get("config") or {}).get("system") or name_of(results, "system") or "the system")
    claims = [claim for claim in (_accuracy(results), latency_claim(results)) if claim]
    rest = f"{_response_failures(results)}{_failures(results)}"
    if not claims:
        return f"{system} was run on {counted(len(results.traces), 'scenario')}.{rest}"
    return f"{system} {' and '.join(claims)}.{rest}"


def _accuracy(results: Results) -> str:
    for name, route in (("parity_s2s", "from speech to speech"), ("parity_s2t", "from speech to text")):
        score = results.total(name)
        if (value := finite_value(score)) is not None:
            return f"retains {percent(value, 0)} of its text accuracy {route}{_interval(score)}"
    return accuracy_claim(results, with_interval=True)


def accuracy_claim(results: Results, *, with_interval: bool = False) -> str:
    """The accuracy of the first speech route that the run has; empty if it has none."""
    for name, route in (("accuracy_s2s", "from speech to speech"), ("accuracy_s2t", "from speech to text")):
        score = results.total(name)
        if score and (value := finite_value(score)) is not None:
            ci = _interval(score) if with_interval else ""
            return f"answers {percent(value, 0)} of {score.n:,} questions correctly {route}{ci}"
    return ""


def _interval(score: Score | None) -> str:
    text = interval(score.ci, 0, "%", scale=100) if score else ""
    return f" (95 % interval {text})" if text else ""


def latency_claim(results: Results) -> str:
    """The median response latency; empty if the run has none, or too many replies before the user's end."""
    found = response_latency(results)
    if found is None or found.median_ms is None:
        return ""
    return f"responds with a median latency of {duration(found.median_ms)}"


def response_failures(results: Results) -> str:
    """The early replies and unanswered questions, as a clause; empty without any."""
    found = response_latency(results)
    return found.failures if found else ""


def _response_failures(results: Results) -> str:
    failures = response_failures(results)
    if not failures:
        return ""
    counted_late = "; the median counts these as later than any reply" if latency_claim(results) else ""
    return f" {failures[0].upper()}{failures[1:]}{counted_late}."


def _failures(results: Results) -> str:
    failed = sum(trace.failure is not None for trace in results.traces)
    return f" {failed} of {counted(len(results.traces), 'scenario')} failed." if failed else ""


def verdict_sentence(score: Score | None) -> str:
    """The non-inferiority verdict in words; any other verdict as the plugin writes it; empty for none."""
    if score is None or not (verdict := score.detail.get("verdict")):
        return ""
    limit = margin(score)
    against = "the margin" if limit is None else f"the margin of {limit:g} pp"
    template = VERDICTS.get(str(verdict))
    return template.format(margin=against) if template else one_line(verdict)


def parity_verdicts(results: Results) -> list[tuple[str, str, str]]:
    """(label, verdict, sentence) of each parity that has a verdict."""
    found = ((metric.label, results.total(name)) for name, metric in PARITIES.items())
    return [
        (label, one_line(s.detail["verdict"]), verdict_sentence(s)) for label, s in found if s and verdict_sentence(s)
    ]
