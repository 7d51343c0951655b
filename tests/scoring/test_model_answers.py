"""Answers of a model in the run folder: what is recalled, what survives a kill, and what is said about a damaged file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.components import ModelAnswer
from fobench.errors import FobenchError
from fobench.scoring import scorer
from fobench.scoring.model_answers import NAME, ModelAnswers
from tests.plugins.metrics.chat_server import serving
from tests.plugins.metrics.test_llm_judge import by_meaning, judged, run_in

TEXT = st.text(max_size=20)


class Asking:
    """A metric whose model knows `answers`; it stops like a killed process after `before_kill` of them."""

    def __init__(self, answers, judge=None, before_kill=None):
        self.answers, self.judge, self.before_kill, self.recalled = answers, judge or {"model": "m"}, before_kill, None

    def ask(self, traces, known):
        asked = [key for key in self.answers if key not in known or known[key].problem]
        for number, key in enumerate(asked):
            if number == self.before_kill:
                raise KeyboardInterrupt
            yield key, self.answers[key]

    def recall(self, judge, answers):
        self.recalled = (dict(judge), dict(answers))


@given(st.dictionaries(TEXT, st.builds(ModelAnswer, TEXT, TEXT), max_size=4), st.dictionaries(TEXT, TEXT, max_size=3))
def test_what_was_answered_is_recalled(tmp_path_factory, answers, judge):
    folder = tmp_path_factory.mktemp("run")
    ModelAnswers(folder).provide(Asking(answers, judge), [], "family:a")
    later = Asking({}, {"model": "another"})
    kept = ModelAnswers(folder)
    kept.provide(later, [], "")
    assert kept.metric == "family:a"
    assert later.recalled == (judge or {"model": "m"}, answers)


@pytest.mark.parametrize("cut", [0, 1, 5, 30])
def test_answers_before_a_kill_are_kept_and_a_torn_line_is_asked_again(tmp_path, cut):
    answers = {key: ModelAnswer(key.upper()) for key in "abcd"}
    with pytest.raises(KeyboardInterrupt):
        ModelAnswers(tmp_path).provide(Asking(answers, before_kill=3), [], "family:a")
    content = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(content[: len(content) - cut])
    again = Asking(answers)
    ModelAnswers(tmp_path).provide(again, [], "family:a")
    assert again.recalled[1] == answers
    assert (tmp_path / NAME).read_text().count('"key": "c"') == 1


def test_answers_of_another_judge_are_kept_apart(tmp_path):
    for model, text in (("small", "yes"), ("large", "no"), ("small", "unused")):
        metric = Asking({"a": ModelAnswer(text)}, {"model": model})
        ModelAnswers(tmp_path).provide(metric, [], f"family:{model}")
    assert metric.recalled == ({"model": "small"}, {"a": ModelAnswer("yes")})
    assert ModelAnswers(tmp_path).metric == "family:small"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"metric": "llm_judge:a", "judge": {}}\n{"key": "a"}\n', ":2"),
        (b"not json\n", ":1"),
        (b'{"key": "a", "text": "b", "problem": ""}\n', ":1"),
        (b'{"metric": 3, "judge": {}}\n', ":1"),
        (b"[]\n", ":1"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, content, place):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(FobenchError, match=f"{NAME}{place} cannot be read"):
        ModelAnswers(tmp_path)


def test_a_metric_of_every_scoring_cannot_be_named(tmp_path):
    with pytest.raises(FobenchError, match="'accuracy_s2s' is part of every scoring"):
        scorer.score_run(run_in(tmp_path), {}, "accuracy_s2s")
    with pytest.raises(FobenchError, match=r"Unknown metric 'llm_juge:a'.*llm_judge:"):
        scorer.score_run(run_in(tmp_path), {}, "llm_juge:a")


def test_options_without_their_metric_are_refused_by_the_command(tmp_path):
    from click.testing import CliRunner

    from fobench.cli.main import main

    done = CliRunner().invoke(main, ["score", str(run_in(tmp_path)), "--metric-args", "endpoint=http://host/v1"])
    assert done.exit_code == 2
    assert "--metric llm_judge:MODEL" in done.output


def test_the_command_asks_the_endpoint_and_reports_who_judged(tmp_path):
    from click.testing import CliRunner

    from fobench.cli.main import main

    run = run_in(tmp_path)
    with serving(by_meaning) as server:
        args = ["--metric", "llm_judge:small", "--metric-args", f"endpoint={server.url}"]
        done = CliRunner().invoke(main, ["score", str(run), *args])
    assert done.exit_code == 0, done.output
    summary = (run / "summary.md").read_text()
    assert "Accuracy by LLM judge (s2s)" in summary
    assert "fobench-judge-1" in summary
    assert CliRunner().invoke(main, ["score", str(run)]).exit_code == 0
    assert "Accuracy by LLM judge (s2s)" in (run / "summary.md").read_text()


def test_a_run_without_named_metrics_stays_without_the_file(tmp_path):
    run = run_in(tmp_path)
    scorer.score_run(run)
    assert not (run / NAME).exists()
    with serving(by_meaning) as server:
        judged(run, server.url)
    assert (run / NAME).exists()
