"""The cascade's clause splitter and playback positions. The complete system runs in test_models.py (-m slow)."""

import re
from itertools import pairwise

import pytest
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


def test_a_long_first_clause_ends_before_a_conjunction():
    assert cut("The elephant has a long", " trunk and", " ivory", " tusks and ears.") == [
        "The elephant has a long trunk ",
        "and ivory tusks and ears.",
    ]
    assert cut("Cats and dogs and", " mice are animals.") == ["Cats and dogs and mice are animals."]
    assert cut("One of the longest rivers known today", " in", " Asia is the Mekong.") == [
        "One of the longest rivers known today in Asia is the Mekong."
    ]
    assert cut("One of the very longest rivers known today", " in", " Asia is", " the Mekong.") == [
        "One of the very longest rivers known today ",
        "in Asia is the Mekong.",
    ]


def test_when_the_player_runs_empty_a_short_clause_will_do():
    def second(hurry):
        splitter = ClauseSplitter()
        assert splitter.push("It is so. ") == "It is so. "
        return splitter.push("In the north, it is cold and dark in winter. ", hurry=hurry)

    assert second(False) == "In the north, it is cold and dark in winter. "
    assert second(True) == "In the north, "


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


def test_of_a_clause_in_synthesis_not_more_is_heard_than_was_played():
    spoken = SpokenClauses([("One two three. ", 300)])
    spoken.begin("Four five six seven.", 1000)  # 1.2 s, about
    assert (spoken.heard(300), spoken.unheard(300)) == ("One two three.", "Four five six seven.")
    spoken.add(600)
    assert spoken.samples == 900
    assert spoken.heard(900) == "One two three. Four five"
    assert spoken.unheard(900) == "six seven. "
    spoken.complete()
    assert spoken.heard(900) == "One two three. Four five six seven."


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("2*3 = 6", "two times three equals six"),
        ("call get_user_id in C#", "call get underscore user underscore id in C sharp"),
        ("Köln, naïve, नमस्ते, 你好。", "Köln, naïve, नमस्ते, 你好."),
        ("Well 😀❤️ done ☎️", "Well done"),
        ("```", ""),
    ],
)
def test_what_must_be_said_is_said_with_its_accents(written, said):
    assert speakable(written) == said


def test_a_link_and_an_abbreviation_are_not_cut():
    assert cut("See now [the page,", " of today](https://a.b/c)", ", and St.", " Paul is there.") == [
        "See now [the page, of today](https://a.b/c), ",
        "and St. Paul is there.",
    ]


SENTENCES = st.lists(
    st.sampled_from(
        [
            "It is 2*3 = 6, not 7/8. ",
            "**Use `get_user_id`** in C#, please! ",
            "# Title\n",
            "- one item\n",
            "1. first\n",
            "See [the page, here](https://a.b/c), or www.a.org. ",
            "| a | b |\n",
            "Mail a.b@c.com; it costs $5. ",
            "In St. Paul 😀 at 7:30 pm. ",
            "```python\nx = 1\n```\n",
        ]
    ),
    max_size=6,
)


@given(SENTENCES, st.lists(st.integers(0, 300), max_size=40))
def test_a_reply_read_clause_by_clause_is_read_as_a_whole(sentences, places):
    text = "".join(sentences)
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    clauses = cut(*(text[a:b] for a, b in pairwise(edges)))
    words = [re.sub(r"[.,;:!?]", " ", part).split() for part in (" ".join(map(speakable, clauses)), speakable(text))]
    assert words[0] == words[1]
