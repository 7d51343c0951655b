"""The parent's side: starts the component's process, calls it, and ends it."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from enum import Enum
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError, PrerequisiteError, SystemFailure
from fobench.process_host.channel import ANSWER_BYTES, HEADER, LANE, read, send
from fobench.process_host.child import NOTE_CHARACTERS, serve

LOAD_LIMIT_S = 900.0
LOW_PRIORITY = 10  # as of nice, of a process that leaves the cores to others
TAG = "FOBENCH_PROCESS"  # environment variable that a component's process hands on to all that it starts
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
        self._lock = (
            threading.RLock()
        )  # held by a thread that starts or buries the process, where lanes have threads of their own
        self._priority = 0
        self.losses = 0  # how often the process hung or died, in succession

    def start(self) -> None:
        """Starts the process and waits until the component is loaded."""
        if self._process is not None:
            return
        if self._closed:
            raise SystemFailure("died", "it was ended for good")
        self._channel, child = socket.socketpair()
        target = (child, self._factory, self._args, self._log)
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=target, daemon=True)
        resource_tracker.ensure_running()  # before, because it serves all processes and must not bear a tag
        with _tagged(self._tag):
            self._process.start()
        self._set_priority()
        child.close()
        try:
            self._receive("load", self._load_limit_s)
        except FobenchError as error:
            self.stop()
            if self._loaded and not isinstance(error, SystemFailure):
                raise SystemFailure("raised", f"it cannot be loaded again: {error}") from error
            raise
        self._loaded = True

    def open_lane(self) -> tuple[multiprocessing.process.BaseProcess, socket.socket]:
        """(the process, a further channel to it): its calls are answered beside all others, by the component's `twin()`."""
        with self._lock:
            if self._process is not None and not self._process.is_alive():
                self.stop()
            self.start()
            assert self._process is not None and self._channel is not None
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._send(LANE)
                    socket.send_fds(self._channel, [b"\0"], [theirs.fileno()])
                self._receive(LANE, self.time_limit_s)
            except BaseException as error:
                ours.close()
                if isinstance(error, OSError):
                    raise self._died(LANE) from error
                raise
            return self._process, ours

    def step_back(self) -> None:
        """Lets the process compute only where no other needs the cores, from here on and when it is started again."""
        self._priority = LOW_PRIORITY
        self._set_priority()

    def _set_priority(self) -> None:
        """Threads have priorities of their own on Linux: those that come take that of their maker."""
        process = self._process.pid if self._process else None
        if process is None or not self._priority:
            return
        tasks = [int(task.name) for task in Path(f"/proc/{process}/task").glob("*")]
        for task in tasks or [process]:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, task, self._priority)

    @property
    def is_running(self) -> bool:
        """Whether there is a process: it was started, and not ended since."""
        return self._process is not None

    def call(self, method: str, *args: Any) -> Any:
        if self._process is None:
            self.start()
        self._send(method, *args)
        return self._receive(method, self.time_limit_s)

    def _send(self, method: str, *args: Any) -> None:
        assert self._channel is not None
        try:
            self._channel.settimeout(self.time_limit_s)
            send(self._channel, pickle.dumps((method, args)))
        except TimeoutError as error:
            raise self._hung(method, self.time_limit_s) from error
        except OSError as error:
            raise self._died(method) from error

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
                (length,) = HEADER.unpack(read(self._channel, HEADER.size, deadline))
                if length > ANSWER_BYTES:
                    raise self._garbled(method)
                kind, value = _Answer(io.BytesIO(read(self._channel, length, deadline))).load()
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
        with self._lock:
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
