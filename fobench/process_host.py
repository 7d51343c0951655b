"""A component in a process of its own: it can hang, crash or be killed without taking the run along, and it sees only what
it is sent. Calls are synchronous, each with a time limit.

The process leads a session of its own, apart from the terminal. It is ended together with all processes that it has started:
those of its group, and on Linux all that bear its tag in their environment, also if they have left the group.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import secrets
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from enum import Enum
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError, PrerequisiteError, SystemFailure, describe_error

LOAD_LIMIT_S = 900.0
ANSWER_BYTES = 1 << 28  # of one answer, at most
TRACEBACK_CHARACTERS = 20_000  # of one exception in the log
NOTE_CHARACTERS = 200  # of one note about what the component does
TAG = "FOBENCH_PROCESS"  # environment variable that a component's process hands on to all that it starts
HEADER = struct.Struct("!Q")  # length of a message
END_ROUNDS = 50  # searches for processes that are left, 20 ms apart
SENT_NAMES = {  # of what an answer may hold beside plain data and the dataclasses and enums of fobench: arrays and paths
    *((module, name) for module in ("pathlib", "pathlib._local") for name in ("PosixPath", "WindowsPath")),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    ),
    *(("numpy", "ndarray"), ("numpy", "dtype")),
}

_environment = threading.Lock()  # held while the tag is in the environment
_parent: socket.socket | None = None  # in a component's process: the channel to the process that waits for it
_sending = threading.Lock()  # held while a message is sent there


def note(text: str) -> None:
    """Tells the user what takes time here, e.g. "converting a model (once)": through the host of this process, if it has one."""
    if _parent is not None:
        with contextlib.suppress(OSError):  # the parent is gone
            _send(_parent, pickle.dumps(("note", text[:NOTE_CHARACTERS])))


class ProcessHost:
    """Runs `factory(*args)` in a child process (started at the first call, again after a death) and calls its methods.

    What the component prints goes to `log` (without one, nowhere), or with `prints` where this process prints; what it says by
    `note` goes to `notes`. Raises `SystemFailure` with a kind (`raised`, `hung`, `died`). A `FobenchError` while loading for the first time is raised here
    as it is.
    """

    def __init__(
        self,
        factory: Callable[..., Any],
        args: Sequence[Any] = (),
        *,
        time_limit_s: float = 120.0,
        load_limit_s: float = LOAD_LIMIT_S,
        log: Path | None = None,
        prints: bool = False,
        notes: Callable[[str], None] | None = None,
    ) -> None:
        self._notes = notes
        self._factory, self._args = factory, tuple(args)
        self._log = None if prints else log or Path(os.devnull)
        self.time_limit_s, self._load_limit_s = time_limit_s, load_limit_s
        self._process: multiprocessing.process.BaseProcess | None = None
        self._channel: socket.socket | None = None
        self._tag = secrets.token_hex(12)
        self._loaded = self._closed = False
        self.losses = 0  # how often the process hung or died, in succession

    def start(self) -> None:
        """Starts the process and waits until the component is loaded."""
        if self._process is not None:
            return
        if self._closed:
            raise SystemFailure("died", "it was ended for good")
        self._channel, child = socket.socketpair()
        target = (child, self._factory, self._args, self._log)
        self._process = multiprocessing.get_context("spawn").Process(target=_serve, args=target, daemon=True)
        resource_tracker.ensure_running()  # before, because it serves all processes and must not bear a tag
        with _tagged(self._tag):
            self._process.start()
        child.close()
        try:
            self._receive("load", self._load_limit_s)
        except FobenchError as error:
            self.stop()
            if self._loaded and not isinstance(error, SystemFailure):
                raise SystemFailure("raised", f"it cannot be loaded again: {error}") from error
            raise
        self._loaded = True

    @property
    def is_running(self) -> bool:
        """Whether there is a process: it was started, and not ended since."""
        return self._process is not None

    def call(self, method: str, *args: Any) -> Any:
        if self._process is None:
            self.start()
        assert self._channel is not None
        try:
            self._channel.settimeout(self.time_limit_s)
            _send(self._channel, pickle.dumps((method, args)))
        except TimeoutError as error:
            raise self._hung(method, self.time_limit_s) from error
        except OSError as error:
            raise self._died(method) from error
        return self._receive(method, self.time_limit_s)

    def stop(self) -> None:
        """Ends the process and all that it has started, by force if it does not go by itself."""
        process, channel, self._process, self._channel = self._process, self._channel, None, None
        if channel is not None:
            channel.close()
        if process is not None:
            process.join(timeout=0.2)
            _end_all(process, self._tag)
            process.join()

    def close(self) -> None:
        """Kills the process for good: no call starts it again. From any thread, also while another waits for an answer."""
        self._closed, process = True, self._process
        if process is not None:
            _end_all(process, self._tag)

    def _receive(self, method: str, limit_s: float) -> Any:
        assert self._channel is not None
        deadline = time.monotonic() + limit_s
        try:
            while True:
                (length,) = HEADER.unpack(_read(self._channel, HEADER.size, deadline))
                if length > ANSWER_BYTES:
                    raise self._garbled(method)
                kind, value = _Answer(io.BytesIO(_read(self._channel, length, deadline))).load()
                if kind != "note":
                    break
                if time.monotonic() > deadline:  # notes are no answer, however many there are
                    raise TimeoutError
                if self._notes is not None:
                    self._notes(str(value)[:NOTE_CHARACTERS])
        except TimeoutError as error:
            raise self._hung(method, limit_s) from error
        except (EOFError, OSError) as error:
            raise self._died(method) from error
        except SystemFailure:
            raise
        except ForeignType as error:
            raise SystemFailure("raised", f"its answer to {method} holds {error}") from error
        except Exception as error:  # bytes that are no answer can fail in any way
            raise self._garbled(method) from error
        if method != "load":  # a process that loads and then hangs is lost each time
            self.losses = 0
        if kind == "ok":
            return value
        if kind == "refused" and method == "load":
            raise PrerequisiteError(value[1]) if value[0] == "prerequisite" else FobenchError(value[1])
        raise SystemFailure(value[0] if kind == "failed" else "raised", value[1])

    def _hung(self, method: str, limit_s: float) -> SystemFailure:
        self._lose()
        option = " (--time-limit)" if limit_s == self.time_limit_s else ""
        return SystemFailure("hung", f"no answer from {method} within {limit_s:g} s{option}; it was ended")

    def _died(self, method: str) -> SystemFailure:
        if self._process is not None:
            self._process.join(timeout=1.0)
        code = self._process.exitcode if self._process else None
        self._lose()
        return SystemFailure("died", f"its process ended during {method} with exit code {code}{_signal_name(code)}")

    def _garbled(self, method: str) -> SystemFailure:
        self._lose()
        return SystemFailure("died", f"its process sent something else than an answer to {method}; it was ended")

    def _lose(self) -> None:
        self.losses += 1
        self.stop()


class ForeignType(Exception):
    """An answer holds an object of a type that is not sent between processes."""


class _Answer(pickle.Unpickler):
    """Reads an answer: plain data, arrays, paths, and the dataclasses and enums of fobench; it calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in SENT_NAMES:
            return super().find_class(module, name)
        if (
            module.startswith("fobench.") and "." not in name
        ):  # with a point, it could be of any module that this one imports
            found = super().find_class(module, name)
            if (
                isinstance(found, type)
                and found.__module__ == module
                and (is_dataclass(found) or issubclass(found, Enum))
            ):
                return found
        raise ForeignType(f"an object of {module}.{name}")


