"""Voices: what of a text is spoken, in which portions, and (-m slow) what they sound like to a recognizer."""

import io
import shutil
import struct
import sys
import wave
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench import compute_threads
from fobench.api import registry
from fobench.assets import store
from fobench.errors import FobenchError, PrerequisiteError
from fobench_plugins.voices import piper_streaming
from fobench_plugins.voices.text_chunks import join_audio, speakable, split_text

# ---- Text --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Paris is the capital.", "Paris is the capital."),
        ("**Paris** is\n the `capital` _city_.", "Paris is the capital city ."),
        ("It’s “fine” 🎉\x07\u200b now", 'It\'s "fine" now'),
        ("5% & 4 + 3", "5 percent and 4 plus 3"),
        ("It costs $1,250.50 or €3.", "It costs 1,250.50 dollars or 3 euros."),
        ("[[ˈh]] <b>", "ˈh b"),
        ("snake_case stays", "snake_case stays"),
        ("wait — what…", "wait , what..."),
        ("", ""),
        (" \n\t", ""),
        ("!!! … —", ""),
        ("🎉🎉", ""),
        ("\x00\x1b[0m", "0m"),
        ("ˈ", ""),
        ("Ünïcödé 中文", "Ünïcödé 中文"),
    ],
)
def test_what_is_spoken_of_a_text(text, spoken):
    assert speakable(text) == spoken


@given(st.text(max_size=200))
def test_what_is_spoken_has_no_controls_and_is_stable(text):
    spoken = speakable(text)
    assert spoken.isprintable()
    assert not set(spoken) & set("[]{}<>|\\")
    assert speakable(spoken) == spoken


def test_portions_end_at_sentences_then_clauses_then_spaces():
    assert split_text("One two. Three four. Five", 20) == ["One two.", "Three four. Five"]
    assert split_text("one two, three four five", 20) == ["one two,", "three four five"]
    assert split_text("one two three four five", 10) == ["one two", "three", "four five"]
    assert split_text("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]
    assert split_text("") == []


@given(st.text(alphabet="ab .,!", max_size=300), st.integers(5, 60))
def test_portions_lose_nothing_and_are_never_too_long(text, longest):
    pieces = split_text(text, longest)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= longest for piece in pieces)


def test_joined_sound_is_in_range():
    chunk = join_audio([np.array([0.5, -2.0]), np.array([np.nan], np.float32)], 8000)
    np.testing.assert_allclose(chunk.samples, [0.25, -1.0, 0.0])
    assert chunk.samples.dtype == np.float32
    assert len(join_audio([], 8000).samples) == 0


# ---- Programs and packages that may be missing -------------------------------------------------------------------------


def test_a_missing_piper_is_said_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "piper", None)
    for name in ("voice.onnx", "voice.onnx.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(PrerequisiteError, match=r"GPL.*pip install 'fobench\[piper\]'"):
        registry.create("voices", "piper", {"model": str(tmp_path / "voice.onnx")})


def test_a_piper_model_without_its_description_is_refused(tmp_path):
    (tmp_path / "voice.onnx").write_text("")
    with pytest.raises(FobenchError, match=r"nor an \.onnx file that has its \.onnx\.json"):
        registry.create("voices", "piper", {"model": str(tmp_path / "voice.onnx")})


def test_a_missing_espeak_is_said_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="apt-get install espeak-ng"):
        registry.create("voices", "espeak")


def test_a_missing_flite_is_said_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PrerequisiteError, match="apt-get install flite"):
        registry.create("voices", "flite")


@pytest.fixture
def espeak(monkeypatch, tmp_path):
    """A stand-in program: notes its arguments and input, and answers as a stream does, with a length it cannot know."""
    program = tmp_path / "espeak-ng"
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 22050, 0, "NONE", ""))
        file.writeframes(struct.pack("<3h", 0, 16384, -16384))
    header = bytearray(sound.getvalue())
    header[4:8] = header[40:44] = b"\xff\xff\xff\x7f"
    (tmp_path / "sound.wav").write_bytes(header)
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/text\ncat {tmp_path}/sound.wav\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def test_espeak_gets_the_text_as_input_never_as_an_argument(espeak):
    voice = registry.create("voices", "espeak", {"words_per_minute": "150"})
    chunk = voice.speak("-w /tmp/x; $(id) Hello", 0, "en-gb")
    np.testing.assert_allclose(chunk.samples, [0, 0.5, -0.5])
    assert (espeak / "arguments").read_text().split() == ["--stdin", "--stdout", "-v", "en-gb", "-s", "150", "-p", "50"]
    assert (espeak / "text").read_text() == "-w /tmp/x; (id) Hello"


def test_espeak_says_nothing_for_nothing_and_refuses_unknown_speakers(espeak):
    voice = registry.create("voices", "espeak")
    assert len(voice.speak("🎉", 0).samples) == 0
    assert not (espeak / "text").exists()
    with pytest.raises(FobenchError, match="Did you mean 'en-us'"):
        voice.speak("Hello", 0, "en-uk")


