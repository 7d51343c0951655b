"""Whisper in numpy: its parts are those of OpenAI's package, and (-m slow) so are its texts."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench import audio
from fobench.api import registry
from fobench.api.types import AudioChunk
from fobench.errors import PrerequisiteError
from fobench_plugins.recognizers import whisper_arrays
from fobench_plugins.recognizers.whisper_arrays import RATE_HZ, WINDOW, byte_values, cut_long, log_mel, mel_filters


@pytest.mark.parametrize("seconds", [0.4, 3.0, 30.0])
def test_the_spectrogram_is_openais(seconds):
    whisper = pytest.importorskip("whisper")
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)
    expected = whisper.log_mel_spectrogram(whisper.pad_or_trim(noise)).numpy().T
    np.testing.assert_allclose(log_mel(noise, mel_filters(80)), expected, atol=2e-3)


def test_the_activation_and_the_convolution_are_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.normal(0, 2, shape).astype(np.float32) for shape in ((20, 6), (4, 6, 3), (4,)))
    expected = torch.nn.functional.gelu(torch.tensor(x)).numpy()
    np.testing.assert_allclose(whisper_arrays._gelu(x), expected, atol=2e-6)
    for stride in (1, 2):
        expected = torch.nn.functional.conv1d(
            torch.tensor(x.T[None]), torch.tensor(weight), torch.tensor(bias), stride, 1
        )
        np.testing.assert_allclose(whisper_arrays._convolve(x, weight, bias, stride), expected[0].numpy().T, atol=1e-4)


@given(st.floats(0.0, 95.0), st.integers(0, 5))
def test_long_audio_is_cut_into_windows_without_loss(seconds, seed):
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)
    pieces = cut_long(samples)
    np.testing.assert_array_equal(np.concatenate(pieces), samples)
    assert all(len(piece) <= WINDOW for piece in pieces)
    assert all(len(piece) >= WINDOW - 10 * RATE_HZ for piece in pieces[:-1])


def test_long_audio_is_cut_in_its_pause():
    samples = np.random.default_rng(0).normal(0, 0.1, 40 * RATE_HZ).astype(np.float32)
    samples[24 * RATE_HZ : 25 * RATE_HZ] = 0
    assert 24 * RATE_HZ <= len(cut_long(samples)[0]) <= 25 * RATE_HZ


def test_every_byte_has_its_own_sign():
    signs = byte_values()
    assert sorted(signs.values()) == [*range(256)]
    assert signs["Ġ"] == ord(" ") and signs["Ċ"] == ord("\n")


@pytest.mark.parametrize(
    "options", [{"model": "base"}, {"device": "cuda"}, {"beam_size": 5}, {"word_timestamps": True}]
)
def test_what_only_the_package_can_do_is_refused(options):
    with pytest.raises(PrerequisiteError, match=f"leave out {next(iter(options))}, or get"):
        registry.create("recognizers", "whisper", {"engine": "numpy", **options})


@pytest.mark.slow
def test_the_texts_are_those_of_openais_package():
    pytest.importorskip("whisper")
    engines = [registry.create("recognizers", "whisper", {"engine": name}) for name in ("numpy", "torch")]
    questions = itertools.islice(registry.create("suites", "spoken-qa").scenarios(0), 6)
    clips = [audio.load(scenario.question.audio, RATE_HZ) for scenario in questions]
    for clip in clips:
        first, second = (engine.transcribe(clip).text for engine in engines)
        assert first == second and first
    silence = AudioChunk(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert engines[0].transcribe(silence).text == ""
    pause = np.zeros(RATE_HZ, np.float32)
    joined = np.concatenate([piece for clip in clips * 3 for piece in (clip.samples, pause)])
    assert len(joined) > 2 * WINDOW
    text = engines[0].transcribe(AudioChunk(joined, RATE_HZ)).text
    words = engines[0].transcribe(clips[0]).text.lower().split()
    assert text.lower().count(" ".join(words[:3])) == 3
