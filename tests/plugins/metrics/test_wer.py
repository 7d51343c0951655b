"""Word and character error rates of known edits."""

from dataclasses import replace

import pytest

from fobench.api.trace import Utterance
from fobench.api.types import Event, EventKind
from tests.plugins.metrics.scoring import score, total
from tests.support.traces import MS, qa_trace, without


def edits(found):
    return tuple(found.detail[key] for key in ("substitutions", "deletions", "insertions", "ref_words"))


@pytest.mark.parametrize(
    ("written", "heard", "expected"),
    [
        ("hello world", "hello duck", (1, 0, 0, 2)),  # jiwer's README: 0.5
        ("it is red", "it is red", (0, 0, 0, 3)),
        ("it is red", "it red", (0, 1, 0, 3)),
        ("it is red", "it is so red", (0, 0, 1, 3)),
        ("it is red", None, (0, 3, 0, 3)),  # nothing to hear: all of it is lost
        ("red", "it is dark green", (1, 0, 3, 1)),  # a rate over 1 is kept
        ("It's Nineteen sixty nine.", "it is 1969", (0, 0, 0, 6)),  # normalized on both sides; each digit is a word
        ("Count: one, two, three.", "Count 123", (0, 0, 0, 4)),
        ("Call 555-1234.", "call five five five one two three five", (1, 0, 0, 8)),
        ("It is minus five.", "it is 5", (0, 1, 0, 4)),
        ("It costs $5.", "[music] it costs five dollars", (0, 0, 0, 4)),  # a remark of the recognizer is not said
        ("It is (here).", "it is", (0, 1, 0, 3)),
        (
            "\u4e2d\u56fd\u7684\u9996\u90fd",
            "\u4e2d\u56fd\u7684\u9996\u90fd\u5462",
            (0, 0, 1, 5),
        ),  # characters, where no blanks part words
        ("\u092e\u0947\u0902 \u0939\u0948", "\u092e\u0947 \u0939\u0948", (1, 0, 0, 2)),
    ],
)
def test_known_edits(written, heard, expected):
    found = score("speech_text_wer", qa_trace(said=written, heard=heard))
    assert edits(found) == expected
    assert found.value == pytest.approx(sum(expected[:3]) / expected[3])


def test_characters():
    found = score("speech_text_cer", qa_trace(said="i can spell", heard="i kan cpell"))  # jiwer's README
    assert (found.value, found.detail["ref_chars"]) == (pytest.approx(2 / 11), 11)


def test_the_total_is_pooled_over_words():
    """1 error in 1 word and 0 in 9 are 10 %, not the mean of 100 % and 0 %."""
    traces = [
        qa_trace("q-1", said="red", heard="green"),
        qa_trace("q-2", said="one of those small grey birds that sing here", heard=None),
    ]
    traces[1] = qa_trace("q-2", said=traces[1].replies[0].text)
    found = total("speech_text_wer", traces)
    assert (found.value, found.n) == (pytest.approx(0.1), 2)
    assert edits(found) == (1, 0, 0, 10)


def test_an_empty_reference_is_left_out_and_counted():
    found = total("speech_text_wer", [qa_trace("q-1", said="Um."), qa_trace("q-2", said="red", heard="red")])
    assert (found.value, found.n, found.detail["n_empty_ref"]) == (0.0, 1, 1)
    assert total("speech_text_wer", [qa_trace(said="Hmm.")]).reason == "empty reference"


def test_the_interval_is_blocked_by_speaker_from_ten_speakers_on():
    def run(speakers):
        return [
            qa_trace(f"q-{i}", said="red", heard="red" if i % 3 else "green", speaker=f"s{i % speakers}")
            for i in range(20)
        ]

    few, many = total("speech_text_wer", run(9)), total("speech_text_wer", run(10))
    assert (few.detail["blocked_by"], few.detail["n_groups"]) == ("item", 9)
    assert (many.detail["blocked_by"], many.detail.get("n_groups")) == ("group", None)
    assert many.ci == total("speech_text_wer", run(10)).ci
    assert many.ci[0] <= many.value <= many.ci[1]


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (qa_trace(said=None), "no reply"),
        (qa_trace(stopped=3000), "reply was interrupted"),
        (qa_trace(said=""), "the system reports no text"),
        (without(qa_trace(), "judge"), "the judge was not run"),
        (qa_trace(failure="hung"), "failure: hung"),
    ],
)
def test_what_cannot_be_aligned_says_why(trace, reason):
    found = score("speech_text_wer", trace)
    assert (found.value, found.reason) == (None, reason)


