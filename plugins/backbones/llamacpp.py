"""A frozen LLM from a GGUF file by llama.cpp: weights keep the file's quantization, activations are quantized to 8
bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fobench import compute_threads
from fobench.assets import store, weight_files
from fobench.errors import FobenchError, first_line
from fobench_plugins.backbones import gguf_file
from fobench_plugins.backbones.chat_template import ChatTemplate, end_ids
from fobench_plugins.backbones.generation import Generation
from fobench_plugins.backbones.llamacpp_engine import EXACT_ROWS, CachedSequence, Floats, LlamaCppEngine, Step
from fobench_plugins.backbones.loading import libraries, load_tokenizer, slug

ARCHITECTURES = (
    "llama",
    "qwen2",
    "qwen3",
    "phi3",
    "smollm3",
)  # architectures that do not scale their input embeddings
TABLE = "embeddings.json"  # beside the tokenizer: position of the embedding table in the GGUF file
ROWS_KEPT = 4096  # embeddings of tokens, 10 MB at a width of 576


class UnsupportedArchitecture(FobenchError):
    """llama.cpp runs the model, but not from the embeddings that a backbone gives."""


def backbone(path: Path, *, name: str, threads: int | None, generation: Generation = "no-repeat-4") -> LlamaCppBackbone:
    """The model of a GGUF file. Its tokenizer is converted once, as for transformers, and cached.

    Raises FobenchError for a missing or broken file; UnsupportedArchitecture; PrerequisiteError for a missing package.
    """
    gguf_file.check_start(path)
    folder = store.converted(f"{slug(path)}-tokenizer3", path, lambda target: _convert(path, target))
    libraries()
    tokenizer, table = load_tokenizer(folder, name), json.loads((folder / TABLE).read_text())
    exact_rows = min((EXACT_ROWS.get(kind, 1) for kind in table["matrices"]), default=1)
    engine = LlamaCppEngine(path, threads=compute_threads.count(threads, table["parameters"]), exact_rows=exact_rows)
    found = LlamaCppBackbone(engine, tokenizer, GGUFEmbeddings(path, table), name=name)
    found.generation = generation
    found.check_chat()
    return found


def _convert(path: Path, target: Path) -> None:
    """Writes the tokenizer in the layout of transformers, and facts about the file's tensors."""
    _, transformers = libraries("gguf")
    reader = gguf_file.read(path)
    architecture = reader.fields["general.architecture"].contents()
    if architecture not in ARCHITECTURES:
        raise UnsupportedArchitecture(
            f"{path.name} has the architecture {architecture!r}; the engine llamacpp supports {', '.join(ARCHITECTURES)}. "
            "Use the option engine=torch."
        )
    table = next((tensor for tensor in reader.tensors if tensor.name == "token_embd.weight"), None)
    if table is None:
        raise FobenchError(f"{path} has no tensor token_embd.weight. {weight_files.REFETCH}")
    tied = all(tensor.name != "output.weight" for tensor in reader.tensors)
    used = [tensor for tensor in reader.tensors if tied or tensor is not table]  # read at every step
    metadata = {
        "offset": int(table.data_offset),
        "bytes": int(table.n_bytes),
        "shape": [int(size) for size in reversed(table.shape)],
        "type": table.tensor_type.name,
        "matrices": sorted({tensor.tensor_type.name for tensor in used if len(tensor.shape) > 1}),
        "parameters": sum(int(tensor.n_elements) for tensor in used),
        "bytes_per_token": sum(int(tensor.n_bytes) for tensor in used),
    }
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except Exception as error:  # of any type, by the many formats of tokenizers
        raise FobenchError(f"The tokenizer of {path} cannot be loaded: {first_line(error)}.") from error
    tokenizer.save_pretrained(target)
    (target / TABLE).write_text(json.dumps(metadata))


