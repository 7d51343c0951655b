"""The pieces of writing that speech is heard as: a small BPE vocabulary with capitals and punctuation, for CTC."""

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
MARKS = (".", "?", "!")  # which sentences end with


class BPEUnits:
    """Text <-> ids from 1 on; 0 is CTC's blank. `merges`: the learnt BPE, as JSON of the `tokenizers` library."""

    def __init__(self, merges: str) -> None:
        from tokenizers import Tokenizer

        try:
            self._bpe = Tokenizer.from_str(merges)
        except Exception as error:  # the library raises plain Exception
            raise FobenchError(f"The units' BPE cannot be read: {error}") from error
        self.merges = merges

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> BPEUnits:
        """`size` units with the blank, from the texts that will be spoken."""
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        bpe = Tokenizer(models.BPE(unk_token=None))
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(SPACE), pre_tokenizers.Punctuation("isolated")]
        )
        bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size - 1, show_progress=False))
        return cls(bpe.to_str())

    @classmethod
    def letters_only(cls) -> BPEUnits:
        """The letters and signs of ASCII, one by one."""
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
        """What cannot be written with these units is left out.

        `dropout` (arXiv 1910.13267): chance that a merge is not made where it could be; `draw` gives numbers in [0, 1) for it.
        """
        if not dropout:
            return [i + 1 for i in self._bpe.encode(text).ids]
        words = self._bpe.pre_tokenizer.pre_tokenize_str(text)
        return [self._ids[piece] for word, _ in words for piece in self._merged(word, dropout, draw)]

    def _merged(self, word: str, dropout: float, draw: Callable[[], float]) -> list[str]:
        """A word's pieces. The library drops merges, too, but with a randomness of its own that nothing can fix."""
        pieces = [sign for sign in word if sign in self._ids]
        while True:
            pairs = [(self._ranks.get(pair), at) for at, pair in enumerate(pairwise(pieces))]
            made = [(rank, at) for rank, at in pairs if rank is not None and draw() >= dropout]
            if not made:
                return pieces
            _, at = min(made)
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces) if i != BLANK}

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], int]:
        """Which pairs are merged, the earliest learnt first."""
        return {(one, other): rank for rank, (one, other) in enumerate(self.to_json()["model"]["merges"])}

    def letters(self, ids: Sequence[int]) -> list[int]:
        """How long each unit is in writing."""
        return [len(self.pieces[i]) for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join("".join(self.pieces[i] for i in ids).replace(SPACE, " ").split())

    def to_json(self) -> Any:
        return json.loads(self.merges)


def collapsed(best: Sequence[int]) -> list[int]:
    """CTC's reading of the best unit of every frame: repetitions are one, blanks none."""
    return [unit for i, unit in enumerate(best) if unit != BLANK and (i == 0 or unit != best[i - 1])]
