"""The suites: scenarios that are the same for the same seed, and bad input told by file, line and reason."""

import json
import multiprocessing
import struct
from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest
import soundfile

from fobench import audio, plugins
from fobench.errors import FobenchError, PrerequisiteError
from fobench.hookspecs import hookimpl
from fobench.scenario import Anchor, Scenario
from fobench.types import NS_PER_MS, NS_PER_S, AudioChunk

RATE = 16_000
MS = NS_PER_MS


def create(name, **options):
    return plugins.create("suites", name, options)


def scenarios(name, seed=0, **options):
    return list(create(name, **options).scenarios(seed))


def sound(ms=500, rate=RATE, hz=220):
    return (0.2 * np.cos(2 * np.pi * hz * np.arange(rate * ms // 1000) / rate)).astype(np.float32)


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "home"
    monkeypatch.setenv("FOBENCH_HOME", str(folder))
    return folder


@pytest.fixture
def fresh_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Toy:
    """A voice that speaks text as tones: its length in centiseconds, its pitch by speaker. Counts what it has said."""

    rate_hz, speakers = 16_000, ("low", "high")

    def __init__(self):
        self.said = []

    def speak(self, text, seed, speaker=None):
        self.said.append(text)
        wave = sound(10 * len(text), hz=200 if speaker == "low" else 400)
        return AudioChunk(np.concatenate([np.zeros(8_000, np.float32), wave, np.zeros(8_000, np.float32)]), RATE)


@pytest.fixture
def toy():
    """A voice plugin named `toy`."""
    voice = Toy()

    class Plugin:
        @hookimpl
        def fobench_voices(self):
            return {"toy": lambda: voice, "mute": lambda: Mute()}

    class Mute(Toy):
        def speak(self, text, seed, speaker=None):
            return AudioChunk(np.zeros(RATE, np.float32), RATE)

    plugins.manager.cache_clear()
    plugins.factories.cache_clear()
    plugins.manager().register(Plugin())
    yield voice
    plugins.manager.cache_clear()
    plugins.factories.cache_clear()


# ---- Controls --------------------------------------------------------------------------------------------------------


def test_controls_take_their_families_in_turn():
    found = scenarios("controls", count=5, families="question,backchannel")
    assert [s.id for s in found] == ["question-01", "backchannel-01", "question-02", "backchannel-02", "question-03"]
    assert [s.expect.family for s in found][:2] == ["question", "backchannel"]
    assert [turn.role for turn in found[1].turns] == ["question", "backchannel"]


def test_controls_interrupt_one_second_into_the_reply():
    (found,) = scenarios("controls", count=1, families="interruption")
    assert [turn.role for turn in found.turns] == ["question", "interrupt"]
    assert found.turns[1].anchor == Anchor("reply_audible", NS_PER_S)


FAMILIES = "question,interruption,backchannel,noise,stop,pause,silence,twice,early,late"


def test_controls_are_timed_to_the_sample():
    for scenario in scenarios("controls", count=10, families=FAMILIES):
        for turn in scenario.turns:
            chunk = audio.load(turn.audio)
            assert (turn.start_ns, turn.end_ns) == (0, chunk.duration_ns)
            if scenario.expect.family != "silence":
                loud = np.flatnonzero(np.abs(chunk.samples) > 0.01)
                assert loud[0] == 0
                assert loud[-1] >= len(chunk.samples) - 3  # the tone may end near a zero crossing


def test_controls_follow_the_seed():
    assert scenarios("controls", seed=3) == scenarios("controls", seed=3)
    assert scenarios("controls", seed=3) != scenarios("controls", seed=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"families": "question,noize"}, "Did you mean 'noise'"), ({"count": 0}, "at least 1, not 0")],
)
def test_controls_refuse_what_cannot_be(options, message):
    with pytest.raises(FobenchError, match=message):
        create("controls", **options)


# ---- Manifests -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A folder with two clips of known bounds: silence 200 ms, sound 500 ms, silence 100 ms."""
    for name in ("a", "b"):
        wave = np.concatenate([np.zeros(3_200, np.float32), sound(), np.zeros(1_600, np.float32)])
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE)
    return tmp_path


def manifest(folder, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "manifest.jsonl").write_text(text + "\n")
    return f"manifest:{folder}"


