"""Comparing two runs item by item: what changed, by how much, whether chance could do it, and what a gate says of it."""

from __future__ import annotations

from fobench.comparison.comparison import Comparison, compare
from fobench.comparison.gate_verdict import GateVerdict

__all__ = ["Comparison", "GateVerdict", "compare"]