def test_a_reply_that_was_not_played_to_its_end_is_left_out():
    trace = qa_trace()
    cut = replace(trace, replies=(replace(trace.replies[0], heard_ns=1000 * MS),))
    assert score("speech_text_wer", cut).reason == "reply was not played to its end"


def test_understanding():
    trace = qa_trace(text="Which star is nearest?", transcript="Which stars nearest")
    assert edits(score("understanding_wer", trace)) == (1, 1, 0, 4)


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (qa_trace(transcript=None), "the system reports no transcript"),
        (qa_trace(text=None), "the question has no reference text"),
    ],
)
def test_understanding_that_cannot_be_scored(trace, reason):
    assert score("understanding_wer", trace).reason == reason


IGNORED = {"transcript": None, "said": None, "decided": None}  # no transcript, no reply


def test_an_ignored_question_is_all_deletions():
    heard = [qa_trace(f"q-{i}", text="which star is nearest", transcript="which star is dearest") for i in range(3)]
    ignored = qa_trace("q-9", text="is it red", **IGNORED)
    assert edits(score("understanding_wer", ignored)) == (0, 3, 0, 3)
    found = total("understanding_wer", [*heard, ignored])
    assert edits(found) == (3, 3, 0, 15)  # 40.0 % with the ignored question, 25.0 % without it
    assert (found.value, found.n, found.detail["n_ignored"]) == (pytest.approx(6 / 15), 4, 1)
    assert total("understanding_wer_whisper", [*heard, ignored]).value == pytest.approx(6 / 15)


def test_a_question_without_a_transcript_where_an_earlier_turn_had_one_is_ignored():
    trace = qa_trace(roles=("question", "question"), text="is it red", **IGNORED)
    earlier = Event(EventKind.TRANSCRIPT, {"text": "is it red"}, compute_ns=300 * MS)
    spoken = (Utterance(0, 0, 250 * MS), Utterance(1, 500 * MS, 2000 * MS))
    assert edits(score("understanding_wer", replace(trace, user=spoken, events=(earlier,)))) == (0, 3, 0, 3)


def test_a_system_that_reports_no_transcript_at_all_has_no_wer():
    """Neither if it ignores some of the questions, nor if it ignores all."""
    answered = [qa_trace(f"q-{i}", transcript=None) for i in range(2)]
    for traces in ([*answered, qa_trace("q-9", **IGNORED)], [qa_trace("q-9", **IGNORED)]):
        found = total("understanding_wer", traces)
        assert (found.value, found.reason) == (None, "the system reports no transcript")


def test_a_question_that_was_not_asked_is_not_ignored():
    assert score("understanding_wer", replace(qa_trace(**IGNORED), user=())).value is None


def test_the_normalizer_is_recorded_with_whispers_beside_it():
    traces = [qa_trace(text="It costs ten thousand dollars", transcript="it costs $10,000")]
    found, whisper = total("understanding_wer", traces), total("understanding_wer_whisper", traces)
    assert (found.detail["normalizer"], found.version, edits(found)) == ("fobench-en-2", 2, (0, 0, 0, 8))
    assert (whisper.detail["normalizer"], whisper.version, edits(whisper)) == ("whisper-en-1", 1, (0, 0, 0, 3))
    assert total("speech_text_wer_whisper", [qa_trace(said="one, two", heard="12")]).value == 0.0


def test_after_earlier_turns_only_what_was_transcribed_since_the_question_began_counts():
    trace = qa_trace(roles=("side_talk", "question"))
    earlier = Event(EventKind.TRANSCRIPT, {"text": "I am not talking to you"}, compute_ns=300 * MS)
    spoken = (Utterance(0, 0, 250 * MS), Utterance(1, 500 * MS, 2000 * MS))
    found = score("understanding_wer", replace(trace, user=spoken, events=(earlier, *trace.events)))
    assert found.value == 0.0


def test_the_judges_own_error():
    trace = qa_trace(text="Which star is nearest?", floor="Which star is dearest")
    assert score("judge_floor_wer", trace).value == 0.25
