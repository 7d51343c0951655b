"""The conformance suite: does a component keep its contract? `fobench validate NAME` runs it; so can any plugin's tests.

    from fobench.conformance import check
    assert all(c.ok for c in check("backbones", "my-llm"))

A probe takes the component and returns what it found, or raises `ContractViolation` saying what is wrong and where.
"""

from fobench.conformance.checks import Check, ContractViolation, need
from fobench.conformance.suite import check, check_in_subprocess, find_kind

__all__ = ["Check", "ContractViolation", "check", "check_in_subprocess", "find_kind", "need"]
