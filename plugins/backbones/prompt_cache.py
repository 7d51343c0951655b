"""States of prompts, kept so that a conversation's past is not computed again at every turn."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

MOST = 4  # states
SHARE = 8  # a prompt is kept if it takes at most this part of the context: a half for all, at most


class PromptCache:
    """The states of the most recently used beginnings of prompts. Thread-safe.

    A prompt is computed part by part, whether or not the states of its first parts are known. The numbers, which depend on how it
    is cut, are therefore the same in both cases.
    """

    def __init__(self) -> None:
        self._states: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def prefill(
        self,
        ids: Sequence[int],
        ends: Sequence[int],
        step: Callable[[Sequence[int], Any], tuple[T, Any]],
        fork: Callable[[Any], Any],
        context: int,
    ) -> tuple[T, Any]:
        """The result of `step` for the last part of a prompt [T], and the state after it, which is the caller's own.

        `ends`: where parts end, increasing, within (0, T); the last part ends the prompt. `step(ids, state)` extends a state in
        place. `context`: positions that a state can hold.
        """
        start, state = self._known(ids, ends, fork)
        for end in [*(end for end in ends if end > start), len(ids)]:
            result, state = step(ids[start:end], state)
            if end * SHARE <= context:
                self._keep(tuple(ids[:end]), fork(state))
            start = end
        return result, state

    def _known(self, ids: Sequence[int], ends: Sequence[int], fork: Callable[[Any], Any]) -> tuple[int, Any]:
        """The end of the longest beginning with a state, and a fork of that state; (0, None) if there is none."""
        with self._lock:
            for end in reversed(ends):
                if (key := tuple(ids[:end])) in self._states:
                    self._states.move_to_end(key)
                    return end, fork(self._states[key])
        return 0, None

    def _keep(self, key: tuple[int, ...], state: Any) -> None:
        with self._lock:
            self._states[key] = state
            self._states.move_to_end(key)
            while len(self._states) > MOST:
                self._states.popitem(last=False)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """The number of elements that both begin with."""
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
