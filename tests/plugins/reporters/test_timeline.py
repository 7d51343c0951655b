"""The timeline of a scenario: where its spans and marks stand, in percent of its duration."""

import pytest

from fobench_plugins.reporters.views.timeline import timeline
from tests.support.results_sample import sample


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("run"))


def test_timeline_of_an_interrupted_reply(results):
    """Lost audio starts where the listener's ended; the bracket spans the response gap."""
    trace = results.traces[6]
    found = timeline(trace)
    per_ms = 100 / (trace.duration_ns / 1e6)
    question = trace.user[0].end_ns / 1e6
    assert found.response and found.response.label == "1.41 s"
    assert found.response.x == pytest.approx(question * per_ms, abs=0.01)
    assert found.response.width == pytest.approx(1410 * per_ms, abs=0.01)
    assert found.lost[0].x == pytest.approx(found.heard[0].x + found.heard[0].width, abs=0.01)
    assert [mark.kind for mark in found.marks] == ["speak", "token", "audio", "yield"]
    assert all(span.x >= 0 and span.x + span.width <= 100.01 for span in (*found.user, *found.lost, *found.work))


def test_timeline_of_gaps_and_early_replies(results):
    assert timeline(results.traces[5]).underruns[0].width == pytest.approx(
        100 * 380e6 / results.traces[5].duration_ns, abs=0.01
    )
    early = timeline(results.traces[7]).response
    assert early and early.early and early.label == "0.24 s early"
