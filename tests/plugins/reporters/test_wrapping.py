"""Identifiers break at their separators, never inside a word."""

import io
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fobench.api.types import Score
from fobench_plugins.reporters.terminal import TerminalReporter
from fobench_plugins.reporters.views.formatting import wrap_ids
from tests.support.results_sample import sample

IDS = st.text("ab1_-/.: ", min_size=1, max_size=60)


@given(IDS, st.integers(1, 40))
def test_only_long_words_are_broken_and_nothing_is_lost(text, width):
    wrapped = wrap_ids(text, width)
    assert wrapped.replace("\n", "") == text
    for line in wrapped.split("\n")[:-1]:
        assert line[-1] in "_-/.:"
    for word in wrapped.replace("\n", " ").split(" "):
        assert cell_len(word) <= width or not any(mark in word[:-1] for mark in "_-/.:")


def test_names_stay_whole_on_80_columns(tmp_path):
    metric = "plugin_conversational_laughter_frequency_per_spoken_minute"
    case = "geography-of-south-america/capital-cities-and-their-rivers/question-with-a-long-name-0001"
    run = sample(tmp_path)
    failed = replace(run.traces[9], scenario=replace(run.traces[9].scenario, id=case))
    traces = [*run.traces[:9], failed, *run.traces[10:]]
    run = replace(run, traces=traces, totals=[*run.totals, Score(metric, 1, 0.25, "laughs/min", 11)])
    console = Console(file=io.StringIO(), width=80, color_system=None)
    TerminalReporter(console).write(run, tmp_path)
    lines = console.file.getvalue().splitlines()
    assert all(cell_len(line) <= 80 for line in lines if "/" not in line)
    shown = " ".join(console.file.getvalue().split())
    for name in (metric, case):
        words = name.replace("/", "/ ").replace("_", "_ ").replace("-", "- ").split()
        assert all(word in shown for word in words)