class GGUFEmbeddings:
    """The token embedding table [V, D], read from the file, as llama.cpp has no access to it."""

    def __init__(self, path: Path, table: dict[str, Any]) -> None:
        from gguf import GGMLQuantizationType

        self.bytes_per_token: int = table["bytes_per_token"]  # all weights that a step reads, output layer included
        self.rows, self.width = (int(size) for size in table["shape"])
        self._kind = GGMLQuantizationType[table["type"]]
        self._table = np.memmap(path, np.uint8, "r", table["offset"], (self.rows, table["bytes"] // self.rows))
        self._row = lru_cache(ROWS_KEPT)(self._dequantize)

    def __call__(self, ids: Sequence[int]) -> Floats:
        """[T] ids -> [T, D]."""
        return np.stack([self._row(number) for number in ids]) if ids else np.empty((0, self.width), np.float32)

    def _dequantize(self, number: int) -> Floats:
        from gguf import dequantize

        return dequantize(np.ascontiguousarray(self._table[number]), self._kind)


class SequenceState:
    """B sequences of equal length."""

    def __init__(self, sequences: list[CachedSequence]) -> None:
        self.sequences = sequences

    @property
    def length(self) -> int:
        return self.sequences[0].length


class LlamaCppBackbone(ChatTemplate):
    """A frozen GGUF model.

    Tensors are float32 on the CPU; `step` extends its state in place: `fork` a state to keep it. llama.cpp computes no
    gradients, and gives no access to its weights: `parameter_hash` is that of the file, which is mapped read-only.
    """

    def __init__(self, engine: LlamaCppEngine, tokenizer: Any, embeddings: GGUFEmbeddings, *, name: str) -> None:
        self.name, self.tokenizer, self._engine, self._embeddings = name, tokenizer, engine, embeddings
        self.hidden_size, self.vocab_size = engine.hidden_size, engine.vocab_size
        self.num_embeddings = embeddings.rows
        self.context = engine.trained_positions
        self.end_ids = end_ids(tokenizer)
        self.device = torch.device("cpu")

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {
            "backbone": self.name,
            "engine": "llamacpp",
            "dtype": self._engine.quantization,
            "device": "cpu",
            "generation": self.generation,
            "threads": self._engine.threads,
            "forward": f"llama.cpp, {self._engine.package}",
        }

    @property
    def exact_rows(self) -> int:
        """So many positions may be computed in one step and give the same numbers, to the bit, as one by one."""
        return self._engine.exact_rows

    def weight_bytes(self) -> int:
        """Bytes of weights read per token."""
        return self._embeddings.bytes_per_token

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, T] ids -> [B, T, D] input embeddings."""
        return torch.from_numpy(self._embeddings(ids.reshape(-1).tolist())).view(*ids.shape, self.hidden_size)

    def step(
        self, x: torch.Tensor, state: SequenceState | None = None, *, logits: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, SequenceState]:
        """[B, T, D] inputs -> (final-norm hidden [B, T, D], logits [B, T, V], state).

        `logits`: compute both for that many last positions only. Raises FobenchError for an input that requires
        gradients, and where memory does not suffice.
        """
        return self.step_many([x], [state], logits=[logits])[0]

    def step_many(
        self, xs: Sequence[torch.Tensor], states: Sequence[SequenceState | None], *, logits: Sequence[int | None]
    ) -> list[tuple[torch.Tensor, torch.Tensor, SequenceState]]:
        """`step` for several conversations, each with its own length and state. Those whose numbers stay the same to the
        bit are computed together, so that the weights are read once for them.
        """
        if torch.is_grad_enabled() and any(x.requires_grad for x in xs):
            raise FobenchError(
                f"Backbone {self.name!r}: llama.cpp gives no gradients. Train with the option engine=torch."
            )
        extended = [
            SequenceState([CachedSequence() for _ in x]) if state is None else state
            for x, state in zip(xs, states, strict=True)
        ]
        steps: list[Step] = []
        for x, state, count in zip(xs, extended, logits, strict=True):
            rows, wanted = x.detach().to("cpu", torch.float32).numpy(), x.shape[1] if count is None else count
            steps += [(row, sequence, wanted) for row, sequence in zip(rows, state.sequences, strict=True)]
        found = iter(self._engine.decode(steps))
        results = []
        for state in extended:
            outputs = [[torch.from_numpy(array)[None] for array in next(found)] for _ in state.sequences]
            hidden, scores = outputs[0] if len(outputs) == 1 else map(torch.cat, zip(*outputs, strict=True))
            results.append((hidden, scores, state))
        return results

    def length(self, state: SequenceState | None) -> int:
        """Number of positions in a state."""
        return state.length if state else 0

    def fork(self, state: SequenceState | None) -> SequenceState | None:
        """An independent copy."""
        return state and SequenceState([self._engine.fork(sequence) for sequence in state.sequences])

    def crop(self, state: SequenceState | None, length: int) -> SequenceState | None:
        """The same state, truncated to its first `length` positions. Raises FobenchError if it has fewer."""
        current = self.length(state)
        if not 0 <= length <= current:
            raise FobenchError(f"A state of {current} positions cannot be cropped to {length}.")
        if state is None or length == 0:
            return None
        for sequence in state.sequences:
            self._engine.crop(sequence, length)
        return state

    def _enter(self, ids: Sequence[int], state: SequenceState | None) -> tuple[torch.Tensor, SequenceState]:
        """As `ChatTemplate._enter`, without torch: after a step has read all weights, each of its calls takes 0.05 ms."""
        state = state or SequenceState([CachedSequence()])
        _, logits = self._engine.decode([(self._embeddings(ids), state.sequences[0], 1)])[0]
        return torch.from_numpy(logits[0]), state

    def parameter_hash(self) -> str:
        """SHA-256 of the GGUF file."""
        with self._engine.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
