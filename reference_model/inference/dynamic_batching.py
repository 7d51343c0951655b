"""Dynamic batching across sessions: concurrent steps are computed as one batch, so that the weights are read once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Call(Generic[Argument, Result]):
    argument: Argument
    result: Result | None = None
    error: BaseException | None = None
    done: bool = False


class DynamicBatcher(Generic[Argument, Result]):
    """A batched function, called by any number of threads with one argument each.

    While a batch is computed, callers queue for the next batch. A single caller is never delayed to fill a batch. If a batch
    fails, its calls are computed one by one, so that each caller gets only its own error.
    """

    def __init__(self, function: Callable[[Sequence[Argument]], Sequence[Result]]) -> None:
        self._function = function
        self._computing = threading.Lock()
        self._queue: list[_Call[Argument, Result]] = []
        self._queue_lock = threading.Lock()

    def __call__(self, argument: Argument) -> Result:
        call: _Call[Argument, Result] = _Call(argument)
        with self._queue_lock:
            self._queue.append(call)
        with self._computing:
            if not call.done:
                with self._queue_lock:
                    batch, self._queue = self._queue, []
                self._compute(batch)
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[return-value]  # set, for there is no error

    def _compute(self, batch: list[_Call[Argument, Result]]) -> None:
        try:
            for call, result in zip(batch, self._function([call.argument for call in batch]), strict=True):
                call.result = result
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for call in batch:
                    self._compute([call])
        for call in batch:
            call.done = True


class BatchedBackbone:
    """A backbone whose concurrent steps are batched. The other methods are the backbone's own."""

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone
        self._step = DynamicBatcher(self._step_many)
        self.embed, self.fork, self.crop = backbone.embed, backbone.fork, backbone.crop
        self.exact_rows: int = getattr(backbone, "exact_rows", 1)

    def step(self, x: Any, state: Any = None, *, logits: int | None = None) -> tuple[Any, Any, Any]:
        """As `fobench.api.components.Backbone.step`."""
        return self._step((x, state, logits))

    def _step_many(self, calls: Sequence[tuple[Any, Any, int | None]]) -> Sequence[tuple[Any, Any, Any]]:
        if len(calls) > 1 and hasattr(self._backbone, "step_many"):
            xs, states, logits = zip(*calls, strict=True)
            results: Sequence[tuple[Any, Any, Any]] = self._backbone.step_many(xs, states, logits=logits)
            return results
        return [self._backbone.step(x, state, logits=logits) for x, state, logits in calls]
