"""Progress: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import pytest

from fobench.progress_bars import ProgressBars


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


def test_off_a_terminal_lines_keep_their_interval_but_for_the_last_and_those_that_must(capsys) -> None:
    with ProgressBars(interval_s=3600.0) as bars:
        for done in range(5):
            bars.update("it", done, 4, "beside", line=f"{done} of 4", note="a note" if done == 2 else "")
    assert capsys.readouterr() == ("", "0 of 4\n2 of 4\n4 of 4\n")


def test_off_a_terminal_nothing_is_printed_without_a_line(capsys) -> None:
    with ProgressBars() as bars:
        bars.update("it", 1, 1)
    assert capsys.readouterr() == ("", "")


def test_lines_go_where_they_are_wanted(capsys) -> None:
    lines: list[str] = []
    with ProgressBars(emit=lines.append) as bars:
        bars.update("it", 1, 2, line="1 of 2")
    assert lines == ["1 of 2"] and capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_with_its_count_and_text_as_it_is(terminal, capsys) -> None:
    with ProgressBars() as bars:
        bars.update("it", 1, 2, "[red]beside", line="left out")
        bars.update("it", 2, 2, "[red]beside", line="left out", note="above [bold]it")
    out, err = capsys.readouterr()
    assert out == "" and "2/2" in err and "eta" in err and "[red]beside" in err
    assert "above [bold]it" in err and "left out" not in err


def test_bars_of_bytes_show_sizes_and_one_of_unknown_length_is_shown_too(terminal, capsys) -> None:
    with ProgressBars(of_bytes=True) as bars:
        bars.update("one.bin", 500_000, 2_000_000)
        bars.update("two.bin", 500_000, 0)
    err = capsys.readouterr().err
    assert "one.bin" in err and "0.5/2.0 MB" in err and "two.bin" in err


def test_a_terminal_is_left_alone_where_there_is_nothing_to_show(terminal, capsys) -> None:
    with ProgressBars():
        pass
    assert capsys.readouterr() == ("", "")
