import pytest

from reference_model.train.texts import sentence_casing


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("It was 1988.", "It was nineteen eighty-eight."),
        ("In 2005 and 1900 and 1907 and 2000.", "In two thousand five and nineteen hundred and nineteen oh seven and two thousand."),
        ("the 1980s", "the nineteen eighties"),
        ("1,250 eggs", "one thousand two hundred fifty eggs"),
        ("It costs $5.25, or £1, or $0.50.", "It costs five dollars and twenty-five cents, or one pound, or fifty cents."),
        ("the 12th and the 23rd", "the twelfth and the twenty-third"),
        ("on July 4, 1776", "on July fourth, seventeen seventy-six"),
        ("at 7:30 or 9:00 or 8:05", "at seven thirty or nine o'clock or eight oh five"),
        ("about 3.5% & more", "about three point five percent and more"),
        (".5 meters", "zero point five meters"),
        ("007", "zero zero seven"),
        ("12345678901234", "one two three four five six seven eight nine zero one two three four"),
        ("Eugène’s café", "Eugene's cafe"),
    ],
)  # fmt: skip
def test_everything_is_spelt_as_it_is_spoken(text: str, spoken: str) -> None:
    assert sentence_casing.verbalize(text) == spoken


def test_every_ordinal_up_to_a_hundred_ends_like_one() -> None:
    assert all(sentence_casing.ordinal(n).endswith(("st", "nd", "rd", "th")) for n in range(1, 101))
    assert [sentence_casing.ordinal(n) for n in (1, 20, 45, 100)] == [
        "first",
        "twentieth",
        "forty-fifth",
        "one hundredth",
    ]


def test_what_voices_read_in_their_own_way_is_not_speakable() -> None:
    assert sentence_casing.is_speakable("Well, is it so? Yes: it's half-done; fine!")
    assert not any(
        map(sentence_casing.is_speakable, ["", "a*b", "three x four", "see [1]", "u. s. d.", "TOTALWEIGHT is it"])
    )


def test_capitals_come_from_names_seen_in_mid_sentence() -> None:
    names = sentence_casing.capitals(
        ["Yes, Anna went to Rome. Rome is old.", "What is NASA? We like rome, Rome and Rome."]
    )
    assert names["rome"] == "Rome" and names["nasa"] == "NASA" and "yes" not in names and "old" not in names
    assert sentence_casing.sentence("who is anna's friend in rome", names, "?") == "Who is Anna's friend in Rome?"


def test_a_name_of_several_words_goes_before_its_parts() -> None:
    names = {"new york": "New York", "york": "York", "i": "I"}
    assert sentence_casing.sentence("i left new york, then york", names) == "I left New York, then York."
    assert sentence_casing.sentence("Left new york", names) == "Left new york."


def test_a_sentence_ends_once() -> None:
    assert sentence_casing.sentence("so it is..", {}) == "So it is."
    assert sentence_casing.sentence("stop , ", {}) == "Stop."
