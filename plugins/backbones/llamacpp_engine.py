"""llama.cpp as an engine: embeddings in, final-norm hidden states and logits out; sequences can be copied and truncated.

What was found on the pinned files (Q4_1; Q4_K_M with Q5_0, Q6_K and Q8_0), to the bit, with one thread and flash attention:

- Rows of one sequence give equal numbers in one call and in several: up to 63 with Q4_1 and Q8_0, 7 with Q4_K, Q5_0 and Q6_K, whose
  kernel for 8 and more rows adds in another order. From 64 rows on attention has another kernel. Without flash attention 2 rows
  differ already. Weights repacked for the CPU (`use_extra_bufts`) differ from 4 rows on, and were no faster.
- Several sequences in one call count as so many rows, and do not see each other.
- A unified cache gives a sequence any free cells, and attention adds in the order of the cells, so numbers would depend on what
  else is and was there. With a stream for each sequence (`kv_unified` off) cells are in the order of positions, also after a
  truncation and a further extension.
- With two threads and over 256 positions, a single row is added up in two halves, and several rows are not.
- Keys and values in float32 give the numbers of float16, as attention converts them, at every step.

Hence one stream for each sequence in use, steps of at most `BATCH` rows, and as many sequences at a time as give exact numbers.
A sequence that is not in use, a fork for example, is a copy in memory (7 MB for 300 positions of SmolLM2-135M, 1 ms), so that
neither their number nor their length has a limit but memory.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fobench.errors import FobenchError
from fobench_plugins.backbones import llama_library

BATCH = 48  # rows per call: below the 64 from which attention has another kernel
EXACT_ROWS = dict.fromkeys(("Q4_1", "Q8_0"), BATCH) | dict.fromkeys(("Q4_K", "Q5_0", "Q6_K"), 7)
SILENT = 4  # rows without outputs from which a call of their own pays: it saves their products with the vocabulary
STREAMS = 8  # sequences in use; a copy of one fits only a cache with as many streams
FIRST_POSITIONS = 512  # per stream; enlarged by a half when a sequence needs more
FLASH_ATTENTION, NO_POOLING = 1, 0
ERROR = 4  # log level of llama.cpp

Floats = npt.NDArray[np.float32]
POSITIONS = np.arange(BATCH, dtype=np.int32)


@dataclass(slots=True, eq=False, weakref_slot=True)
class CachedSequence:
    """Positions of one sequence. Their keys and values are in a stream of the engine's cache, or in `data`."""

    length: int = 0
    stream: int | None = None
    data: npt.NDArray[np.uint8] | None = None  # never changed, so that forks share it; may hold more than `length`
    used: int = 0  # number of the engine's call that used it last


Step = tuple[Floats, CachedSequence, int]  # inputs [T, D], the sequence that they extend, outputs wanted at its end


