"""The codecs of transformers and codec2: tiny random models saved to disk and loaded as a user's would be."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fobench.api import registry
from fobench.api.types import AudioChunk
from fobench.conformance import codecs as codecs_module
from fobench.conformance.speech import synthetic
from fobench.errors import FobenchError, PrerequisiteError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fobench_plugins.codecs.codec2 import MODES
from fobench_plugins.codecs.transformers_codecs import _random_model
from fobench_plugins.codecs.windowed_streaming import WindowedCodec
from tests.plugins.codecs.saved_codecs import SHAPES, save

CLIP = AudioChunk(synthetic().samples[:13_000], synthetic().rate_hz)
PROBES = [name for name, _ in codecs_module.codec_probes(None)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{name: folder of a random model}"""
    return {shape: save(shape, tmp_path_factory.mktemp(shape)) for shape in SHAPES}


@pytest.fixture(scope="module")
def codecs(folders):
    made = {s: registry.create("codecs", s, {"model": str(f), "codebooks": "none"}) for s, f in folders.items()}
    return {**made, "codec2": registry.create("codecs", "codec2")}


def wave(seconds, rate_hz=24_000, seed=0):
    return (0.3 * np.random.default_rng(seed).standard_normal(round(seconds * rate_hz))).astype(np.float32)


# ---- All of them -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probes(codecs):
    return {name: dict(codecs_module.codec_probes(codec)) for name, codec in codecs.items()}


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("name", [*SHAPES, "codec2"])
def test_a_transformers_codec_passes_the_conformance_suite(probes, name, probe, monkeypatch):
    monkeypatch.setattr(codecs_module, "speech", lambda: (CLIP, None))
    probes[name][probe]()


@pytest.mark.parametrize("name", [*SHAPES, "codec2"])
def test_a_state_that_goes_into_two_calls_makes_a_fork(codecs, name):
    codec = codecs[name]
    hop = round(codec.sample_rate_hz / codec.frame_rate_hz)
    sound = wave(8 * hop / codec.sample_rate_hz, codec.sample_rate_hz)
    codes, at = codec.encode(sound[: 3 * hop])
    rest, _ = codec.encode(sound[3 * hop :], at, last=True)
    codec.encode(sound[: 4 * hop], at)
    assert np.array_equal(codec.encode(sound[3 * hop :], at, last=True)[0], rest)
    whole = np.concatenate([codes, rest], axis=1)
    _, at = codec.decode(whole[:, :3])
    once, _ = codec.decode(whole[:, 3:], at, last=True)
    codec.decode(whole[:, :2], at)
    assert np.array_equal(codec.decode(whole[:, 3:], at, last=True)[0], once)


@pytest.mark.parametrize("name", SHAPES)
def test_it_tells_where_its_weights_are_from_and_how_it_streams(codecs, folders, name):
    about = codecs[name].about()
    assert about["weights"] == str(folders[name])
    assert about["streaming"] == ("a frame at a time" if name == "mimi" else "cannot: windowed with overlap")


# ---- Mimi ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mimi(folders):
    return transformers.AutoModel.from_pretrained(folders["mimi"])


def test_mimi_streamed_is_what_transformers_codes_at_once(codecs, mimi):
    """14 frames, 28 positions: four times what its attention reaches."""
    sound = wave(14 * 0.08)
    with torch.no_grad():
        expected = mimi.encode(torch.tensor(sound)[None, None]).audio_codes[0].numpy()
    codes, _ = codecs["mimi"].encode(sound, last=True)
    assert np.array_equal(codes, expected)


def test_mimi_streamed_is_what_transformers_decodes_at_once(codecs, mimi):
    codes = np.random.default_rng(0).integers(0, 64, (4, 14))
    with torch.no_grad():
        expected = mimi.decode(torch.tensor(codes)[None]).audio_values[0, 0].numpy()
    found, _ = codecs["mimi"].decode(codes)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, np.clip(expected, -1, 1), atol=1e-4 * np.abs(expected).max())


def test_of_fewer_codebooks_the_first_are_the_same(folders, codecs):
    for name in SHAPES:
        fewer = registry.create("codecs", name, {"model": str(folders[name]), "codebooks": "2"})
        sound = wave(0.3, fewer.sample_rate_hz)
        codes, _ = fewer.encode(sound, last=True)
        assert np.array_equal(codes, codecs[name].encode(sound, last=True)[0][:2])
        assert len(fewer.decode(codes, last=True)[0]) > 0


# ---- Windows that overlap --------------------------------------------------------------------------------------------


def around(values):
    """[F] -> [F], each with its two neighbours added."""
    padded = np.pad(values, 1)
    return padded[:-2] + padded[1:-1] + padded[2:]


