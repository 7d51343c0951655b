"""Two runs' scores of one metric, paired by item."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fobench.comparison.snapshot import ScoreColumn, Snapshot
from fobench.statistics import bootstrap
from fobench.statistics.bootstrap import Blocks, Floats

SPEAKER_BLOCKED = ("_wer", "_cer")  # suffixes of metrics resampled by speaker: ASR errors depend on the voice


@dataclass(frozen=True, slots=True)
class PairedScores:
    """The scores of one metric for the items with scores in both runs; `items` of both columns index the common items.

    `paired_items` [n]: the distinct indices. `blocks`: the resampling blocks of those items.
    """

    metric: str
    base: ScoreColumn
    new: ScoreColumn
    paired_items: bootstrap.Ints
    blocks: Blocks

    @property
    def n(self) -> int:
        return len(self.paired_items)

    @property
    def is_distribution(self) -> bool:
        return self.new.is_distribution

    @property
    def grouped(self) -> bool:
        return self.blocks.unit == "group"

    @property
    def binary(self) -> bool:
        """Whether each item has the value 0 or 1."""
        both = (self.base, self.new)
        return self.new.unit == "share" and all(
            np.isin(c.numerators, (0, 1)).all() and (c.denominators == 1).all() for c in both
        )

    def table(self, items: int) -> Floats:
        """Sums by item [items, 4]: numerators and denominators of the base, then of the new run."""
        arrays = [
            (column.items, part)
            for column in (self.base, self.new)
            for part in (column.numerators, column.denominators)
        ]
        return np.stack([np.bincount(codes, part, items) for codes, part in arrays], axis=1)

    def values(self, items: int) -> Floats:
        """The (mean) value of each item in both runs [items, 2]; NaN for unpaired items."""
        table = self.table(items)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(table[:, [0, 2]] / table[:, [1, 3]])

    def by_block(self, items: int) -> Floats:
        """`table` summed by block, [blocks, 4]."""
        rows = self.table(items)[self.paired_items]
        return np.stack([np.bincount(self.blocks.codes, column, self.blocks.count) for column in rows.T], axis=1)

    def changed(self, items: int) -> int:
        """The number of items whose scores differ between the runs."""
        if self.is_distribution and len(self.base.items) != len(self.new.items):
            return self.n
        if self.is_distribution:
            return len(np.unique(self.new.items[self.base.numerators != self.new.numerators]))
        table = self.table(items)
        return int(np.count_nonzero((table[:, :2] != table[:, 2:]).any(axis=1)))

    def discordant(self, items: int) -> tuple[int, int]:
        """The numbers of binary items with 1 only in the base and only in the new run."""
        table = self.table(items)
        return int(np.sum(table[:, 0] > table[:, 2])), int(np.sum(table[:, 2] > table[:, 0]))


def common_ids(base: Snapshot, new: Snapshot) -> list[str]:
    """The ids of the items in both runs, in the order of the new run."""
    known = {item.id for item in base.items}
    return [item.id for item in new.items if item.id in known]


def pair_scores(base: Snapshot, new: Snapshot) -> Iterator[PairedScores]:
    """The paired scores of each metric with a value for at least one common item in both runs."""
    place = {name: index for index, name in enumerate(common_ids(base, new))}
    groups = {item.id: item.group for item in new.items}
    names = list(place)
    for metric, column in new.columns.items():
        if metric not in base.columns:
            continue
        first, second = _reindex(base.columns[metric], base, place), _reindex(column, new, place)
        shared = np.intersect1d(first.items, second.items)
        if len(shared):
            speakers = [groups[names[index]] for index in shared] if metric.endswith(SPEAKER_BLOCKED) else None
            parts = bootstrap.blocks(speakers, len(shared))
            yield PairedScores(metric, _select_items(first, shared), _select_items(second, shared), shared, parts)


def _reindex(column: ScoreColumn, run: Snapshot, place: dict[str, int]) -> ScoreColumn:
    """The column with indices into the common items, sorted by item; rows of other items are dropped."""
    indices = np.array([place.get(item.id, -1) for item in run.items], dtype=np.int64)[column.items]
    order = np.argsort(indices, kind="stable")
    return _select_rows(column, order[indices[order] >= 0], indices)


def _select_items(column: ScoreColumn, items: bootstrap.Ints) -> ScoreColumn:
    return _select_rows(column, np.flatnonzero(np.isin(column.items, items)), column.items)


def _select_rows(column: ScoreColumn, rows: bootstrap.Ints, items: bootstrap.Ints) -> ScoreColumn:
    return replace(
        column, items=items[rows], numerators=column.numerators[rows], denominators=column.denominators[rows]
    )
