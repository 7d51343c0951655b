"""llama.cpp as an engine: embeddings in, final-norm hidden states and logits out; sequences can be copied and
truncated.
"""

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

BATCH = 128  # positions per call: the logits of all are kept, 78 MB for a vocabulary of 152 k
SEQUENCES = 64  # conversations and forks at the same time: each reserves a row of logits
NO_ROOM = 1  # return code of llama_decode if no cells are free
ERROR = 4  # log level of llama.cpp

Floats = npt.NDArray[np.float32]


_errors: deque[str] = deque(maxlen=8)  # the last error messages of llama.cpp


def _keep_errors(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """Keeps the errors of llama.cpp's log, which has about a hundred lines per load."""
    if level == ERROR:
        _errors.append(text.decode(errors="replace").strip())


_log = llama_cpp.llama_log_callback(_keep_errors)  # kept: llama.cpp calls it as long as it lives


class LlamaCppEngine:
    """A GGUF model and a KV cache of `positions` cells that all sequences share. Thread-safe."""

    def __init__(self, path: Path, *, positions: int, threads: int) -> None:
        _errors.clear()
        llama_cpp.llama_log_set(_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            reason = _errors[0] if _errors else "an unsupported architecture, or a damaged file"  # names the tensor
            raise FobenchError(f"llama.cpp cannot load {path.name}: {reason.rstrip('.')}.")
        self._context = llama_cpp.llama_init_from_model(self._model, self._settings(positions, threads))
        if not self._context:
            llama_cpp.llama_model_free(self._model)
            raise FobenchError(
                f"llama.cpp cannot allocate {positions} positions for {path.name}. Set the option context lower."
            )
        self.hidden_size: int = llama_cpp.llama_model_n_embd(self._model)
        self.vocab_size: int = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self.trained_positions: int = llama_cpp.llama_model_n_ctx_train(self._model)
        self.positions: int = llama_cpp.llama_n_ctx(self._context)
        self.threads = threads
        buffer = ctypes.create_string_buffer(128)
        llama_cpp.llama_model_desc(self._model, buffer, len(buffer))
        self.description = buffer.value.decode()  # architecture, size, quantization
        self.package = f"llama-cpp-python {llama_cpp.__version__}"
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(BATCH, self.hidden_size, 1)
        self._lock = threading.Lock()
        self._free = list(range(SEQUENCES))
        self._dropped: deque[int] = deque()  # released sequences; freed before the next use
        weakref.finalize(self, _close, self._model, self._context, self._batch)

    @staticmethod
    def _settings(positions: int, threads: int) -> llama_cpp.llama_context_params:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = positions, BATCH, BATCH, SEQUENCES
        params.n_threads = params.n_threads_batch = threads
        params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        params.kv_unified = True  # a copy shares the cells of its past
        params.no_perf = True
        return params

    def sequences(self, count: int) -> list[int]:
        """New, empty sequences. Raises FobenchError if `SEQUENCES` are in use."""
        with self._lock:
            self._free_dropped()
            return self._allocate(count)

    def copies(self, sequences: Sequence[int]) -> list[int]:
        """Copies of sequences, which take neither time nor cells."""
        with self._lock:
            self._free_dropped()
            new = self._allocate(len(sequences))
            for old, copy in zip(sequences, new, strict=True):
                llama_cpp.llama_memory_seq_cp(self._memory, old, copy, -1, -1)
            return new

    def cut(self, sequences: Sequence[int], length: int) -> None:
        """Truncates sequences to their first `length` positions."""
        with self._lock:
            self._truncate(sequences, length)

    def drop(self, sequences: Sequence[int]) -> None:
        """Marks sequences as unused. Takes no lock, as the garbage collector may call it at any time."""
        self._dropped.extend(sequences)

    def decode(
        self, x: Floats, sequences: Sequence[int], start: int, *, hidden: bool = True
    ) -> tuple[Floats | None, Floats]:
        """Inputs [B, T, D] at positions `start`.. of B sequences -> (hidden [B, T, D], logits [B, T, V]).

        Without `hidden`: (None, logits [B, 1, V] of the last position), which is cheaper for a prompt. Raises
        FobenchError if there are not enough free cells; the sequences are then unchanged.
        """
        parts = []
        with self._lock:
            self._free_dropped()
            llama_cpp.llama_set_embeddings(self._context, hidden)
            chunk_length = max(1, BATCH // len(sequences))
            for first in range(0, x.shape[1], chunk_length):
                part = x[:, first : first + chunk_length]
                self._fill(part, sequences, start + first, all_logits=hidden)
                if code := llama_cpp.llama_decode(self._context, self._batch):
                    self._truncate(sequences, start)
                    raise self._failure(code)
                parts.append(self._outputs(part.shape[1], len(sequences), hidden))
        if not hidden:
            return None, parts[-1][1]
        return np.concatenate([h for h, _ in parts if h is not None], 1), np.concatenate([y for _, y in parts], 1)

    def _fill(self, x: Floats, sequences: Sequence[int], start: int, *, all_logits: bool) -> None:
        """Fills the llama.cpp batch, sequence by sequence."""
        batch_size, length, width = x.shape
        batch, total = self._batch, batch_size * length
        batch.n_tokens = total
        np.ctypeslib.as_array(batch.embd, (total, width))[:] = x.reshape(total, width)
        np.ctypeslib.as_array(batch.pos, (total,))[:] = np.tile(np.arange(start, start + length), batch_size)
        np.ctypeslib.as_array(batch.n_seq_id, (total,))[:] = 1
        np.ctypeslib.as_array(batch.logits, (total,))[:] = all_logits
        for at in range(total):
            batch.seq_id[at][0] = sequences[at // length]
            batch.logits[at] |= (at + 1) % length == 0

    def _outputs(self, length: int, batch_size: int, hidden: bool) -> tuple[Floats | None, Floats]:
        """(hidden [B, T, D], logits [B, T, V]), copied as llama.cpp overwrites them; T is 1 without `hidden`."""
        rows = length if hidden else 1
        logits = np.ctypeslib.as_array(
            llama_cpp.llama_get_logits(self._context), (batch_size, rows, self.vocab_size)
        ).copy()
        if not hidden:
            return None, logits
        states = llama_cpp.llama_get_embeddings(self._context)
        return np.ctypeslib.as_array(states, (batch_size, rows, self.hidden_size)).copy(), logits

    def _failure(self, code: int) -> FobenchError:
        if code == NO_ROOM:
            return FobenchError(
                f"All {self.positions} positions of llama.cpp's cache are in use. Set the option context higher."
            )
        return FobenchError(f"llama.cpp failed to decode (code {code}).")

    def _allocate(self, count: int) -> list[int]:
        if count > len(self._free):
            raise FobenchError(f"llama.cpp is limited to {SEQUENCES} conversations and forks; all are in use.")
        return [self._free.pop() for _ in range(count)]

    def _free_dropped(self) -> None:
        """Frees the dropped sequences."""
        while self._dropped:
            sequence = self._dropped.popleft()
            self._truncate([sequence], 0)
            self._free.append(sequence)

    def _truncate(self, sequences: Sequence[int], length: int) -> None:
        for sequence in sequences:
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, length, -1)


def _close(model: object, context: object, batch: llama_cpp.llama_batch) -> None:
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