def test_a_line_becomes_a_scenario(folder):
    line = {"id": "x", "audio": "a.wav", "text": "Who?", "answers": ["Me", "I"], "speaker": "ann", "tags": {"room": 3}}
    (found,) = scenarios(manifest(folder, line))
    assert (found.id, found.suite, found.group) == ("x", f"manifest:{folder.name}", "ann")
    assert found.expect.answers == ("Me", "I")
    assert found.tags == {"room": "3"}
    (turn,) = found.turns
    assert (turn.text, turn.role, turn.anchor) == ("Who?", "question", Anchor())
    assert (turn.start_ns, turn.end_ns) == (200 * MS, 700 * MS)
    assert turn.sha256 == audio.sha256(audio.load(turn.audio).samples, RATE)


def test_all_but_the_audio_may_be_left_out(folder):
    first, second = scenarios(manifest(folder, {"audio": "a.wav"}, "", {"audio": "b.wav", "text": None, "dur": 0.8}))
    assert (first.id, second.id) == ("a", "b")
    assert first.turns[0].text is None
    assert first.expect.answers == ()


def test_other_names_of_keys_are_understood(folder):
    line = {"id": 7, "audio": "a.wav", "question": "Who?", "answer": "Me", "choices": ["Me", "You"]}
    (found,) = scenarios(manifest(folder, line))
    assert (found.id, found.turns[0].text) == ("7", "Who?")
    assert (found.expect.answers, found.expect.choices) == (("Me",), ("Me", "You"))


def test_given_bounds_win_over_measured_ones(folder):
    (found,) = scenarios(manifest(folder, {"audio": "a.wav", "start_s": 0.1, "end_s": 0.65}))
    assert (found.turns[0].start_ns, found.turns[0].end_ns) == (100 * MS, 650 * MS)


def test_a_conversation_has_turns_with_anchors(folder):
    turns = [
        {"audio": "a.wav", "text": "Who?"},
        {"audio": "b.wav", "role": "backchannel", "anchor": {"event": "reply_audible", "delay_s": 1.2}},
        {"audio": "a.wav"},
    ]
    (found,) = scenarios(manifest(folder, {"id": "talk", "turns": turns, "family": "backchannel"}))
    assert [turn.anchor for turn in found.turns] == [
        Anchor("start", 500 * MS),
        Anchor("reply_audible", 1200 * MS),
        Anchor("reply_end", 1000 * MS),
    ]
    assert [turn.role for turn in found.turns] == ["question", "backchannel", "question"]
    assert found.expect.family == "backchannel"


def test_a_folder_of_audio_is_a_manifest_with_texts_beside(folder):
    (folder / "b.txt").write_text("Who are you?\n")
    (folder / "deep").mkdir()
    soundfile.write(folder / "deep" / "c.flac", sound(), 44_100)
    found = scenarios(f"manifest:{folder}")
    assert [(s.id, s.turns[0].text) for s in found] == [("a", None), ("b", "Who are you?"), ("deep/c", None)]


def test_a_manifest_can_be_named_by_its_file(folder):
    manifest(folder, {"audio": "a.wav"})
    assert scenarios(f"manifest:{folder}/manifest.jsonl") == scenarios(f"manifest:{folder}")


def test_a_manifest_can_be_shuffled_by_the_seed(folder):
    suite = manifest(folder, *({"id": str(i), "audio": "a.wav"} for i in range(8)))
    orders = {tuple(s.id for s in scenarios(suite, seed=seed, shuffle=True)) for seed in (0, 0, 1)}
    assert len(orders) == 2
    assert [s.id for s in scenarios(suite)] == list("01234567")


def long_wave(path):
    """The header of a three-hour file on a sparse file."""
    size = 3 * 3600 * RATE * 2
    header = (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    )
    with path.open("wb") as file:
        file.write(header + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)


