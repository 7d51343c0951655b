"""A frozen LLM from a GGUF file by llama.cpp: weights keep the file's quantization, activations are quantized to 8
bits.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fobench.assets import store, weight_files
from fobench.errors import FobenchError
from fobench_plugins.backbones import gguf_file
from fobench_plugins.backbones.chat_template import ChatTemplate, end_ids
from fobench_plugins.backbones.generation import Generation
from fobench_plugins.backbones.llamacpp_engine import Floats, LlamaCppEngine
from fobench_plugins.backbones.loading import libraries, load_tokenizer, slug
from fobench_plugins.transformers_weights import first_line

ARCHITECTURES = (
    "llama",
    "qwen2",
    "qwen3",
    "phi3",
    "smollm3",
)  # architectures that do not scale their input embeddings
TABLE = "embeddings.json"  # beside the tokenizer: position of the embedding table in the GGUF file


def backbone(
    path: Path, *, name: str, threads: int | None, context: int, generation: Generation = "no-repeat-4"
) -> LlamaCppBackbone:
    """The model of a GGUF file. Its tokenizer is converted once, as for transformers, and cached.

    Raises FobenchError for a missing file or an unsupported architecture; PrerequisiteError for a missing package.
    """
    gguf_file.check_start(path)
    folder = store.converted(f"{slug(path)}-tokenizer2", path, lambda target: _convert(path, target))
    libraries()
    tokenizer = load_tokenizer(folder, name)
    engine = LlamaCppEngine(path, positions=context, threads=threads or torch.get_num_threads())
    found = LlamaCppBackbone(engine, tokenizer, GGUFEmbeddings(path, folder / TABLE), name=name, path=path)
    found.generation = generation
    found.check_chat()
    return found


def _convert(path: Path, target: Path) -> None:
    """Writes the tokenizer in the layout of transformers, and the position of the embedding table."""
    _, transformers = libraries("gguf")
    reader = gguf_file.read(path)
    architecture = reader.fields["general.architecture"].contents()
    if architecture not in ARCHITECTURES:
        raise FobenchError(
            f"{path.name} has the architecture {architecture!r}; llamacpp: supports {', '.join(ARCHITECTURES)}. "
            f"Use gguf:{path}."
        )
    table = next((tensor for tensor in reader.tensors if tensor.name == "token_embd.weight"), None)
    if table is None:
        raise FobenchError(f"{path} has no tensor token_embd.weight. {weight_files.REFETCH}")
    shape = [int(size) for size in reversed(table.shape)]
    other_tensors = [tensor for tensor in reader.tensors if tensor is not table]
    tied = all(tensor.name != "output.weight" for tensor in other_tensors)
    metadata = {
        "offset": int(table.data_offset),
        "bytes": int(table.n_bytes),
        "shape": shape,
        "type": table.tensor_type.name,
        "bytes_per_token": sum(int(tensor.n_bytes) for tensor in other_tensors) + tied * int(table.n_bytes),
    }
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except Exception as error:  # of any type, by the many formats of tokenizers
        raise FobenchError(f"The tokenizer of {path} cannot be loaded: {first_line(error)}.") from error
    tokenizer.save_pretrained(target)
    (target / TABLE).write_text(json.dumps(metadata))


class GGUFEmbeddings:
    """The token embedding table [V, D], read from the file, as llama.cpp has no access to it."""

    def __init__(self, path: Path, metadata_path: Path) -> None:
        from gguf import GGMLQuantizationType

        metadata = json.loads(metadata_path.read_text())
        self.kind = GGMLQuantizationType[metadata["type"]]
        self.bytes_per_token: int = metadata["bytes_per_token"]  # all weights that a step reads, output layer included
        rows, _ = metadata["shape"]
        self.rows: int = rows
        self._rows = np.memmap(path, np.uint8, "r", metadata["offset"], (rows, metadata["bytes"] // rows))

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, T] ids -> [B, T, D] float32."""
        from gguf import dequantize

        flat = np.ascontiguousarray(self._rows[ids.reshape(-1).numpy()])
        return torch.from_numpy(dequantize(flat, self.kind)).view(*ids.shape, -1)


