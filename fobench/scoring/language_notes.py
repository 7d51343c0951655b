"""A note on scenarios in another language than the one that the scoring rules are for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fobench.api.scenario import Scenario
from fobench.scoring.unicode_text import UNSPACED_SCRIPTS, main_script


def language_note(scenarios: Iterable[Scenario]) -> str:
    """Says how many of the scenarios' texts (questions and answers) are not in Latin letters, and how they are scored; else empty."""
    scripts = [script for scenario in scenarios if (script := main_script(_texts(scenario)))]
    others = Counter(script for script in scripts if script != "Latin")
    if not others:
        return ""
    unspaced = sorted(others.keys() & {*UNSPACED_SCRIPTS})
    by_characters = f"; error rates count each character of {', '.join(unspaced)} as a word" if unspaced else ""
    return (
        f"The texts of {others.total():,} of {len(scripts):,} scenarios are mostly not in Latin letters: they are scored by the rules "
        f"for English{by_characters}."
    )


def _texts(scenario: Scenario) -> list[str]:
    return [*(turn.text or "" for turn in scenario.turns), *scenario.expect.answers]
