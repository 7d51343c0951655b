"""Recognizers: the CTranslate2 container by hand, the mapping onto openai-whisper's names, and (-m slow) real clips."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api import registry
from fobench.api.types import NS_PER_S, AudioChunk, Transcript
from fobench.assets import ctranslate2 as ctranslate2_file
from fobench.assets import store
from fobench.errors import FobenchError, PrerequisiteError

WIDTH, HEADS, MELS, VOCABULARY = 128, 2, 8, 11
SILENCE = AudioChunk(np.zeros(16000, np.float32), 16000)


def string(text):
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def container(arrays, aliases=None, version=6):
    """The bytes of a `model.bin`, written from the format's description."""
    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    parts = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        parts += [string(name), shape, struct.pack("<BI", kinds[array.dtype.name], array.nbytes), array.tobytes()]
    parts.append(struct.pack("<I", len(aliases or {})))
    parts += [string(text) for pair in (aliases or {}).items() for text in pair]
    return b"".join(parts)


# ---- The container -----------------------------------------------------------------------------------------------------


def test_a_container_is_read_as_written(tmp_path):
    arrays = {
        "encoder/conv1/weight": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        "decoder/bias": np.array([1.5, -2.5], np.float32),
        "decoder/num_heads": np.array(6, np.int16),
        "quantised": np.array([[-128, 127]], np.int8),
    }
    (tmp_path / "model.bin").write_bytes(container(arrays, {"decoder/projection": "decoder/bias"}))
    read = ctranslate2_file.read(tmp_path / "model.bin")
    assert set(read) == {*arrays, "decoder/projection"}
    for name, array in {**arrays, "decoder/projection": arrays["decoder/bias"]}.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("length", [3, 20, 30, 55])
def test_a_container_that_is_cut_short_is_refused(tmp_path, length):
    (tmp_path / "model.bin").write_bytes(container({"weight": np.ones((4, 4), np.float32)})[:length])
    with pytest.raises(FobenchError, match="not a readable CTranslate2 container"):
        ctranslate2_file.read(tmp_path / "model.bin")


def test_a_container_of_another_version_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(container({}, version=7))
    with pytest.raises(FobenchError, match="of version 7; only 6"):
        ctranslate2_file.read(tmp_path / "model.bin")


# ---- The mapping -------------------------------------------------------------------------------------------------------


def ctranslate2_names(state):
    """A state dict of openai-whisper under CTranslate2's names, with its fusions: the inverse of what is tested."""

    def fused(target, source, *names):
        weights = [state[f"{source}.{name}.weight"] for name in names]
        zeros = np.zeros(len(weights[0]), np.float32)
        biases = [state.get(f"{source}.{name}.bias", zeros) for name in names]
        return {f"{target}/weight": np.concatenate(weights), f"{target}/bias": np.concatenate(biases)}

    def norm(target, source):
        return {f"{target}/gamma": state[f"{source}.weight"], f"{target}/beta": state[f"{source}.bias"]}

    made = {"decoder/embeddings/weight": state["decoder.token_embedding.weight"]}
    for part, last in (("encoder", "ln_post"), ("decoder", "ln")):
        made |= norm(f"{part}/layer_norm", f"{part}.{last}")
        made[f"{part}/position_encodings/encodings"] = state[f"{part}.positional_embedding"]
        for i in range(2):
            to, of = f"{part}/layer_{i}", f"{part}.blocks.{i}"
            made |= fused(f"{to}/self_attention/linear_0", f"{of}.attn", "query", "key", "value")
            made |= fused(f"{to}/self_attention/linear_1", f"{of}.attn", "out")
            made |= norm(f"{to}/self_attention/layer_norm", f"{of}.attn_ln") | norm(
                f"{to}/ffn/layer_norm", f"{of}.mlp_ln"
            )
            made |= fused(f"{to}/ffn/linear_0", f"{of}.mlp", "0") | fused(f"{to}/ffn/linear_1", f"{of}.mlp", "2")
            if part == "decoder":
                made |= fused(f"{to}/attention/linear_0", f"{of}.cross_attn", "query")
                made |= fused(f"{to}/attention/linear_1", f"{of}.cross_attn", "key", "value")
                made |= fused(f"{to}/attention/linear_2", f"{of}.cross_attn", "out")
                made |= norm(f"{to}/attention/layer_norm", f"{of}.cross_attn_ln")
    return made | fused("encoder/conv1", "encoder", "conv1") | fused("encoder/conv2", "encoder", "conv2")


