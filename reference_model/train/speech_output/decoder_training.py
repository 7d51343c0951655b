"""Batches for the speaking side, and what learns from them: texts, their codes and, for prefix tuning, what the LLM thought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reference_model.config import ModelConfig
from reference_model.speech_output.phonemizer import phonemes, sounding
from reference_model.speech_output.segmenter import normalise, pieces_of, published_normalise
from reference_model.speech_output.speech_decoder import SpeechDecoder, interleaved, letters_of
from reference_model.train.engine.batch_sampler import BatchSampler
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer import LoopConfig, to_device
from reference_model.train.llm.frozen_llm import FrozenLLM

VALIDATED = 16  # items at once


@dataclass(frozen=True, slots=True)
class DecoderExample:
    """A text and its codes [K, F]. `hidden` [n, D]: of the n tokens that the LLM wrote it in, where it is known.

    `phonemes`: as it was said; `durations` [P]: how many frames each of them lasts, where that is known.
    """

    text: str
    codes: Tensor
    hidden: Tensor | None = None
    phonemes: str = ""
    durations: Tensor | None = None


@dataclass(frozen=True, slots=True)
class DecoderBatch:
    """Texts as token ids and pieces, their codes [B, K, T] padded with 0, of `lengths` [B] frames; `hidden`: all's, or none."""

    ids: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[str, ...], ...]
    codes: Tensor
    lengths: Tensor
    hidden: tuple[Tensor, ...] = ()
    durations: tuple[Tensor, ...] = ()  # of each text's phonemes, its last rows


