import inspect
import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fobench.errors import FobenchError
from fobench_plugins.suites.scenario_spec import SPEAKERS
from fobench_plugins.voices import FACTORIES
from reference_model.train.synthesis import render_plan, speakers
from reference_model.train.texts import sentence_set, templates
from reference_model.train.texts.question_sets import FoundSentence


@pytest.fixture(scope="module")
def sentences() -> list[sentence_set.Sentence]:
    return sentence_set.distinct(templates.fill_templates(3000, ["Ann Lee", "Lake Bled"], 0))


def test_a_plan_is_the_same_at_every_call(sentences: list[sentence_set.Sentence]) -> None:
    assert render_plan.make("input", sentences, items=700) == render_plan.make("input", sentences, items=700)
    assert render_plan.make("input", sentences, items=700) != render_plan.make("input", sentences, items=700, seed=1)


def test_a_longer_plan_speaks_the_same_items_in_the_same_manner(sentences: list[sentence_set.Sentence]) -> None:
    short, long = ({i.id: i.manner for i in render_plan.make("input", sentences, items=n)} for n in (300, 900))
    assert short.items() <= long.items()


def test_a_shard_is_of_one_split_and_limited(sentences: list[sentence_set.Sentence]) -> None:
    items = render_plan.make("input", sentences, items=2000)
    assert len({item.id for item in items}) == 2000
    for members in render_plan.by_shard(items).values():
        assert len(members) <= render_plan.SHARD and len({item.split for item in members}) == 1


def test_held_out_speakers_are_never_trained_on(sentences: list[sentence_set.Sentence]) -> None:
    items = render_plan.make("input", sentences)
    trained = " ".join(item.manner.speaker for item in items if item.split == "train")
    assert speakers.KOKORO_HELD_OUT not in trained and speakers.ESPEAK_HELD_OUT not in trained
    assert {item.split for item in items if item.manner.held_out} == {"valid"}
    assert render_plan.metadata("input", items, 0)["speakers_held_out"][0].endswith(
        (speakers.KOKORO_HELD_OUT, "scotland")
    )


EVALUATION = (
    "af_aoede",
    "af_kore",
    "af_sarah",
    "am_echo",
    "am_liam",
    "am_puck",
    "bf_emma",
    "bf_lily",
    "bm_fable",
    "bm_lewis",
)


@pytest.mark.parametrize("name", render_plan.RECIPES)
def test_no_voice_that_asks_in_the_benchmark_is_rendered(name: str, written: list[sentence_set.Sentence]) -> None:
    said = [item.manner for item in render_plan.make(name, written)]
    heard = {one.partition(":")[0] for m in said if m.voice == "kokoro" for one in re.split(r"[+/]", m.speaker)}
    assert not heard & {*EVALUATION}
    if name in ("input", "natural"):  # the sets that Kokoro speaks
        assert heard == {*speakers.KOKORO, speakers.KOKORO_HELD_OUT}


def test_training_has_the_other_18_english_voices() -> None:
    assert speakers.EVALUATION == {*EVALUATION} == {*SPEAKERS}
    assert len({*speakers.KOKORO}) == 18 and not {*speakers.KOKORO} & speakers.EVALUATION
    assert {name[:2] for name in speakers.KOKORO} == {"af", "am", "bf", "bm"}


@pytest.mark.parametrize("speaker", ["bm_lewis", "af_heart:0.4+am_echo:0.6", "af_heart/bf_emma"])
def test_a_style_that_names_an_evaluation_voice_is_refused(speaker: str) -> None:
    with pytest.raises(FobenchError, match=r"asks in the benchmark's suites.*af_heart"):
        speakers.SpeakingStyle("kokoro", speaker)


def test_backchannels_are_said_by_several_speakers(sentences: list[sentence_set.Sentence]) -> None:
    said = [item.manner for item in render_plan.make("input", sentences) if item.text == "Got it."]
    assert len(said) == render_plan.RECIPES["input"].takes and len({(m.voice, m.speaker, m.pitch) for m in said}) > 4


def test_the_output_set_is_one_voice_without_short_phrases(sentences: list[sentence_set.Sentence]) -> None:
    items = render_plan.make("output", sentences)
    assert {item.manner for item in items} == {speakers.OUTPUT} and {item.rate_hz for item in items} == {22050}
    assert not {item.kind for item in items} & set(sentence_set.SHORT)


def test_tempo_stays_natural(sentences: list[sentence_set.Sentence]) -> None:
    tempos = [item.manner.speed * item.manner.pitch for item in render_plan.make("input", sentences)]
    assert min(tempos) >= 0.8 and max(tempos) <= 1.3


@pytest.fixture(scope="module")
def written(sentences: list[sentence_set.Sentence]) -> list[sentence_set.Sentence]:
    """The sentences, every second one as if from a question set, and as many that an LLM wrote."""
    asked = [replace(text, source="nq_open") if n % 2 else text for n, text in enumerate(sentences)]
    found = (FoundSentence(text.text.replace(" ", " now ", 1), "talk", sentence_set.WRITTEN) for text in sentences)
    return [*asked, *sentence_set.distinct(found)]


def test_the_set_more_takes_no_text_of_the_set_input(written: list[sentence_set.Sentence]) -> None:
    used, more = ({item.text for item in render_plan.make(name, written)} for name in ("input", "more"))
    assert more == {text.text for text in written if text.source == sentence_set.WRITTEN} and not used & more
    few = [text for text in written if text.source != sentence_set.WRITTEN]
    assert {item.text for item in render_plan.make("input", few)} == used


