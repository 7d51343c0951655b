"""llama.cpp as an engine: embeddings in, final-norm hidden states and logits out, sequences that fork and can be cut."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np
import numpy.typing as npt

from fobench.errors import FobenchError

BATCH = 128  # positions that are computed at once: every one has its logits, 78 MB of them for 152 k words
SEQUENCES = 64  # conversations and forks that live at once: each has a row of logits set aside
NO_ROOM = 1  # what llama_decode returns where the cache has no cells left

Floats = npt.NDArray[np.float32]


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """Loading tells a hundred lines on standard error."""


class LlamaCppEngine:
    """A GGUF model in memory and one cache of `positions` cells that all its sequences share; every method may be called by any thread."""

    def __init__(self, path: Path, *, positions: int, threads: int) -> None:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        wanted = llama_cpp.llama_model_default_params()
        wanted.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), wanted)
        if not self._model:
            raise FobenchError(
                f"llama.cpp cannot load {path.name}: another architecture than it knows, or a damaged file."
            )
        self._context = llama_cpp.llama_init_from_model(self._model, self._settings(positions, threads))
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise FobenchError(
                f"llama.cpp cannot hold {positions} positions of {path.name}. Set the option context lower."
            )
        self.hidden_size: int = llama_cpp.llama_model_n_embd(self._model)
        self.vocab_size: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self.trained_positions: int = llama_cpp.llama_model_n_ctx_train(self._model)
        self.positions: int = llama_cpp.llama_n_ctx(self._context)
        self.threads = threads
        told = ctypes.create_string_buffer(128)
        llama_cpp.llama_model_desc(self._model, told, len(told))
        self.description = told.value.decode()  # architecture, size, kind of quantisation
        self.package = f"llama-cpp-python {llama_cpp.__version__}"
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(BATCH, self.hidden_size, 1)
        self._lock = threading.Lock()
        self._free = list(range(SEQUENCES))
        self._dropped: deque[int] = deque()  # by whoever collected a state; freed before the next use
        weakref.finalize(self, _close, self._model, self._context, self._batch)

    @staticmethod
    def _settings(positions: int, threads: int) -> llama_cpp.llama_context_params:
        wanted = llama_cpp.llama_context_default_params()
        wanted.n_ctx, wanted.n_batch, wanted.n_ubatch, wanted.n_seq_max = positions, BATCH, BATCH, SEQUENCES
        wanted.n_threads = wanted.n_threads_batch = threads
        wanted.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        wanted.kv_unified = True  # a fork shares the cells of its past
        wanted.no_perf = True
        return wanted

    def sequences(self, count: int) -> list[int]:
        """New ones, empty. FobenchError where `SEQUENCES` are in use."""
        with self._lock:
            self._sweep()
            return self._take(count)

    def copies(self, of: Sequence[int]) -> list[int]:
        """Sequences with the same past, which costs neither time nor cells."""
        with self._lock:
            self._sweep()
            new = self._take(len(of))
            for old, copy in zip(of, new, strict=True):
                llama_cpp.llama_memory_seq_cp(self._memory, old, copy, -1, -1)
            return new

    def cut(self, sequences: Sequence[int], length: int) -> None:
        """Forget what comes after the first `length` positions."""
        with self._lock:
            self._forget(sequences, length)

    def drop(self, sequences: Sequence[int]) -> None:
        """They are used no longer. Takes no lock: a collector may call it at any moment."""
        self._dropped.extend(sequences)

    def decode(
        self, x: Floats, sequences: Sequence[int], start: int, *, hidden: bool = True
    ) -> tuple[Floats | None, Floats]:
        """Inputs [B, T, D] at positions `start`.. of B sequences -> (hidden [B, T, D], logits [B, T, V]).

        Without `hidden` (None, logits [B, 1, V] of the last position): a prompt costs less so. FobenchError where the cells do
        not suffice; the sequences are then as they were.
        """
        parts = []
        with self._lock:
            self._sweep()
            llama_cpp.llama_set_embeddings(self._context, hidden)
            at_once = max(1, BATCH // len(sequences))
            for first in range(0, x.shape[1], at_once):
                part = x[:, first : first + at_once]
                self._fill(part, sequences, start + first, every=hidden)
                if code := llama_cpp.llama_decode(self._context, self._batch):
                    self._forget(sequences, start)
                    raise self._failure(code)
                parts.append(self._outputs(part.shape[1], len(sequences), hidden))
        if not hidden:
            return None, parts[-1][1]
        return np.concatenate([h for h, _ in parts if h is not None], 1), np.concatenate([y for _, y in parts], 1)

    def _fill(self, x: Floats, sequences: Sequence[int], start: int, *, every: bool) -> None:
        """The batch: conversation by conversation."""
        many, length, width = x.shape
        batch, total = self._batch, many * length
        batch.n_tokens = total
        np.ctypeslib.as_array(batch.embd, (total, width))[:] = x.reshape(total, width)
        np.ctypeslib.as_array(batch.pos, (total,))[:] = np.tile(np.arange(start, start + length), many)
        np.ctypeslib.as_array(batch.n_seq_id, (total,))[:] = 1
        np.ctypeslib.as_array(batch.logits, (total,))[:] = every
        for at in range(total):
            batch.seq_id[at][0] = sequences[at // length]
            batch.logits[at] |= (at + 1) % length == 0

    def _outputs(self, length: int, many: int, hidden: bool) -> tuple[Floats | None, Floats]:
        """Copies of what llama.cpp overwrites with the next batch: (hidden [B, T, D], logits [B, T, V]); T is 1 without `hidden`."""
        kept = length if hidden else 1
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), (many, kept, self.vocab_size)).copy()
        if not hidden:
            return None, logits
        states = llama_cpp.llama_get_embeddings(self._context)
        return np.ctypeslib.as_array(states, (many, kept, self.hidden_size)).copy(), logits

    def _failure(self, code: int) -> FobenchError:
        if code == NO_ROOM:
            return FobenchError(
                f"All {self.positions} positions of llama.cpp's cache are in use. Set the option context higher."
            )
        return FobenchError(f"llama.cpp failed to decode (code {code}).")

    def _take(self, count: int) -> list[int]:
        if count > len(self._free):
            raise FobenchError(f"llama.cpp holds {SEQUENCES} conversations and forks of them at most; all are in use.")
        return [self._free.pop() for _ in range(count)]

    def _sweep(self) -> None:
        """Frees what was dropped."""
        while self._dropped:
            sequence = self._dropped.popleft()
            self._forget([sequence], 0)
            self._free.append(sequence)

    def _forget(self, sequences: Sequence[int], length: int) -> None:
        for sequence in sequences:
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)


def _close(model: object, context: object, batch: llama_cpp.llama_batch) -> None:
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
