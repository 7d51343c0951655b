"""The child's side: makes the component, and answers one call after another until the parent is gone.

Further channels (`fobench.process_host.lane`) are answered in threads of their own, each by a twin of the component.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError, PrerequisiteError, SystemFailure, describe_error
from fobench.process_host.channel import ANSWER_BYTES, HEADER, LANE, read, send

TRACEBACK_CHARACTERS = 20_000  # of one exception in the log
NOTE_CHARACTERS = 200  # of one note about what the component does

_parent: socket.socket | None = None  # in a component's process: the channel to the process that waits for it
_lanes: set[socket.socket] = set()  # the further channels
_sending = threading.Lock()  # held while a message is sent to the parent


def note(text: str) -> None:
    """Tells the user what takes time here, e.g. "converting a model (once)": through the host of this process, if it has one."""
    if _parent is not None:
        with contextlib.suppress(OSError):  # the parent is gone
            _send(_parent, pickle.dumps(("note", text[:NOTE_CHARACTERS])))


def serve(channel: socket.socket, factory: Callable[..., Any], args: tuple[Any, ...], log: Path | None) -> None:
    """The child's loop: one answer for each call, until the parent is gone."""
    global _parent
    _parent = channel
    _leave_signals()
    _leave_terminal()
    if log is not None:
        _redirect_output(log)
    os.register_at_fork(after_in_child=_leave_parent)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        component: Any = None
        answer: tuple[str, Any] = ("ok", None)
        try:
            component = factory(*args)
        except BaseException as error:  # whatever a plugin raises is its scenario's failure, reported by the parent
            answer = _failure(error)
        _send(channel, _pickled(answer, "load"))
        _answer_calls(channel, component)


def _answer_calls(channel: socket.socket, component: Any) -> None:
    """Raises EOFError or OSError when the other side is gone."""
    while True:
        method, arguments = pickle.loads(read(channel, HEADER.unpack(read(channel, HEADER.size))[0]))
        try:
            act = partial(_open_lane, channel, component) if method == LANE else getattr(component, method)
            answer: tuple[str, Any] = ("ok", act(*arguments))
        except BaseException as error:
            answer = _failure(error)
        _send(channel, _pickled(answer, method))


def _open_lane(channel: socket.socket, component: Any) -> None:
    """Takes over a channel that the parent has sent, and answers its calls by a twin of the component."""
    _, (number, *_), _, _ = socket.recv_fds(channel, 1, 1)
    lane = socket.socket(fileno=number)
    threading.Thread(target=_serve_lane, args=(lane, component.twin()), daemon=True).start()


def _serve_lane(lane: socket.socket, twin: Any) -> None:
    _lanes.add(lane)
    with lane, contextlib.suppress(EOFError, OSError):
        _answer_calls(lane, twin)
    _lanes.discard(lane)
    with contextlib.suppress(BaseException):  # nobody waits for it any more
        twin.close()


def _send(channel: socket.socket, message: bytes) -> None:
    with _sending if channel is _parent else contextlib.nullcontext():
        send(channel, message)


def _leave_parent() -> None:
    """In a copy of this process by fork: it does not answer in its place."""
    global _parent
    if _parent is not None:
        for channel in (_parent, *_lanes):
            channel.close()
        _parent = None


def _failure(error: BaseException) -> tuple[str, tuple[str, str]]:
    """The answer for an exception; one that is not meant for the user goes to the log with its traceback."""
    if type(error) is SystemFailure and isinstance(error.kind, str):
        return "failed", (error.kind, describe_error(error, name=False))
    if isinstance(error, FobenchError):
        kind = "prerequisite" if isinstance(error, PrerequisiteError) else ""
        return "refused", (kind, describe_error(error, name=False))
    described = describe_error(error)
    with contextlib.suppress(BaseException):
        text = "".join(traceback.format_tb(error.__traceback__))[-TRACEBACK_CHARACTERS:]
        print(f"Traceback (most recent call last):\n{text}{described}", file=sys.stderr, flush=True)
    return "raised", ("raised", described)


def _pickled(answer: tuple[str, Any], method: str) -> bytes:
    """The answer as bytes; a failure in its place if it cannot be sent."""
    try:
        message = pickle.dumps(answer)
        if len(message) > ANSWER_BYTES:
            raise ValueError(f"it has {len(message):,} bytes; the limit is {ANSWER_BYTES:,}")
    except BaseException as error:  # a plugin's object can fail in any way
        problem = f"its answer to {method} cannot be sent: {describe_error(error)}"
        message = pickle.dumps(("raised", ("raised", problem)))
    return message


def _leave_signals() -> None:
    """Leaves the signals that ask a run to end to the parent, also where a scheduler sends them to all processes.

    By a handler and not by ignoring, which programs that are started here would inherit; copies by fork have the default.
    """
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def handle_by(handler: Any) -> None:
        for number in signals:
            signal.signal(number, handler)

    handle_by(lambda number, frame: None)
    os.register_at_fork(after_in_child=lambda: handle_by(signal.SIG_DFL))


def _leave_terminal() -> None:
    """Makes this process the leader of a session of its own, and the first that the system ends if memory runs out."""
    with contextlib.suppress(OSError, AttributeError):
        os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_parent() -> None:
    """Ends this process and its group when the parent has ended, however busy it is."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        with contextlib.suppress(Exception):
            parent.join()
            os.killpg(0, signal.SIGKILL)


def _redirect_output(log: Path) -> None:
    """What the component and its libraries print goes to the run's log; there is nothing to read on standard input."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
