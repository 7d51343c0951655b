"""What a system has computed before, given again: for runs on declared costs, where nothing is timed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

MOST = 48  # results that are kept: those of some scenarios

T = TypeVar("T")


class ResultCache:
    """Results by what they are made of; the one that was not asked for longest is forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result under `key`, made if there is none."""
        if key not in self._kept:
            self._kept[key] = make()
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        found: T = self._kept[key]
        return found


class SharedIterator(Generic[T]):
    """An iterator's values for many readers, each from the first on: only the reader that is furthest has a new one made."""

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._made: list[T] = []
        self._failed: Exception | None = None

    def __iter__(self) -> Iterator[T]:
        at = 0
        while at < len(self._made) or self._more():
            yield self._made[at]
            at += 1

    def _more(self) -> bool:
        if self._failed:
            raise self._failed
        try:
            self._made.append(next(self._source))
        except StopIteration:
            return False
        except Exception as error:  # every reader's, as it would be if each had a source of its own
            self._failed = error
            raise
        return True
