"""The pieces of writing that speech is heard as: a small BPE vocabulary with capitals and punctuation, for CTC."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from fobench.errors import FobenchError

SPACE = "▁"  # begins a word
BLANK = 0  # CTC's


class Units:
    """Text <-> ids from 1 on; 0 is CTC's blank. `merges`: the learnt BPE, as JSON of the `tokenizers` library."""

    def __init__(self, merges: str) -> None:
        from tokenizers import Tokenizer

        try:
            self._bpe = Tokenizer.from_str(merges)
        except Exception as error:  # the library raises plain Exception
            raise FobenchError(f"The units' BPE cannot be read: {error}") from error
        self.merges = merges

    @classmethod
    def learn(cls, texts: Iterable[str], size: int) -> Units:
        """`size` units with the blank, from the texts that will be spoken."""
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        bpe = Tokenizer(models.BPE(unk_token=None))
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(SPACE), pre_tokenizers.Punctuation("isolated")]
        )
        bpe.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size - 1, show_progress=False))
        return cls(bpe.to_str())

    def __len__(self) -> int:
        return int(self._bpe.get_vocab_size()) + 1

    @cached_property
    def pieces(self) -> list[str]:
        """Every unit's text, `SPACE` for a space; the blank's is empty."""
        vocabulary = {index: piece for piece, index in self._bpe.get_vocab().items()}
        return ["", *(vocabulary[i] for i in range(len(vocabulary)))]

    def encode(self, text: str, dropout: float = 0.0) -> list[int]:
        """What cannot be written with these units is left out. `dropout` (arXiv 1910.13267): chance that a merge is not made."""
        self._bpe.model.dropout = dropout or None
        return [i + 1 for i in self._bpe.encode(text).ids]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join("".join(self.pieces[i] for i in ids).replace(SPACE, " ").split())

    def to_json(self) -> Any:
        return json.loads(self.merges)


def collapsed(best: Sequence[int]) -> list[int]:
    """CTC's reading of the best unit of every frame: repetitions are one, blanks none."""
    return [unit for i, unit in enumerate(best) if unit != BLANK and (i == 0 or unit != best[i - 1])]
