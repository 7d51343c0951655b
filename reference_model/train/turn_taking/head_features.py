"""Extraction of the state head's inputs for many turns at once, equal to those of a live session
(`UserTurnState.enter`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fobench.api.components import Backbone
from reference_model.inference.chat_layout import TurnLayout
from reference_model.model import FreezeOmni
from reference_model.speech_input.adapter import AdapterReader, EmbeddingReader
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.llm.prefix_tree import ROOT, PrefixTree, PrefixTreeForward
from reference_model.train.turn_taking.vad_turns import VadTurn
from reference_model.turn_taking import head_inputs
from reference_model.turn_taking.head_inputs import HeadPart

FRAMES, ROWS = 16_384, 4096  # largest batches: feature frames for the encoder, positions for the LLM


@dataclass(frozen=True, slots=True)
class HeadFeatures:
    """Inputs of the state head for a turn of M chunks after the pre-roll: vectors [M, N], labels [M], `since` [M]
    (s since the end of speech)."""

    kind: str
    state: int
    vectors: Tensor
    labels: Tensor
    since: Tensor


@dataclass(frozen=True, slots=True)
class _TurnInputs:
    """LLM inputs of a turn: a prefix tree with its embeddings, and the adapter's evidence [M, E]."""

    turn: VadTurn
    tree: PrefixTree
    rows: Tensor  # [N, D]
    evidence: Tensor


