"""Comparison of two runs item by item: differences, intervals, significance tests and gate verdicts."""

from __future__ import annotations

from fobench.comparison.comparison import Comparison, compare
from fobench.comparison.gate_verdict import GateVerdict

__all__ = ["Comparison", "GateVerdict", "compare"]
