"""The conformance suite: checks that a component keeps its contract. `fobench validate NAME` runs it; so can a plugin's tests.

    from fobench.conformance import check
    assert all(c.ok for c in check("backbones", "my-llm"))

A probe checks one property of the component: it returns its finding, or raises `ContractViolation` with the problem.
"""

from fobench.conformance.checks import Check, ContractViolation, need
from fobench.conformance.suite import check, check_in_subprocess, find_kind

__all__ = ["Check", "ContractViolation", "check", "check_in_subprocess", "find_kind", "need"]
