"""`manifest:PATH`: a user's own recordings as a suite."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from fobench.api.scenario import Scenario
from fobench.errors import FobenchError
from fobench_plugins.suites.manifest_parser import read
from fobench_plugins.suites.scenario_builder import build_scenario

MAX_LISTED_PROBLEMS = 10  # further problems are only counted


class ManifestSuite:
    """Scenarios from a manifest (format: `manifest_parser`); every entry, its texts and audio headers, is checked up
    front.

    `notes`: what is left out. `skip_bad`: skip and list invalid entries instead of raising `FobenchError`. `shuffle`: a random order drawn from
    the seed, so that a prefix is a random sample; otherwise the order of the file.
    """

    def __init__(self, target: str, skip_bad: bool = False, shuffle: bool = False) -> None:
        manifest = read(target)
        self.name, self.items = f"manifest:{manifest.name}", manifest.items
        self.skip_bad, self.shuffle, self.notes = skip_bad, shuffle, list(manifest.notes)
        if manifest.problems and not skip_bad:
            raise FobenchError(
                f"{target} has {_count(len(manifest.problems), 'problem')}:\n{_bullet_list(manifest.problems)}\n"
                "Fix them, or skip those entries with --suite-args skip_bad=true."
            )
        if manifest.problems:
            total = len(manifest.problems) + len(manifest.items)
            skipped = f"{target}: skipped {len(manifest.problems)} of {total}:\n{_bullet_list(manifest.problems)}"
            print(skipped, file=sys.stderr)
            self.notes.append(skipped)

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        order = np.random.default_rng(seed).permutation(len(self.items)) if self.shuffle else range(len(self.items))
        for index in order:
            item = self.items[int(index)]
            try:
                scenario = build_scenario(item, self.name, seed)
            except FobenchError as error:  # errors that only decoding finds
                if not self.skip_bad:
                    raise FobenchError(f"{item.where}: {error}") from error
                print(f"{item.where}: skipped: {error}", file=sys.stderr)
            else:
                yield scenario


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" + ("" if n == 1 else "s")


def _bullet_list(problems: Sequence[str]) -> str:
    lines = [f"  {problem}" for problem in problems[:MAX_LISTED_PROBLEMS]]
    return "\n".join(
        [
            *lines,
            *([f"  ... and {len(problems) - MAX_LISTED_PROBLEMS} more"] if len(problems) > MAX_LISTED_PROBLEMS else []),
        ]
    )
