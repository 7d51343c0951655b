"""Built-in reporters: {name: factory}. Heavy imports happen inside the factories."""

from __future__ import annotations

from fobench.api.components import Reporter
from fobench.api.hookspecs import Factories
from fobench.api.option_ranges import Megabytes


def _terminal() -> Reporter:
    """Prints the tables of a run on the terminal."""
    from fobench_plugins.reporters.terminal import TerminalReporter

    return TerminalReporter()


def _markdown() -> Reporter:
    """Writes summary.md, the same tables for a pull request or a wiki."""
    from fobench_plugins.reporters.markdown import MarkdownReporter

    return MarkdownReporter()


def _html(audio_mb: Megabytes = 6.0, self_contained: bool = False) -> Reporter:
    """Writes report.html, one offline page, which plays the recordings beside it, in the run's folder audio.

    `self_contained`: the recordings are in the page itself, failures and wrong answers first, up to `audio_mb` megabytes.
    """
    from fobench_plugins.reporters.html.report import HtmlReporter

    return HtmlReporter(audio_mb, self_contained)


def _junit() -> Reporter:
    """Writes junit.xml, a test case per scenario, for CI."""
    from fobench_plugins.reporters.junit import JunitReporter

    return JunitReporter()


def _full_duplex_bench() -> Reporter:
    """Writes full-duplex-bench/: the run in the format of that benchmark's scripts, with TOR and latency by its definitions."""
    from fobench_plugins.reporters.full_duplex_bench import FullDuplexBenchReporter

    return FullDuplexBenchReporter()


FACTORIES: Factories = {
    "terminal": _terminal,
    "markdown": _markdown,
    "html": _html,
    "junit": _junit,
    "full-duplex-bench": _full_duplex_bench,
}
