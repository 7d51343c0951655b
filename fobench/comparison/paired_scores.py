"""Two runs' scores of one metric, paired by item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fobench.comparison.snapshot import ScoreColumn, Snapshot
from fobench.statistics import bootstrap
from fobench.statistics.bootstrap import Blocks, Floats

BLOCKED = ("_wer", "_cer")  # metrics whose items are resampled by speaker: a recogniser's errors go by voice


@dataclass(frozen=True, slots=True)
class PairedScores:
    """The scores of those items that have some in both runs; `items` of both columns are indices into the common items.

    `paired`: those indices, [n]. `blocks`: what is resampled, of each of them.
    """

    metric: str
    base: ScoreColumn
    new: ScoreColumn
    paired: bootstrap.Ints
    blocks: Blocks

    @property
    def n(self) -> int:
        return len(self.paired)

    @property
    def spread(self) -> bool:
        return self.new.spread

    @property
    def grouped(self) -> bool:
        return self.blocks.unit == "group"

    @property
    def binary(self) -> bool:
        """Whether each item is right or wrong, or does a thing or not."""
        both = (self.base, self.new)
        return self.new.unit == "share" and all(np.isin(c.tops, (0, 1)).all() and (c.bottoms == 1).all() for c in both)

    def table(self, items: int) -> Floats:
        """Sums by item, [items, 4]: tops and bottoms of the base, tops and bottoms of the new run."""
        arrays = [(column.items, part) for column in (self.base, self.new) for part in (column.tops, column.bottoms)]
        return np.stack([np.bincount(codes, part, items) for codes, part in arrays], axis=1)

    def values(self, items: int) -> Floats:
        """Each item's value in both runs (of several, their mean), [items, 2]; NaN where it is not paired."""
        table = self.table(items)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(table[:, [0, 2]] / table[:, [1, 3]])

    def by_block(self, items: int) -> Floats:
        """`table` added up by block, [blocks, 4]."""
        rows = self.table(items)[self.paired]
        return np.stack([np.bincount(self.blocks.codes, column, self.blocks.count) for column in rows.T], axis=1)

    def changed(self, items: int) -> int:
        """Items whose scores are not the same in both runs."""
        if self.spread and len(self.base.items) != len(self.new.items):
            return self.n
        if self.spread:
            return len(np.unique(self.new.items[self.base.tops != self.new.tops]))
        table = self.table(items)
        return int(np.count_nonzero((table[:, :2] != table[:, 2:]).any(axis=1)))

    def discordant(self, items: int) -> tuple[int, int]:
        """Of right-or-wrong items: how many were 1 only before, how many only now."""
        table = self.table(items)
        return int(np.sum(table[:, 0] > table[:, 2])), int(np.sum(table[:, 2] > table[:, 0]))


def common(base: Snapshot, new: Snapshot) -> list[str]:
    """The ids of the items that both runs have, in the order of the new one."""
    known = {item.id for item in base.items}
    return [item.id for item in new.items if item.id in known]


def paired(base: Snapshot, new: Snapshot) -> Iterator[PairedScores]:
    """Pairs of each metric that has a value of at least one common item in both runs."""
    place = {name: index for index, name in enumerate(common(base, new))}
    groups = {item.id: item.group for item in new.items}
    names = list(place)
    for metric, column in new.columns.items():
        if metric not in base.columns:
            continue
        first, second = _placed(base.columns[metric], base, place), _placed(column, new, place)
        shared = np.intersect1d(first.items, second.items)
        if len(shared):
            blocked = [groups[names[index]] for index in shared] if metric.endswith(BLOCKED) else None
            parts = bootstrap.blocks(blocked, len(shared))
            yield PairedScores(metric, _only(first, shared), _only(second, shared), shared, parts)


def _placed(column: ScoreColumn, run: Snapshot, place: dict[str, int]) -> ScoreColumn:
    """The column with the common items' indices; rows of other items are left out. Rows are in the order of the items."""
    indices = np.array([place.get(item.id, -1) for item in run.items], dtype=np.int64)[column.items]
    order = np.argsort(indices, kind="stable")
    return _rows(column, order[indices[order] >= 0], indices)


def _only(column: ScoreColumn, items: bootstrap.Ints) -> ScoreColumn:
    return _rows(column, np.flatnonzero(np.isin(column.items, items)), column.items)


def _rows(column: ScoreColumn, rows: bootstrap.Ints, items: bootstrap.Ints) -> ScoreColumn:
    return replace(column, items=items[rows], tops=column.tops[rows], bottoms=column.bottoms[rows])
