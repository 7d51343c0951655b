"""CPU threads of models: how many compute, and what idle ones do. Settled where a model is loaded, in whatever process that is.

A model that computes step by step (an LLM's tokens, 32 ms of speech) has one thread: its pieces of work are too small to share, and
one thread leaves the other core to the process beside it (Freeze-Omni on 2 cores: 1.8 s with one thread, 1.9 s with two). From
`LARGE` parameters on it has all cores. A model that computes over whole clips has up to `MOST` (Whisper tiny.en takes 0.47 s with
two and 0.69 s with one, Piper 0.23 and 0.41 s; beside a busy process they are equal). Workers of a run share the cores.

Idle threads sleep: by default those of OpenMP spin for the next parallel region, and hold the core that another process
computes on. The option `threads` of a component decides for that component; the variable OMP_NUM_THREADS, where it is set, for
every model without the option.

Two settings are the whole process's, whoever computes in it: the environment variables of `sleep_when_idle`, and torch's number
of threads (`settle_torch`), since torch has one for all models.
"""

from __future__ import annotations

import os
import sys
from typing import Any

LARGE = 500_000_000  # parameters of a model from which a step is worth sharing
MOST = 4  # threads of a model over whole clips
NUMBER = "OMP_NUM_THREADS"  # the user's choice; OpenMP's own variable
WORKERS = "FOBENCH_WORKERS"  # workers of a run that share the cores; set by the run for its processes
SLEEP = {
    "OMP_WAIT_POLICY": "PASSIVE",  # GNU's OpenMP, of torch, CTranslate2 and llama.cpp
    "KMP_BLOCKTIME": "0",  # Intel's, of other builds of them; in ms
}

_torch_threads = 0  # as last settled here; 0: torch has its own default
_torch_spins = False  # torch was loaded before the variables were set


def count(threads: int | None = None, parameters: float = 0, *, whole_clips: bool = False) -> int:
    """The threads of a model of so many parameters. `threads`: the component's option of that name, if given.

    `whole_clips`: it computes over a whole clip at once, as recognizers and voices do, not step by step.
    """
    chosen = os.environ.get(NUMBER, "").partition(",")[0].strip()  # a list has a number for each level of nesting
    if threads is not None or chosen.isdecimal():
        return max(1, int(chosen) if threads is None else threads)
    if parameters >= LARGE:
        return _share_of_cores()
    return min(MOST, _share_of_cores()) if whole_clips else 1


def _share_of_cores() -> int:
    """The cores that this process may use, divided by the run's workers."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = os.environ.get(WORKERS, "")
    return max(1, available // max(1, int(workers) if workers.isdecimal() else 1))


def share_cores(workers: int) -> None:
    """Tells the processes that this one starts from here on that so many workers compute at the same time."""
    os.environ[WORKERS] = str(workers)


def sleep_when_idle() -> None:
    """Lets idle threads sleep, in this process and those that it starts; variables that the user has set win.

    OpenMP reads them when it is loaded: where torch has been imported before, its idle threads spin, and a small model gets one.
    """
    global _torch_spins
    if "torch" in sys.modules and os.environ.keys().isdisjoint(SLEEP):
        _torch_spins = True
    for name, value in SLEEP.items():
        os.environ.setdefault(name, value)


def settle_torch(torch: Any, threads: int | None = None, parameters: float = 0, *, whole_clips: bool = False) -> int:
    """Sets torch's number of threads in this process for a model that is loaded, and returns it; options as of `count`.

    With the option `threads` it becomes that number. Without, the first model sets it and a later one can only raise it; a
    number that was set by torch.set_num_threads in between is left alone. `torch`: the module.
    """
    global _torch_threads
    wanted, found = count(threads, parameters, whole_clips=whole_clips), int(torch.get_num_threads())
    if _torch_spins and threads is None and parameters < LARGE and NUMBER not in os.environ:
        wanted = 1
    if threads is None and _torch_threads:
        wanted = max(wanted, found) if found == _torch_threads else found
    if wanted != found:
        torch.set_num_threads(wanted)
    _torch_threads = wanted
    return wanted


def onnx_session(onnxruntime: Any, model: str | bytes, threads: int | None = None) -> Any:
    """The `onnxruntime.InferenceSession` of a model (a path, or the file's bytes) on the CPU. `onnxruntime`: the module.

    `threads`: None for a model over whole clips.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = count(threads, whole_clips=True), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