def random_whisper(model):
    """Dimensions and state dict of a random Whisper."""
    dims = model.ModelDimensions(MELS, 6, WIDTH, HEADS, 2, VOCABULARY, 5, WIDTH, HEADS, 2)
    state = {name: tensor.numpy() for name, tensor in model.Whisper(dims).state_dict().items()}
    state["decoder.positional_embedding"][:] = 0.5  # openai-whisper leaves it as memory happened to be
    return dims, state


def test_a_whisper_survives_the_way_through_the_container(tmp_path):
    model = pytest.importorskip("whisper.model")
    dims, state = random_whisper(model)
    (tmp_path / "model.bin").write_bytes(container(ctranslate2_names(state)))
    back = ctranslate2_file.whisper_state(ctranslate2_file.read(tmp_path / "model.bin"))
    assert model.ModelDimensions(**ctranslate2_file.dimensions(back)) == dims
    assert set(back) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.fixture(scope="module")
def whisper_arrays():
    """A random Whisper under CTranslate2's names."""
    return ctranslate2_names(random_whisper(pytest.importorskip("whisper.model"))[1])


DAMAGE = {
    "drop": lambda arrays, name: arrays.pop(name),
    "rename": lambda arrays, name: arrays.update({f"{name}2": arrays.pop(name)}),
    "add": lambda arrays, name: arrays.update({f"{name}/more": np.ones(3, np.float32)}),
    "reshape": lambda arrays, name: arrays.update({name: np.ones((*arrays[name].shape, 2), np.float32)}),
    "widen": lambda arrays, name: arrays.update({name: np.ones([n + 1 for n in arrays[name].shape], np.float32)}),
    "integers": lambda arrays, name: arrays.update({name: arrays[name].astype(np.int8)}),
    "nan": lambda arrays, name: arrays.update({name: np.full_like(arrays[name], np.nan)}),
}


@given(data=st.data(), damage=st.sampled_from(sorted(DAMAGE)))
def test_a_whisper_with_any_damaged_array_is_refused(whisper_arrays, data, damage):
    name = data.draw(st.sampled_from(sorted(whisper_arrays)))
    arrays = dict(whisper_arrays)
    DAMAGE[damage](arrays, name)
    with pytest.raises(FobenchError, match=r"The CTranslate2 model is not a") as caught:
        ctranslate2_file.whisper_state(arrays)
    at_width = "position_encodings" in name and damage in ("widen", "reshape")  # then all others have the wrong width
    assert at_width or damage == "rename" or name in str(caught.value) or name.rpartition("/")[0] in str(caught.value)


# ---- What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["whisper", "faster-whisper"])
def test_an_unknown_size_gets_the_nearest(name):
    pytest.importorskip("faster_whisper")
    with pytest.raises(FobenchError, match=r"'smal\.en'\. Did you mean 'small\.en'"):
        registry.create("recognizers", name, {"model": "smal.en"})


@pytest.mark.parametrize("name", ["whisper", "faster-whisper"])
def test_a_size_that_is_not_here_says_how_to_get_it(name, tmp_path, monkeypatch):
    pytest.importorskip("faster_whisper")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(PrerequisiteError, match=r"medium\.en .*python -c .*medium\.en"):
        registry.create("recognizers", name, {"model": "medium.en", "offline": "true"})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_whisper", None)
    with pytest.raises(PrerequisiteError, match=r"faster_whisper is not installed.*pip install 'fobench\[models"):
        registry.create("recognizers", "faster-whisper")


# ---- Real weights ------------------------------------------------------------------------------------------------------

SENTENCES = (
    "Water boils at one hundred degrees Celsius at sea level.",
    "The largest planet in our solar system is Jupiter.",
    "Could you please repeat the question more slowly?",
)


@pytest.fixture(scope="module")
def clips():
    voice = registry.create("voices", "piper")
    return [voice.speak(sentence, 0) for sentence in SENTENCES]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper", "faster-whisper"])