@pytest.fixture
def flite(monkeypatch, tmp_path):
    """A stand-in program: notes its arguments, a line each, and answers with three samples."""
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(struct.pack("<3h", 0, 16384, -16384))
    program = tmp_path / "flite"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/arguments\ncat {tmp_path}/sound.wav\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def test_flite_gets_plain_letters_as_the_value_of_an_option(flite):
    chunk = registry.create("voices", "flite", {"duration_stretch": "1.25"}).speak("-o café 飛; $(id)", 0, "kal")
    np.testing.assert_allclose(chunk.samples, [0, 0.5, -0.5])
    asked = (flite / "arguments").read_text().splitlines()
    assert asked[:4] == ["-voice", "kal16", "--setf", "duration_stretch=1.25"]
    assert asked[4:] == ["-t", "-o cafe ; (id)", "-o", "/dev/stdout"]


def test_flite_speaks_a_long_text_in_portions_and_nothing_for_nothing(flite):
    voice = registry.create("voices", "flite")
    assert len(voice.speak("This is a sentence. " * 40, 0).samples) == 6
    assert not any(len(voice.speak(text, 0).samples) for text in ("", "🎉", "飛"))
    assert (flite / "arguments").read_text().splitlines().count("-t") == 2


def test_flite_refuses_what_it_cannot_do(flite):
    with pytest.raises(FobenchError, match="Did you mean 'slt'"):
        registry.create("voices", "flite").speak("Hello", 0, "slt2")
    with pytest.raises(FobenchError, match=r"from 0\.01 to 100"):
        registry.create("voices", "flite", {"duration_stretch": "0"})
    (flite / "flite").write_text("#!/bin/sh\necho no such voice >&2\n")
    with pytest.raises(FobenchError, match="flite failed with slt: no such voice"):
        registry.create("voices", "flite").speak("Hello", 0)


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_flites_speakers_differ_and_stretch_is_length():
    plain, slow = (registry.create("voices", "flite", {"duration_stretch": stretch}) for stretch in ("1", "1.5"))
    spoken = [plain.speak("Water boils at one hundred degrees.", 0, name) for name in plain.speakers]
    assert {chunk.rate_hz for chunk in spoken} == {16000} and len({len(chunk.samples) for chunk in spoken}) == 4
    for name, chunk in zip(plain.speakers, spoken, strict=True):
        longer = slow.speak("Water boils at one hundred degrees.", 0, name)
        assert len(longer.samples) / len(chunk.samples) == pytest.approx(1.5, abs=0.1)


# ---- Real models -------------------------------------------------------------------------------------------------------

SENTENCES = (
    "Water boils at one hundred degrees Celsius at sea level.",
    "The largest planet in our solar system is Jupiter.",
    "Shakespeare wrote Hamlet around the year sixteen hundred.",
)


@pytest.fixture(scope="module", params=["piper", "kokoro", "flite"])
def voice(request):
    if request.param == "flite" and not shutil.which("flite"):
        pytest.skip("flite is not installed")
    return registry.create("voices", request.param)


@pytest.mark.slow
def test_what_is_said_is_understood(voice):
    import jiwer

    from fobench.scoring.text_normalization import normalize

    recognizer = registry.create("recognizers", "faster-whisper", {"compute_type": "float32"})
    heard = [recognizer.transcribe(voice.speak(sentence, 0)).text for sentence in SENTENCES]
    assert jiwer.wer([normalize(s) for s in SENTENCES], [normalize(h) for h in heard]) <= 0.1


@pytest.mark.slow
def test_the_same_text_is_the_same_sound(voice):
    first, second = voice.speak(SENTENCES[1], 0), voice.speak(SENTENCES[1], 1)
    np.testing.assert_array_equal(first.samples, second.samples)
    assert first.rate_hz == voice.rate_hz
    assert first.samples.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "...", "🎉", "\x00"])
def test_nothing_to_say_is_no_sound(voice, text):
    assert len(voice.speak(text, 0).samples) == 0


@pytest.mark.slow
def test_a_long_text_is_spoken_whole(voice):
    short, long = voice.speak("This is a sentence. " * 2, 0), voice.speak("This is a sentence. " * 40, 0)
    assert long.duration_ns > 10 * short.duration_ns


@pytest.mark.slow
def test_an_unknown_speaker_is_refused(voice):
    with pytest.raises(FobenchError, match="Unknown speaker"):
        voice.speak("Hello.", 0, "nobody")


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["0", "0.667"])
def test_piper_in_packets_is_piper_in_one_piece(noise):
    voice = registry.create("voices", "piper", {"noise_scale": noise})
    assert isinstance(voice._voice.session, piper_streaming.SplitPiper)
    for text in (SENTENCES[0], "Yes. " + SENTENCES[1] + " So it is, indeed!", "I."):
        packets = [packet.samples for packet in voice.stream(text, 0)]
        assert len(packets[0]) <= 2 * piper_streaming.FIRST_PACKET * 256
        whole = voice.speak(text, 0).samples
        assert len(np.concatenate(packets)) == len(whole)
        if noise == "0":
            np.testing.assert_allclose(np.concatenate(packets), whole, atol=2e-5)
    assert list(voice.stream("🎉", 0)) == []
    with pytest.raises(FobenchError, match="Unknown speaker"):
        next(voice.stream("Hello.", 0, "nobody"))


