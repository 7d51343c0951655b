"""A response latency never improves by barging in or by silence, wherever it is printed, and gates see both."""

import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fobench.api import registry
from fobench.api.results import Results
from fobench.comparison import compare
from fobench.comparison.gates import Gate
from fobench_plugins.reporters import junit, markdown
from fobench_plugins.reporters.comparison import view
from fobench_plugins.reporters.html.tiles import tiles
from fobench_plugins.reporters.terminal import TerminalReporter
from fobench_plugins.reporters.views import headline, tables
from tests.support.snapshots import column, latency, snapshot
from tests.support.traces import qa_trace

METRICS = ("endpoint_ms", "response_ms", "early_reply_rate", "no_reply_rate")
LATE, EARLY, SILENT = "late", "early", "silent"


def results(tmp_path, starts, kinds=None):
    """A run of questions until 2000; a reply starts at each of `starts` (ms), or is early or missing by `kinds`."""
    kinds = kinds or [LATE] * len(starts)
    how = {EARLY: {"audible": (1500, 4000)}, SILENT: {"said": None}}
    traces = [
        qa_trace(f"q-{i}", **how.get(kind, {"audible": (start, 9000)}))
        for i, (start, kind) in enumerate(zip(starts, kinds, strict=True))
    ]
    metrics = [registry.create("metrics", name) for name in METRICS]
    scores = [[metric.score(trace, trace.scenario) for metric in metrics] for trace in traces]
    totals = [metric.aggregate([row[i] for row in scores])[0] for i, metric in enumerate(metrics)]
    return Results(tmp_path, {"config": {"system": "x"}}, traces, scores, totals)


STARTS = [2500 + 20 * i for i in range(39)]
MIXED = [EARLY] * 14 + [LATE] * 25


def test_no_headline_states_a_latency_with_many_early_replies(tmp_path):
    run = results(tmp_path, STARTS, MIXED)
    said = "x was run on 39 scenarios. 36 % of replies began before the user's end (14 of 39)."
    assert headline.headline(run) == said
    assert said in "\n".join(markdown.document(run)).replace("\\", "")
    console = Console(file=io.StringIO(), width=200, color_system=None)
    TerminalReporter(console).write(run, tmp_path)
    assert said in " ".join(console.file.getvalue().split())
    tile = next(tile for tile in tiles(run) if tile.label == "Replies before the user's end")
    assert (tile.value, tile.alert) == ("36 %", True)
    assert not any(tile.label == "Response latency" for tile in tiles(run))


def test_the_table_has_the_latency_of_replies_in_time_and_the_early_share_beside_it(tmp_path):
    """In time: 25 replies after 780 to 1260 ms."""
    row = next(
        row for row in tables.tables(results(tmp_path, STARTS, MIXED))["latency"].rows if row.name == "response_ms"
    )
    assert (row.cells[0], row.cells[-2:]) == ("1,020", ("25", "36 %"))
    assert row.note.startswith("14 of 39 before the end of the user's speech")
    properties = {
        e.get("name"): e.get("value") for e in junit.document(results(tmp_path, STARTS, MIXED)).iter("property")
    }
    assert properties["response_ms"] == "1020"
    assert properties["response_ms.early_share"] == "0.358974"


def test_few_failures_are_said_beside_a_median_that_counts_them(tmp_path):
    """40 replies, one early, and one question without any: the 21st and 22nd of 42 are 900 and 920 ms, in time 890 alone."""
    run = results(tmp_path, [2500 + 20 * i for i in range(41)], [EARLY] + [LATE] * 39 + [SILENT])
    assert headline.headline(run) == (
        "x responds with a median latency of 920 ms. 2.5 % of replies began before the user's end (1 of 40) and 1 of 41 questions "
        "got no reply; the median counts these as later than any reply."
    )
    tile = next(tile for tile in tiles(run) if tile.label == "Response latency")
    assert tile.value == "920 ms"
    assert "2.5 % early (1 of 40)" in tile.notes and "1 of 41 questions got no reply" in tile.notes


def test_a_run_without_failures_has_a_plain_headline(tmp_path):
    assert headline.headline(results(tmp_path, [2500, 2700, 2900])) == "x responds with a median latency of 700 ms."


def test_a_run_that_answers_nothing_says_so(tmp_path):
    said = headline.headline(results(tmp_path, [2500, 2700], [SILENT, SILENT]))
    assert said == "x was run on 2 scenarios. 2 of 2 questions got no reply."


@given(
    st.lists(
        st.tuples(st.integers(2000, 6000), st.sampled_from([LATE] * 12 + [EARLY, SILENT])), min_size=1, max_size=60
    ),
    st.sampled_from([EARLY, SILENT]),
    st.data(),
)
def test_spoiling_a_reply_never_makes_the_printed_latency_better(tmp_path_factory, replies, kind, data):
    folder, (starts, kinds) = tmp_path_factory.getbasetemp(), zip(*replies, strict=True)
    in_time = [i for i, k in enumerate(kinds) if k == LATE]
    if not in_time:
        return
    spoiled = data.draw(st.sampled_from(in_time))
    worse = [kind if i == spoiled else k for i, k in enumerate(kinds)]
    before, after = (printed_ms(results(folder, starts, k)) for k in (kinds, worse))
    assert before is None or after is None or after >= before
    assert not (before is None and after is not None)


def printed_ms(run):
    """The latency in the headline, to its printed digits; None without one."""
    found = re.search(r"median latency of ([\d.,]+) (ms|s)\b", headline.headline(run))
    return float(found[1].replace(",", "")) * (1 if found[2] == "ms" else 1000) if found else None


# ---- Gates ---------------------------------------------------------------------------------------------------------------


def runs(early, n=200, faster=0.0):
    """A base in time, and a run that barges in at a share of the questions."""
    values = [900.0 + i for i in range(n)]
    base = snapshot(response_ms=latency(values), early_reply_rate=column("share", "lower", [0.0] * n))
    bad = int(early * n)
    rate = column("share", "lower", [1.0] * bad + [0.0] * (n - bad))
    kept = latency([v - faster for v in values])
    rows = kept.items >= bad
    kept = replace(kept, items=kept.items[rows], numerators=kept.numerators[rows], denominators=kept.denominators[rows])
    return base, snapshot("new", response_ms=kept, early_reply_rate=rate)


def test_a_gate_on_a_latency_fails_for_a_run_that_barges_in():
    comparison = compare(*runs(0.3, faster=100), [Gate.parse("response_ms.p50:10%")])
    by_gate = {verdict.gate.text: verdict.verdict for verdict in comparison.verdicts}
    assert by_gate == {"response_ms.p50:10%": "ok", "early_reply_rate:5pp": "regression"}
    assert comparison.exit_code == 1
    assert "Early replies" in view.summary(comparison)


@pytest.mark.parametrize("early", [0.0, 0.02])
def test_the_guard_is_silent_where_nothing_is_worse(early):
    comparison = compare(*runs(early), [Gate.parse("response_ms.p50:10%")])
    assert [verdict.gate.text for verdict in comparison.verdicts] == ["response_ms.p50:10%"]
    assert comparison.exit_code == 0


def test_early_replies_have_a_gate_of_their_own():
    gates = [Gate.parse(text) for text in ("response_ms.p50:10%", "early_reply_rate:+2pp")]
    comparison = compare(*runs(0.3), gates)
    assert [verdict.gate.figure for verdict in comparison.verdicts] == ["response_ms.p50", "early_reply_rate"]
    assert comparison.exit_code == 1
