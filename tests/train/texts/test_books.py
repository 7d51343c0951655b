"""Books as sentences: whole ones where they are short, clauses where not; nothing that a voice could say in two ways."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.errors import FobenchError
from reference_model.train.texts import books as prose
from reference_model.train.texts import sentence_set
from reference_model.train.texts.books import MIN_WORDS, sentences

PAGE = """CHAPTER ONE

It was a _long_ evening--longer than any; and Mr. Day,
who had come early, said so.

"Is it over?" she asked. No.

They walked past the mill, past the church with its broken tower, past the last of the houses in the lane, and on.

In 1815 he was ten.
"""


def test_a_page_is_cut_into_what_can_be_said() -> None:
    assert list(sentences(PAGE)) == [
        "It was a long evening, longer than any.",
        "And Mister Day, who had come early, said so.",
        "Is it over? she asked.",
        "They walked past the mill, past the church with its broken tower.",
        "Past the last of the houses in the lane, and on.",
    ]


@given(st.text(alphabet="ab ,.;:-—!?\n_\"'A", max_size=400))
def test_no_sentence_is_short_or_has_a_mark_that_is_not_spoken(text: str) -> None:
    for said in sentences(text):
        assert len(re.findall("[A-Za-z]+", said)) >= MIN_WORDS
        assert not set(said) & set('_"\n—;:')
        assert said.endswith((".", "?", "!"))


def test_books_are_read_beside_question_sets(tmp_path) -> None:
    (tmp_path / "nq_open").mkdir()
    (tmp_path / "nq_open" / "dev.jsonl").write_text('{"question": "where is lake bled", "answers": ["Slovenia"]}')
    books = tmp_path / "books"
    books.mkdir()
    (books / "a.txt").write_text(PAGE)
    found = sentence_set.collect(tmp_path, template_sentences=10, books=books)
    assert {text.text for text in found if text.kind == prose.KIND} == {*sentences(PAGE)}


def test_a_folder_without_books_and_a_book_that_is_no_text_are_refused(tmp_path) -> None:
    with pytest.raises(FobenchError, match="contains no plain-text books"):
        prose.read(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FobenchError, match=r"a\.txt cannot be read as UTF-8"):
        prose.read(tmp_path)
