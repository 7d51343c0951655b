"""Situations for the state head: what is said when, and what is right to do at every chunk."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from fobench.errors import FobenchError
from reference_model.speech_input.log_mel import KaldiFbank
from reference_model.train.data.augmentation import Sounds
from reference_model.train.data.corpus import ClipEntry, Corpus
from reference_model.train.turn_taking import examples
from reference_model.train.turn_taking.example_sources import ExampleSources
from reference_model.train.turn_taking.examples import KINDS, ClipPools, TurnTakingExample
from reference_model.train.turn_taking.vad_turns import MARGIN_S, UNLABELLED, VadSegmenter, VadTurnDataset
from reference_model.turn_taking.energy_vad import EnergyVAD
from reference_model.turn_taking.settings import TurnTakingSettings
from reference_model.turn_taking.state_head import TurnState

RATE = 16_000
TEXTS = {
    "question": "Which river flows through this city?",
    "command": "Set a timer for five minutes please.",
    "statement": "The river is four miles from here.",
    "backchannel": "Mm-hmm.",
    "interruption": "Stop.",
}
STATES = {
    **dict.fromkeys(("question", "real", "joined", "paused", "hesitation", "interruption"), TurnState.ANSWER),
    **dict.fromkeys(("backchannel", "afar", "noise"), TurnState.IGNORE),
    "unfinished": TurnState.KEEP_LISTENING,
}


def words(text, rng):
    """A tone for every word, a short gap between two: what a loudness detector takes for speech."""
    parts = []
    for word in text.split():
        length = int(0.07 * len(word) * RATE)
        tone = np.sin(2 * np.pi * rng.uniform(150, 400) * np.arange(length) / RATE) * 0.3
        parts += [tone * np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 0.3, np.zeros(int(0.05 * RATE))]
    return np.concatenate([np.zeros(RATE // 4), *parts, np.zeros(RATE // 4)]).astype(np.float32)


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    rows = []
    for kind, text in TEXTS.items():
        for number in range(4):
            soundfile.write(folder / f"{kind}{number}.wav", words(text, rng), RATE)
            rows.append({"audio": f"{kind}{number}.wav", "text": text, "kind": kind, "id": f"{kind}{number}"})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = Corpus.open([path], RATE)
    noisy = np.random.default_rng(1).normal(0, 0.1, 2 * RATE).astype(np.float32)
    real = [replace(entry, info={"speaker": "s"}) for entry in corpus.entries if entry.id.startswith("statement")]
    for number, silence_s in enumerate((0.25, 0.4)):  # a speaker who hesitates
        halves = [words(text, rng) for text in ("The river is", "four miles from here.")]
        hesitant = np.concatenate([halves[0][: -RATE // 4], np.zeros(int(silence_s * RATE)), halves[1][RATE // 4 :]])
        soundfile.write(folder / f"hesitant{number}.wav", hesitant, RATE)
        about = {"path": folder / f"hesitant{number}.wav", "seconds": len(hesitant) / RATE, "id": f"hesitant{number}"}
        real.append(replace(real[0], **about))
    return ClipPools.of(corpus, Sounds(RATE, [noisy]), real)


@pytest.fixture(scope="module")
def drawn(pools):
    """{kind: some situations of it}"""
    found = {}
    for number in range(400):
        one = pools.draw_example(np.random.default_rng([5, number]))
        found.setdefault(one.kind, []).append(one)
    return found


def opened(situation, detectors=EnergyVAD):
    return VadSegmenter(KaldiFbank(), 16, 3, TurnTakingSettings(), detectors).segment(situation)


def spoken_after_silence(silence_s=2.0, speech_s=1.0, state=TurnState.ANSWER, after_s=1.6):
    """Speech that begins and ends at known times."""
    tone = 0.3 * np.sin(np.arange(int(speech_s * RATE)) * 0.1)
    samples = np.concatenate([np.zeros(int(silence_s * RATE)), tone, np.zeros(int(after_s * RATE))]).astype(np.float32)
    return TurnTakingExample("question", samples, state, silence_s, silence_s + speech_s)


def test_every_kind_comes_up_as_often_as_it_should(drawn):
    counts = {kind: len(drawn[kind]) / 400 for kind in KINDS}
    assert all(abs(counts[kind] - share) < 0.06 for kind, share in KINDS.items())


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_wants(drawn, kind):
    for one in drawn[kind]:
        assert one.state is STATES[kind]
        assert np.isfinite(one.samples).all()
        assert np.abs(one.samples).max() <= 1.0
        assert 0 < one.begin_s < one.end_s < len(one.samples) / RATE - 0.5


def test_only_a_whole_clip_that_wants_an_answer_has_a_text(drawn):
    texts = {kind: {one.text for one in found} for kind, found in drawn.items()}
    assert texts["unfinished"] == texts["afar"] == texts["noise"] == texts["backchannel"] == texts["joined"] == {""}
    assert texts["interruption"] == {"Stop."}
    assert "" not in texts["question"] | texts["paused"] | texts["real"]


def test_unfinished_sentences_end_before_their_last_word(pools, drawn):
    longest = max(entry.seconds for entry in pools.corpus.entries)
    assert all(one.end_s - one.begin_s < 0.8 * longest for one in drawn["unfinished"])
    assert all(not one.pauses for one in drawn["unfinished"])


@pytest.mark.parametrize(
    ("kind", "span"),
    [("paused", examples.PAUSE_S), ("hesitation", examples.PAUSE_S), ("joined", examples.BREATH_S)],
)
def test_pauses_lie_within_the_turn_and_are_quiet(drawn, kind, span):
    for one in drawn[kind]:
        ((begin, end),) = one.pauses
        assert one.begin_s < begin < end < one.end_s
        assert span[0] - 0.01 <= end - begin <= span[1] + 2 * examples.EDGE_S + 0.2
        inside = one.samples[int((begin + 0.05) * RATE) : int((end - 0.05) * RATE)]
        assert inside.std() < one.samples[int(one.begin_s * RATE) : int(begin * RATE)].std()


def test_murmurs_and_interruptions_are_the_clips_of_that_kind(pools):
    of = {kind: {pools.corpus.entries[i].info.get("kind") for i in pools.clips[kind]} for kind in pools.clips}
    assert of["backchannel"] == {"backchannel"}
    assert of["interruption"] == {"interruption"}
    assert of["joined"] == {"question", "command"}
    assert of["real"] == {None}


def test_a_place_between_words_lies_between_words():
    rng = np.random.default_rng(0)
    text = "one two three four five"
    samples = words(text, rng)
    begin, end = examples.speech_bounds(samples, RATE)
    for _ in range(20):
        cut = examples.find_word_gap(samples[:end], begin, text, RATE, rng)
        assert np.abs(samples[cut - 160 : cut + 160]).max() < 0.02


@pytest.mark.parametrize("silence_s", [0.1, 0.25, 0.8])
def test_a_silence_inside_speech_is_found_where_it_is_long_enough(silence_s):
    tone = 0.3 * np.sin(np.arange(RATE) * 0.1)
    edge, pause = np.zeros(RATE // 2), np.zeros(int(silence_s * RATE))
    samples = np.concatenate([edge, tone, pause, tone, edge]).astype(np.float32)
    begin, end = examples.speech_bounds(samples, RATE)
    found = examples.find_silence(samples[:end], begin, RATE)
    if silence_s < examples.HESITATION_S:
        assert found is None
    else:
        assert found == pytest.approx((1.5 * RATE, (1.5 + silence_s) * RATE), abs=RATE // 25)


def test_hesitations_are_those_of_the_recordings(pools, drawn):
    assert {pools.corpus.entries[i].info.get("speaker") for i in pools.clips["hesitation"]} == {"s"}
    assert drawn["hesitation"]
    ended = Corpus([replace(pools.corpus.entries[0], text="Yes. It is.")], RATE)
    assert not ClipPools.of(Corpus([], RATE), pools.sounds, ended.entries).clips["hesitation"]


@pytest.mark.parametrize("named", [False, True])
def test_recordings_are_held_out_as_their_manifest_says_and_else_by_speaker(named, tmp_path):
    lines = []
    for number in range(12):
        soundfile.write(tmp_path / f"{number}.wav", words(TEXTS["statement"], np.random.default_rng(number)), RATE)
        split = {"split": "valid" if number < 2 else "train"} if named else {}
        lines.append({"audio": f"{number}.wav", "text": TEXTS["statement"], "speaker": f"s{number}", **split})
    (tmp_path / "real.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sources = ExampleSources([], [tmp_path / "real.jsonl"], [], [], None)
    kept, held = ({e.info["speaker"] for e in sources.recordings(held).entries} for held in (False, True))
    assert kept | held == {f"s{number}" for number in range(12)} and not kept & held
    assert held == {"s0", "s1"} if named else held


def test_speech_is_found_in_a_noisy_recording():
    samples = np.random.default_rng(0).normal(0, 0.01, 3 * RATE).astype(np.float32)
    samples[RATE : 2 * RATE] += 0.3 * np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    begin, end = examples.speech_bounds(samples, RATE)
    assert abs(begin - RATE) < 800
    assert abs(end - 2 * RATE) < 800


def test_a_recordings_own_noise_goes_on_behind_it():
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.01, RATE).astype(np.float32)
    samples[4000:12000] += 0.3
    assert examples.background_noise(samples, 5000, rng).std() == pytest.approx(0.01, rel=0.1)
    assert not examples.background_noise(np.zeros(RATE, np.float32), 5000, rng).any()


def test_the_turn_opens_with_what_came_before_its_onset():
    turn = opened(spoken_after_silence(2.0))  # the third loud window is complete at 2.08 s: 13 chunks have passed
    assert turn.pre_roll_chunks == 6
    assert len(turn.features) == len(turn.since) * 16
    assert turn.since[0] == pytest.approx(8 * 0.16 - 3.0)
    assert turn.before.shape == (3, 80)


def test_near_the_beginning_there_is_less_before():
    turn = opened(spoken_after_silence(0.4))
    assert turn.pre_roll_chunks == 3
    assert turn.before is None


def test_without_a_detector_it_listens_from_the_start():
    turn = opened(spoken_after_silence(1.0), detectors=None)
    assert (turn.pre_roll_chunks, turn.before) == (0, None)
    assert turn.since[0] == pytest.approx(0.16 - 2.0)


def test_where_the_detector_hears_nothing_the_turn_opens_with_the_sound():
    quiet = spoken_after_silence(1.6)
    quiet = replace(quiet, samples=quiet.samples * np.float32(0.001))
    turn = opened(quiet)
    assert turn.pre_roll_chunks == 6
    assert turn.since[turn.pre_roll_chunks] == pytest.approx(11 * 0.16 - 2.6)


@pytest.mark.parametrize("state", TurnState)
def test_it_is_to_be_listened_to_until_the_end_and_then_decided(state):
    turn = opened(spoken_after_silence(2.0, state=state))
    for number, (label, time) in enumerate(zip(turn.labels.tolist(), turn.since.tolist(), strict=True)):
        if number < turn.pre_roll_chunks:
            assert label == UNLABELLED
        elif time <= 0 or state is TurnState.KEEP_LISTENING:
            assert label == TurnState.KEEP_LISTENING
        elif time < MARGIN_S:
            assert label == UNLABELLED
        else:
            assert label == state


def test_in_a_pause_it_is_to_be_listened_on(drawn):
    for one in drawn["paused"]:
        turn = opened(one)
        in_pause = (turn.since + one.end_s > one.pauses[0][0]) & (turn.since + one.end_s < one.pauses[0][1])
        assert set(turn.labels[in_pause].tolist()) <= {int(TurnState.KEEP_LISTENING), UNLABELLED}


def test_a_number_is_always_the_same_situation(pools):
    turns = VadTurnDataset(pools, VadSegmenter(KaldiFbank(), 16, 3, TurnTakingSettings(), EnergyVAD), 7, histories=3)
    first, again = turns[3], turns[3]
    assert first.kind == again.kind
    torch.testing.assert_close(first.features, again.features)
    pasts = [turns[n].history for n in range(40)]
    assert 10 < pasts.count(0) < 30
    assert set(pasts) == {0, 1, 2, 3}


def test_speakers_noises_and_rooms_of_validation_are_not_trained_on():
    entries = [ClipEntry(f"{n}", "Yes.", 1.0, None, info={"speaker": f"s{n % 30}"}) for n in range(90)]
    held, kept = (examples.split_speakers(entries, held_out) for held_out in (True, False))
    assert len(held) + len(kept) == 90
    assert held
    assert not {e.info["speaker"] for e in held} & {e.info["speaker"] for e in kept}
    sounds = Sounds(RATE, list(range(10)), list(range(5)))
    assert examples.split_sounds(sounds, True).noises == [0, 5]
    assert examples.split_sounds(sounds, False).rooms == [1, 2, 3, 4]


def test_a_clip_that_cannot_be_read_is_passed_over_and_listed(pools, tmp_path):
    broken = ClipEntry("broken", "Who is this man?", 1.0, tmp_path / "missing.wav", info={"kind": "question"})
    corpus = Corpus([broken, *pools.corpus.entries], RATE)
    some = ClipPools.of(corpus, pools.sounds)
    for number in range(150):
        some.draw_example(np.random.default_rng(number))
    assert some.corpus.faults.entries
    assert some.corpus.faults.entries[0][0] == "missing.wav/broken"


def test_only_what_is_known_is_asked(pools):
    known = pools.answerable(lambda text: text == TEXTS["question"])
    found = [known.draw_example(np.random.default_rng(seed)) for seed in range(20)]
    assert {one.kind for one in found} <= {"question", "paused"}
    assert {one.text for one in found} == {TEXTS["question"]}
    with pytest.raises(FobenchError, match="No clip is a question"):
        pools.answerable(lambda text: False)
