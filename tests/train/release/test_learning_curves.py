"""Learning curves: which measures are drawn, what is smoothed, what the axes say; and that the file is an SVG."""

import math
import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner

from fobench import plotting
from fobench.errors import FobenchError, PrerequisiteError
from reference_model.train.engine.training_log import TrainingLog
from reference_model.train.release.learning_curves import Curve, Panel, main, panels, smooth, svg, thin, title


def log(**values):
    return {name: [(step, value) for step, value in enumerate(found, 1)] for name, found in values.items()}


pytest.importorskip("matplotlib")


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
    assert len(thin(points)) <= 302
    assert thin(points)[-1] == (10_000, 10_000.0)


def texts(drawn):
    return [node.text for node in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("valid_wer_other", 1.2, "errors per word"), ("valid_delay_ms", 90, "ms"), ("valid_f1", 0.5, "share (0 to 1)")],
)
def test_axes_name_their_units(name, value, expected):
    assert panels([log(**{name: [value]})])[0].unit == expected
    assert expected in texts(svg(panels([log(**{name: [value]})]), ["a"]))


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [-1.0, 1.0], [5.0, 5.0], [0.3, 40.0]])
def test_flat_negative_and_wide_values_are_drawn(values):
    drawn = texts(svg(panels([log(loss=values)]), ["a"]))
    assert "training step" in drawn
    assert f"{values[-1]:.3g}" in drawn


def test_the_plot_is_an_svg_with_a_color_a_run_and_equal_input_gives_equal_bytes():
    drawn = [Panel("loss <a>", [Curve(0, [(1, 2.0), (9, 1.0)]), Curve(1, [(9, 1.5)])])]
    plot = svg(drawn, ["one & two", "three"])
    assert plot == svg(drawn, ["one & two", "three"])
    assert {"loss <a>", "one & two", "three"} <= set(texts(plot))
    assert all(color in plot for color in plotting.COLORS[:2])
    assert plotting.COLORS[2] not in plot


def test_without_matplotlib_the_way_to_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'fobench\[plots\]'"):
        svg([Panel("loss", [Curve(0, [(1, 2.0)])])], ["a"])


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
        (["{run}", "--out", "curves.png"], "the plot is an SVG file"),
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