@pytest.fixture
def bad(folder):
    """The folder with bad audio in it too."""
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(folder / "nan.wav", sound() * np.nan, RATE, subtype="FLOAT")
    (folder / "text.wav").write_text("no audio")
    long_wave(folder / "long.wav")
    return folder


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"audio": "a.wav"', r"manifest\.jsonl:2: not JSON: Expecting ',' delimiter"),
        ('["a.wav"]', r"manifest\.jsonl:2: must be a JSON object, not \[\"a.wav\"\]"),
        ({"text": "Who?"}, "manifest.jsonl:2: has no 'audio'"),
        ({"audio": "gone.wav"}, r"manifest\.jsonl:2: audio file .*gone\.wav does not exist"),
        ({"audio": "empty.wav"}, "empty.wav is empty"),
        ({"audio": "nan.wav"}, "nan.wav holds values that are not finite"),
        ({"audio": "text.wav"}, "text.wav cannot be read"),
        ({"audio": "long.wav"}, "long.wav lasts 10800 s, more than 600 s"),
        ({"audio": 3}, "'audio' must be str, not 3"),
        ({"audio": "b.wav", "anwsers": ["x"]}, "unknown key 'anwsers', did you mean 'answers'"),
        ({"audio": "b.wav", "answers": {"a": 1}}, "'answers' must be str or list"),
        ({"audio": "b.wav", "role": "interupt"}, "unknown role 'interupt', did you mean 'interrupt'"),
        ({"audio": "b.wav", "start_s": "0.1"}, "'start_s' must be int or float"),
        ({"audio": "b.wav", "end_s": 2}, r"speech from 0 to 2 s is not within b\.wav \(0\.8 s\)"),
        ({"audio": "b.wav", "start_s": 0.6, "end_s": 0.5}, "speech from 0.6 to 0.5 s"),
        ({"audio": "b.wav", "id": "a"}, "id 'a' is already that of manifest.jsonl:1"),
        ({"turns": []}, "'turns' is empty"),
        ({"turns": ["b.wav"]}, "turn 0 must be a JSON object"),
        ({"turns": [{"audio": "b.wav", "anchor": {"event": "now"}}]}, "unknown anchor event 'now'"),
        ({"turns": [{"audio": "b.wav", "anchor": {"delay_s": -1}}]}, "delay_s must be seconds from 0 up"),
    ],
)
def test_a_bad_line_is_told_up_front_or_skipped(bad, capsys, line, message):
    suite = manifest(bad, {"audio": "a.wav"}, line)
    with pytest.raises(FobenchError, match=message) as error:
        create(suite)
    assert "skip_bad=true" in str(error.value)
    assert [s.id for s in scenarios(suite, skip_bad=True)] == ["a"]
    assert "skipped 1 of 2" in capsys.readouterr().err


def test_all_problems_are_listed_up_to_ten(folder):
    with pytest.raises(FobenchError, match="13 problems") as error:
        create(manifest(folder, *({"id": str(i), "audio": "gone.wav"} for i in range(13))))
    assert "manifest.jsonl:10:" in str(error.value)
    assert "manifest.jsonl:11:" not in str(error.value)
    assert "... and 3 more" in str(error.value)


