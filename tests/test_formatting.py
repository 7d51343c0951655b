"""Numbers, percentages, intervals and other values as text."""

import pytest

from fobench import formatting


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "text"),
    [
        (1284.6, 0, False, "1,285"),
        (-0.2, 0, False, "0"),
        (-0.2, 0, True, "0"),
        (-3.0, 1, True, "\u22123.0"),
        (3.0, 1, True, "+3.0"),
        (None, 1, False, "\u2013"),
        (float("nan"), 1, True, "\u2013"),
    ],
)
def test_a_number_has_separators_a_true_minus_sign_and_no_negative_zero(value, decimals, signed, text):
    assert formatting.number(value, decimals, signed=signed) == text


def test_shares_are_percentages_and_their_differences_percentage_points():
    assert (formatting.percent(0.917), formatting.percent(0.917, 0), formatting.percent(None)) == (
        "91.7 %",
        "92 %",
        "\u2013",
    )
    assert (formatting.percentage_points(0.012), formatting.percentage_points(-0.2)) == ("+1.2 pp", "\u221220.0 pp")


@pytest.mark.parametrize(
    ("ends", "settings", "text"),
    [
        ((0.85, 0.98), {"unit": "%", "scale": 100}, "85.0\u201398.0 %"),
        ((-4.1, 25.0), {"unit": "pp"}, "\u22124.1 to 25.0 pp"),
        ((1.0, 2.0), {"signed": True}, "+1.0 to +2.0"),
        (None, {}, ""),
        ((0.0, float("inf")), {}, ""),
    ],
)
def test_an_interval_with_a_sign_has_a_word_between_its_ends(ends, settings, text):
    assert formatting.interval(ends, 1, **settings) == text


def test_p_values_times_and_facts():
    assert [formatting.p_value(p) for p in (0.0004, 0.0312, 0.999)] == ["< 0.001", "0.031", "1"]
    assert (formatting.seconds(1_284_000_000), formatting.duration(840), formatting.duration(1300)) == (
        "1.28 s",
        "840 ms",
        "1.3 s",
    )
    assert formatting.any_value({"a": 1, "b": [True, 0.5], "c": None}) == "a=1, b=yes, 0.5"