class LlamaCppEngine:
    """A GGUF model and a KV cache with a stream for each sequence in use. Thread-safe.

    `exact_rows`: so many rows give the same numbers in one call as in several; see the module.
    """

    def __init__(self, path: Path, *, threads: int, exact_rows: int) -> None:
        self._library = library = llama_library.load()
        self.path, self.threads = path, threads
        self.exact_rows = min(exact_rows, BATCH) if threads == 1 else 1
        _errors.clear()
        library.llama_log_set(_log_callback(library), None)
        library.llama_backend_init()
        params = library.llama_model_default_params()
        params.n_gpu_layers, params.use_extra_bufts, params.check_tensors = 0, False, True
        self._model = library.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            reason = _errors[0] if _errors else "an unsupported architecture, or a damaged file"  # names the tensor
            raise FobenchError(f"llama.cpp cannot load {path.name}: {reason.rstrip('.')}.")
        self.hidden_size: int = library.llama_model_n_embd(self._model)
        self.vocab_size: int = library.llama_vocab_n_tokens(library.llama_model_get_vocab(self._model))
        self.trained_positions: int = library.llama_model_n_ctx_train(self._model)
        buffer = ctypes.create_string_buffer(128)
        library.llama_model_desc(self._model, buffer, len(buffer))
        self.quantization = buffer.value.decode().split(" ", 2)[-1]  # behind architecture and size: "Q4_K - Medium"
        self.package: str = library.package
        self._handles = _Handles(library, self._model)
        weakref.finalize(self, self._handles.close)
        self._lock, self._calls = threading.RLock(), 0
        self._batch = _Batch(library, self.hidden_size)
        self._streams: list[weakref.ref[CachedSequence] | None] = []
        self._with_outputs = True  # as llama.cpp was told last
        self._open(FIRST_POSITIONS)

    # ---- sequences -----------------------------------------------------------------------------------------------------

    def fork(self, sequence: CachedSequence) -> CachedSequence:
        """An independent copy."""
        with self._lock:
            return CachedSequence(sequence.length, data=self._copy(sequence))

    def crop(self, sequence: CachedSequence, length: int) -> None:
        """Truncates a sequence to its first `length` positions."""
        with self._lock:
            if sequence.stream is not None:
                self._library.llama_memory_seq_rm(self._memory, sequence.stream, length, -1)
            sequence.length = length

    def decode(self, steps: Sequence[Step]) -> list[tuple[Floats, Floats]]:
        """Extends different sequences -> for each, of its last outputs wanted (hidden [n, D], logits [n, V]).

        Raises FobenchError if memory does not suffice, or llama.cpp fails; the sequences are then unchanged.
        """
        with self._lock:
            starts, results = [sequence.length for _, sequence, _ in steps], dict[int, tuple[Floats, Floats]]()
            try:
                self._reserve(max(start + len(x) for start, (x, _, _) in zip(starts, steps, strict=True)))
                for group in self._groups(steps):
                    results.update(zip(group, self._decode([steps[number] for number in group]), strict=True))
            except FobenchError:
                for start, (_, sequence, _) in zip(starts, steps, strict=True):
                    self.crop(sequence, start)
                raise
            return [results[number] for number in range(len(steps))]

    def _groups(self, steps: Sequence[Step]) -> Iterator[list[int]]:
        """The numbers of the steps that are computed in one call: at most `STREAMS`, with `exact_rows` together."""
        group, rows = list[int](), 0
        for number in sorted(range(len(steps)), key=lambda number: len(steps[number][0])):
            if group and (rows + len(steps[number][0]) > self.exact_rows or len(group) == STREAMS):
                yield group
                group, rows = [], 0
            group.append(number)
            rows += len(steps[number][0])
        yield group

    # ---- decoding ------------------------------------------------------------------------------------------------------

    def _decode(self, steps: Sequence[Step]) -> list[tuple[Floats, Floats]]:
        """One group: a step of any length, or several of at most `BATCH` rows together."""
        streams = self._place([sequence for _, sequence, _ in steps])
        if len(steps) == 1:
            results = [self._decode_one(*steps[0], streams[0])]
        else:  # llama.cpp wants neighboring streams in order, to compute them together
            order = sorted(range(len(steps)), key=lambda number: streams[number])
            self._call([(steps[n][0], steps[n][1].length, streams[n]) for n in order], outputs=True)
            found, end = dict[int, tuple[Floats, Floats]](), 0
            for number in order:
                end += len(steps[number][0])
                found[number] = self._outputs(end - min(steps[number][2], len(steps[number][0])), end)
            results = [found[number] for number in range(len(steps))]
        for x, sequence, _ in steps:
            sequence.length += len(x)
        return results

    def _decode_one(self, x: Floats, sequence: CachedSequence, outputs: int, stream: int) -> tuple[Floats, Floats]:
        """A step in pieces of at most `BATCH` rows; first those without outputs, if that pays."""
        length, start = len(x), sequence.length
        silent = max(0, length - outputs)
        silent = silent if silent >= SILENT or silent == length else 0
        for at in range(0, silent, BATCH):
            self._call([(x[at : min(at + BATCH, silent)], start + at, stream)], outputs=False)
        found = []
        for at in range(silent, length, BATCH):
            rows = x[at : at + BATCH]
            self._call([(rows, start + at, stream)], outputs=True)
            found.append(self._outputs(max(0, length - outputs - at), len(rows)))
        if len(found) == 1:
            return found[0]
        return (
            np.concatenate([np.empty((0, self.hidden_size), np.float32), *(hidden for hidden, _ in found)]),
            np.concatenate([np.empty((0, self.vocab_size), np.float32), *(logits for _, logits in found)]),
        )

    def _call(self, parts: Sequence[tuple[Floats, int, int]], *, outputs: bool) -> None:
        """Computes the rows of one `llama_decode`: of each part its inputs [T, D], first position and stream."""
        self._batch.fill(parts, outputs)
        if outputs is not self._with_outputs:  # with embeddings every row has outputs, else none
            self._library.llama_set_embeddings(self._context, outputs)
            self._with_outputs = outputs
        if code := self._library.llama_decode(self._context, self._batch.struct):
            raise FobenchError(f"llama.cpp failed to decode {self.path.name} (code {code}).")

    def _outputs(self, first: int, end: int) -> tuple[Floats, Floats]:
        """(hidden, logits) of the last call's rows from `first` to `end`, copied as llama.cpp overwrites them."""
        hidden = self._library.llama_get_embeddings(self._context), self.hidden_size
        logits = self._library.llama_get_logits(self._context), self.vocab_size
        return _copied(*hidden, first, end), _copied(*logits, first, end)

    # ---- the cache -----------------------------------------------------------------------------------------------------

    def _open(self, positions: int) -> None:
        """A new cache of that many positions per stream, instead of the current one; its sequences become copies."""
        for sequence in self._resident():
            self._park(sequence)
        params = self._library.llama_context_default_params()
        params.n_ctx, params.n_seq_max = STREAMS * positions, STREAMS
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = self.threads
        params.flash_attn_type, params.pooling_type = FLASH_ATTENTION, NO_POOLING
        params.embeddings, params.kv_unified, params.no_perf = True, False, True
        self._handles.replace(None)
        context = self._library.llama_init_from_model(self._model, params)
        if not context:
            if positions > FIRST_POSITIONS:
                self._open(FIRST_POSITIONS)
            raise FobenchError(
                f"llama.cpp cannot allocate {STREAMS} x {positions} positions for {self.path.name}. Free some memory, or "
                "use shorter conversations."
            )
        self._handles.replace(context)
        self._context, self._memory = context, self._library.llama_get_memory(context)
        self._streams, self._with_outputs = [None] * STREAMS, params.embeddings
        self._positions = positions

    def _reserve(self, length: int) -> None:
        """Enlarges the streams to at least `length` positions."""
        if length > self._positions:
            self._open(-(-max(length, 3 * self._positions // 2) // FIRST_POSITIONS) * FIRST_POSITIONS)

    def _place(self, sequences: Sequence[CachedSequence]) -> list[int]:
        """Puts all of the sequences into streams; returns these."""
        self._calls += 1
        for sequence in sequences:
            sequence.used = self._calls
        for sequence in sequences:
            if sequence.stream is None:
                self._restore(sequence, self._free_stream())
        return [sequence.stream for sequence in sequences if sequence.stream is not None]

    def _free_stream(self) -> int:
        """A stream without a sequence; the one used longest ago has to leave if there is none."""
        for number, held in enumerate(self._streams):
            if held is None or held() is None:
                return number
        return self._park(min(self._resident(), key=lambda sequence: sequence.used))

    def _resident(self) -> list[CachedSequence]:
        """The sequences that have a stream."""
        return [sequence for held in self._streams if held is not None and (sequence := held()) is not None]

    def _park(self, sequence: CachedSequence) -> int:
        """Takes a sequence out of its stream; returns the stream."""
        stream = sequence.stream
        assert stream is not None
        sequence.data, sequence.stream = self._copy(sequence), None
        self._streams[stream] = None
        return stream

    def _copy(self, sequence: CachedSequence) -> npt.NDArray[np.uint8] | None:
        """The keys and values of a sequence; None: it is empty."""
        if sequence.stream is None or not sequence.length:
            return sequence.data if sequence.length else None
        size = self._library.llama_state_seq_get_size(self._context, sequence.stream)
        data = np.empty(size, np.uint8)
        if self._library.llama_state_seq_get_data(self._context, _bytes(data), size, sequence.stream) != size:
            raise FobenchError(f"llama.cpp failed to copy a conversation with {self.path.name}.")
        return data

    def _restore(self, sequence: CachedSequence, stream: int) -> None:
        """Puts a sequence into a stream."""
        self._library.llama_memory_seq_rm(self._memory, stream, -1, -1)
        data = sequence.data if sequence.length else None
        if data is not None:
            if self._library.llama_state_seq_set_data(self._context, _bytes(data), data.size, stream) != data.size:
                raise FobenchError(f"llama.cpp failed to restore a conversation with {self.path.name}.")
            self._library.llama_memory_seq_rm(self._memory, stream, sequence.length, -1)
        sequence.stream, sequence.data = stream, None
        self._streams[stream] = weakref.ref(sequence)


class _Handles:
    """The model and the context of an engine, freed when it is deleted."""

    def __init__(self, library: Any, model: Any) -> None:
        self._library, self._model, self.context = library, model, None

    def replace(self, context: Any) -> None:
        if self.context:
            self._library.llama_free(self.context)
        self.context = context

    def close(self) -> None:
        self.replace(None)
        self._library.llama_model_free(self._model)


class _Batch:
    """The `llama_batch` of a call, over arrays of `BATCH` rows."""

    def __init__(self, library: Any, width: int) -> None:
        self._rows = np.zeros((BATCH, width), np.float32)
        self._positions, self._streams = np.zeros(BATCH, np.int32), np.zeros(BATCH, np.int32)
        self._counts, self._outputs = np.ones(BATCH, np.int32), np.zeros(BATCH, np.int8)
        self._pointers = self._streams.ctypes.data + 4 * np.arange(BATCH, dtype=np.uintp)
        integers, pointers = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))
        self.struct = library.llama_batch()
        self.struct.embd = ctypes.cast(self._rows.ctypes.data, ctypes.POINTER(ctypes.c_float))
        self.struct.pos = ctypes.cast(self._positions.ctypes.data, integers)
        self.struct.n_seq_id = ctypes.cast(self._counts.ctypes.data, integers)
        self.struct.seq_id = ctypes.cast(self._pointers.ctypes.data, pointers)
        self.struct.logits = ctypes.cast(self._outputs.ctypes.data, ctypes.POINTER(ctypes.c_int8))

    def fill(self, parts: Sequence[tuple[Floats, int, int]], outputs: bool) -> None:
        """The rows of a call, part by part."""
        end = 0
        for rows, position, stream in parts:
            at, end = end, end + len(rows)
            self._rows[at:end] = rows
            self._positions[at:end] = POSITIONS[: len(rows)] + position if len(rows) > 1 else position
            self._streams[at:end] = stream
        self._outputs[:end] = outputs
        self.struct.n_tokens = end


def _copied(pointer: Any, width: int, first: int, end: int) -> Floats:
    """Rows `first` to `end` of an array [n, width] in llama.cpp's memory."""
    rows = (ctypes.c_float * (width * (end - first))).from_address(
        ctypes.addressof(pointer.contents) + 4 * width * first
    )
    copy: Floats = np.frombuffer(memoryview(rows), np.float32).reshape(end - first, width).copy()
    return copy


_errors: deque[str] = deque(maxlen=8)  # the last error messages of llama.cpp
_kept_callbacks: list[Any] = []  # llama.cpp calls them as long as the process lives


def _log_callback(library: Any) -> Any:
    """A callback that keeps the errors of llama.cpp's log, which has about a hundred lines per load."""

    def keep(level: int, text: bytes, data: Any) -> None:
        if level == ERROR:
            _errors.append(text.decode(errors="replace").strip())

    if not _kept_callbacks:
        _kept_callbacks.append(library.llama_log_callback(keep))
    return _kept_callbacks[0]


def _bytes(array: npt.NDArray[np.uint8]) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
