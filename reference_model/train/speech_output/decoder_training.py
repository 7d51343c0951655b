"""Training of the speech decoder: batches of texts with their codes and, for prefix tuning, the LLM's hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reference_model.config import ModelConfig
from reference_model.speech_output.phonemizer import phonemes, phonemes_by_token
from reference_model.speech_output.segmenter import normalize, published_normalize, token_texts
from reference_model.speech_output.speech_decoder import SpeechDecoder, interleaved, letters_of
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import LoopConfig, to_device
from reference_model.train.llm.frozen_llm import FrozenLLM

VALIDATION_BATCH = 16  # examples


@dataclass(frozen=True, slots=True)
class DecoderExample:
    """A text and its codes [K, F]. `hidden` [n, D]: the LLM's hidden states of its n tokens, if known.

    `phonemes`: of the spoken text; `durations` [P]: frames of each phoneme, if known.
    """

    text: str
    codes: Tensor
    hidden: Tensor | None = None
    phonemes: str = ""
    durations: Tensor | None = None


@dataclass(frozen=True, slots=True)
class DecoderBatch:
    """Texts as token ids and text pieces, with codes [B, K, T] padded with 0, of `lengths` [B] frames.

    `hidden`: hidden states [n, D] of every text, or empty.
    """

    ids: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[str, ...], ...]
    codes: Tensor
    lengths: Tensor
    hidden: tuple[Tensor, ...] = ()
    durations: tuple[Tensor, ...] = ()  # frames per phoneme of each text; phonemes are the last rows of a text


class TextReader:
    """Tokenizes texts for the decoder: the backbone's tokens with the letters of each, or with phonemes, normalized as
    in inference. A decoder without the LLM's embeddings gets no tokens, and its text as one piece.
    """

    def __init__(self, backbone: Any, config: ModelConfig, *, phonetic: bool = False) -> None:
        self._backbone, self.phonetic = backbone, phonetic
        self._llm_rows = config.decoder.llm_rows
        self._normalize = published_normalize if config.compat else normalize
        self._token_texts: dict[int, str] = {}

    def __call__(self, text: str, known_phonemes: str = "") -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Returns the tokens of a text and the letters or phonemes of each. `known_phonemes`: of the text, if known.

        Tokens are decoded one by one from a cache; only if their texts do not add up to the text, all are decoded
        together.
        """
        normalized = self._normalize(text)
        if not self._llm_rows:
            return (), ((known_phonemes or phonemes(normalized)) if self.phonetic else normalized,)
        ids = tuple(self._backbone.encode(normalized))
        if self.phonetic:
            return ids, tuple(phonemes_by_token(ids, known_phonemes or phonemes(normalized)))
        for i in ids:
            if i not in self._token_texts:
                self._token_texts[i] = self._backbone.tokenizer.decode([i])
        pieces = [self._token_texts[i] for i in ids]
        if "".join(pieces) != normalized:
            pieces = token_texts(self._backbone.detokenizer(), ids)
        return ids, tuple(pieces)


