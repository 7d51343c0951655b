"""Accuracy by route and parity, on hand-made traces."""

import pytest

from fobench.api import registry
from fobench.errors import FobenchError
from fobench.statistics.proportions import mcnemar, wilson
from tests.plugins.metrics.scoring import score
from tests.support.traces import qa_trace, without


def totals(metric, traces, **options):
    made = registry.create("metrics", metric, options)
    return {total.metric: total for total in made.aggregate([made.score(trace, trace.scenario) for trace in traces])}


def table(both=0, only_text=0, only_speech=0, neither=0, text="t2t"):
    """Paired items: right by text and speech, right only by text, ..."""
    cells = [("Paris.", "Paris.")] * both + [("Paris.", "Rome.")] * only_text
    cells += [("Rome.", "Paris.")] * only_speech + [("Rome.", "Rome.")] * neither
    return [
        qa_trace(f"q-{i}", routes={text: written}, said=spoken, speaker=f"s{i}")
        for i, (written, spoken) in enumerate(cells)
    ]


class TestAccuracy:
    @pytest.mark.parametrize("route", ["t2t", "a2t2t", "s2t", "s2s"])
    def test_a_right_reply_by_each_route(self, route):
        assert score(f"accuracy_{route}", qa_trace()).value == 1.0

    def test_each_route_has_its_own_text(self):
        trace = qa_trace(said="Paris", heard="Harris", routes={"t2t": "Paris", "a2t2t": "Rome"})
        values = {route: score(f"accuracy_{route}", trace).value for route in ("t2t", "a2t2t", "s2t", "s2s")}
        assert values == {"t2t": 1.0, "a2t2t": 0.0, "s2t": 1.0, "s2s": 0.0}

    def test_no_reply_is_wrong(self):
        trace = qa_trace(said=None, heard=None)
        for route in ("s2t", "s2s"):
            found = score(f"accuracy_{route}", trace)
            assert (found.value, found.detail["verdict"]["reason"]) == (0.0, "no reply")

    @pytest.mark.parametrize("route", ["t2t", "a2t2t", "s2t"])
    @pytest.mark.parametrize(
        ("written", "right"), [("<think>Rome?</think>Paris.", 1.0), ("<think>Paris?</think>Rome.", 0.0)]
    )
    def test_thoughts_are_no_part_of_a_reply(self, route, written, right):
        trace = qa_trace(said=written, routes={"t2t": written, "a2t2t": written})
        assert score(f"accuracy_{route}", trace).value == right

    def test_a_reply_of_thoughts_alone_is_none(self):
        found = score("accuracy_s2t", qa_trace(said="<think>Paris, so", heard=None))
        assert (found.value, found.detail["verdict"]["reason"]) == (0.0, "no reply")

    @pytest.mark.parametrize("kind", ["raised", "hung", "died", "bad_audio", "bad_event"])
    def test_a_failure_of_the_system_is_wrong_by_speech_and_unknown_by_text(self, kind):
        trace = qa_trace(failure=kind, routes={})
        assert score("accuracy_s2s", trace).value == 0.0
        by_text = score("accuracy_t2t", trace)
        assert (by_text.value, by_text.reason) == (None, f"failure: {kind}")

    def test_totals_count_what_went_wrong(self):
        traces = [
            qa_trace("right"),
            qa_trace("wrong", said="Rome."),
            qa_trace("silent", said=None, heard=None),
            qa_trace("died", failure="died"),
            qa_trace("chat", answers=()),
        ]
        total = totals("accuracy_s2t", traces)["accuracy_s2t"]
        assert (total.value, total.n, total.ci) == (0.25, 4, pytest.approx(wilson(1, 4)))
        assert total.detail["n_no_reply"] == 1
        assert total.detail["failures"] == {"failure: died": 1}
        assert total.detail["reasons"] == {"no answers to match": 1}
        assert total.detail["n_missing"] == 1

    def test_failures_alone_are_no_accuracy_where_the_judge_was_not_run(self):
        traces = [without(qa_trace("fine"), "judge"), without(qa_trace("died", failure="died"), "judge")]
        total = totals("accuracy_s2s", traces)["accuracy_s2s"]
        assert (total.value, total.reason) == (None, "the judge was not run")

    def test_a_system_that_always_fails_is_never_right(self):
        total = totals("accuracy_s2s", [qa_trace(f"q-{i}", failure="hung") for i in range(3)])["accuracy_s2s"]
        assert (total.value, total.n) == (0.0, 3)

    def test_a_route_that_was_not_run_has_no_accuracy(self):
        assert score("accuracy_t2t", qa_trace(routes={"t2t": None})).reason == "route t2t was not run"
        total = totals("accuracy_t2t", [without(qa_trace(), "routes")])["accuracy_t2t"]
        assert (total.value, total.reason, total.n) == (None, "route t2t was not run", 0)

    def test_sound_without_text_has_no_text_to_match(self):
        trace = qa_trace(said="", heard="Paris")
        assert score("accuracy_s2t", trace).reason == "the system reports no text"
        assert score("accuracy_s2s", trace).value == 1.0

    def test_multiple_choice(self):
        kind = {"answers": ("Paris",), "choices": ("Rome", "Paris", "Oslo")}
        replies = ["The answer is B.", "A", "It's Paris", "No idea"]
        total = totals("accuracy_s2t", [qa_trace(f"q-{i}", said=s, **kind) for i, s in enumerate(replies)])
        assert total["accuracy_s2t"].value == 0.5
        assert total["accuracy_s2t"].detail["n_unparsed"] == 1

    def test_no_scenarios_no_accuracy(self):
        assert totals("accuracy_s2t", [])["accuracy_s2t"].reason == "no scenarios"


