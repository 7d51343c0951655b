"""The front ends: the published numbers, Whisper's own numbers, and streams that equal whole recordings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_model.speech_input.log_mel import KaldiFbank, WhisperMel, _kaldi_tables, windows
from tests.support.golden_data import golden

FRONTS = [KaldiFbank(), WhisperMel()]


def noise(samples: int, batch: int = 1) -> torch.Tensor:
    """Noise that grows louder, so that a running peak has something to do."""
    generator = torch.Generator().manual_seed(samples)
    return torch.randn(batch, samples, generator=generator) * torch.logspace(-4, -1, samples)


def recording() -> torch.Tensor:
    """The waveform of the published numbers, filled up to 28 chunks of 2560 samples."""
    samples = golden("fbank")["in/wav_i16"].float() / 32768.0
    return torch.nn.functional.pad(samples, (0, 28 * 2560 - len(samples)))[None]


def test_fbank_is_the_published_one():
    expected = golden("fbank")["out/frames_logmel"]
    assert (KaldiFbank().offline(recording())[0] - expected).abs().max() < 1e-3


def test_a_chunk_of_2560_samples_gives_16_frames():
    state, expected = None, golden("fbank")["out/chunks_logmel"]
    for chunk, want in zip(recording()[0].split(2560), expected, strict=True):
        features, state = KaldiFbank().step(chunk[None], state)
        assert features.shape == (1, 16, 80)
        assert (features[0] - want[3:]).abs().max() < 1e-3


def test_window_and_filters_are_the_published_ones():
    window, filters = _kaldi_tables(80, torch.device("cpu"))
    torch.testing.assert_close(window, golden("fbank")["out/povey_window"], atol=1e-6, rtol=0)
    torch.testing.assert_close(filters[:256].T, golden("fbank")["out/mel_filterbank"], atol=2e-5, rtol=0)
    assert not filters[256].any()


def test_the_carried_samples_and_the_normalized_frames_are_the_published_ones():
    numbers, state, carried = golden("fbank"), None, torch.zeros(1, 240)
    mean, istd = _statistics(numbers)
    torch.testing.assert_close(mean, numbers["out/cmvn_mean"])
    torch.testing.assert_close(istd, numbers["out/cmvn_istd"])
    for i, chunk in enumerate(recording()[0].split(2560)):
        if i < 3:
            window = torch.cat([carried[0], chunk]) * 32768
            assert torch.equal(window.round(), numbers["out/input_sample_first3"][i])
        features, state = KaldiFbank().step(chunk[None], state)
        carried = state.samples
        normalised = (features[0] - mean) * istd
        torch.testing.assert_close(normalised, numbers["out/chunks_cmvn"][i][3:], atol=5e-4, rtol=0)


def _statistics(numbers):
    """Mean and inverse deviation [80] from the published sums."""
    count = numbers["in/cmvn_frame_num_i64"].double()
    mean = numbers["in/cmvn_mean_stat_f64"] / count
    variance = (numbers["in/cmvn_var_stat_f64"] / count - mean.square()).clamp(min=1e-20)
    return mean.float(), variance.rsqrt().float()


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: type(front).__name__)
@given(cuts=st.lists(st.integers(0, 900), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_streamed_in_uneven_pushes_equals_offline(front, cuts):
    samples = noise(sum(cuts), batch=2)
    state, parts = None, []
    for push in samples.split(cuts, 1):
        features, state = front.step(push, state)
        parts.append(features)
    streamed, offline = torch.cat(parts, 1), front.offline(samples)
    assert streamed.shape == offline.shape == (2, sum(cuts) // front.hop, 80)
    torch.testing.assert_close(streamed, offline, atol=1e-4, rtol=0)


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: type(front).__name__)
def test_silence_has_the_value_that_the_front_end_names(front):
    features = front.offline(torch.zeros(1, 1600))
    torch.testing.assert_close(features, torch.full((1, 10, 80), front.silence))


def test_a_frame_needs_its_own_ten_milliseconds_and_no_more():
    samples = noise(1600)
    later = samples.clone()
    later[:, 640:] = 0.5
    for front in FRONTS:
        ours, theirs = front.offline(samples), front.offline(later)
        assert torch.equal(ours[:, :4], theirs[:, :4])
        assert not torch.equal(ours[:, 4], theirs[:, 4])


def test_a_step_keeps_fewer_than_400_samples():
    _, rest = windows(noise(16_123), None)
    assert rest.shape == (1, 240 + 16_123 % 160)


def test_whisper_mel_under_its_clip_peak_is_whispers_own():
    whisper = pytest.importorskip("whisper")
    samples = noise(16_000)
    expected = whisper.log_mel_spectrogram(samples[0]).T  # [100, 80]; frame t is centred on sample 160 t
    shifted = torch.nn.functional.pad(samples, (120, 160))  # our frame t + 1 of it is centred there too
    peak = expected.max().item() * 4 - 4
    features = WhisperMel(peak=peak).offline(shifted)[0]
    torch.testing.assert_close(features[3:99], expected[2:98], atol=1e-4, rtol=0)


def test_the_peak_of_whisper_mel_only_grows():
    loud, quiet = torch.randn(1, 1600), torch.randn(1, 1600) * 1e-6
    _, state = WhisperMel().step(loud, None)
    features, after = WhisperMel().step(quiet, state)
    assert state.peak > WhisperMel().peak
    assert torch.equal(after.peak, state.peak)
    torch.testing.assert_close(features[:, 3:].min(), (state.peak[0] - 8 + 4) / 4)
