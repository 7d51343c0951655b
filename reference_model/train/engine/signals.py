"""Signals that request a graceful stop of a long run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_stop_signal(stop: Callable[[int], object]) -> Iterator[None]:
    """Within the block, SIGTERM and SIGINT call `stop` with their number and do nothing else.

    Works in the main thread only.
    """
    before = {
        number: signal.signal(number, lambda number, frame: stop(number)) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