class TextReader:
    """Text as a backbone's tokens and each one's letters, or all's phonemes, normalised as when it is said live."""

    def __init__(self, backbone: Any, config: ModelConfig, *, phonetic: bool = False) -> None:
        self._backbone, self.phonetic = backbone, phonetic
        self._normalise = published_normalise if config.compat else normalise
        self._alone: dict[int, str] = {}

    def __call__(self, text: str, sounds: str = "") -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The tokens of a text, and what is read beside each. `sounds`: its phonemes, if they are known.

        A token alone nearly always is what it is among others, which is fast to know; else all are decoded together.
        """
        said = self._normalise(text)
        ids = tuple(self._backbone.encode(said))
        if self.phonetic:
            return ids, tuple(sounding(ids, sounds or phonemes(said)))
        for i in ids:
            if i not in self._alone:
                self._alone[i] = self._backbone.tokenizer.decode([i])
        pieces = [self._alone[i] for i in ids]
        if "".join(pieces) != said:
            pieces = pieces_of(self._backbone.pieces(), ids)
        return ids, tuple(pieces)


class SpeechDecoderLearner(nn.Module):
    """The speech decoder; the LLM's embeddings [V, D] are no part of it."""

    def __init__(self, decoder: SpeechDecoder, embeddings: Tensor) -> None:
        super().__init__()
        self.decoder = decoder
        self._embeddings = [embeddings]

    def forward(self, batch: DecoderBatch) -> dict[str, Tensor]:
        text, sizes = self.rows(batch)
        lengths = to_device(sizes, self)
        codes, frames = to_device(batch.codes, self), to_device(batch.lengths, self)
        prefix, known = self.thoughts(batch.hidden) if batch.hidden else (None, None)
        lasting = self.lasting(batch, text, sizes) if batch.durations else None
        logits, total = self.decoder(text, lengths, codes, frames, prefix, known, durations=lasting)
        _, targets = self.decoder.delayed(codes, frames)
        counted = targets >= 0
        right = (logits.argmax(-1) == targets) & counted
        return {"loss": total, "count": counted.sum().float(), "right": right.sum().float()}

    def thoughts(self, hidden: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Hidden states [n, D] each -> what the prefix network reads [B, P, d], padded with 0, and lengths [B]."""
        rows = [self.decoder.text_rows(to_device(one, self))[0] for one in hidden]
        lengths = torch.tensor([len(one) for one in rows], device=rows[0].device)
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths

    def lasting(self, batch: DecoderBatch, text: Tensor, lengths: Tensor) -> Tensor:
        """The durations [B, H] of text rows [B, H, d] of `lengths` [B]: those of phonemes, 0 of all others."""
        found = text.new_zeros(text.shape[:2], dtype=torch.float32)
        for row, end, one in zip(found, lengths.tolist(), batch.durations, strict=True):
            row[end - len(one) : end] = one.to(found)
        return found

    def rows(self, batch: DecoderBatch) -> tuple[Tensor, Tensor]:
        """The texts as the decoder reads them: `SpeechDecoder.text_rows` of all at once, [B, H, d] padded with 0; lengths [B], on the CPU."""
        decoder = self.decoder
        device = decoder.embedding.weight.device
        if self._embeddings[0].device != device:
            self._embeddings[0] = self._embeddings[0].to(device)
        flat = torch.tensor([i for ids in batch.ids for i in ids], device=device)
        table = [self._embeddings[0][flat].reshape(-1, decoder.config.size)]
        each = self._embeddings[0].shape[1] // decoder.config.size  # rows a token
        letters = [[letters_of(piece, decoder.config.characters) for piece in pieces] for pieces in batch.pieces]
        if decoder.config.characters:
            spelt = [i for text in letters for piece in text for i in piece]
            table.append(decoder.letters(torch.tensor(spelt, dtype=torch.long, device=device)))
        orders, row, letter = [], 0, len(table[0])
        for text in letters:
            order = interleaved(each, [len(piece) for piece in text])
            own = each * len(text)
            orders.append(torch.tensor([row + i if i < own else letter + i - own for i in order]) + 1)
            row, letter = row + own, letter + len(order) - own
        lengths = torch.tensor([len(order) for order in orders])
        places = nn.utils.rnn.pad_sequence(orders, batch_first=True).to(device)
        rows = torch.cat([torch.zeros(1, decoder.config.size, device=device), *table])
        return rows[places], lengths


@dataclass(slots=True)
class SpeechDecoderStage:
    """What is learnt from, and what is kept aside. `joined`: chance that a batch's items are said in pairs, as longer ones."""

    module: SpeechDecoderLearner
    reader: TextReader
    train: list[DecoderExample]
    valid: list[DecoderExample]
    frame_rate_hz: float
    joined: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)
    name: str = "output-2"
    faults: SkippedSamples = field(default_factory=SkippedSamples)

    def batches(self, loop: LoopConfig) -> BatchSampler:
        seconds = [one.codes.shape[1] / self.frame_rate_hz for one in self.train]
        return BatchSampler(seconds, loop.batch_s, loop.batch_most, loop.seed)

    def load(self, indices: Sequence[int], epoch: int) -> DecoderBatch:
        items = [self.train[i] for i in indices]
        if len(items) > 1 and np.random.default_rng([epoch, indices[0]]).random() < self.joined:
            items = [*map(joined, items[::2], items[1::2]), *items[len(items) // 2 * 2 :]]
        return collate(self.reader, items)

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        """All that is no prefix network: that learns in output stage 3."""
        return [{"params": [p for n, p in self.module.named_parameters() if ".prefix." not in n], "lr": loop.lr}]

    def config(self) -> dict[str, Any]:
        return self.about

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        return self.scores(self.valid)

    def scores(self, items: Sequence[DecoderExample]) -> dict[str, float]:
        """Cross-entropy a code, and the share of codes that are the likeliest."""
        sums = {"loss": 0.0, "right": 0.0, "count": 0.0}
        for begin in range(0, len(items), VALIDATED):
            found = self.module(collate(self.reader, items[begin : begin + VALIDATED]))
            sums = {k: v + float(found[k]) for k, v in sums.items()}
        return {k: sums[k] / sums["count"] for k in ("loss", "right")}


def collate(reader: TextReader, items: Sequence[DecoderExample]) -> DecoderBatch:
    ids, pieces = zip(*(reader(one.text, one.phonemes) for one in items), strict=True)
    codes = nn.utils.rnn.pad_sequence([one.codes.T for one in items], batch_first=True).transpose(1, 2)  # [B, K, T]
    hidden = tuple(one.hidden for one in items if one.hidden is not None)
    durations = tuple(one.durations for one in items if one.durations is not None) if reader.phonetic else ()
    return DecoderBatch(
        ids, pieces, codes.long(), torch.tensor([one.codes.shape[1] for one in items]), hidden, durations
    )


def joined(first: DecoderExample, second: DecoderExample) -> DecoderExample:
    """Two said one after the other."""
    durations = (
        None if first.durations is None or second.durations is None else torch.cat([first.durations, second.durations])
    )
    codes = torch.cat([first.codes, second.codes], 1)
    return DecoderExample(f"{first.text} {second.text}", codes, None, first.phonemes + second.phonemes, durations)


def embeddings_of(frozen: FrozenLLM) -> Tensor:
    """All of the LLM's token embeddings [V, D], float32."""
    return frozen.embed(torch.arange(frozen.backbone.vocab_size)).clone()
