"""Progress of a run: a line for each result that fits the terminal, and an ETA; the report opened where there is a display."""

from __future__ import annotations

import webbrowser
from dataclasses import replace

import pytest

from fobench.cli import progress_bar
from fobench.cli.progress_bar import Eta, LiveVerdict, fitted, watching
from fobench.cli.report import open_report
from fobench.execution.progress import Progress
from tests.support.traces import qa_trace

LONG = "Paris is the capital of France, and it has been that for a very long time, with some interruptions."


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    return now


def test_the_eta_does_not_count_the_time_of_loading(clock):
    eta = Eta()
    said = []
    for now, done in ((0, 0), (60, 0), (70, 1), (80, 2), (90, 3)):
        clock[0] = now
        said.append(eta.update(done, 3))
    assert said == ["", "", "0:20 left", "0:10 left", ""]


def test_a_resumed_run_has_an_eta_of_its_own_pace(clock):
    eta = Eta()
    assert eta.update(100, 104) == ""
    clock[0] = 70.0
    assert eta.update(101, 104) == "3:30 left"


@pytest.mark.parametrize(
    ("text", "columns", "shown"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("日本語", 4, "日 …")]
)
def test_a_line_is_cut_to_the_columns_that_it_takes(text, columns, shown):
    assert fitted(text, columns) == shown


def test_the_verdict_is_of_the_spoken_reply_or_else_of_the_written_one():
    verdict = LiveVerdict()
    right, wrong = qa_trace("a"), qa_trace("b", heard="It is pairs.")
    assert verdict.of(right).startswith("right") and verdict.of(wrong).startswith("wrong")
    assert verdict.of(replace(qa_trace("c"), judge={})) == "right  0.7 s"
    assert verdict.total == "2 of 3 right"


def test_off_a_terminal_each_result_is_a_line_that_fits(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    with watching(2, tmp_path) as watch:
        watch(Progress(2, message="loading cascade and whisper"))
        for done in (1, 2):
            watch(Progress(2, done, trace=qa_trace(f"q-{done}", said=LONG)))
    lines = capsys.readouterr().err.splitlines()[1:]
    assert lines[0] == "0/2  loading cascade and whisper"
    assert [line.split()[0] for line in lines] == ["0/2", "1/2", "2/2"]
    assert all(len(line) <= 80 for line in lines) and "q-1: Paris is" in lines[1] and lines[1].endswith("…")
    assert "left  right" in lines[1]


def test_on_a_terminal_results_stand_above_the_bar(monkeypatch, capsys, tmp_path):
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    with watching(1, tmp_path) as watch:
        watch(Progress(1, message="loading cascade and whisper"))
        watch(Progress(1, 1, trace=qa_trace("q-1", said=LONG)))
    shown = capsys.readouterr().err
    assert "loading cascade and whisper" in shown and "1 of 1 right" in shown and "q-1: Paris is" in shown


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """The pages that a browser was asked to open, on a machine with a display."""
    pages: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: pages.append(url) is None)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("CI", raising=False)
    (tmp_path / "report.html").touch()
    return pages


def test_the_report_is_opened_where_there_is_a_display(opened, tmp_path, capsys):
    open_report(tmp_path)
    assert opened == [(tmp_path / "report.html").as_uri()] and capsys.readouterr().err == ""


@pytest.mark.parametrize("variables", [{"CI": "true"}, {"DISPLAY": "", "WAYLAND_DISPLAY": ""}])
def test_elsewhere_a_line_says_where_it_is(opened, tmp_path, capsys, monkeypatch, variables):
    monkeypatch.setattr("sys.platform", "linux")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    open_report(tmp_path)
    assert (
        opened == []
        and capsys.readouterr().err == f"No display to open the report on; it is {tmp_path / 'report.html'}\n"
    )


def test_a_report_that_is_not_there_is_told(tmp_path, capsys):
    open_report(tmp_path)
    assert "there is no" in capsys.readouterr().err
