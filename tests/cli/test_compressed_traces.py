"""A finished run with compressed traces: every command reads it as before, only resuming is refused."""

import json
import shutil

import pytest
from click.testing import CliRunner

from fobench.cli.main import main

PLAIN = ("--system", "scripted:late", "--suite", "controls", "--judge", "none", "--costs", "declared", "--limit", "3")


def fobench(*arguments, expect=0):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == expect, done.output
    return done.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, and its copy with compressed traces."""
    folder = tmp_path_factory.mktemp("runs")
    fobench("run", *PLAIN, "--output", folder / "plain")
    shutil.copytree(folder / "plain", folder / "packed")
    output = fobench("score", "--compress-traces", folder / "packed")
    assert "traces.jsonl.gz" in output.replace("\n", "")
    return folder


def test_scores_and_reports_are_the_same(runs):
    packed = runs / "packed"
    assert not (packed / "traces.jsonl").exists()
    assert (packed / "scores.json").read_bytes() == (runs / "plain" / "scores.json").read_bytes()
    fobench("report", packed)
    fobench("report", packed, runs / "plain", "-o", runs / "table")
    fobench("compare", runs / "plain", packed, "-o", runs / "comparison")
    assert json.loads((runs / "comparison" / "comparison.json").read_text())["changed"] == {}


def test_a_baseline_of_it_holds_its_texts(runs):
    for name in ("plain", "packed"):
        fobench("baseline", "save", runs / name, "--store", runs / "baselines", "--name", name)
    items = [json.loads(path.read_text())["items"] for path in sorted((runs / "baselines").glob("*.json"))]
    assert items[0] == items[1]
    assert all(item["asked"] for item in items[0])


def test_resuming_is_refused_with_the_way_out(runs):
    output = fobench("run", "--resume", runs / "packed", expect=2)
    assert "cannot be resumed" in output
    assert "gunzip" in output
    assert (runs / "packed" / "traces.jsonl.gz").exists()


def test_an_interrupted_run_is_not_compressed(runs, tmp_path):
    shutil.copytree(runs / "plain", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    assert "is interrupted, not complete" in fobench("score", "--compress-traces", tmp_path / "run", expect=2).replace(
        "\n", " "
    )
    assert (tmp_path / "run" / "traces.jsonl").exists()
