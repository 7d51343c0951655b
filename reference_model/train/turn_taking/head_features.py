"""What the state head has to judge situations by: of many at once, and just what a live session would give it (`Hearing.enter`)."""

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
from reference_model.train.llm.prefix_tree import PrefixTree, PrefixTreeForward
from reference_model.train.turn_taking.vad_turns import VadTurn

FRAMES, ROWS = 16_384, 4096  # of features in a batch for the encoder, and of rows in one for the LLM, at most


@dataclass(frozen=True, slots=True)
class HeadFeatures:
    """A turn as the head sees it: for each of its M heeded chunks a vector [M, D + E], label [M] and time since the end [M]."""

    kind: str
    state: int
    vectors: Tensor
    labels: Tensor
    since: Tensor


@dataclass(frozen=True, slots=True)
class _Read:
    """A turn on its way: what was understood of it, and what the sound told [M, E]."""

    turn: VadTurn
    tree: PrefixTree
    rows: Tensor  # [N, D]
    evidence: Tensor


class HeadFeatureExtractor:
    """A model whose encoder and adapter are trained, and its frozen LLM.

    `pasts`: (what the user said, the reply) of conversations that turns go on with; number 0 is the one that only begins.
    """

    def __init__(self, model: FreezeOmni, frozen: FrozenLLM, pasts: Sequence[tuple[str, str]] = ()) -> None:
        self.model, self.frozen = model, frozen
        self.layout = TurnLayout.of(frozen.backbone.chat, model.config.settings.system_prompt)
        self._as_ids = _Ids(frozen.backbone)
        self._readings = [PrefixTreeForward(frozen, self.opening(past)[None]) for past in (None, *pasts)]

    @torch.no_grad()
    def opening(self, past: tuple[str, str] | None = None) -> Tensor:
        """What the LLM is given before the first row of a user turn [P, D]."""
        ids, encode = list(self.layout.opening), self.frozen.backbone.encode
        if past:
            ids += [*encode(past[0]), *self.layout.reply_open, *encode(past[1]), *self.layout.user_open]
        return torch.cat([self.frozen.embed(ids), self.model.prompt.detach().to(self.frozen.device)])

    @torch.no_grad()
    def impressions(self, turns: Sequence[VadTurn]) -> list[HeadFeatures]:
        """Of every turn, in order."""
        heard = self.heard(turns)
        read = [self._read(turn, one) for turn, one in zip(turns, heard, strict=True)]
        found: dict[int, HeadFeatures] = {}
        for past, readings in enumerate(self._readings):
            chosen = [i for i, turn in enumerate(turns) if turn.past == past]
            for batch in alike(chosen, lambda i: len(read[i].tree), ROWS):
                hidden = readings.hidden([read[i].tree for i in batch], [read[i].rows for i in batch])
                found |= {i: _impression(read[i], state.cpu()) for i, state in zip(batch, hidden, strict=True)}
        return [found[i] for i in range(len(turns))]

    def heard(self, turns: Sequence[VadTurn]) -> list[Tensor]:
        """The adapter's output [n, ...] of each turn. Turns with something before them and turns without go apart."""
        found: dict[int, Tensor] = {}
        for bare in (True, False):
            chosen = [i for i, turn in enumerate(turns) if (turn.before is None) == bare]
            for batch in alike(chosen, lambda i: len(turns[i].features), FRAMES):
                found |= zip(batch, self._adapted([turns[i] for i in batch]), strict=True)
        return [found[i] for i in range(len(turns))]

    @property
    def flows(self) -> bool:
        """Whether the LLM is given rows of the adapter, chunk by chunk, and not what is read in its output."""
        return isinstance(self.model.adapter.reader(), EmbeddingReader)

    def given(self, turns: Sequence[VadTurn]) -> list[Tensor]:
        """The rows [n, D] that the LLM is given of each turn, once all of it has been heard."""
        return [one if self.flows else self._spelt_out(one) for one in self.heard(turns)]

    def _spelt_out(self, heard: Tensor) -> Tensor:
        reader = self.model.adapter.reader()
        reader.push(heard.cpu()[None])
        _, ids = reader.rows(self._as_ids, False)
        return self.frozen.embed(ids[0])

    def _adapted(self, turns: Sequence[VadTurn]) -> Iterator[Tensor]:
        encoder, adapter, device = self.model.encoder, self.model.adapter, self.model.encoder.device
        features = torch.nn.utils.rnn.pad_sequence([turn.features for turn in turns], batch_first=True).to(device)
        lengths = torch.tensor([len(turn.features) for turn in turns], device=device)
        given = [turn.before for turn in turns if turn.before is not None]
        before = torch.stack(given).to(device) if given else None
        config = encoder.config
        frames, mask = encoder(features, lengths, config.chunk, config.left_chunks, before)
        *outputs, valid = adapter(frames, mask)
        heard = torch.cat(outputs, -1)  # of an adapter that spells: logits and features, as `step` has them
        return (one[inside] for one, inside in zip(heard, valid, strict=True))

    def _read(self, turn: VadTurn, heard: Tensor) -> _Read:
        """What a session's reader makes of the adapter's output [n, ...], chunk by chunk."""
        reader = self.model.adapter.reader()
        chunks = heard.cpu().split(len(heard) // len(turn.since))
        reading = _flowing if isinstance(reader, EmbeddingReader) else self._spelt
        return reading(turn, reader, chunks)

    def _spelt(self, turn: VadTurn, reader: AdapterReader, chunks: Sequence[Tensor]) -> _Read:
        given: list[int] = []
        readings, evidence = [], []
        for number, chunk in enumerate(chunks):
            reader.push(chunk[None])
            if number >= turn.rehearsed:
                back, ids = reader.rows(self._as_ids, False)
                given = [*given[: len(given) - back], *ids[0].tolist()]
                readings.append(given)
                evidence.append(reader.evidence())
        tree = PrefixTree.of(readings)
        return _Read(turn, tree, self.frozen.embed(tree.tokens), torch.stack(evidence))


@dataclass(frozen=True, slots=True)
class _Ids:
    """A backbone whose embeddings are the ids themselves: what a reader gives it is read as tokens."""

    backbone: Backbone

    def encode(self, text: str) -> list[int]:
        return self.backbone.encode(text)

    def embed(self, ids: Tensor) -> Tensor:
        return ids


def _flowing(turn: VadTurn, reader: AdapterReader, chunks: Sequence[Tensor]) -> _Read:
    """All rows are given, in order, and stay."""
    rows = torch.cat(list(chunks))
    size = len(chunks[0])
    tree = PrefixTree.chain(len(rows), [size * (n + 1) - 1 for n in range(turn.rehearsed, len(chunks))])
    return _Read(turn, tree, rows, torch.zeros(len(tree.ends), 0))


def _impression(read: _Read, hidden: Tensor) -> HeadFeatures:
    turn, heeded = read.turn, slice(read.turn.rehearsed, None)
    vectors = torch.cat([hidden, read.evidence], -1)
    return HeadFeatures(turn.kind, int(turn.state), vectors, turn.labels[heeded], turn.since[heeded].clone())


def alike(indices: Sequence[int], length: Callable[[int], int], most: int) -> Iterator[list[int]]:
    """Batches of like length, of at most `most` rows with what fills them up."""
    batch: list[int] = []
    for i in sorted(indices, key=length):
        if batch and (len(batch) + 1) * length(i) > most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