@pytest.mark.slow
def test_the_two_parts_of_a_piper_model_are_the_model():
    import onnxruntime

    voice = registry.create("voices", "piper")
    path = store.get("piper-joe-medium") / "en_US-joe-medium.onnx"
    whole = compute_threads.onnx_session(onnxruntime, str(path))
    inputs = voice._inputs(voice._voice.phonemize(SENTENCES[0])[0], voice._of(None))
    np.testing.assert_array_equal(voice._voice.session.run(None, inputs)[0], whole.run(None, inputs)[0])


def test_a_generator_that_hears_of_the_speaker_is_not_split(tmp_path):
    """Models of several speakers are synthesized in one piece."""
    onnx = pytest.importorskip("onnx")

    def model(path, *generator_inputs):
        names, floats = ["text", "speaker"][: len(generator_inputs)], onnx.TensorProto.FLOAT
        nodes = [
            onnx.helper.make_node("Exp", ["text"], ["latents"], "/flow/Exp"),
            *[onnx.helper.make_node("Exp", ["speaker"], ["timbre"], "/emb/Exp") for _ in names[1:]],
            onnx.helper.make_node("Sum", list(generator_inputs), ["audio"], "/dec/Sum"),
        ]
        inputs = [onnx.helper.make_tensor_value_info(name, floats, [1, 2, 3]) for name in names]
        outputs = [onnx.helper.make_tensor_value_info("audio", floats, [1, 2, 3])]
        made = onnx.helper.make_model(
            onnx.helper.make_graph(nodes, "voice", inputs, outputs),
            opset_imports=[onnx.helper.make_opsetid("", 13)],
            ir_version=8,
        )
        onnx.save(made, path)
        return path

    import onnxruntime

    several = model(tmp_path / "several.onnx", "latents", "timbre")
    assert piper_streaming.load(onnx, onnxruntime, several, 1) is None
    one = piper_streaming.load(onnx, onnxruntime, model(tmp_path / "one.onnx", "latents"), 1)
    text = np.ones((1, 2, 3), np.float32)
    np.testing.assert_allclose(one.run(None, {"text": text})[0], np.exp(text), rtol=1e-6)


@pytest.mark.slow
def test_kokoro_mixes_speakers():
    kokoro = registry.create("voices", "kokoro")
    alpha, kumo = kokoro.style("jf_alpha"), kokoro.style("jm_kumo")
    np.testing.assert_allclose(kokoro.style("jf_alpha+jm_kumo"), (alpha + kumo) / 2, atol=1e-6)
    np.testing.assert_allclose(kokoro.style("jf_alpha:1+jm_kumo:3"), (alpha + 3 * kumo) / 4, atol=1e-6)
    borrowed = kokoro.style("jf_alpha/jf_alpha+jm_kumo")
    np.testing.assert_allclose(borrowed[:, :128], alpha[:, :128])
    np.testing.assert_allclose(borrowed[:, 128:], (alpha + kumo)[:, 128:] / 2, atol=1e-6)
    for wrong in ("jf_alpha:x+jm_kumo", "jf_alpha:0", "jf_alpha:-1", "jf_alpha/jm_kumo:x"):
        with pytest.raises(FobenchError, match="weight"):
            kokoro.style(wrong)


@pytest.mark.slow
def test_kokoro_speaks_with_the_accent_of_the_speaker():
    text, own = "What got hot in the bath?", registry.create("voices", "kokoro")
    british, american = (registry.create("voices", "kokoro", {"language": name}) for name in ("en", "en-us"))
    for speaker, same, other in (("bf_emma", british, american), ("am_puck+bf_emma", american, british)):
        spoken = own.speak(text, 0, speaker).samples
        np.testing.assert_array_equal(spoken, same.speak(text, 0, speaker).samples)
        assert not np.array_equal(spoken, other.speak(text, 0, speaker).samples)


@pytest.mark.slow
def test_kokoro_has_28_english_speakers_whose_tables_come_when_asked_for(monkeypatch):
    kokoro = registry.create("voices", "kokoro", {"offline": "true"})
    assert Counter(name[:2] for name in kokoro.speakers) == {"af": 11, "am": 9, "bf": 4, "bm": 4, "jf": 4, "jm": 1}
    folder = store.get("kokoro-evaluation-voices")
    table = np.frombuffer((folder / "bm_lewis.bin").read_bytes(), "<f4").reshape(510, 256)
    np.testing.assert_array_equal(kokoro.style("bm_lewis"), table)
    monkeypatch.setenv("FOBENCH_HOME", "/nowhere")
    np.testing.assert_array_equal(kokoro.style("bm_lewis"), table)  # it is in memory
    with pytest.raises(PrerequisiteError, match=r"af_bella\.bin .* is missing|/nowhere"):
        kokoro.style("af_bella")
