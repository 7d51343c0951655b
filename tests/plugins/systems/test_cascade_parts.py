"""The cascade's clause splitter and playback positions. The complete system runs in test_models.py (-m slow)."""

from hypothesis import given
from hypothesis import strategies as st

from fobench_plugins.systems.cascade.clause_splitter import ClauseSplitter, SpokenClauses, speakable


def cut(*tokens):
    splitter = ClauseSplitter()
    clauses = [clause for token in tokens if (clause := splitter.push(token))]
    return [*clauses, *([rest] if (rest := splitter.flush()) else [])]


def test_the_first_clause_may_end_at_a_comma():
    assert cut("The capital", " of France,", " as you know", ", is Paris.") == [
        "The capital of France, ",
        "as you know, is Paris.",
    ]


def test_later_clauses_are_sentences():
    assert cut("It is so.", " Yes, it is.", " Really.") == ["It is so. ", "Yes, it is. ", "Really."]


def test_a_very_short_opening_is_not_voiced_alone():
    assert cut("Well, yes,", " it is Paris.") == ["Well, yes, it is Paris."]


def test_a_decimal_is_not_cut():
    assert cut("It is about 3", ".14", " or so.") == ["It is about 3.14 or so."]


def test_marks_are_not_spoken():
    assert speakable("**Paris** is\n the `capital`.") == "Paris is the capital."


@given(st.lists(st.sampled_from(["word ", "a, ", "b. ", "c! ", "\n", "3.1", " "]), max_size=40))
def test_cutting_loses_nothing(tokens):
    text = "".join(tokens)
    assert "".join(cut(*tokens)) == text or not text.strip() or "".join(cut(*tokens)).strip() == text.strip()


def test_history_keeps_what_was_heard():
    spoken = SpokenClauses([("One two three. ", 300), ("Four five six seven.", 400)])
    assert spoken.heard(0) == ""
    assert spoken.heard(100) == "One"
    assert spoken.heard(300) == "One two three."
    assert spoken.heard(500) == "One two three. Four five"
    assert spoken.heard(700) == "One two three. Four five six seven."
