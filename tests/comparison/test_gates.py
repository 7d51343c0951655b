"""Gates: what can be written, what it means, and what is told of what cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.comparison.gates import Gate
from fobench.errors import FobenchError

FIGURES = {
    "accuracy_s2t": ("share", "higher"),
    "parity_s2t": ("ratio", "higher"),
    "understanding_wer": ("ratio", "lower"),
    "response_ms.p50": ("ms", "lower"),
    "response_ms.p90": ("ms", "lower"),
    "loss_speaking": ("points", "lower"),
    "dnsmos": ("mos", "higher"),
    "takeover_rate": ("share", "none"),
}


@pytest.mark.parametrize(
    ("text", "figure", "limit", "unit", "sign"),
    [
        ("response_ms.p90:10%", "response_ms.p90", 10, "%", 1),
        ("response_ms: +150 ms", "response_ms.p50", 150, "ms", 1),
        ("parity:-2pp", "parity_s2t", 2, "pp", -1),
        ("accuracy:2pp", "accuracy_s2t", 2, "pp", -1),
        ("understanding_wer:+0.5pp", "understanding_wer", 0.5, "pp", 1),
        ("loss_speaking:3pp", "loss_speaking", 3, "pp", 1),
        ("dnsmos:0.2mos", "dnsmos", 0.2, "mos", -1),
        ("takeover_rate:-5pp", "takeover_rate", 5, "pp", -1),
    ],
)
def test_what_a_gate_means(text, figure, limit, unit, sign):
    gate = Gate.parse(text).resolve(FIGURES)
    assert (gate.figure, gate.limit, gate.unit, gate.sign) == (figure, limit, unit, sign)


def test_parity_is_that_of_speech_where_a_run_has_it():
    figures = {**FIGURES, "parity_s2s": ("ratio", "higher")}
    assert Gate.parse("parity:2pp").resolve(figures).figure == "parity_s2s"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("response_ms.p95:10%", r"Unknown metric.*'response_ms.p95'. Did you mean.*'response_ms.p90'"),
        ("respnse_ms:10%", "Did you mean"),
        ("nonsense:10%", "Choices: accuracy, accuracy_s2t, dnsmos, .*, understanding_wer"),
        ("response_ms.p90:10pp", "Unknown unit of response_ms.p90.*'pp'.*Choices: %, ms"),
        ("understanding_wer:10ms", "Choices: %, pp"),
        ("understanding_wer:10", "Unknown unit of understanding_wer.*''.*Choices: %, pp"),
        ("parity:+2pp", "becomes worse if it falls; write -2pp"),
        ("understanding_wer:-1pp", "becomes worse if it rises; write +1pp".replace("+", r"\+")),
        ("takeover_rate:5pp", "has no better direction"),
    ],
)
def test_what_no_run_can_be_held_to_is_refused_with_the_choices(text, told):
    with pytest.raises(FobenchError, match=told):
        Gate.parse(text).resolve(FIGURES)


@pytest.mark.parametrize("text", ["", "parity", "parity:", "parity:pp", ":2pp", "parity:2pp extra", "parity:1.2.3pp"])
def test_what_is_no_gate_is_refused_with_an_example(text):
    with pytest.raises(FobenchError, match=r"response_ms\.p90:10%"):
        Gate.parse(text)


def test_no_number_of_items_rules_out_any_loss():
    with pytest.raises(FobenchError, match="the least loss that matters"):
        Gate.parse("parity:0pp")


@given(st.text())
def test_any_text_is_a_gate_or_an_error_for_the_user(text):
    try:
        assert Gate.parse(text).limit > 0
    except FobenchError as error:
        assert repr(text) in str(error)


@given(st.sampled_from(sorted(FIGURES)), st.floats(1e-3, 1e6), st.sampled_from(["%", "pp", "ms", "mos"]))
def test_what_is_written_is_read(figure, limit, unit):
    gate = Gate.parse(f"{figure}:{limit}{unit}")
    assert (gate.figure, gate.limit, gate.unit) == (figure, pytest.approx(limit), unit)
