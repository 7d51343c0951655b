"""The duplex categories in a report: each beside its paired controls, and each stop on its timeline."""

from dataclasses import replace

import pytest

from fobench.api import registry
from fobench.api.scenario import CONTROL, Expect
from fobench.scoring import scorer
from fobench_plugins.reporters.views.tables import tables
from fobench_plugins.reporters.views.timeline import timeline
from tests.scoring.test_scorer import write_run
from tests.support.traces import duplex_trace

ASKED = ("question", 500, 2000)


def member(family, index, *trace, **events):
    made = duplex_trace(*trace, **events, id=f"{family}-{index}")
    return replace(made, scenario=replace(made.scenario, expect=Expect(family=family)))


@pytest.fixture
def results(tmp_path):
    """Four interruptions of which three are yielded to, four backchannels of which one stops the reply, and controls."""
    over = [ASKED, ("interrupt", 4000, 5500)]
    yielding = [member("interruption", i, over, [(2700, 4400 + 10 * i), (6300, 7300)], yields=[4300]) for i in range(3)]
    deaf = [member("interruption", 3, over, [(2700, 9000)])]
    murmur = [ASKED, ("backchannel", 4000, 4300)]
    through = [member("backchannel", i, murmur, [(2700, 9000)]) for i in range(3)]
    stopped = [member("backchannel", 3, murmur, [(2700, 4500)], yields=[4400])]
    plain = [
        member(f"{f}{CONTROL}", i, [ASKED], [(2700, 9000)]) for f in ("interruption", "backchannel") for i in range(4)
    ]
    return scorer.score_run(write_run(tmp_path / "run", [*yielding, *deaf, *through, *stopped, *plain]))


def test_a_category_stands_beside_its_controls(results):
    table = tables(results)["families"]
    rows = {row.name: dict(zip(table.columns[1:], row.cells, strict=True)) for row in table.rows}
    assert list(rows) == ["interruption", "backchannel"]
    one = rows["interruption"]
    assert (one["Success"], one["Control"], one["Stops"], one["n"]) == ("75.0 %", "100.0 %", "75.0 % (n = 4)", "4")
    times = {row.name: row.cells for row in tables(results)["family_times"].rows}
    assert times["interruption"] == ("300 (n = 3)", "415 (n = 4)", "800 (n = 3)")
    assert times["backchannel"][:2] == ("\u2013", "\u2013")
    two = rows["backchannel"]
    assert (two["Success"], two["Control"], two["Stops"]) == ("75.0 %", "100.0 %", "25.0 % (n = 4)")
    assert two["95 % interval"].startswith("30.1")  # Wilson's, of 3 in 4
    assert "resume rate: 75.0 %" in table.rows[1].note


def test_what_was_scored_is_read_back(results):
    assert scorer.load_results(results.folder) == results
    assert results.by_family["interruption"]["yield_rate"]["n"] == 4


def test_every_reporter_shows_the_categories(results, capsys):
    for name in ("markdown", "html"):
        written = registry.create("reporters", name).write(results, results.folder).read_text()
        assert "By category" in written
    registry.create("reporters", "terminal").write(results, results.folder)
    assert "By category" in capsys.readouterr().out


def test_a_run_of_one_category_has_no_such_table(tmp_path):
    one = [member("interruption", i, [ASKED], [(2700, 9000)]) for i in range(2)]
    results = scorer.score_run(write_run(tmp_path / "run", one))
    assert not tables(results)["families"].rows
    assert results.by_family == {}


def test_a_timeline_marks_the_decision_and_the_silence():
    trace = duplex_trace([ASKED, ("stop", 4000, 4600)], [(2700, 4450)], yields=[4300])
    drawn = timeline(trace)
    (stop,) = drawn.stops
    assert (stop.x, stop.label) == (pytest.approx(20.0), "stops after 0.45 s")
    assert stop.width == pytest.approx(100 * 0.45 / 20, abs=0.01)
    assert [mark.kind for mark in drawn.marks] == ["yield"]
    assert not timeline(duplex_trace([ASKED], [(2700, 4450)])).stops


def test_the_confusion_of_states_is_told(results):
    row = next(row for row in tables(results)["turns"].rows if row.name == "decision_f1")
    assert "predicted 0 / 1 / 2 by true state: 0: 0 / 0 / 0; 1: 20 / 0 / 0; 2: 4 / 0 / 0" in row.note
