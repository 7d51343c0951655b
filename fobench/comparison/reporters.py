"""Protocols of reporters for a comparison of two runs and for a trend over many runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from fobench.comparison import Comparison
    from fobench.comparison.trend import Trend


@runtime_checkable
class ComparisonReporter(Protocol):
    """A reporter that also writes a comparison of two runs; returns the file it wrote in `folder`, or None.

    `folder` is None if nothing is to be written: then only reporters that print are called.
    """

    def write_comparison(self, comparison: Comparison, folder: Path) -> Path | None: ...


@runtime_checkable
class TrendReporter(Protocol):
    """A reporter that also plots metrics over many runs; returns the file it wrote in `folder`, or None."""

    def write_trend(self, trend: Trend, folder: Path) -> Path | None: ...
