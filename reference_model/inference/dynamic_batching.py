"""Steps of different sessions that coincide are done as one: the weights are read once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")


@dataclass(slots=True)
class _Call(Generic[Asked, Given]):
    asked: Asked
    given: Given | None = None
    error: BaseException | None = None
    done: bool = False


class DynamicBatcher(Generic[Asked, Given]):
    """A function of many arguments, called with one at a time by any number of threads.

    Whoever comes while a batch is being computed waits, and the next batch takes all who wait. A lone caller never waits for
    company. If a batch fails, its members are computed one by one, so that each caller meets only its own error.
    """

    def __init__(self, many: Callable[[Sequence[Asked]], Sequence[Given]]) -> None:
        self._many = many
        self._computing = threading.Lock()
        self._waiting: list[_Call[Asked, Given]] = []
        self._list = threading.Lock()

    def __call__(self, asked: Asked) -> Given:
        call: _Call[Asked, Given] = _Call(asked)
        with self._list:
            self._waiting.append(call)
        with self._computing:
            if not call.done:
                with self._list:
                    batch, self._waiting = self._waiting, []
                self._compute(batch)
        if call.error is not None:
            raise call.error
        return call.given  # type: ignore[return-value]

    def _compute(self, batch: list[_Call[Asked, Given]]) -> None:
        try:
            for call, given in zip(batch, self._many([call.asked for call in batch]), strict=True):
                call.given = given
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for call in batch:
                    self._compute([call])
        for call in batch:
            call.done = True


class BatchedBackbone:
    """A backbone whose steps, asked for by several sessions at once, are done as one."""

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone
        self._together = DynamicBatcher(self._many)
        self.embed, self.fork, self.crop = backbone.embed, backbone.fork, backbone.crop

    def step(self, x: Any, state: Any = None, *, logits: int | None = None) -> tuple[Any, Any, Any]:
        """As `fobench.api.components.Backbone.step`."""
        return self._together((x, state, logits))

    def _many(self, calls: Sequence[tuple[Any, Any, int | None]]) -> Sequence[tuple[Any, Any, Any]]:
        if len(calls) > 1 and hasattr(self._backbone, "step_many"):
            xs, states, logits = zip(*calls, strict=True)
            together: Sequence[tuple[Any, Any, Any]] = self._backbone.step_many(xs, states, logits=logits)
            return together
        return [self._backbone.step(x, state, logits=logits) for x, state, logits in calls]
