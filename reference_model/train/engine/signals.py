"""Signals that request a graceful stop of a long run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_stop_signal(stop: Callable[[int], object]) -> Iterator[None]:
    """Within the block, SIGTERM, SIGINT and SIGHUP (unless it is ignored, as under nohup) call `stop` with their number.

    They do nothing else. Works in the main thread only.
    """
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, frame: stop(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
