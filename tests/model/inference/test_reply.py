"""A reply in progress: the tokens that were heard, for a reply that is stopped."""

import pytest
import torch

from fobench.api.components import Detokenizer
from reference_model.inference.reply import TOKENS_PER_S, GeneratedReply, SpokenSegment
from reference_model.speech_output.segmenter import Segment, Segmentation, Segmenter

RATE = 1000


class Words(Detokenizer):
    """Token i is the word number i; the last is held back."""

    held = ""

    def push(self, token):
        self.held, given = f" word{token}", self.held
        return given

    def flush(self):
        return self.held


def reply(*said):
    """A reply of which `said` segments (tokens, samples made, whether whole) have been given to the speech decoder."""
    made = GeneratedReply(0, 0, torch.Generator(), Words(), Segmenter(Segmentation()), RATE)
    begin = 0
    for tokens, samples, complete in said:
        made.spoken.append(SpokenSegment(Segment("", range(begin, begin + tokens)), samples, complete))
        begin += tokens
    return made


@pytest.mark.parametrize(
    ("heard", "tokens"),
    [
        (0, 0),
        (499, 3),  # the share of the first segment: 8 * 0.499
        (999, 7),
        (1000, 8),
        (1500, 10),  # and half of the second
        (2000, 12),
        (9999, 12),
    ],
)
def test_heard_tokens_are_proportional_in_complete_segments(heard, tokens):
    made = reply((8, 1000, True), (4, 1000, True))
    made.heard = heard
    assert made.heard_tokens() == tokens


def test_heard_tokens_are_estimated_by_time_in_incomplete_segments():
    made = reply((8, 1000, True), (20, 3000, False))
    made.heard = 3000
    assert made.heard_tokens() == 8 + 2 * TOKENS_PER_S
    made.heard = 1000 + 100 * RATE
    assert made.heard_tokens() == 28


def test_a_segment_without_audio_counts_as_heard_with_the_next():
    made = reply((8, 1000, True), (3, 0, True), (4, 1000, True))
    made.heard = 1000
    assert made.heard_tokens() == 11
    made.heard = 999
    assert made.heard_tokens() == 7


def test_a_reply_is_over_once_it_is_complete_and_played():
    made = reply((8, 1000, True))
    made.heard = 1000
    assert not made.over
    made.ended = True
    assert made.over
    made.heard = 999
    assert not made.over
    assert made.ahead_s == 0.001


def test_the_tokens_of_its_segments_are_those_that_were_generated():
    made, hidden = reply(), torch.zeros(4)
    shown = [made.push(token, hidden) for token in range(6)]
    shown.append(made.finish())
    assert "".join(shown) == " word0 word1 word2 word3 word4 word5"
    assert [(s.text, s.tokens) for s in made.waiting] == [("".join(shown), range(6))]
    assert made.generated


class Pieces(Detokenizer):
    """Token i is piece number i of a text."""

    def __init__(self, pieces):
        self.pieces = pieces

    def push(self, token):
        return self.pieces[token]

    def flush(self):
        return ""


def generated(pieces, opening=""):
    """The reply of these pieces; its hidden state of token i is i."""
    made = GeneratedReply(0, 0, torch.Generator(), Pieces(pieces), Segmenter(Segmentation()), RATE, opening)
    raw = "".join([*(made.push(i, torch.tensor([float(i)])) for i in range(len(pieces))), made.finish()])
    return made, raw, "".join(segment.text for segment in made.waiting)


@pytest.mark.parametrize(
    ("pieces", "opening", "said", "numbers"),
    [
        (["<think>", "Lon", "don?", "</think>", "It is", " Paris."], "", "It is Paris.", [4, 5]),
        (["<", "think", ">", "x", "</th", "ink>", "\n", "Paris", "."], "", "\nParis.", [6, 7, 8]),
        (["London", "</think>", "Paris."], "<think>", "Paris.", [2]),
        (["3", " <", " 4", "."], "", "3 < 4.", [0, 1, 2, 3]),
        (["It is", " Paris.", "<think>", "Lon", "don"], "", "It is Paris.", [0, 1]),
        (["<think>", "a <think>", " b", "</think>", "Paris."], "", "Paris.", [4]),
    ],
)
def test_a_thought_is_not_spoken_and_its_hidden_states_are_not_given_to_the_speech_decoder(
    pieces, opening, said, numbers
):
    made, raw, text = generated(pieces, opening)
    assert raw == opening + "".join(pieces)
    assert text == said
    assert made.said == [int(hidden) for hidden in made.hidden] == numbers
    assert sum(len(segment.tokens) for segment in made.waiting) == len(numbers)


def test_the_tokens_of_a_thought_before_the_words_that_were_heard_stay_in_the_context():
    made, _, _ = generated(["<think>", "London?", "</think>", "It", " is", " Paris."])
    made.spoken.append(SpokenSegment(made.waiting[0], 300, complete=True))
    heard = []
    for made.heard in (0, 100, 200, 300):
        heard.append(made.heard_tokens())
    assert heard == [0, 4, 5, 6]


def test_text_without_a_token_of_its_own_does_not_count_as_heard():
    made, _, _ = generated(["<think>", "London?", "</think>", "It", " is"])
    rest = Segment(" Paris.", range(3))
    made.spoken.append(SpokenSegment(rest, 300, complete=True))
    made.heard = 300
    assert made.heard_tokens() == 5
