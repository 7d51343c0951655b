"""Learning curves: which measures are drawn, what is smoothed, how places are found; and that the file is an SVG."""

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner

from fobench.errors import FobenchError
from reference_model.train.engine.training_log import TrainingLog
from reference_model.train.release.learning_curves import main, panels, smooth, thinned, title
from reference_model.train.release.svg_plot import WIDTH, Curve, Panel, fitting, linear, short, svg


def log(**values):
    return {name: [(step, value) for step, value in enumerate(found, 1)] for name, found in values.items()}


def trained(folder, steps=400, start=8.0):
    kept = TrainingLog(folder)
    for step in range(1, steps + 1):
        row = {"step": step, "loss": start / step, "lr": 0.001}
        kept.add(row | ({"valid_wer": 1 / step} if step % 100 == 0 else {}))
    return folder


def test_losses_and_validation_scores_are_drawn_unless_others_are_chosen():
    logs = [log(loss=[2.0, 1.0], lr=[0.1, 0.1], valid_wer=[0.5, 0.4]), log(loss=[3.0, 1.5], valid_f1=[0.1, 0.2])]
    assert [p.title for p in panels(logs)] == ["loss", "validation: wer", "validation: f1"]
    assert [[c.run for c in p.curves] for p in panels(logs)] == [[0, 1], [0], [1]]
    assert [p.title for p in panels(logs, ["lr"])] == ["lr"]
    with pytest.raises(FobenchError, match="Unknown value in the log 'los'"):
        panels(logs, ["los"])


def test_a_score_that_is_no_number_is_left_out():
    (drawn,) = panels([log(loss=[1.0, math.nan, 3.0])])
    assert list(drawn.curves[0].points) == [(1, 1.0), (3, 3.0)]


def test_titles_are_words():
    assert title("valid_wer_unseen_voice") == "validation: wer unseen voice"


def test_many_steps_are_smoothed_and_one_outlier_vanishes():
    points = [(step, 1.0 if step != 300 else 50.0) for step in range(1, 601)]
    assert {value for _, value in smooth(points)} == {1.0}
    assert smooth(points[:50]) == points[:50]


def test_few_points_are_drawn_of_many_and_the_last_is_among_them():
    points = [(step, float(step)) for step in range(1, 10_001)]
    assert len(thinned(points)) <= 302
    assert thinned(points)[-1] == (10_000, 10_000.0)


def test_axes_have_round_ticks():
    assert linear(0.0, 6000.0, 0.0, 300.0).ticks == [0, 2000, 4000, 6000]
    assert fitting([0.1, 0.77], 200.0, 0.0).ticks == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    far = fitting([0.3, 40.0], 200.0, 0.0)
    assert far.logarithmic
    assert list(far.ticks) == pytest.approx([0.1, 1, 10, 100])
    assert far(0.1) == 200.0
    assert far(100.0) == 0.0
    assert [short(v) for v in (0, 0.25, 950, 12_000)] == ["0", "0.25", "950", "12k"]


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-1.0, 1.0], [5.0, 5.0]])
def test_flat_and_negative_values_have_an_axis(values):
    scale = fitting(values, 200.0, 0.0)
    assert all(0.0 <= scale(value) <= 200.0 for value in values)


def test_the_picture_is_an_svg_with_a_colour_a_run_for_both_kinds_of_page():
    drawn = svg([Panel("loss <a>", [Curve(0, [(1, 2.0), (9, 1.0)]), Curve(1, [(9, 1.5)])])], ["one & two", "three"])
    root = ElementTree.fromstring(drawn)
    assert root.get("width") == str(WIDTH)
    assert root.get("aria-label") == "loss <a> over steps: one & two, three"
    assert "prefers-color-scheme: dark" in drawn
    assert {"var(--c0)", "var(--c1)"} <= set(re.findall(r"var\(--c\d\)", drawn))
    assert {t.text for t in root.iter() if t.get("class") == "value"} == {"1", "1.5"}


def test_last_values_never_lie_on_each_other():
    curves = [Curve(run, [(1, 5.0), (9, 0.01 * run)]) for run in range(4)]
    root = ElementTree.fromstring(svg([Panel("loss", curves)], list("abcd")))
    places = sorted(float(t.get("y")) for t in root.iter() if t.get("class") == "value")
    assert all(later - earlier >= 12.9 for earlier, later in itertools.pairwise(places))


def test_the_command_draws_one_run_or_several_by_their_names(tmp_path):
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two", start=4.0)
    out = tmp_path / "curves.svg"
    result = CliRunner().invoke(main, [str(one), f"half={two}", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output == f"{out}: 2 panels, 2 runs\n"
    assert "half" in out.read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{run}", "--out", "curves.png"], "the picture is an SVG file"),
        (["{run}/nowhere", "--out", "curves.svg"], "There is no .*log.csv. Give the --out folder of a training"),
        (["{run}", "--out", "curves.svg", "--value", "speed"], "Unknown value in the log 'speed'"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    run = trained(tmp_path / "run", steps=3)
    result = CliRunner().invoke(main, [arg.format(run=run) for arg in args])
    assert result.exit_code == 2
    assert re.search(message, result.stderr)