def test_what_the_header_did_not_tell_is_told_with_its_line(folder, capsys):
    soundfile.write(folder / "cut.flac", np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    content = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(content[: len(content) // 2] + bytes(64))
    suite = manifest(folder, {"audio": "cut.flac"}, {"audio": "a.wav"})
    with pytest.raises(FobenchError, match=r"manifest\.jsonl:1: .*cut\.flac"):
        scenarios(suite)
    assert [s.id for s in scenarios(suite, skip_bad=True)] == ["a"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "does not exist"),
        (lambda folder: (folder / "hollow").mkdir() or folder / "hollow", "holds no manifest.jsonl and no audio file"),
        (lambda folder: (folder / "x.jsonl").write_bytes(b'{"a": "\xff"}') and folder / "x.jsonl", "is not UTF-8"),
    ],
)
def test_nothing_to_read_is_told(tmp_path, make, message):
    with pytest.raises(FobenchError, match=message):
        create(f"manifest:{make(tmp_path)}")


# ---- Spoken QA -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOBENCH_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        return scenarios("spoken-qa")


def test_240_questions_are_spoken_by_five_voices(spoken):
    assert len(spoken) == 240
    assert set(Counter(s.tags["voice"] for s in spoken).values()) <= set(range(40, 57))
    voices = defaultdict(set)
    for scenario in spoken:
        voices[scenario.tags["subject"]].add(scenario.tags["voice"])
        assert scenario.turns[0].speaker == scenario.tags["voice"]
        assert scenario.turns[0].anchor == Anchor("start", NS_PER_S // 2)
        assert scenario.expect.answers
    assert {len(heard) for heard in voices.values()} == {5}


def test_the_shipped_clips_fit_their_texts_and_bounds(spoken):
    for scenario in spoken[::12]:
        (turn,) = scenario.turns
        chunk = audio.load(turn.audio)
        assert chunk.rate_hz == 24_000
        assert audio.sha256(chunk.samples, chunk.rate_hz) == turn.sha256
        measured = audio.speech_bounds(chunk)  # of the coded clip; the given ones are of the clean rendering
        assert (turn.start_ns, turn.end_ns) == pytest.approx(measured, abs=60 * MS)
        assert 0.05 < len(turn.text) / 15 / (turn.end_ns - turn.start_ns) * NS_PER_S < 2


def test_the_audio_is_at_most_three_megabytes():
    from fobench_plugins.suites.spoken_qa.archive import ARCHIVE

    assert ARCHIVE.stat().st_size < 3_000_000


def test_spoken_questions_follow_the_seed(spoken):
    assert scenarios("spoken-qa") == spoken
    other = scenarios("spoken-qa", seed=1)
    assert [s.id for s in other] == [s.id for s in spoken]
    assert other[0].seed != spoken[0].seed


def test_spoken_questions_survive_json(spoken):
    assert Scenario.from_json(json.loads(json.dumps(spoken[0].to_json()))) == spoken[0]


def unpack(queue):
    from fobench_plugins.suites.spoken_qa.archive import unpacked

    rendering = unpacked()
    queue.put((str(rendering.folder), len(rendering.clips), len(list(rendering.folder.iterdir()))))


def test_processes_that_unpack_at_once_get_one_whole_folder(fresh_home):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=unpack, args=(queue,)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {queue.get(timeout=60) for _ in processes}
    ((folder, clips, files),) = found
    assert (clips, files) == (240, 241)
    assert folder.startswith(str(fresh_home))


def questions(path, *lines):
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return str(path)


def test_another_voice_speaks_once_and_is_kept(toy, fresh_home):
    first = list(islice(create("spoken-qa", voice="toy").scenarios(0), 4))
    assert len(toy.said) == 4
    assert [s.tags["voice"] for s in first] == ["low", "high", "low", "high"]
    assert list(islice(create("spoken-qa", voice="toy").scenarios(0), 4)) == first
    assert len(toy.said) == 4
    turn = first[0].turns[0]
    assert (turn.start_ns, turn.end_ns) == (100 * MS, (100 + 10 * len(turn.text)) * MS)  # silence is cut to 100 ms


def test_speakers_can_be_chosen(toy, fresh_home):
    chosen = islice(create("spoken-qa", voice="toy", speakers="high").scenarios(0), 3)
    assert {s.turns[0].speaker for s in chosen} == {"high"}


def test_a_changed_text_is_spoken_again(toy, fresh_home, monkeypatch, tmp_path):
    from fobench_plugins.suites.spoken_qa import archive, suite
    from fobench_plugins.suites.spoken_qa.questions import read

    one, two = read()[:2]
    clips = {}
    for question in (one, two):
        archive.encode(tmp_path / f"{question.id}.ogg", toy.speak(question.text, 0, "high"))
        clips[question.id] = archive.Clip(f"{question.id}.ogg", question.text_sha256, "high", 0, 1)
    archive.pack(tmp_path / "audio.zip", "toy", RATE, clips, tmp_path)
    monkeypatch.setattr(suite, "unpacked", lambda: archive.unpacked(tmp_path / "audio.zip"))
    toy.said.clear()
    changed = questions(
        tmp_path / "q.jsonl", {"id": one.id, "question": one.text}, {"id": two.id, "question": two.text + " Well?"}
    )
    same, other = scenarios("spoken-qa", voice="toy", questions=changed)
    assert toy.said == [two.text + " Well?"]
    assert (same.turns[0].start_ns, same.turns[0].end_ns) == (0, 1)
    assert other.turns[0].speaker == "high"


def test_own_questions_are_spoken(toy, fresh_home, tmp_path):
    path = questions(tmp_path / "q.jsonl", {"question": "Who?", "answers": "Me"}, {"question": "What now?"})
    first, second = scenarios("spoken-qa", voice="toy", questions=path)
    assert (first.id, first.expect.answers, second.turns[0].text) == ("q.jsonl-1", ("Me",), "What now?")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": ', r"q\.jsonl:1: not a question"),
        ('{"text": "Who?"}', r"q\.jsonl:1: not a question: 'question'"),
        ('{"question": " "}', "'question' is empty"),
        ('{"id": "x", "question": "Who?"}\n{"id": "x", "question": "What?"}', r"q\.jsonl:2: id 'x' occurs twice"),
        ("", "holds no question"),
    ],
)
def test_bad_questions_are_told(toy, tmp_path, content, message):
    (tmp_path / "q.jsonl").write_text(content)
    with pytest.raises(FobenchError, match=message):
        create("spoken-qa", voice="toy", questions=str(tmp_path / "q.jsonl"))