class SequenceState:
    """B sequences of equal length in the engine's KV cache, released on deletion."""

    def __init__(self, engine: LlamaCppEngine, sequences: list[int], length: int = 0) -> None:
        self._engine, self.sequences, self.length = engine, sequences, length

    def __del__(self) -> None:
        self._engine.drop(self.sequences)


class LlamaCppBackbone(ChatTemplate):
    """A frozen GGUF model.

    Tensors are float32 on the CPU; `step` extends its state in place: `fork` a state to keep it.

    All states share one KV cache, and results may differ in the last bits with its other contents. llama.cpp computes
    no gradients, and gives no access to its weights: `parameter_hash` is that of the file, which is mapped read-only.
    """

    def __init__(
        self, engine: LlamaCppEngine, tokenizer: Any, embeddings: GGUFEmbeddings, *, name: str, path: Path
    ) -> None:
        self.name, self.tokenizer, self._engine, self._embeddings, self._path = (
            name,
            tokenizer,
            engine,
            embeddings,
            path,
        )
        self.hidden_size, self.vocab_size = engine.hidden_size, engine.vocab_size
        self.num_embeddings = embeddings.rows
        self.context = min(engine.positions, engine.trained_positions)
        self.end_ids = end_ids(tokenizer)
        self.device = torch.device("cpu")

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {
            "backbone": self.name,
            "dtype": self._engine.description,
            "device": "cpu",
            "generation": self.generation,
            "threads": self._engine.threads,
            "forward": f"llama.cpp, {self._engine.package}",
        }

    def weight_bytes(self) -> int:
        """Bytes of weights read per token."""
        return self._embeddings.bytes_per_token

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """[B, T] ids -> [B, T, D] input embeddings."""
        return self._embeddings(ids)

    def step(
        self, x: torch.Tensor, state: SequenceState | None = None, *, logits: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, SequenceState]:
        """[B, T, D] inputs -> (final-norm hidden [B, T, D], logits [B, T, V], state).

        `logits`: compute them for that many last positions only.

        Raises FobenchError for an input that requires gradients, and if the cache is full.
        """
        if x.requires_grad and torch.is_grad_enabled():
            raise FobenchError(
                f"Backbone {self.name!r}: llama.cpp gives no gradients. Train with gguf:{self._path.name}."
            )
        hidden, scores, state = self._decode(x, state, hidden=True)
        assert hidden is not None
        first = 0 if logits is None else max(0, x.shape[1] - logits)
        return torch.from_numpy(hidden), torch.from_numpy(scores[:, first:]), state

    def length(self, state: SequenceState | None) -> int:
        """Number of positions in a state."""
        return state.length if state else 0

    def fork(self, state: SequenceState | None) -> SequenceState | None:
        """An independent copy that shares the cells of its past, at no cost."""
        return state and SequenceState(self._engine, self._engine.copies(state.sequences), state.length)

    def crop(self, state: SequenceState | None, length: int) -> SequenceState | None:
        """The same state, truncated to its first `length` positions. Raises FobenchError if it has fewer."""
        current = self.length(state)
        if not 0 <= length <= current:
            raise FobenchError(f"A state of {current} positions cannot be cropped to {length}.")
        if state is None or length == 0:
            return None
        self._engine.cut(state.sequences, length)
        state.length = length
        return state

    def parameter_hash(self) -> str:
        """SHA-256 of the GGUF file."""
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _next(self, x: torch.Tensor, state: SequenceState | None) -> tuple[torch.Tensor, SequenceState]:
        _, scores, state = self._decode(x, state, hidden=False)
        return torch.from_numpy(scores[0, -1]), state

    def _decode(
        self, x: torch.Tensor, state: SequenceState | None, *, hidden: bool
    ) -> tuple[Floats | None, Floats, SequenceState]:
        engine = self._engine
        state = state or SequenceState(engine, engine.sequences(len(x)))
        inputs = x.detach().to("cpu", torch.float32).numpy()
        states, scores = engine.decode(inputs, state.sequences, state.length, hidden=hidden)
        state.length += x.shape[1]
        return states, scores, state
