"""`manifest:PATH`: a user's own recordings as a suite."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from fobench.api.scenario import Scenario
from fobench.errors import FobenchError
from fobench_plugins.suites.manifest_parser import read
from fobench_plugins.suites.scenario_builder import scenario as staged

SHOWN = 10  # problems listed; the rest is counted


class ManifestSuite:
    """Scenarios from a manifest (see `manifest_lines`); each line, its texts and audio headers, is checked up front.

    `skip_bad`: leave out, count and name what cannot be used instead of refusing it all. `shuffle`: in an order drawn by
    the seed, so that a part of it is a fair sample; else in the file's order.
    """

    def __init__(self, target: str, skip_bad: bool = False, shuffle: bool = False) -> None:
        reading = read(target)
        self.name, self.items = f"manifest:{reading.name}", reading.items
        self.skip_bad, self.shuffle = skip_bad, shuffle
        if reading.problems and not skip_bad:
            raise FobenchError(
                f"{target} has {_count(len(reading.problems), 'problem')}:\n{_listed(reading.problems)}\n"
                "Mend them, or leave those lines out with --suite-args skip_bad=true."
            )
        if reading.problems:
            total = len(reading.problems) + len(reading.items)
            print(
                f"{target}: skipped {len(reading.problems)} of {total}:\n{_listed(reading.problems)}", file=sys.stderr
            )

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        order = np.random.default_rng(seed).permutation(len(self.items)) if self.shuffle else range(len(self.items))
        for index in order:
            item = self.items[int(index)]
            try:
                scenario = staged(item, self.name, seed)
            except FobenchError as error:  # what the header did not tell
                if not self.skip_bad:
                    raise FobenchError(f"{item.where}: {error}") from error
                print(f"{item.where}: skipped: {error}", file=sys.stderr)
            else:
                yield scenario


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _listed(problems: Sequence[str]) -> str:
    lines = [f"  {problem}" for problem in problems[:SHOWN]]
    return "\n".join([*lines, *([f"  ... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])])
