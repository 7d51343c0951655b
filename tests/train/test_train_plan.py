from pathlib import Path

import pytest

from fobench.errors import FobenchError
from reference_model.train import made_texts, plan, speakers, texts


@pytest.fixture(scope="module")
def sentences() -> list[texts.Text]:
    return texts.distinct(made_texts.make(3000, ["Ann Lee", "Lake Bled"], 0))


def test_a_plan_is_the_same_at_every_call(sentences: list[texts.Text]) -> None:
    assert plan.make("input", sentences, items=700) == plan.make("input", sentences, items=700)
    assert plan.make("input", sentences, items=700) != plan.make("input", sentences, items=700, seed=1)


def test_a_longer_plan_speaks_the_same_items_in_the_same_manner(sentences: list[texts.Text]) -> None:
    short, long = ({i.id: i.manner for i in plan.make("input", sentences, items=n)} for n in (300, 900))
    assert short.items() <= long.items()


def test_a_shard_is_of_one_split_and_limited(sentences: list[texts.Text]) -> None:
    items = plan.make("input", sentences, items=2000)
    assert len({item.id for item in items}) == 2000
    for members in plan.by_shard(items).values():
        assert len(members) <= plan.SHARD and len({item.split for item in members}) == 1


def test_held_out_speakers_are_never_trained_on(sentences: list[texts.Text]) -> None:
    items = plan.make("input", sentences)
    trained = " ".join(item.manner.speaker for item in items if item.split == "train")
    assert speakers.KOKORO_HELD_OUT not in trained and speakers.ESPEAK_HELD_OUT not in trained
    assert {item.split for item in items if item.manner.held_out} == {"valid"}
    assert plan.about("input", items, 0)["speakers_held_out"][0].endswith((speakers.KOKORO_HELD_OUT, "scotland"))


def test_backchannels_are_said_by_several_speakers(sentences: list[texts.Text]) -> None:
    said = [item.manner for item in plan.make("input", sentences) if item.text == "Got it."]
    assert len(said) == plan.RECIPES["input"].takes and len({(m.voice, m.speaker, m.pitch) for m in said}) > 4


def test_the_output_set_is_one_voice_without_short_phrases(sentences: list[texts.Text]) -> None:
    items = plan.make("output", sentences)
    assert {item.manner for item in items} == {speakers.OUTPUT} and {item.rate_hz for item in items} == {22050}
    assert not {item.kind for item in items} & set(texts.SHORT)


def test_tempo_stays_natural(sentences: list[texts.Text]) -> None:
    tempos = [item.manner.speed * item.manner.pitch for item in plan.make("input", sentences)]
    assert min(tempos) >= 0.8 and max(tempos) <= 1.3


def test_a_plan_is_read_as_it_was_written(sentences: list[texts.Text], tmp_path: Path) -> None:
    items = plan.make("input", sentences, items=50)
    assert plan.read(tmp_path) is None
    plan.write(tmp_path, items, plan.about("input", items, 0))
    found, about = plan.read(tmp_path) or ([], {})
    assert found == items and about["items"] == 50
    (tmp_path / plan.PLAN).write_text("{")
    with pytest.raises(FobenchError, match="damaged"):
        plan.read(tmp_path)


def test_an_unknown_set_is_refused(sentences: list[texts.Text]) -> None:
    with pytest.raises(FobenchError, match="inptu"):
        plan.make("inptu", sentences)
