"""The run in one sentence of plain words, computed from its totals."""

from __future__ import annotations

from fobench.api.results import Results
from fobench.api.types import Score
from fobench.console import counted
from fobench_plugins.reporters.views.formatting import DASH, duration, given, line, number
from fobench_plugins.reporters.views.metric_labels import PARITIES
from fobench_plugins.reporters.views.tables import margin, name_of

VERDICTS = {
    "non-inferior": "With 95 % confidence, any loss is smaller than {margin}.",
    "inferior": "The loss is larger than {margin}.",
    "inconclusive": "These questions cannot tell whether the loss is smaller than {margin}.",
}


def title(results: Results) -> str:
    """The system and, where known, its backbone."""
    system = name_of(results, "system") or line((results.run.get("config") or {}).get("system") or "A system")
    backbone = name_of(results, "backbone")
    return f"{system} with {backbone}" if backbone and backbone != system else system


def headline(results: Results) -> str:
    """E.g. "Asked by voice, cascade answers 92 % as well as by text (95 % interval 85–98 %), replies 1.3 s after ..."."""
    system = line((results.run.get("config") or {}).get("system") or name_of(results, "system") or "the system")
    claims = [claim for claim in (_intelligence(results), _speed(results)) if claim]
    if not claims:
        return f"{system} was run on {counted(len(results.traces), 'scenario')}.{_failures(results)}"
    asked = "Asked by voice, " if results.total("response_ms") or _intelligence(results) else ""
    return f"{asked}{system} {' and '.join(claims)}.{_failures(results)}"


def _intelligence(results: Results) -> str:
    for name, how in (("parity_s2s", ""), ("parity_s2t", " in writing")):
        score = results.total(name)
        if (value := given(score)) is not None:
            return f"answers{how} {number(value * 100, 0)} % as well as by text{_between(score)}"
    for name, how in (("accuracy_s2s", ""), ("accuracy_s2t", " in writing")):
        score = results.total(name)
        if score and (value := given(score)) is not None:
            return f"answers {number(value * 100, 0)} % of {score.n} questions correctly{how}{_between(score)}"
    return ""


def _between(score: Score | None) -> str:
    if score is None or score.ci is None:
        return ""
    low, high = (number(end * 100, 0) for end in score.ci)
    return f" (95 % interval {low}{DASH}{high} %)"


def _speed(results: Results) -> str:
    value = given(results.total("response_ms"))
    if value is None:
        return ""
    if value < 0:
        return f"begins to reply {duration(-value)} before the user has stopped"
    return f"replies {duration(value)} after the user stops"


def _failures(results: Results) -> str:
    failed = sum(trace.failure is not None for trace in results.traces)
    return f" {failed} of {counted(len(results.traces), 'scenario')} failed." if failed else ""


def verdict_sentence(score: Score | None) -> str:
    """The non-inferiority verdict in words; what the plugin says where it is not one of ours; empty for none."""
    if score is None or not (found := score.detail.get("verdict")):
        return ""
    limit = margin(score)
    against = "the margin" if limit is None else f"the margin of {limit:g} points"
    template = VERDICTS.get(str(found))
    return template.format(margin=against) if template else line(found)


def parity_verdicts(results: Results) -> list[tuple[str, str, str]]:
    """(label, verdict, sentence) of each parity that has a verdict."""
    found = ((figure.label, results.total(name)) for name, figure in PARITIES.items())
    return [(label, line(s.detail["verdict"]), verdict_sentence(s)) for label, s in found if s and verdict_sentence(s)]