class Levels:
    """A codec of whole recordings that reads one frame to both sides, coding and decoding."""

    sample_rate_hz, hop, num_codebooks, cardinality = 100, 10, 1, 1000

    def encode(self, audio):
        return around(np.abs(audio).reshape(-1, self.hop).sum(1)).astype(np.int64)[None]

    def decode(self, codes):
        return np.repeat(around(codes[0]) / 1000, self.hop).astype(np.float32)

    def about(self):
        return {}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.lists(st.integers(0, 120), max_size=8), st.integers(1, 7), st.integers(1, 4))
def test_windows_that_overlap_by_what_is_read_are_as_the_whole(length, cuts, window, overlap):
    codec = WindowedCodec(Levels(), window / 10, overlap / 10)
    sound = np.random.default_rng(length).integers(0, 3, length).astype(np.float32)
    codes = streamed(codec.encode, sound, cuts)
    assert np.array_equal(codes, Levels().encode(np.pad(sound, (0, -length % 10))))
    decoded = streamed(codec.decode, codes, [cut // 10 for cut in cuts])
    np.testing.assert_array_equal(decoded, Levels().decode(codes))


def streamed(step, whole, cuts):
    """What a codec makes of the pieces that the cuts leave."""
    state, made = None, []
    for cut in [*cuts, None]:
        piece, whole = whole[..., :cut], whole[..., whole.shape[-1] if cut is None else cut :]
        out, state = step(piece, state, last=cut is None)
        made.append(out)
    return np.concatenate(made, axis=-1)


def test_a_window_that_is_not_full_waits():
    codec = WindowedCodec(Levels(), 0.5, 0.2)
    assert codec.encode(np.ones(69, np.float32))[0].shape == (1, 0)
    assert codec.encode(np.ones(70, np.float32))[0].shape == (1, 5)


# ---- codec2 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bitrate", MODES)
def test_codec2_has_the_bitrate_that_it_names(bitrate):
    codec = registry.create("codecs", "codec2", {"bitrate": str(bitrate)})
    assert codec.frame_rate_hz * codec.num_codebooks * np.log2(codec.cardinality) == bitrate


def test_codec2_keeps_the_pitch_and_the_loudness(codecs):
    """A buzz of 130 Hz comes back as one: its spectrum peaks at a multiple, and it is as loud within 6 dB."""
    codec = codecs["codec2"]
    sound = np.concatenate([CLIP.samples[::2]] * 2)
    back, _ = codec.decode(codec.encode(sound, last=True)[0], last=True)
    loudness = 20 * np.log10(np.sqrt((back**2).mean()) / np.sqrt((sound**2).mean()))
    assert abs(loudness) < 6
    spectrum = np.abs(np.fft.rfft(back * np.hanning(len(back))))
    peak = np.argmax(spectrum) * 8000 / len(back)
    assert abs(peak / 130 - round(peak / 130)) < 0.1


def test_codec2_refuses_a_bitrate_that_it_has_not():
    with pytest.raises(FobenchError, match="must be one of 3200, 2400"):
        registry.create("codecs", "codec2", {"bitrate": "1000"})


# ---- What is missing -------------------------------------------------------------------------------------------------


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_missing_weights_are_named_with_the_way_to_get_them(empty_cache):
    with pytest.raises(PrerequisiteError) as caught:
        registry.create("codecs", "mimi", {"offline": "true"})
    message = str(caught.value)
    assert "kyutai/mimi (0.4 GB, CC-BY-4.0) is not in the local cache; offline by request" in message
    assert "hf download kyutai/mimi" in message
    assert "codec mimi, model=FOLDER" in message


def test_another_model_in_the_folder_is_told(folders):
    with pytest.raises(FobenchError, match=r"Codec 'dac': .* contains a model of the type 'encodec'"):
        registry.create("codecs", "dac", {"model": str(folders["encodec"])})


def test_more_codebooks_than_there_are_are_refused(folders):
    with pytest.raises(FobenchError, match=r"codebooks=9; .* has 4, so 1 to 4"):
        registry.create("codecs", "mimi", {"model": str(folders["mimi"]), "codebooks": "9"})


def test_a_stereo_model_is_refused(folders, tmp_path):
    for file in folders["encodec"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "normalize": True}))
    with pytest.raises(FobenchError, match="use a mono one"):
        registry.create("codecs", "encodec", {"model": str(tmp_path)})


def test_random_weights_depend_on_the_seed_alone():
    first, again, other = (_random_model(torch, transformers, "encodec", seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    book = "quantizer.layers.0.codebook.embed"
    assert not torch.equal(first[book], other[book])
    assert first[book].std() > 0.5


@pytest.mark.parametrize("name", ["reference", "mimi", "encodec", "ticodec"])
def test_a_device_that_is_not_here_is_told(name):
    with pytest.raises(PrerequisiteError, match=r"Device 'cuda:99' cannot be used"):
        registry.create("codecs", name, {"random": "true", "device": "cuda:99"})


def test_random_weights_say_so():
    assert registry.create("codecs", "encodec", {"random": "true"}).about()["weights"] == "random weights, seed 0"