def test_the_set_more_takes_what_is_left_of_the_question_sets(
    written: list[sentence_set.Sentence], monkeypatch: Any
) -> None:
    monkeypatch.setitem(render_plan.RECIPES, "input", replace(render_plan.RECIPES["input"], items=500))
    items = render_plan.make("more", written)
    assert {item.source for item in items} == {"nq_open", sentence_set.WRITTEN}
    assert not {item.kind for item in items} & set(sentence_set.SHORT)


def test_the_set_more_is_of_fast_voices_and_holds_out_espeaks(
    written: list[sentence_set.Sentence], monkeypatch: Any
) -> None:
    monkeypatch.setattr(speakers, "which", lambda program: program)
    items = render_plan.make("more", written)
    spoken = Counter(item.manner.voice for item in items if item.split == "train")
    assert all(
        spoken[name] / spoken.total() == pytest.approx(share, abs=0.05) for name, share in speakers.FAST_SHARES.items()
    )
    assert {i.manner.speaker for i in items if i.manner.voice == "flite"} == set(speakers.FLITE)
    assert {i.manner.speaker for i in items if i.manner.held_out} == {speakers.ESPEAK_HELD_OUT}
    assert {i.split for i in items if i.manner.held_out} == {"valid"}
    monkeypatch.setattr(speakers, "which", lambda program: None)
    assert {item.manner.voice for item in render_plan.make("more", written)} == {"piper"}


def test_every_manner_makes_a_voice(monkeypatch: Any) -> None:
    rng = random.Random(0)
    monkeypatch.setattr(speakers, "which", lambda program: program)
    for voice in (*speakers.SHARES, "flite"):
        manner = speakers.draw(rng, {voice: 1.0})
        assert manner.voice == voice and speakers.PITCHES[voice][0] <= manner.pitch <= speakers.PITCHES[voice][1]
        assert set(manner.options(1)) <= set(inspect.signature(FACTORIES[voice]).parameters)
    assert speakers.SpeakingStyle("flite", "slt", speed=1.25).options(1) == {"duration_stretch": 0.8}


def test_a_plan_is_read_as_it_was_written(sentences: list[sentence_set.Sentence], tmp_path: Path) -> None:
    items = render_plan.make("input", sentences, items=50)
    assert render_plan.read(tmp_path) is None
    render_plan.write(tmp_path, items, render_plan.metadata("input", items, 0))
    found, about = render_plan.read(tmp_path) or ([], {})
    assert found == items and about["items"] == 50


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((render_plan.PLAN, content) for content in ("", "{", "[]\n", '{"id": "a"}\n', "\xff")),
        *((render_plan.METADATA, content) for content in ("", "{}", "[]", '{"set": "input", "seed": 0, "items": 51}')),
        (render_plan.PLAN, None),  # cut after its 49th line
    ],
)
def test_a_damaged_plan_is_told_with_the_way_out(
    sentences: list[sentence_set.Sentence], tmp_path: Path, name: str, content: str | None
) -> None:
    items = render_plan.make("input", sentences, items=50)
    render_plan.write(tmp_path, items, render_plan.metadata("input", items, 0))
    lines = (tmp_path / name).read_text().splitlines(keepends=True)
    (tmp_path / name).write_text("".join(lines[:-1]) if content is None else content, encoding="latin-1")
    with pytest.raises(FobenchError, match=r"damaged .*Remove plan\.jsonl and plan\.json"):
        render_plan.read(tmp_path)


def test_an_unknown_set_is_refused(sentences: list[sentence_set.Sentence]) -> None:
    with pytest.raises(FobenchError, match="inptu"):
        render_plan.make("inptu", sentences)


def test_the_natural_set_mixes_voices_freely_and_never_the_one_kept_aside(sentences):
    items = render_plan.make("natural", sentences)
    trained = [item.manner.speaker for item in items if item.split == "train"]
    assert {item.manner.voice for item in items} == {"kokoro"}
    assert not [speaker for speaker in trained if speakers.KOKORO_HELD_OUT in speaker]
    assert 0.4 < sum("/" in speaker for speaker in trained) / len(trained) < 0.6
    assert {speaker.partition("/")[0].count("+") for speaker in trained} == {0, 1, 2}
    assert speakers.KOKORO_HELD_OUT in {item.manner.speaker for item in items if item.split == "valid"}


@pytest.mark.parametrize("key", ["id", "shard"])
@pytest.mark.parametrize("value", ["../x", "/etc/x", "a/b", "..", ".", "", "a\0b", 7, None])
def test_a_plan_whose_clips_would_lie_elsewhere_is_damaged(
    sentences: list[sentence_set.Sentence], tmp_path: Path, key: str, value: object
) -> None:
    items = render_plan.make("input", sentences, items=2)
    render_plan.write(tmp_path, items, render_plan.metadata("input", items, 0))
    first, second = (json.loads(line) for line in (tmp_path / render_plan.PLAN).read_text().splitlines())
    (tmp_path / render_plan.PLAN).write_text(f"{json.dumps(first)}\n{json.dumps({**second, key: value})}\n")
    with pytest.raises(FobenchError, match=r"damaged .*is not the name of a file"):
        render_plan.read(tmp_path)
