"""The page of a run: it needs nothing else, nothing of a run becomes markup, and its audio keeps to a budget."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest

from fobench.api import registry
from fobench_plugins.reporters.html import charts
from fobench_plugins.reporters.html.report import render
from fobench_plugins.reporters.views.audio_clips import players
from fobench_plugins.reporters.views.scenario_details import details
from tests.plugins.reporters.reported import BUDGET, data_of
from tests.support.results_sample import CASES, HOSTILE, sample


def test_the_page_needs_nothing_else(page):
    assert not re.search(r"""(src|href)=["'](https?:)?//|@import|url\((?!data:)""", page)
    assert "default-src 'none'" in page


def test_nothing_of_a_run_becomes_markup(page):
    assert page.count("<script") == page.count("</script>") == 2  # its data, and what shows them
    assert HOSTILE.split("\u2028")[0].strip() not in page
    assert "<img" not in page and "onerror=alert(2)\\u003e" in page
    assert "\x00" not in page and "\x1b" not in page
    assert '<option value="&lt;/select&gt;&lt;b&gt;">' in page


def test_each_scenario_is_there_once(page):
    items = data_of(page)["items"]
    assert sorted(item["anchor"] for item in items) == sorted(f"scenario-{i + 1}" for i in range(len(CASES)))
    assert len({item["id"] for item in items}) == len(CASES)


def test_page_has_no_absolute_path(page, folder):
    assert str(folder) not in page


def test_audio_is_spent_on_failures_and_wrong_answers_first(results):
    shown = details(results, 120_000)
    embedded = [bool(each.player.embedded) for each in shown if each.player.link]
    assert embedded == sorted(embedded, reverse=True) and True in embedded and False in embedded
    assert sum(len(each.player.embedded) for each in shown) <= 120_000


def test_audio_outside_the_run_folder_is_not_read(results, tmp_path):
    (tmp_path / "secret.flac").write_bytes((results.folder / "audio/000.flac").read_bytes())
    inside = tmp_path / "run"
    inside.mkdir()
    stray = [
        replace(results.traces[0], audio=name) for name in ("../secret.flac", str(tmp_path / "secret.flac"), "no.flac")
    ]
    assert [player.why for player in players(stray, inside, BUDGET)] == ["its audio file is missing"] * 3


def test_audio_that_is_no_audio(results, tmp_path):
    (tmp_path / "broken.flac").write_bytes(b"not audio")
    found = players([replace(results.traces[0], audio="broken.flac")], tmp_path, BUDGET)
    assert found[0].why == "its audio file cannot be read"


@pytest.mark.slow
def test_240_scenarios_take_less_than_10_s(tmp_path):
    many = sample(tmp_path, 240)
    start = time.process_time()
    registry.create("reporters", "html").write(many, tmp_path)
    assert time.process_time() - start < 10
    assert (tmp_path / "report.html").stat().st_size < 10_000_000


def test_strips_of_many_latencies_are_thinned_by_rank():
    values = [float(i) for i in range(5000)]
    thinned = charts._thinned(values)
    assert len(thinned) == charts.MOST_DOTS
    assert (thinned[0], thinned[-1]) == (0.0, 4999.0)
    assert charts._thinned(values[:600]) == values[:600]


def test_recordings_that_are_gone_are_told(results, tmp_path):
    kept = sum(trace.audio is not None for trace in results.traces)
    elsewhere = render(replace(results, folder=tmp_path), 0)
    assert f"{kept} recordings of 12 cannot be played: not in {tmp_path / 'audio'}." in elsewhere
    assert not any("link" in item["player"] for item in data_of(elsewhere)["items"])
    assert "cannot be played: not in" not in render(results, 0)