@contextlib.contextmanager
def _tagged(tag: str) -> Iterator[None]:
    """The environment with a process's tag, for the moment of its start."""
    with _environment:
        os.environ[TAG], before = tag, os.environ.get(TAG)
        try:
            yield
        finally:
            if before is None:
                del os.environ[TAG]
            else:
                os.environ[TAG] = before


def _end_all(process: multiprocessing.process.BaseProcess, tag: str) -> None:
    """Kills the process, its group and all others with its tag."""
    for _ in range(END_ROUNDS):
        if process.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(OSError, ValueError):
            process.kill()
        if not (left := _bearers(tag)):
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _bearers(tag: str) -> list[int]:
    """The processes of this user with the tag in their environment; none where the system does not tell (only Linux does)."""
    bearing = f"{TAG}={tag}".encode()
    found = []
    for folder in Path("/proc").glob("[1-9]*") if sys.platform == "linux" else ():
        with contextlib.suppress(OSError):
            if bearing in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _signal_name(code: int | None) -> str:
    """The name of the signal that ended a process, in brackets; empty without one."""
    if code is None or code >= 0:
        return ""
    with contextlib.suppress(ValueError):
        return f" ({signal.Signals(-code).name})"
    return ""


def _send(channel: socket.socket, message: bytes) -> None:
    with _sending if channel is _parent else contextlib.nullcontext():
        channel.sendall(HEADER.pack(len(message)) + message)


def _read(channel: socket.socket, count: int, deadline: float | None = None) -> bytearray:
    """Exactly `count` bytes. Raises TimeoutError after the deadline (of time.monotonic), EOFError at the other side's end."""
    message, done = bytearray(count), 0
    view = memoryview(message)
    while done < count:
        channel.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        if not (read := channel.recv_into(view[done:])):
            raise EOFError
        done += read
    return message


# ---- in the child ----------------------------------------------------------------------------------------------------


def _serve(channel: socket.socket, factory: Callable[..., Any], args: tuple[Any, ...], log: Path | None) -> None:
    """The child's loop: one answer for each call, until the parent is gone."""
    global _parent
    _parent = channel
    _leave_signals()
    _leave_terminal()
    if log is not None:
        _redirect_output(log)
    os.register_at_fork(after_in_child=_leave_parent)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    component: Any = None
    method, arguments = "load", ()
    with contextlib.suppress(EOFError, OSError):
        while True:
            try:
                if method == "load":
                    component = factory(*args)
                    answer: tuple[str, Any] = ("ok", None)
                else:
                    answer = ("ok", getattr(component, method)(*arguments))
            except BaseException as error:  # whatever a plugin raises is its scenario's failure, reported by the parent
                answer = _failure(error)
            _send(channel, _pickled(answer, method))
            method, arguments = pickle.loads(_read(channel, HEADER.unpack(_read(channel, HEADER.size))[0]))


def _leave_parent() -> None:
    """In a copy of this process by fork: it does not answer in its place."""
    global _parent
    if _parent is not None:
        _parent.close()
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