class TestParity:
    def test_a_two_by_two_table(self):
        """70 right both ways, 10 lost, 5 gained, 15 wrong: accuracies 80 % and 75 %."""
        found = totals("parity", table(both=70, only_text=10, only_speech=5, neither=15))
        ratio, loss = found["parity_s2t"], found["loss_understanding"]
        assert (ratio.value, ratio.n) == (pytest.approx(0.75 / 0.80), 100)
        assert ratio.ci[0] < ratio.value < ratio.ci[1]
        assert (loss.value, loss.unit) == (pytest.approx(5.0), "points")
        assert loss.ci[0] < 5.0 < loss.ci[1]
        assert (loss.detail["b"], loss.detail["c"], loss.detail["p"]) == (10, 5, pytest.approx(mcnemar(10, 5)))
        assert loss.detail["difference_points"] == pytest.approx(-5.0)
        assert loss.detail["verdict"] == "inconclusive"

    def test_equal_routes_are_non_inferior_from_99_pairs_on(self):
        assert totals("parity", table(both=99))["parity_s2t"].detail["verdict"] == "non-inferior"
        assert totals("parity", table(both=98))["parity_s2t"].detail["verdict"] == "inconclusive"

    def test_the_margin_is_the_users(self):
        traces = table(both=180, only_text=6, only_speech=2, neither=12)
        assert totals("parity", traces)["parity_s2t"].detail["verdict"] == "inconclusive"
        assert totals("parity", traces, margin=6.0)["parity_s2t"].detail["verdict"] == "non-inferior"

    def test_a_great_loss_is_inferior(self):
        found = totals("parity", table(both=60, only_text=40))
        assert found["parity_s2t"].detail["verdict"] == "inferior"
        assert found["loss_understanding"].value == pytest.approx(40.0)

    def test_speaking_badly_is_a_loss_of_its_own(self):
        traces = [qa_trace(f"q-{i}", heard="Harris" if i < 3 else "Paris") for i in range(10)]
        found = totals("parity", traces)
        assert found["loss_understanding"].value == 0.0
        assert found["loss_speaking"].value == pytest.approx(30.0)
        assert found["parity_s2s"].value == pytest.approx(0.7)

    def test_nothing_right_by_text_makes_no_ratio(self):
        ratio = totals("parity", table(only_speech=3, neither=2))["parity_s2t"]
        assert (ratio.value, ratio.reason, ratio.n) == (None, "acc(t2t) is 0", 5)

    def test_only_complete_pairs_count(self):
        traces = [
            *table(both=4),
            qa_trace("no-text", routes={"t2t": None}),
            qa_trace("died", failure="died", routes={}),
        ]
        ratio = totals("parity", traces)["parity_s2t"]
        assert (ratio.n, ratio.detail["n_unpaired"], ratio.detail["n_failed"]) == (4, 2, 1)

    def test_without_text_routes_there_is_no_parity(self):
        found = totals("parity", [without(qa_trace(), "routes")])
        assert found["parity_s2s"].reason == "route t2t was not run"
        assert "verdict" not in found["parity_s2s"].detail
        assert found["loss_understanding"].value is None
        assert found["loss_speaking"].value == 0.0

    def test_all_five_totals_are_always_there(self):
        names = ["parity_a2t2t", "parity_s2t", "parity_s2s", "loss_understanding", "loss_speaking"]
        assert list(totals("parity", [])) == names

    def test_a_run_scored_twice_gives_the_same_intervals(self):
        traces = table(both=20, only_text=5, neither=5)
        assert totals("parity", traces) == totals("parity", traces)

    def test_a_margin_that_makes_no_test_is_refused(self):
        with pytest.raises(FobenchError, match=r"from 0\.001 to 100"):
            registry.create("metrics", "parity", {"margin": "0"})