def test_clear_speech_is_understood(name, clips):
    from fobench.scoring.text_normalization import normalize

    recognizer = registry.create("recognizers", name)
    assert [normalize(recognizer.transcribe(clip).text) for clip in clips] == [normalize(s) for s in SENTENCES]


@pytest.mark.slow
@pytest.mark.parametrize("window_s", ["12", "30"])
def test_both_give_the_same_text_in_float32(clips, window_s):
    """Two independent implementations on the same weights: the conversion is right, and so is the padding."""
    torch = registry.create("recognizers", "whisper")
    ctranslate2 = registry.create("recognizers", "faster-whisper", {"compute_type": "float32", "window_s": window_s})
    assert [torch.transcribe(clip).text for clip in clips] == [ctranslate2.transcribe(clip).text for clip in clips]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper", "faster-whisper"])
def test_words_have_times_in_order(name, clips):
    recognizer = registry.create("recognizers", name, {"word_timestamps": "true"})
    words = recognizer.transcribe(clips[1]).words
    assert [word.text for word in words] == SENTENCES[1].split()
    assert all(word.start_ns <= word.end_ns for word in words)
    assert all(a.start_ns <= b.start_ns for a, b in itertools.pairwise(words))
    assert words[-1].end_ns <= clips[1].duration_ns + NS_PER_S // 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper", "faster-whisper"])
def test_silence_holds_no_words(name):
    recognizer = registry.create("recognizers", name)
    assert recognizer.transcribe(SILENCE) == Transcript("")
    assert recognizer.transcribe(AudioChunk(np.zeros(0, np.float32), 16000)) == Transcript("")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper", "faster-whisper"])
def test_more_than_one_window_is_heard_to_its_end(name, clips):
    recognizer = registry.create("recognizers", name)
    long = AudioChunk(np.concatenate([clip.samples for clip in clips] * 5), clips[0].rate_hz)
    assert long.duration_ns > 40 * NS_PER_S
    text = recognizer.transcribe(long).text.lower()
    assert text.count("jupiter") >= 4
    assert text.rstrip(" .?").endswith("slowly")


@pytest.mark.slow
def test_a_text_that_repeats_itself_is_decoded_again_in_the_whole_window(clips, monkeypatch):
    from fobench_plugins.recognizers import faster_whisper

    recognizer = registry.create("recognizers", "faster-whisper")
    windows, decode = [], recognizer._decode

    def endless(samples, window_s, most, *, beam_size):
        """As a short window sometimes goes wrong: the text again and again, up to the limit."""
        windows.append((window_s, most))
        tokens = decode(samples, window_s, most, beam_size=beam_size)
        return (tokens * 9)[:most]

    expected = recognizer.transcribe(clips[1]).text
    monkeypatch.setattr(recognizer, "_decode", endless)
    assert recognizer.transcribe(clips[1]).text == expected
    seconds = len(clips[1].samples) / clips[1].rate_hz
    assert windows == [(12.0, round(10 + 5 * seconds))]
    windows.clear()
    eleven = AudioChunk(np.resize(clips[1].samples, 12 * clips[1].rate_hz), clips[1].rate_hz)
    recognizer.transcribe(eleven)
    assert [window for window, _ in windows] == [13]
    assert faster_whisper._repeats([5, 1, 2, 3, 4, 9, 1, 2, 3, 4])
    assert not faster_whisper._repeats([5, 1, 2, 3, 9, 1, 2, 3])
    assert not faster_whisper._repeats([])


@pytest.mark.slow
def test_the_pinned_file_has_the_dimensions_of_tiny_en():
    state = ctranslate2_file.whisper_state(ctranslate2_file.read(store.get("whisper-tiny.en-ct2") / "model.bin"))
    assert ctranslate2_file.dimensions(state) == {
        "n_mels": 80,
        "n_audio_ctx": 1500,
        "n_audio_state": 384,
        "n_audio_head": 6,
        "n_audio_layer": 4,
        "n_vocab": 51864,
        "n_text_ctx": 448,
        "n_text_state": 384,
        "n_text_head": 6,
        "n_text_layer": 4,
    }
