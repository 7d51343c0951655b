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
