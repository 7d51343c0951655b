"""Each contract of suites, metrics and reporters, broken once on purpose, is named."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from fobench.api import registry
from fobench.api.results import Results
from fobench.api.scenario import Scenario
from fobench.api.types import Score
from fobench.conformance import suite

pytestmark = pytest.mark.usefixtures("home")


class Suite:
    """The `controls`, changed."""

    def __init__(self, change=lambda scenarios: scenarios):
        self.change = change

    def scenarios(self, seed):
        yield from self.change(list(registry.create("suites", "controls", {"count": 4}).scenarios(seed)))


def with_turn(scenario: Scenario, **fields) -> Scenario:
    return replace(scenario, turns=(replace(scenario.turns[0], **fields),))


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (lambda s: [], "scenarios", "holds no scenario"),
        (lambda s: [s[0], s[0]], "scenarios", "ids occur twice: question-01"),
        (lambda s: [replace(s[0], turns=())], "scenarios", "question-01: has no turn"),
        (lambda s: [with_turn(s[0], sha256="0")], "audio", "question-01, turn 0: sha256 is '0'"),
        (lambda s: [with_turn(s[0], audio="gone.wav")], "audio", "gone.wav does not exist"),
        (lambda s: [with_turn(s[0], end_ns=10**12)], "audio", "leaves the file"),
        (lambda s: [replace(s[0], tags={"when": ("now",)})], "JSON round trip", "differs after JSON"),
        (lambda s: [replace(s[0], seed=id(s))], "same seed, same scenarios", "differs the second time"),
    ],
)
def test_what_is_wrong_with_a_suite_is_told(findings, change, check, message):
    kept = []  # so that no list has the address of an earlier one

    def changed(scenarios):
        kept.append(scenarios)
        return change(scenarios)

    assert message in findings("suites", Suite(changed))[check]


class Metric:
    name, version, unit, better = "toy", 1, "ms", "lower"

    def score(self, trace, scenario):
        return Score("toy", 1, None, "ms", 0, reason="none")

    def aggregate(self, scores):
        return [Score("toy", 1, None, "ms", 0, reason="none")]


def metric(**parts):
    return type("BrokenMetric", (Metric,), parts)()


COUNT = itertools.count(1.0)


def scoring(*arguments, **fields):
    return lambda self, *_: Score(*arguments, **fields)


@pytest.mark.parametrize(
    ("parts", "check", "message"),
    [
        ({"better": "more"}, "name, version, unit", "better must be higher, lower or none"),
        ({"score": scoring("toy", 1, None, "ms", 0)}, "scores an empty trace", "toy is None without a reason"),
        ({"score": scoring("toy", 1, float("nan"), "ms", 0)}, "scores an empty trace", "toy is nan"),
        ({"score": lambda *_: Score("toy", 1, next(COUNT), "ms", 1)}, "scores an empty trace", "not pure"),
        ({"score": scoring("toy", 1, float("inf"), "ms", 0)}, "scores an empty trace", "toy is inf"),
        ({"score": scoring("toy", 2, 1.0, "ms", 1)}, "scores an empty trace", "score has version 2, the metric 1"),
        ({"score": scoring("toy", 1, 0.0, "ms", 1)}, "a failure has no score", "is 0.0"),
        ({"score": lambda self, trace, _: trace.replies[0]}, "scores an empty trace", "raised IndexError"),
        ({"aggregate": lambda self, scores: [Score("toy", 1, 0.0, "ms", 0)]}, "aggregates no scores", "must be None"),
        ({"aggregate": lambda self, scores: []}, "aggregates", "aggregate() gave no score"),
    ],
)
def test_what_is_wrong_with_a_metric_is_told(findings, parts, check, message):
    assert message in findings("metrics", metric(**parts))[check]


class Reporter:
    def __init__(self, write):
        self.write_as = write

    def write(self, results: Results, folder: Path):
        return self.write_as(results, folder)


def written(folder, text):
    (folder / "out.txt").write_text(text)
    return folder / "out.txt"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda results, folder: folder / "nothing.txt", "which is not a file"),
        (lambda results, folder: Path(__file__), "wrote outside of the folder"),
        (lambda results, folder: written(folder, ""), "wrote out.txt, empty"),
        (lambda results, folder: written(folder, str(results.totals[0].value)), "raised IndexError"),
    ],
)
def test_what_is_wrong_with_a_reporter_is_told(findings, write, message):
    assert message in findings("reporters", Reporter(write))["an empty result"]


def test_good_metrics_reporters_and_suites_have_no_findings(findings):
    assert findings("metrics", Metric()) == {}
    assert findings("reporters", Reporter(lambda results, folder: written(folder, "fine"))) == {}
    assert findings("suites", Suite()) == {}


@pytest.mark.parametrize(("count", "said"), [(39, "39 checked"), (40, "40 checked"), (41, "40 checked (of more)")])
def test_more_scenarios_are_told_only_where_there_are_more(count, said):
    (scenarios,) = [c for c in suite.check("suites", "controls", {"count": count}) if c.name == "scenarios"]
    assert scenarios.message == said
