"""A run under several conditions: each beside the clean one, as differences of pairs."""

import numpy as np
import pytest

from fobench.api import registry
from fobench.comparison.conditions import condition_deltas, conditions
from fobench.scoring import scorer
from fobench.statistics.proportions import paired_shares
from fobench_plugins.reporters.comparison.condition_table import condition_table
from tests.scoring.test_scorer import write_run
from tests.support.traces import CAPITAL, qa_trace

N = 20
MISHEARD = CAPITAL.replace("France", "Frans")
DELAYS = np.random.default_rng(0).integers(0, 300, N)  # ms, of both members of a pair


def member(index, condition, *, wrong=False, misheard=False, later=0):
    at = 2700 + int(DELAYS[index]) + later
    return qa_trace(
        f"q-{index}" if condition == "clean" else f"q-{index}@{condition}",
        said="It is Rome." if wrong else "It is Paris.",
        transcript=MISHEARD if misheard else CAPITAL,
        decided=at - 400,
        packet=at - 100,
        token=at - 200,
        audible=(at, at + 1500),
        speaker=f"s{index % 12}",
        tags={"condition": condition},
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Clean: two answers of 20 are wrong. Telephone: six more, 10 misheard words, 80 to 120 ms later. Far: as clean."""
    traces = []
    for i in range(N):
        traces.append(member(i, "clean", wrong=i < 2))
        traces.append(member(i, "telephone", wrong=i < 8, misheard=i % 2 == 0, later=80 + 20 * (i % 3)))
        if i < 15:
            traces.append(member(i, "far", wrong=i < 2))
    return scorer.score_run(write_run(tmp_path_factory.mktemp("run") / "run", traces))


def cells(results):
    table = condition_table(results)
    return {row.label: dict(zip(table.columns[1:], row.cells, strict=True)) for row in table.rows}


def test_each_condition_is_a_paired_difference_from_the_clean_one(results):
    found = cells(results)
    accuracy = found["telephone: accuracy s2t"]
    assert (accuracy["Clean"], accuracy["Value"], accuracy["Change"], accuracy["n"]) == (
        "90.0 %",
        "60.0 %",
        "\u221230.0 pp",
        "20",
    )
    low, high = paired_shares(6, 0, N, 0.95)
    assert accuracy["95 % interval"] == f"\u2212{-100 * low:.1f} to \u2212{-100 * high:.1f}"
    words = found["telephone: ASR WER"]
    assert (words["Clean"], words["Value"], words["Change"]) == ("0.0 %", "7.1 %", "+7.1 pp")  # 10 of 20 x 7 words
    assert words["95 % interval"].startswith("+")


def test_a_difference_that_all_pairs_share_is_found_through_their_variance(results):
    """Responses differ by up to 300 ms between questions and by about 100 ms within every pair."""
    (delta,) = (d for d in condition_deltas(results, {"response_ms"})["telephone"] if d.percentile == "p50")
    low, high = delta.ci()
    assert 70 < low < delta.effect() < high < 130
    assert float(np.std(DELAYS)) > 60


def test_pairs_are_those_with_a_value_in_both(results):
    found = cells(results)
    assert {row["n"] for label, row in found.items() if label.startswith("far")} == {"15"}
    assert found["far: accuracy s2t"]["Change"] == "0.0 pp"
    assert [label.partition(":")[0] for label in found] == sorted(
        (label.partition(":")[0] for label in found), key=["telephone", "far"].index
    )


def test_every_reporter_shows_the_table_and_that_totals_are_pooled(results, capsys):
    for name in ("markdown", "html"):
        written = registry.create("reporters", name).write(results, results.folder).read_text()
        assert "telephone: ASR WER" in written
        assert "Totals pool the scenarios of all conditions: clean, far, telephone." in written
    registry.create("reporters", "terminal").write(results, results.folder)
    printed = capsys.readouterr().out
    assert "By condition" in printed
    assert "telephone: ASR WER" in printed


def test_without_the_clean_condition_there_is_no_table(tmp_path):
    plain = [qa_trace(f"q-{i}") for i in range(3)]
    noisy = [member(i, "far") for i in range(3)]
    for name, traces, heard in (("plain", plain, []), ("far", noisy, ["far"])):
        results = scorer.score_run(write_run(tmp_path / name, traces))
        assert conditions(results) == heard
        assert condition_table(results).rows == ()
