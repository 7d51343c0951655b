"""The worker pool of a run: a thread per worker, which waits for the worker's processes.

A system that lives in real time (`fobench.api.live`) is there once, and holds as many conversations at a time as there are
workers: what it computes, it computes elsewhere, and a server is measured under the load of all of them.
"""

from __future__ import annotations

import inspect
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fobench import compute_threads
from fobench.api import registry
from fobench.api.live import declares_real_time
from fobench.api.scenario import CONTROL, Scenario
from fobench.errors import FobenchError
from fobench.execution import conversations
from fobench.execution.worker import Worker
from fobench.storage.run_config import RunComponents, RunConfig

THREAD_S = 5.0  # longest wait for a thread whose processes have been ended
KEPT_BYTES = 1 << 30  # a child process keeps freed memory, and single buffers, up to this size


class WorkerPool:
    """Hands the pending scenarios to workers; `outcomes` yields the results, `stop` ends the work at any moment.

    A scenario and its paired control go to the same worker, since memoized results of one often serve the other.
    """

    def __init__(self, parts: RunComponents, config: RunConfig, log: Path, pending: Sequence[Scenario]) -> None:
        self._pending: queue.SimpleQueue[list[Scenario]] = queue.SimpleQueue()
        pairs = paired(pending)
        for pair in pairs:
            self._pending.put(pair)
        self._outcomes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._first = pending[0]
        self._loading = f"loading {config.system}" + (f" and {config.judge}" if parts.judge else "")
        count = max(1, min(config.workers, len(pairs)))
        declared = declares_real_time(registry.find("systems", config.system)[0])
        compute_threads.share_cores(1 if declared else count)
        _keep_memory()
        metrics = audio_metrics()
        self._workers = [Worker(parts, config, metrics, log, self._outcomes.put) for _ in range(count)]
        self._first_tells = declared is not False  # whether the system lives in real time
        self._first_loaded = threading.Event()
        self._real_time: bool | None = None  # until the first one has loaded it
        self._threads = [threading.Thread(target=self._serve, args=(worker,), daemon=True) for worker in self._workers]

    def outcomes(self) -> Iterator[Any]:
        """Yields, as they come: messages (str), `ScenarioOutcome`, descriptions (dict), and exceptions of the workers."""
        yield self._loading
        for thread in self._threads:
            thread.start()
        while any(thread.is_alive() for thread in self._threads) or not self._outcomes.empty():
            try:
                yield self._outcomes.get(timeout=0.2)
            except queue.Empty:
                continue

    def stop(self) -> None:
        """Ends the processes, then waits for the threads: a thread that computes while Python exits would abort it."""
        compute_threads.share_cores(1)
        self._stopping.set()
        for worker in self._workers:
            worker.kill()
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(timeout=THREAD_S)

    def _serve(self, worker: Worker) -> None:
        try:
            if not self._loaded(worker):
                return
            workers = [worker]
            if self._real_time and len(self._workers) > 1:
                workers = [worker.twin() for _ in self._workers]
            at_once: dict[str, int] = {"conversations_at_once": len(workers)} if self._real_time else {}
            self._outcomes.put({**worker.about(), **at_once})
            self._outcomes.put("warming up")
            worker.warm_up(self._first)
            conversations.hold(self._pending, [self._holder(each) for each in workers], self._stopping)
            for each in workers:
                each.finish()
            self._outcomes.put({**worker.about(), **at_once})
            worker.stop()
        except Exception as error:  # a worker's end is the run's: the main thread raises it
            if not self._stopping.is_set():
                self._outcomes.put(error)

    def _loaded(self, worker: Worker) -> bool:
        """Loads a worker, unless the first one's system lives in real time and serves all; the first one tells."""
        if worker is self._workers[0]:
            try:
                worker.load()
                self._real_time = self._first_tells and worker.real_time
            finally:
                self._first_loaded.set()
            return True
        if self._first_tells:
            self._first_loaded.wait()
            if self._real_time is not False:  # or it could not be loaded
                return False
        worker.load()
        return True

    def _holder(self, worker: Worker) -> Callable[[list[Scenario]], None]:
        def hold(pair: list[Scenario]) -> None:
            for scenario in pair:
                worker.run(scenario)

        return hold


def paired(scenarios: Sequence[Scenario]) -> list[list[Scenario]]:
    """Returns the scenarios in order, each with its paired control if that comes next."""
    pairs: list[list[Scenario]] = []
    for scenario in scenarios:
        if pairs and scenario.id == pairs[-1][0].id + CONTROL:
            pairs[-1].append(scenario)
        else:
            pairs.append([scenario])
    return pairs


def audio_metrics() -> tuple[str, ...]:
    """Returns the names of the metrics that measure on the reply's audio (`AudioMetric`)."""
    return tuple(name for name in registry.factories("metrics") if not name.endswith(":") and _measures(name))


def _measures(name: str) -> bool:
    """Whether the metric `name` has a `measure`; also one that cannot be created has none."""
    factory, _ = registry.find("metrics", name)
    try:
        return hasattr(factory if inspect.isclass(factory) else registry.create("metrics", name), "measure")
    except FobenchError:
        return False


def _keep_memory() -> None:
    """Lets the child processes keep freed memory for their next allocations; the user's own variables win.

    glibc returns large buffers at once and allocates them again page by page (measured: Whisper tiny.en takes 0.75 s of a core
    for a clip, and 0.52 s with its buffers kept; of 24 duplex scenarios with the cascade half the kernel's time is saved).
    Other C libraries do not read these variables.
    """
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        os.environ.setdefault(name, str(KEPT_BYTES))
