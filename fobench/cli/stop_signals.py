"""SIGINT, SIGTERM and SIGHUP as one exception, from the first moment of a command.

This module imports nothing that takes time: the handlers are in place before the rest of the program is read.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from fobench.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
APART_S = 0.5  # signals that come together (a closed terminal sends several) count as one
BASE = 128  # of the exit code of a stopped process, as in a shell


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within the block the signals raise `Stopped`, also SIGINT where a shell's background job ignores it.

    SIGHUP stays ignored if it is (nohup). In a fork of this process the signals have their default effect. Works in the main
    thread only; in others the block is as it was.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pid, last = os.getpid(), -APART_S

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if os.getpid() != pid:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif time.monotonic() - last > APART_S:
            last = time.monotonic()
            raise Stopped(number)

    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    before = {number: signal.signal(number, stop) for number in SIGNALS if number not in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(error: KeyboardInterrupt) -> int:
    """128 + the number of the signal: 129 SIGHUP, 130 SIGINT (Ctrl-C), 143 SIGTERM."""
    return BASE + (error.number if isinstance(error, Stopped) else signal.SIGINT)


def told(error: KeyboardInterrupt) -> str:
    """What stopped the process, as the beginning of a message."""
    ctrl_c = exit_code(error) == BASE + signal.SIGINT
    return "Interrupted" if ctrl_c else f"Stopped by {error}"


def end(error: KeyboardInterrupt) -> int:
    """Prints what stopped the process, and returns the exit code."""
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
        print(f"\n{told(error)}.", file=sys.stderr, flush=True)
    return exit_code(error)
