"""BPE units: text and back, BPE dropout, the CTC collapse."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.errors import FobenchError
from reference_model.speech_input.bpe_units import BLANK, BPEUnits, collapsed

TEXTS = [
    "What is the capital of France?",
    "The capital of France is Paris.",
    "Who wrote the book, and when?",
    "It's Mary's.",
]
UNITS = BPEUnits.learn(TEXTS * 20, 60)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_text_survives_encoding_to_bpe_units(text, dropout):
    ids = UNITS.encode(text, dropout)
    assert BLANK not in ids
    assert max(ids) < len(UNITS) == 60
    assert UNITS.decode(ids) == text


def test_dropout_makes_smaller_pieces_and_goes_away():
    text = TEXTS[0]
    before = UNITS.encode(text)
    assert len(UNITS.encode(text, 1.0)) > len(before)
    assert UNITS.encode(text) == before


@pytest.mark.parametrize("text", [*TEXTS, "What is 7 %?"])
def test_dropout_that_never_happens_makes_the_library_s_pieces(text):
    assert UNITS.encode(text, 0.5, draw=lambda: 0.5) == UNITS.encode(text)


def test_dropout_is_drawn_from_what_it_is_given():
    def drawn(seed):
        return UNITS.encode(" ".join(TEXTS), 0.5, random.Random(seed).random)

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(5)}) == 5
    assert [len(piece) for piece in ("", "▁", "?")] == UNITS.letters([BLANK, *(UNITS.pieces.index(p) for p in "▁?")])


def test_what_cannot_be_written_is_left_out():
    assert UNITS.decode(UNITS.encode("What is 7 %?")) == "What is ?"


def test_without_any_learned_there_are_letters():
    letters = BPEUnits.letters_only()
    assert letters.decode(letters.encode("Is it 7 %?")) == "Is it 7 %?"
    assert set(letters.letters(range(1, len(letters)))) == {1}


def test_a_vocabulary_survives_json():
    assert BPEUnits(UNITS.merges).encode(TEXTS[1]) == UNITS.encode(TEXTS[1])
    with pytest.raises(FobenchError, match="cannot be read"):
        BPEUnits("{}")


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(1, 3), min_size=30, max_size=30))
def test_ctc_collapse_merges_repetitions(units, repeats):
    plain = [u for u in units if u != BLANK]
    spread = [x for unit, n in zip(plain, repeats * 4, strict=False) for x in [BLANK, *[unit] * n]]
    assert collapsed(spread) == plain[: len(repeats) * 4]
