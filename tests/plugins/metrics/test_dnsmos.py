"""DNSMOS: what is read from the trace and, with the model, what is measured."""

import numpy as np
import pytest

from fobench.api import registry
from fobench.api.components import AudioMetric
from fobench.api.types import AudioChunk
from tests.support.traces import qa_trace

PACKAGE = {"ovrl": 1.96742, "sig": 2.55993, "bak": 2.88747, "p808": 2.54067}  # of the speechmos package
QUALITY = {"ovrl": 3.1, "sig": 3.5, "bak": 4.0, "p808": 3.6}


@pytest.fixture
def metric():
    return registry.create("metrics", "dnsmos")


def noise(seconds, rate_hz=24_000, level=0.1):
    return AudioChunk(
        (level * np.random.default_rng(0).normal(size=int(seconds * rate_hz))).astype(np.float32), rate_hz
    )


def test_it_is_read_from_the_trace(metric):
    trace = qa_trace(measured={"dnsmos": QUALITY})
    found = metric.score(trace, trace.scenario)
    assert (found.value, found.detail["p808"]) == (3.1, 3.6)


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (qa_trace(), "not measured"),
        (qa_trace(measured={"dnsmos": {}}), "less than 0.5 s of the reply was audible"),
        (qa_trace(said=None, measured={"dnsmos": {}}), "no reply"),
        (qa_trace(failure="died"), "failure: died"),
    ],
)
def test_what_was_not_measured_says_why(metric, trace, reason):
    assert metric.score(trace, trace.scenario).reason == reason


def test_the_total_is_a_mean(metric):
    """Of three values, with Student's interval: 4.303 x 0.5 / sqrt(3)."""
    values = {f"q-{i}": 3.0 + 0.5 * i for i in range(3)}
    traces = [qa_trace(name, measured={"dnsmos": {**QUALITY, "ovrl": v}}, speaker=name) for name, v in values.items()]
    found = metric.aggregate([metric.score(trace, trace.scenario) for trace in traces])[0]
    assert (found.value, found.n, found.detail["sig"]) == (3.5, 3, 3.5)
    assert found.ci == pytest.approx((3.5 - 1.2421, 3.5 + 1.2421), abs=1e-3)


def test_silence_and_short_sounds_have_no_dnsmos(metric):
    assert isinstance(metric, AudioMetric)
    assert metric.measure(noise(0.49)) == {}
    assert metric.measure(noise(0)) == {}


def test_clipped_noise_is_bad_speech(metric):
    """Samples beyond 1, at a rate that is not the model's, shorter than its window."""
    pytest.importorskip("speechmos")
    found = metric.measure(noise(0.6, level=3.0))
    assert set(found) == set(QUALITY)
    assert all(0.5 < value < 2.5 for value in found.values())


def speechlike(seconds):
    """A tone of changing pitch that comes and goes, in noise, at 16 kHz."""
    t = np.arange(int(seconds * 16_000)) / 16_000
    voiced = np.sin(2 * np.pi * (150 * t + 8 * np.sin(3 * t))) * (np.sin(2 * np.pi * 2 * t) > -0.3)
    return (0.2 * voiced + 0.01 * np.random.default_rng(1).normal(size=len(t))).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.7, 4.3, 9.2, 12.6])
def test_values_are_those_of_the_package(seconds):
    """Replies that are repeated to fill a window, of one window, and of several."""
    from fobench_plugins.metrics.dnsmos_model import DnsmosModel

    dnsmos = pytest.importorskip("speechmos.dnsmos")
    samples = speechlike(seconds)
    ours, theirs = DnsmosModel()(samples), dnsmos.run(samples, 16_000)
    assert ours == pytest.approx({part: float(theirs[f"{part}_mos"]) for part in ours}, abs=1e-4)


def test_values_of_two_windows(metric):
    """As the package gave them for this signal: what two windows share is computed once, and their ends for each."""
    pytest.importorskip("speechmos")
    assert metric.measure(AudioChunk(speechlike(11.2), 16_000)) == pytest.approx(PACKAGE, abs=1e-3)
