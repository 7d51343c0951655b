"""The CTC vocabulary: a small set of BPE tokens with capitals and punctuation."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from fobench.errors import FobenchError

SPACE = "▁"  # begins a word
BLANK = 0  # CTC's
MARKS = (".", "?", "!")  # end of sentence


class BPEUnits:
    """Text <-> ids from 1 on; 0 is CTC's blank. `merges`: the trained BPE, as JSON of the `tokenizers` library."""

    def __init__(self, merges: str) -> None:
        from tokenizers import Tokenizer

        try:
            self._bpe = Tokenizer.from_str(merges)
        except Exception as error:  # the library raises plain Exception
            raise FobenchError(f"The units' BPE cannot be read: {error}") from error
        self.merges = merges

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> BPEUnits:
        """Train `size` units, the blank included, on the texts of the speech."""
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        bpe = Tokenizer(models.BPE(unk_token=None))
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(SPACE), pre_tokenizers.Punctuation("isolated")]
        )
        bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size - 1, show_progress=False))
        return cls(bpe.to_str())

    @classmethod
    def letters_only(cls) -> BPEUnits:
        """A vocabulary of the printable ASCII characters."""
        signs = "".join(map(chr, range(ord("!"), ord("~") + 1)))
        return cls.learn([signs], len(signs) + 2)

    def __len__(self) -> int:
        return int(self._bpe.get_vocab_size()) + 1

    @cached_property
    def pieces(self) -> list[str]:
        """Every unit's text, `SPACE` for a space; the blank's is empty."""
        vocabulary = {index: piece for piece, index in self._bpe.get_vocab().items()}
        return ["", *(vocabulary[i] for i in range(len(vocabulary)))]

    def encode(self, text: str, dropout: float = 0.0, draw: Callable[[], float] = random.random) -> list[int]:
        """The ids of a text; characters outside the vocabulary are dropped.

        `dropout`: probability that a possible merge is skipped (BPE dropout, arXiv 1910.13267); `draw`: random numbers in [0, 1).
        """
        if not dropout:
            return [i + 1 for i in self._bpe.encode(text).ids]
        words = self._bpe.pre_tokenizer.pre_tokenize_str(text)
        return [self._ids[piece] for word, _ in words for piece in self._merged(word, dropout, draw)]

    def _merged(self, word: str, dropout: float, draw: Callable[[], float]) -> list[str]:
        """A word's units, with BPE dropout. That of the library cannot be seeded."""
        pieces = [sign for sign in word if sign in self._ids]
        while True:
            pairs = [(self._ranks.get(pair), at) for at, pair in enumerate(pairwise(pieces))]
            merges = [(rank, at) for rank, at in pairs if rank is not None and draw() >= dropout]
            if not merges:
                return pieces
            _, at = min(merges)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces) if i != BLANK}

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        """The rank of each merge, the earliest trained first."""
        return {(one, other): rank for rank, (one, other) in enumerate(self.to_json()["model"]["merges"])}

    def letters(self, ids: Sequence[int]) -> list[int]:
        """The number of characters of each unit."""
        return [len(self.pieces[i]) for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, with single spaces."""
        return " ".join("".join(self.pieces[i] for i in ids).replace(SPACE, " ").split())

    def to_json(self) -> Any:
        return json.loads(self.merges)


def collapsed(best: Sequence[int]) -> list[int]:
    """The CTC collapse of the best unit of every frame: repetitions merged, blanks removed."""
    return [unit for i, unit in enumerate(best) if unit != BLANK and (i == 0 or unit != best[i - 1])]


def with_mark(text: str, heard: str) -> str:
    """A transcript that ends with a mark if, and only if, `heard` does; with its own mark, where it has one.

    CTC hears at the end of a sentence whether it is complete; a decoder of text completes every sentence.
    """
    if heard.endswith(MARKS):
        return text if text.endswith(MARKS) else text + heard[-1]
    return text.rstrip("".join(MARKS))
