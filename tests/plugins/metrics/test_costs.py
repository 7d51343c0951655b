"""Tokens and money of conversations whose cost is known by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api import registry
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, Event, EventKind
from fobench.errors import FobenchError
from fobench.scoring.scorer import load_results, score_run
from fobench.storage.run_folder import RunFolder
from fobench_plugins.metrics.costs import NO_PRICES, NO_USAGE, usages
from fobench_plugins.reporters.views import metric_labels
from fobench_plugins.reporters.views.tables import others
from tests.plugins.metrics.scoring import scored
from tests.support.traces import qa_trace

EXAMPLE = Path(__file__).parents[3] / "docs" / "prices.toml"
SPEECH = {
    "total_tokens": 253,
    "input_tokens": 132,
    "output_tokens": 121,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 13,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
}


def trace_of(*reports, seconds=60, id="q-1", **changes):
    """A conversation of a minute, with reports of (usage, model)."""
    events = tuple(
        Event(EventKind.BUSY, {"work": "usage", "usage": usage, "model": model}, 0, 0) for usage, model in reports
    )
    return replace(qa_trace(id, speaker=None), events=events, duration_ns=seconds * NS_PER_S, **changes)


def priced(tmp_path, text):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return str(path)


def test_tokens_by_kind():
    traces = trace_of((SPEECH, "m")), trace_of((SPEECH, "m"), ({"input_tokens": 10, "output_tokens": 4}, ""))
    (one, two), sum_ = scored("tokens_input", *traces)
    assert (one.value, two.value, sum_.value) == (132, 142, 137)
    assert one.detail["kinds"] == {"audio_input": 13, "cached_text_input": 64, "text_input": 55}
    assert sum_.detail["kinds"] == {"audio_input": 26, "cached_text_input": 128, "input": 10, "text_input": 110}
    (one, two), _ = scored("tokens_output", *traces)
    assert one.detail["kinds"] == {"audio_output": 91, "text_output": 30}
    assert two.detail["kinds"]["output"] == 4


def test_the_cost_of_a_conversation():
    heard = ({"type": "duration", "seconds": 30.0}, "example-ears-1")
    traces = trace_of((SPEECH, "example-voice-1"), heard), trace_of((SPEECH, "example-voice-1"), seconds=180)
    spoken = (55 * 1 + 64 * 0.1 + 13 * 10 + 30 * 4 + 91 * 20) / 1e6
    (one, two), sum_ = scored("cost_per_minute", *traces, prices=str(EXAMPLE))
    assert one.value == pytest.approx(spoken + 0.5 * 0.002)
    assert two.value == pytest.approx(spoken / 3)
    assert sum_.value == pytest.approx((2 * spoken + 0.001) / 4)  # of the sums, not the mean of ratios
    assert sum_.detail["currency"] == "EUR"
    assert sum_.detail["minutes"] == 4
    assert sum_.detail["parts"]["minute"] == pytest.approx(0.001)
    assert sum_.detail["prices"]["example-ears-1"] == {"minute": 0.002}


def test_a_server_that_charges_time(tmp_path):
    table = priced(tmp_path, 'currency = "X"\n[models.m]\nminute_in = 0.01\nminute_out = 0.02\nsession_minute = 0.1\n')
    trace = trace_of(seconds=120)  # reports nothing; its reply is 1.5 s of audio
    spoken_min = sum(reply.generated_ns for reply in trace.replies) / NS_PER_S / 60
    (one,), _ = scored("cost_per_minute", trace, prices=table)
    assert spoken_min > 0
    assert one.value == pytest.approx((2 * 0.01 + spoken_min * 0.02 + 2 * 0.1) / 2)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ((SPEECH, "gpt-x"), "has no model 'gpt-x': it has 'example-voice-1', 'example-ears-1'"),
        ((SPEECH, "example-ears-1"), "no text_input of 'example-ears-1'"),
        ((SPEECH, ""), "has several models, and the system does not name its own"),
        (({"type": "duration", "seconds": 3}, "example-voice-1"), "no minute of 'example-voice-1'"),
    ],
)
def test_what_has_no_price_has_no_cost(report, reason):
    (one,), sum_ = scored("cost_per_minute", trace_of(report), prices=str(EXAMPLE))
    assert one.value is None and reason in one.reason
    assert sum_.value is None and reason in sum_.reason


def test_without_prices_it_is_said_how_to_give_them():
    (silent, using), _ = scored("cost_per_minute", trace_of(), trace_of((SPEECH, "m")))
    assert (silent.reason, using.reason) == (NO_USAGE, NO_PRICES)
    assert NO_USAGE == metric_labels.NO_USAGE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "currency"),
        ('currency = "X"\n', r"no \[models.NAME\]"),
        ('currency = "X"\n[models.m]\ntext_inptu = 1\n', "text_inptu"),
        ('currency = "X"\n[models.m]\ntext_input = "1"\n', "text_input"),
        ('currency = "X"\n[models.m]\ntext_input = -1.0\n', "text_input of 'm' must be a price"),
        ('currency = "X"\n[models.m]\ntext_input = nan\n', "text_input of 'm' must be a price"),
        ("currency", "not TOML"),
    ],
)
def test_a_broken_price_table_is_named(text, message, tmp_path):
    with pytest.raises(FobenchError, match=message):
        registry.create("metrics", "cost_per_minute", {"prices": priced(tmp_path, text)})
    with pytest.raises(FobenchError, match="cannot be read"):
        registry.create("metrics", "cost_per_minute", {"prices": str(tmp_path / "none.toml")})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SPEECH, "text_tokens", "cached_tokens_details", "type", "seconds", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(PLAIN, PLAIN)
def test_whatever_a_system_reports_counts_no_token_twice(usage, model):
    for report in usages(trace_of((usage, model))):
        assert all(number > 0 for number in report.tokens.values())
        assert report.seconds >= 0


def test_a_run_is_scored_with_prices_and_the_report_says_what_was_spent(tmp_path):
    trace = trace_of((SPEECH, "example-voice-1"))
    folder = RunFolder(tmp_path / "run")
    folder.create({"version": 1, "scenarios": [trace.id], "config": {}, "status": "complete"})
    (folder.path / "traces.jsonl").write_text(json.dumps(trace.to_json()) + "\n")
    assert Trace.from_json(trace.to_json()) == trace
    rows = {row.name: row for row in others(score_run(folder.path)).rows}
    assert rows["tokens_input"].cells[0] == "132 tokens"
    assert NO_PRICES in rows["cost_per_minute"].note
    score_run(folder.path, {"cost_per_minute": {"prices": str(EXAMPLE)}}, "cost_per_minute")
    rows = {row.name: row for row in others(load_results(folder.path)).rows}
    assert "EUR in 1 min" in rows["cost_per_minute"].note
    silent = replace(trace, events=())
    (folder.path / "traces.jsonl").write_text(json.dumps(silent.to_json()) + "\n")
    assert others(score_run(folder.path)).rows == ()  # nothing is shown of a system that reports nothing
