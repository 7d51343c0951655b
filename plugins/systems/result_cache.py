"""A cache of a system's results, for runs on declared costs, where nothing is timed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

MOST = 48  # maximum results, enough for several scenarios

T = TypeVar("T")


class ResultCache:
    """A least-recently-used cache of results by key."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._results: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result under `key`, computed by `make` if there is none."""
        if key not in self._results:
            self._results[key] = make()
            while len(self._results) > self._most:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        result: T = self._results[key]
        return result


class SharedIterator(Generic[T]):
    """The values of one iterator for several readers, each from the first on; every value is computed once."""

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._values: list[T] = []
        self._failed: Exception | None = None

    def __iter__(self) -> Iterator[T]:
        index = 0
        while index < len(self._values) or self._advance():
            yield self._values[index]
            index += 1

    def _advance(self) -> bool:
        if self._failed:
            raise self._failed
        try:
            self._values.append(next(self._source))
        except StopIteration:
            return False
        except Exception as error:  # for every reader, as if each had its own source
            self._failed = error
            raise
        return True
