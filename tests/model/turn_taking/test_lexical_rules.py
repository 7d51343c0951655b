"""Rules of words: what claims the floor, listens, stops, is unfinished, or calls somebody."""

import pytest

from reference_model.turn_taking import lexical_rules


@pytest.mark.parametrize(
    ("text", "since"),  # the look from which on it claims the floor
    [
        ("Which", 1),
        ("How many", 1),
        ("Stop", 1),
        ("Help me", 1),
        ("In which", 1),
        ("English", 3),
        ("What?", 2),
        ("What do", 1),
        ("In it", 3),
        ("In it in it in", 3),
        ("Animals of", 3),
        ("Animals of the", 2),
        ("Uh", 9),
        ("", 9),
    ],
)
def test_partial_hypotheses_are_checked_with_care(text, since):
    assert [lexical_rules.claiming(text, look) for look in (1, 2, 3)] == [look >= since for look in (1, 2, 3)]


@pytest.mark.parametrize(
    ("text", "listening", "stopping", "unfinished"),
    [
        ("Uh-huh.", True, False, False),
        ("Mm-hmm", True, False, False),
        ("Oh, I see.", True, False, False),
        ("Right, right.", True, False, False),
        ("Right, so what is it?", False, False, False),
        ("Stop.", False, True, False),
        ("Wait, wait a moment.", False, True, False),
        ("That's enough, thank you.", False, True, False),
        ("Stop the car, which city is that?", False, False, False),
        ("What is the capital of", False, False, True),
        ("What is it made of?", False, False, False),
        ("Could you please tell me?", False, False, True),
        ("I have a question for you.", False, False, True),
        ("My name is Anna...", False, False, True),
        ("My name is Anna.", False, False, False),
        ("", False, False, False),
    ],
)
def test_what_the_words_of_a_turn_say(text, listening, stopping, unfinished):
    assert lexical_rules.listening(text) is listening
    assert lexical_rules.stopping(text) is stopping
    assert lexical_rules.unfinished(text) is unfinished


@pytest.mark.parametrize(
    ("text", "calling"),
    [
        ("Anna, have you seen my keys?", True),
        ("Hey Tom, dinner is ready.", True),
        ("Sorry Peter, just a minute.", True),
        ("No, Max, down.", True),
        ("kids, come here", True),
        ("Anna have you seen my keys?", False),  # not told apart from a question without the comma
        ("Okay, which city is it?", False),
        ("Actually, which city is it?", False),
        ("No, wait, which one?", False),
        ("Wait, stop.", False),
        ("Tell me about Paris, please.", False),
        ("", False),
    ],
)
def test_who_calls_somebody_speaks_to_them(text, calling):
    assert lexical_rules.calling(text) is calling
    assert not (calling and any(lexical_rules.claiming(text, look) for look in (1, 2, 3)))