class HeadFeatureExtractor:
    """Extracts the state head's inputs with a model's trained encoder and adapter and its frozen LLM.

    `histories`: (user text, reply) of earlier exchanges; `VadTurn.history` counts them from 1, 0 is an empty history.
    """

    def __init__(self, model: FreezeOmni, frozen: FrozenLLM, histories: Sequence[tuple[str, str]] = ()) -> None:
        self.model, self.frozen = model, frozen
        self.layout = TurnLayout.of(frozen.backbone.chat, model.config.settings.system_prompt)
        self._token_ids = _TokenIds(frozen.backbone)
        self._forwards = [PrefixTreeForward(frozen, self.opening(history)[None]) for history in (None, *histories)]

    @torch.no_grad()
    def opening(self, history: tuple[str, str] | None = None) -> Tensor:
        """Returns the embeddings [P, D] before the first audio embedding of a user turn: system prompt, history, prompt
        embeddings."""
        ids, encode = list(self.layout.opening), self.frozen.backbone.encode
        if history:
            ids += [*encode(history[0]), *self.layout.reply_open, *encode(history[1]), *self.layout.user_open]
        prompt, before = self.model.prompt.detach().to(self.frozen.device), self.frozen.embed(ids)
        return torch.cat([before, prompt]) if len(prompt) else before

    @torch.no_grad()
    def extract(self, turns: Sequence[VadTurn]) -> list[HeadFeatures]:
        """Extracts the head's inputs of every turn, in order."""
        outputs = self.adapter_outputs(turns)
        inputs = [self._turn_inputs(turn, one) for turn, one in zip(turns, outputs, strict=True)]
        results: dict[int, HeadFeatures] = {}
        for history, forward in enumerate(self._forwards):
            selected = [i for i, turn in enumerate(turns) if turn.history == history]
            for batch in batches_by_length(selected, lambda i: len(inputs[i].tree), ROWS):
                hidden = forward.hidden([inputs[i].tree for i in batch], [inputs[i].rows for i in batch])
                results |= {i: self._head_features(inputs[i], one) for i, one in zip(batch, hidden, strict=True)}
        return [results[i] for i in range(len(turns))]

    def _head_features(self, inputs: _TurnInputs, hidden: Tensor) -> HeadFeatures:
        """Joins the parts of the head's input; `hidden` [M, D]: the LLM's hidden state after each chunk."""
        turn, labeled = inputs.turn, slice(inputs.turn.pre_roll_chunks, None)
        parts: dict[HeadPart, Callable[[], Tensor]] = {
            "hidden": hidden.cpu,
            "evidence": lambda: inputs.evidence,
            "language": lambda: self._language(inputs.tree, hidden),
        }
        vectors = torch.cat([parts[part]() for part in self.model.config.state_inputs], -1)
        return HeadFeatures(turn.kind, int(turn.state), vectors, turn.labels[labeled], turn.since[labeled].clone())

    def _language(self, tree: PrefixTree, hidden: Tensor) -> Tensor:
        """Computes `language_numbers` [M, 3] after each chunk, once for each prefix."""
        ends, end_ids = torch.tensor(tree.ends), self.frozen.backbone.end_ids
        numbers = torch.zeros(len(ends), head_inputs.LANGUAGE)
        for end in ends.unique().tolist():
            if end != ROOT:
                chunks = ends == end
                logits = self.frozen.logits(hidden[int(chunks.nonzero()[0])])
                numbers[chunks] = head_inputs.language_numbers(logits, end_ids).cpu()
        return numbers

    def adapter_outputs(self, turns: Sequence[VadTurn]) -> list[Tensor]:
        """Computes the adapter's output [n, ...] of each turn.

        Turns with and without preceding context are batched separately.
        """
        results: dict[int, Tensor] = {}
        for first_turn in (True, False):
            selected = [i for i, turn in enumerate(turns) if (turn.before is None) == first_turn]
            for batch in batches_by_length(selected, lambda i: len(turns[i].features), FRAMES):
                results |= zip(batch, self._run_adapter([turns[i] for i in batch]), strict=True)
        return [results[i] for i in range(len(turns))]

    @property
    def streams_embeddings(self) -> bool:
        """Whether the adapter's outputs are LLM embeddings, and not CTC logits that are decoded to text."""
        return isinstance(self.model.adapter.reader(), EmbeddingReader)

    def llm_inputs(self, turns: Sequence[VadTurn]) -> list[Tensor]:
        """Returns the LLM's input embeddings [n, D] of each complete turn."""
        return [one if self.streams_embeddings else self._ctc_embeddings(one) for one in self.adapter_outputs(turns)]

    def _ctc_embeddings(self, output: Tensor) -> Tensor:
        reader = self.model.adapter.reader()
        reader.push(output.cpu()[None])
        _, ids = reader.rows(self._token_ids, False)
        return self.frozen.embed(ids[0])

    def _run_adapter(self, turns: Sequence[VadTurn]) -> Iterator[Tensor]:
        encoder, adapter, device = self.model.encoder, self.model.adapter, self.model.encoder.device
        features = torch.nn.utils.rnn.pad_sequence([turn.features for turn in turns], batch_first=True).to(device)
        lengths = torch.tensor([len(turn.features) for turn in turns], device=device)
        contexts = [turn.before for turn in turns if turn.before is not None]
        before = torch.stack(contexts).to(device) if contexts else None
        config = encoder.config
        frames, mask = encoder(features, lengths, config.chunk, config.left_chunks, before)
        *outputs, valid = adapter(frames, mask)
        output = torch.cat(outputs, -1)  # of a CTC adapter: logits and features, as `step` returns them
        return (one[inside] for one, inside in zip(output, valid, strict=True))

    def _turn_inputs(self, turn: VadTurn, output: Tensor) -> _TurnInputs:
        """Reads the adapter's output [n, ...] chunk by chunk, as a live session does."""
        reader = self.model.adapter.reader()
        chunks = output.cpu().split(len(output) // len(turn.since))
        read_inputs = _embedding_inputs if isinstance(reader, EmbeddingReader) else self._ctc_inputs
        return read_inputs(turn, reader, chunks)

    def _ctc_inputs(self, turn: VadTurn, reader: AdapterReader, chunks: Sequence[Tensor]) -> _TurnInputs:
        token_ids: list[int] = []
        prefixes, evidence = [], []
        for number, chunk in enumerate(chunks):
            reader.push(chunk[None])
            if number >= turn.pre_roll_chunks:
                retracted, ids = reader.rows(self._token_ids, False)
                token_ids = [*token_ids[: len(token_ids) - retracted], *ids[0].tolist()]
                prefixes.append(token_ids)
                evidence.append(reader.evidence())
        tree = PrefixTree.of(prefixes)
        return _TurnInputs(turn, tree, self.frozen.embed(tree.tokens), torch.stack(evidence))


@dataclass(frozen=True, slots=True)
class _TokenIds:
    """A backbone whose embeddings are the token ids: lets a reader return ids instead of embeddings."""

    backbone: Backbone

    def encode(self, text: str) -> list[int]:
        return self.backbone.encode(text)

    def embed(self, ids: Tensor) -> Tensor:
        return ids


def _embedding_inputs(turn: VadTurn, reader: AdapterReader, chunks: Sequence[Tensor]) -> _TurnInputs:
    """Returns the inputs of an embedding adapter: all its outputs, in order, none retracted."""
    rows = torch.cat(list(chunks))
    size = len(chunks[0])
    tree = PrefixTree.chain(len(rows), [size * (n + 1) - 1 for n in range(turn.pre_roll_chunks, len(chunks))])
    return _TurnInputs(turn, tree, rows, torch.zeros(len(tree.ends), 0))


def batches_by_length(indices: Sequence[int], length: Callable[[int], int], max_rows: int) -> Iterator[list[int]]:
    """Yields batches of indices of similar length, each of at most `max_rows` positions including padding."""
    batch: list[int] = []
    for i in sorted(indices, key=length):
        if batch and (len(batch) + 1) * length(i) > max_rows:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