class SpeechDecoderLearner(nn.Module):
    """The speech decoder with its losses; the LLM's embeddings [V, D] are not part of the module.

    A decoder without rows of the LLM needs none.
    """

    def __init__(self, decoder: SpeechDecoder, embeddings: Tensor | None = None) -> None:
        super().__init__()
        self.decoder = decoder
        if embeddings is None:
            embeddings = torch.zeros(0, 0)
        self._embeddings = [embeddings]

    def forward(self, batch: DecoderBatch) -> dict[str, Tensor]:
        text, sizes = self.rows(batch)
        lengths = to_device(sizes, self)
        codes, frames = to_device(batch.codes, self), to_device(batch.lengths, self)
        prefix, prefix_lengths = self.prefix_rows(batch.hidden) if batch.hidden else (None, None)
        durations = self.row_durations(batch, text, sizes) if batch.durations else None
        logits, total = self.decoder(text, lengths, codes, frames, prefix, prefix_lengths, durations=durations)
        _, targets = self.decoder.delayed(codes, frames)
        counted = targets >= 0
        right = (logits.argmax(-1) == targets) & counted
        return {"loss": total, "count": counted.sum().float(), "right": right.sum().float()}

    def prefix_rows(self, hidden: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the prefix network's input [B, P, d], padded with 0, and lengths [B], for hidden states [n, D] of
        each text.
        """
        rows = [self.decoder.text_rows(to_device(one, self))[0] for one in hidden]
        lengths = torch.tensor([len(one) for one in rows], device=rows[0].device)
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths

    def row_durations(self, batch: DecoderBatch, text: Tensor, lengths: Tensor) -> Tensor:
        """Returns the durations [B, H] of text rows [B, H, d] of `lengths` [B]: frames of phonemes, else 0."""
        durations = text.new_zeros(text.shape[:2], dtype=torch.float32)
        for row, end, one in zip(durations, lengths.tolist(), batch.durations, strict=True):
            row[end - len(one) : end] = one.to(durations)
        return durations

    def rows(self, batch: DecoderBatch) -> tuple[Tensor, Tensor]:
        """Returns the text rows [B, H, d] of a batch, padded with 0, and lengths [B] on the CPU: a batched
        `SpeechDecoder.text_rows`.
        """
        decoder = self.decoder
        device = decoder.embedding.weight.device
        if self._embeddings[0].device != device:
            self._embeddings[0] = self._embeddings[0].to(device)
        flat = torch.tensor([i for ids in batch.ids for i in ids], dtype=torch.long, device=device)
        table = [
            self._embeddings[0][flat].reshape(-1, decoder.config.size)
        ]  # of all tokens, none without rows of the LLM
        each = self._embeddings[0].shape[1] // decoder.config.size  # rows per token
        letters = [[letters_of(piece, decoder.config.characters) for piece in pieces] for pieces in batch.pieces]
        if decoder.config.characters:
            letter_ids = [i for text in letters for piece in text for i in piece]
            table.append(decoder.letters(torch.tensor(letter_ids, dtype=torch.long, device=device)))
        orders, row, letter = [], 0, len(table[0])
        for text in letters:
            order = interleaved(each, [len(piece) for piece in text])
            token_rows = each * len(text)
            own = [row + i if i < token_rows else letter + i - token_rows for i in order]
            blank = 0 if decoder.config.llm_rows else round(decoder.config.blank_rows * len(order))
            orders.append(torch.tensor([-1] * blank + own) + 1)  # row 0 of the table is zero
            row, letter = row + token_rows, letter + len(order) - token_rows
        lengths = torch.tensor([len(own) for own in orders])
        indices = nn.utils.rnn.pad_sequence(orders, batch_first=True).to(device)
        rows = torch.cat([torch.zeros(1, decoder.config.size, device=device), *table])
        return rows[indices], lengths


@dataclass(slots=True)
class SpeechDecoderStage:
    """Training of the speech decoder on examples.

    `join_probability`: that a batch's examples are joined in pairs to longer ones.
    """

    module: SpeechDecoderLearner
    reader: TextReader
    train: list[DecoderExample]
    valid: list[DecoderExample]
    frame_rate_hz: float
    join_probability: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "output-2"
    faults: SkippedSamples = field(default_factory=SkippedSamples)

    def batches(self, loop: LoopConfig) -> BatchSampler:
        seconds = [one.codes.shape[1] / self.frame_rate_hz for one in self.train]
        return BatchSampler(seconds, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> DecoderBatch:
        items = [self.train[i] for i in indices]
        if len(items) > 1 and np.random.default_rng([epoch, indices[0]]).random() < self.join_probability:
            items = [*map(concatenate, items[::2], items[1::2]), *items[len(items) // 2 * 2 :]]
        return collate(self.reader, items)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        """Returns all parameters but the prefix network's, which output stage 3 trains."""
        return [{"params": [p for n, p in self.module.named_parameters() if ".prefix." not in n], "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        return self.scores(self.valid)

    def scores(self, items: Sequence[DecoderExample]) -> dict[str, float]:
        """Returns the cross-entropy per code and the accuracy of the most probable code."""
        sums = {"loss": 0.0, "right": 0.0, "count": 0.0}
        for begin in range(0, len(items), VALIDATION_BATCH):
            output = self.module(collate(self.reader, items[begin : begin + VALIDATION_BATCH]))
            sums = {k: v + float(output[k]) for k, v in sums.items()}
        return {k: sums[k] / sums["count"] for k in ("loss", "right")}


def collate(reader: TextReader, items: Sequence[DecoderExample]) -> DecoderBatch:
    """Returns the batch of some examples."""
    ids, pieces = zip(*(reader(one.text, one.phonemes) for one in items), strict=True)
    codes = nn.utils.rnn.pad_sequence([one.codes.T for one in items], batch_first=True).transpose(1, 2)  # [B, K, T]
    hidden = tuple(one.hidden for one in items if one.hidden is not None)
    durations = tuple(one.durations for one in items if one.durations is not None) if reader.phonetic else ()
    return DecoderBatch(
        ids, pieces, codes.long(), torch.tensor([one.codes.shape[1] for one in items]), hidden, durations
    )


def concatenate(first: DecoderExample, second: DecoderExample) -> DecoderExample:
    """Returns two examples as one: texts, codes and durations concatenated, without hidden states."""
    durations = (
        None if first.durations is None or second.durations is None else torch.cat([first.durations, second.durations])
    )
    codes = torch.cat([first.codes, second.codes], 1)
    return DecoderExample(f"{first.text} {second.text}", codes, None, first.phonemes + second.phonemes, durations)


def embeddings_of(frozen: FrozenLLM) -> Tensor:
    """Returns all token embeddings of the LLM [V, D], float32."""
    return frozen.embed(torch.arange(frozen.backbone.vocab_size)).clone()