def test_an_unknown_voice_and_a_mute_one_are_told(toy, fresh_home):
    with pytest.raises(FobenchError, match=r"Unknown voice 'kokori'\. Did you mean 'kokoro'"):
        create("spoken-qa", voice="kokori")
    with pytest.raises(FobenchError, match="without a sound"):
        next(create("spoken-qa", voice="mute").scenarios(0))


# ---- The hub ---------------------------------------------------------------------------------------------------------


def parquet(folder, name, **columns):
    """A file in the layout of the hub's sets: audio as {bytes, path}."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / name)
    return folder


def encoded(tmp_path, ms, suffix=".wav"):
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path, sound(ms), RATE)
    return {"bytes": path.read_bytes(), "path": path.name}


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return datasets


def test_a_local_copy_of_a_hub_set_loads(datasets, tmp_path):
    clips = [encoded(tmp_path, 500), encoded(tmp_path, 700, ".flac"), encoded(tmp_path, 600, ".mp3")]
    folder = parquet(
        tmp_path / "copy" / "data",
        "test-00000-of-00001.parquet",
        audio=clips,
        Questions=["Who?", "What?", "When?"],
        Answer=["Me", "['it', 'that']", "now"],
    )
    parquet(folder, "train-00000-of-00001.parquet", other=["not of this split"])
    found = scenarios("hub:llama-questions", path=str(tmp_path / "copy"))
    assert [s.turns[0].text for s in found] == ["Who?", "What?", "When?"]
    assert [s.expect.answers for s in found] == [("Me",), ("it", "that"), ("now",)]
    assert found[1].turns[0].end_ns == 700 * MS
    assert found[0].suite == "hub:llama-questions"
    assert scenarios("hub:llama-questions", path=str(tmp_path / "copy")) == found


def test_a_multiple_choice_set_has_its_choices(datasets, tmp_path):
    text = "What burns? A. Water B. Wood C. Stone D. Glass"
    folder = parquet(
        tmp_path / "openbookqa", "test-00000.parquet", audio=[encoded(tmp_path, 500)], prompt=[text], reference=["B"]
    )
    (found,) = scenarios("hub:voicebench-openbookqa", path=str(folder))
    assert found.expect.choices == ("Water", "Wood", "Stone", "Glass")
    assert found.expect.answers == ("B",)


def test_columns_can_be_named(datasets, tmp_path):
    folder = parquet(tmp_path / "x", "a.parquet", snd=[encoded(tmp_path, 500)], q=["Who?"], a=[["Me"]])
    (found,) = scenarios("hub:me/mine", path=str(folder), audio="snd", question="q", answer="a")
    assert (found.turns[0].text, found.expect.answers) == ("Who?", ("Me",))
    with pytest.raises(FobenchError, match=r"no audio column that is known: name it with audio=\. Columns: snd, q, a"):
        create("hub:me/mine", path=str(folder))
    with pytest.raises(FobenchError, match="Unknown audio column of hub:me/mine 'sound'"):
        create("hub:me/mine", path=str(folder), audio="sound")


def test_trivia_qas_aliases_are_answers():
    from fobench_plugins.suites.hub import answers

    assert answers({"value": "Sun", "aliases": ["Sun", "The Sun"]}) == ("Sun", "The Sun")
    assert answers(None) == ()
    assert answers(1912) == ("1912",)
    assert answers("[not a list") == ("[not a list",)


def test_bad_audio_of_the_hub_is_told_with_its_row(datasets, tmp_path):
    folder = parquet(tmp_path / "x", "a.parquet", audio=[{"bytes": b"no audio", "path": "a"}], question=["Who?"])
    with pytest.raises(FobenchError, match=r"hub:me/mine, row 0: Audio file .* cannot be read"):
        scenarios("hub:me/mine", path=str(folder))


def test_what_the_hub_needs_is_told(datasets, tmp_path, monkeypatch):
    with pytest.raises(FobenchError, match="Did you mean 'llama-questions'"):
        create("hub:lama-questions")
    with pytest.raises(FobenchError, match="holds no parquet file"):
        create("hub:llama-questions", path=str(tmp_path))

    def unreachable(*arguments, **options):
        raise ConnectionError("Couldn't reach the hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        PrerequisiteError, match=r"(?s)Couldn't reach the hub\n.*hf download --repo-type dataset .*path=FOLDER"
    ):
        create("hub:llama-questions")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'fobench\[hub\]'"):
        create("hub:llama-questions")
