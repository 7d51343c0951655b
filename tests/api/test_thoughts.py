"""Thoughts of reasoning models are taken out of replies, streamed or complete."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.thoughts import CLOSING, OPENING, TAGS, ThoughtFilter, opened_thought, without_thoughts

WORDS = st.sampled_from(["Paris", " is", " 3 < 4", "\n\n", " [a]", " <b>x</b>", "</", "<thin", " é", "İ", "◁", "."])
PLAIN = st.lists(WORDS, max_size=6).map("".join)
PAIRS = st.sampled_from(list(TAGS.values()))
TAGGED = st.lists(st.one_of(WORDS, st.sampled_from([*OPENING, *CLOSING, "<THINK>", "</Think>"])), max_size=10)


def streamed(pieces):
    thoughts = ThoughtFilter()
    return "".join([*map(thoughts.push, pieces), thoughts.flush()])


def cut(text, places):
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def squeezed(text):
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("<think>Could it be London? No.</think>It is Paris.", "It is Paris."),
        ("<think>\n\n</think>\n\nIt is Paris.", "\n\nIt is Paris."),
        ("<Thinking>London</Thinking> Paris", " Paris"),
        ("Paris.<think>London</think>Rome.", "Paris. Rome."),
        ("It is Paris. <think>Or London?", "It is Paris. "),  # cut at the token limit
        ("<think>London", ""),
        ("London, I think.</think>It is Paris.", "It is Paris."),  # opened in the prompt
        ("<think>a<think>London</think>b</think>Paris", "Paris"),  # nested
        ("<think>a <think> tag: London</think>Paris", "Paris"),  # no matching end
        ("<think>a </reasoning> London</think>Paris", "Paris"),
        ("[THINK]London[/THINK]Paris", "Paris"),
        ("<scratchpad>London</scratchpad>Paris", "Paris"),
        ("<analysis>London</analysis>Paris", "Paris"),
        ("<antThinking>London</antThinking>Paris", "Paris"),
        ("<|channel|>analysis<|message|>London<|end|><|start|>assistant<|channel|>final<|message|>Paris", "Paris"),
        ("I think <b>Paris</b>, as 3 < 4", "I think <b>Paris</b>, as 3 < 4"),
        ("a <thin", "a <thin"),
        ("", ""),
    ],
)
def test_a_reply_is_what_stands_outside_of_thoughts(written, said):
    assert without_thoughts(written) == said
    assert streamed(written) == said or written.startswith("London")


@given(PLAIN, st.lists(st.tuples(PAIRS, PLAIN, PLAIN), max_size=4), st.lists(st.integers(0, 200), max_size=30))
def test_streamed_thoughts_are_removed_wherever_tags_are_cut(first, thoughts, places):
    text = first + "".join(pair[0] + thought + pair[1] + said for pair, thought, said in thoughts)
    expected = squeezed(first + "".join(said for _, _, said in thoughts))
    assert squeezed(without_thoughts(text)) == expected
    assert streamed(cut(text, places)) == streamed(text) == without_thoughts(text)


@given(TAGGED, st.lists(st.integers(0, 200), max_size=30))
def test_streamed_equals_complete_for_any_order_of_tags(parts, places):
    text = "<think>" + "".join(parts)
    assert streamed(cut(text, places)) == without_thoughts(text)


@given(st.text(max_size=40))
def test_text_without_tags_stays_as_it_is(text):
    assert without_thoughts(text) == streamed(text) == text


@given(PAIRS, PLAIN, PLAIN)
def test_all_before_a_lone_closing_tag_is_a_thought(pair, thought, said):
    assert without_thoughts(thought + pair[1] + said) == said


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("user: Who?\nassistant: <think>\n", "<think>"),
        ("user: Who?\nassistant: <think>\n\n</think>\n\n", ""),
        ("user: What is <think>?\nassistant: ", ""),
        ("", ""),
    ],
)
def test_a_prompt_may_open_a_thought(prompt, tag):
    assert opened_thought(prompt) == tag
