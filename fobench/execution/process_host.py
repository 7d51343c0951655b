"""A component in a process of its own: it can hang, crash or be killed without taking the run along, and it sees only what
it is sent. Calls are synchronous, each with a time limit."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError, SystemFailure

LOAD_LIMIT_S = 900.0


class ProcessHost:
    """Runs `factory(*args)` in a child process (started at the first call, again after a death) and calls its methods.

    Raises `SystemFailure` with a kind (`raised`, `hung`, `died`). A `FobenchError` while loading is raised here as it is.
    """

    def __init__(
        self,
        factory: Callable[..., Any],
        args: Sequence[Any] = (),
        *,
        time_limit_s: float = 120.0,
        load_limit_s: float = LOAD_LIMIT_S,
        log: Path | None = None,
    ) -> None:
        self._factory, self._args, self._log = factory, tuple(args), log
        self._time_limit_s, self._load_limit_s = time_limit_s, load_limit_s
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._closed = False

    def start(self) -> None:
        """Starts the process and waits until the component is loaded."""
        if self._process is not None:
            return
        if self._closed:
            raise SystemFailure("died", "it was ended for good")
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, self._factory, self._args, self._log), daemon=True)
        self._process.start()
        child.close()
        self._receive("load", self._load_limit_s)

    def call(self, method: str, *args: Any) -> Any:
        if self._process is None:
            self.start()
        assert self._connection is not None
        try:
            self._connection.send((method, args))
        except OSError as error:
            raise self._died(method) from error
        return self._receive(method, self._time_limit_s)

    def stop(self) -> None:
        """Ends the process, by force if it does not go by itself."""
        process, connection, self._process, self._connection = self._process, self._connection, None, None
        if connection is not None:
            connection.close()
        if process is not None:
            process.join(timeout=0.2)
            if process.is_alive():
                process.kill()
                process.join()

    def close(self) -> None:
        """Kills the process for good: no call starts it again. From any thread, also while another waits for an answer."""
        self._closed, process = True, self._process
        if process is not None:
            process.kill()

    def _receive(self, method: str, limit_s: float) -> Any:
        assert self._connection is not None
        try:
            if not self._connection.poll(limit_s):
                self.stop()
                option = " (--time-limit)" if limit_s == self._time_limit_s else ""
                raise SystemFailure("hung", f"no answer from {method} within {limit_s:g} s{option}; it was ended")
            kind, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._died(method) from error
        if kind == "ok":
            return value
        if method == "load":
            self.stop()
        if kind == "refused" and method == "load":
            raise value
        raise SystemFailure("raised", str(value))

    def _died(self, method: str) -> SystemFailure:
        if self._process is not None:
            self._process.join(timeout=1.0)
        code = self._process.exitcode if self._process else None
        self.stop()
        return SystemFailure("died", f"its process ended during {method} with exit code {code}")


def _serve(connection: Connection, factory: Callable[..., Any], args: tuple[Any, ...], log: Path | None) -> None:
    """The child's loop: one answer for each call, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if log is not None:
        _redirect_output(log)
    component: Any = None
    method, arguments = "load", ()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            try:
                if method == "load":
                    component = factory(*args)
                    answer: tuple[str, Any] = ("ok", None)
                else:
                    answer = ("ok", getattr(component, method)(*arguments))
            except FobenchError as error:
                answer = ("refused", error)
            except Exception as error:  # whatever a plugin raises is its scenario's failure, reported by the parent
                traceback.print_exc()
                answer = ("raised", f"{type(error).__name__}: {error} ({_place(error)})")
            connection.send(answer)
            method, arguments = connection.recv()


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown place"


def _redirect_output(log: Path) -> None:
    """What the component and its libraries print goes to the run's log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
