"""The spoken questions: as shipped, and spoken by another voice."""

import json
import multiprocessing
import zipfile
from collections import Counter, defaultdict
from itertools import islice

import numpy as np
import pytest

from fobench import audio
from fobench.api import registry
from fobench.api.hookspecs import hookimpl
from fobench.api.scenario import Anchor, Scenario
from fobench.api.types import NS_PER_MS, NS_PER_S, AudioChunk
from fobench.errors import FobenchError
from fobench_plugins.suites.scenario_spec import SPEAKERS
from fobench_plugins.suites.spoken_qa import clip_archive, suite
from fobench_plugins.suites.spoken_qa.questions import read_questions
from tests.plugins.suites.suite_sounds import RATE, create, scenarios, sound

MS = NS_PER_MS
pytestmark = pytest.mark.usefixtures("home")


class Toy:
    """A voice that speaks text as tones: its length in centiseconds, its pitch by speaker. Counts what it has said."""

    rate_hz, speakers = 16_000, ("low", "high")

    def __init__(self):
        self.said = []

    def speak(self, text, seed, speaker=None):
        self.said.append(text)
        wave = sound(10 * len(text), hz=200 if speaker == "low" else 400)
        return AudioChunk(np.concatenate([np.zeros(8_000, np.float32), wave, np.zeros(8_000, np.float32)]), RATE)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The shipped clips, unpacked in the home that all tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOBENCH_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        return clip_archive.open_archive()


@pytest.fixture
def toy(archive, monkeypatch):
    """A voice plugin named `toy`; the shipped clips are the ones that are unpacked already."""
    voice = Toy()
    monkeypatch.setattr(suite, "open_archive", lambda: archive)

    class Plugin:
        @hookimpl
        def fobench_voices(self):
            return {"toy": lambda: voice, "mute": lambda: Mute()}

    class Mute(Toy):
        def speak(self, text, seed, speaker=None):
            return AudioChunk(np.zeros(RATE, np.float32), RATE)

    registry.manager.cache_clear()
    registry.factories.cache_clear()
    registry.manager().register(Plugin())
    yield voice
    registry.manager.cache_clear()
    registry.factories.cache_clear()


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOBENCH_HOME", str(tmp_path_factory.getbasetemp() / "home"))
        return scenarios("spoken-qa")


def test_240_questions_are_spoken_by_the_ten_evaluation_voices(spoken):
    assert len(spoken) == 240
    assert Counter(s.tags["voice"] for s in spoken) == dict.fromkeys(SPEAKERS, 24)
    voices = defaultdict(set)
    for scenario in spoken:
        voices[scenario.tags["subject"]].add(scenario.tags["voice"])
        assert scenario.turns[0].speaker == scenario.tags["voice"]
        assert scenario.turns[0].anchor == Anchor("start", NS_PER_S // 2)
        assert scenario.expect.answers
    assert {len(heard) for heard in voices.values()} == {10}


def test_the_shipped_clips_fit_their_texts_and_bounds(spoken):
    late = []  # ends of the coded clips against the given ones, which are of the clean rendering: soft last sounds may be lost
    for scenario in spoken[::12]:
        (turn,) = scenario.turns
        chunk = audio.load(turn.audio)
        assert chunk.rate_hz == 24_000
        assert audio.sha256(chunk.samples, chunk.rate_hz) == turn.sha256
        start_ns, end_ns = suite.bounds_above_noise(chunk)
        assert turn.start_ns == pytest.approx(start_ns, abs=30 * MS)
        late.append(abs(turn.end_ns - end_ns))
        assert 0.05 < len(turn.text) / 15 / (turn.end_ns - turn.start_ns) * NS_PER_S < 2
    assert max(late) <= 200 * MS
    assert np.percentile(late, 90) <= 60 * MS


def test_the_noise_of_a_voice_is_no_speech():
    rng, rate = np.random.default_rng(0), 24_000
    wave = np.concatenate([np.zeros(2_400), sound(1_000, rate), np.zeros(rate // 2)])
    noise = rng.normal(0, 10 ** (-42 / 20), len(wave))
    noisy = AudioChunk((wave + noise).astype(np.float32), rate)
    assert audio.speech_bounds(noisy)[1] >= 1_500 * MS
    assert suite.bounds_above_noise(noisy) == (100 * MS, 1_100 * MS)
    clean = AudioChunk(wave.astype(np.float32), rate)
    assert suite.bounds_above_noise(clean) == audio.speech_bounds(clean) == (100 * MS, 1_100 * MS)


def test_the_audio_is_at_most_three_megabytes():
    assert clip_archive.ARCHIVE.stat().st_size < 3_000_000


def test_spoken_questions_follow_the_seed(spoken):
    assert scenarios("spoken-qa") == spoken
    other = scenarios("spoken-qa", seed=1)
    assert [s.id for s in other] == [s.id for s in spoken]
    assert other[0].seed != spoken[0].seed


def test_spoken_questions_survive_json(spoken):
    assert Scenario.from_json(json.loads(json.dumps(spoken[0].to_json()))) == spoken[0]


def unpack(queue):
    rendering = clip_archive.open_archive()
    queue.put((str(rendering.folder), len(rendering.clips), len(list(rendering.folder.iterdir()))))


@pytest.mark.subprocess
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
    one, two = read_questions()[:2]
    clips = {}
    for question in (one, two):
        clip_archive.encode(tmp_path / f"{question.id}.ogg", toy.speak(question.text, 0, "high"))
        clips[question.id] = clip_archive.ArchivedClip(f"{question.id}.ogg", question.text_sha256, "high", 0, 1)
    clip_archive.pack(tmp_path / "audio.zip", "toy", RATE, clips, tmp_path)
    monkeypatch.setattr(suite, "open_archive", lambda: clip_archive.open_archive(tmp_path / "audio.zip"))
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
        ("", "contains no question"),
    ],
)
def test_bad_questions_are_told(toy, tmp_path, content, message):
    (tmp_path / "q.jsonl").write_text(content)
    with pytest.raises(FobenchError, match=message):
        create("spoken-qa", voice="toy", questions=str(tmp_path / "q.jsonl"))


def test_an_unknown_voice_and_a_mute_one_are_told(toy, fresh_home):
    with pytest.raises(FobenchError, match=r"Unknown voice 'kokori'\. Did you mean 'kokoro'"):
        create("spoken-qa", voice="kokori")
    with pytest.raises(FobenchError, match="no audible speech"):
        next(create("spoken-qa", voice="mute").scenarios(0))


@pytest.mark.parametrize("name", ["../x.ogg", "/x.ogg", "a/b.ogg", "..", "", "rendering.json", "a\\b.ogg", ".x"])
def test_an_archive_whose_clips_would_lie_elsewhere_is_damaged(tmp_path, monkeypatch, name):
    monkeypatch.setenv("FOBENCH_HOME", str(tmp_path / "home"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("rendering.json", json.dumps({"voice": "v", "clips": {"a": {"file": name}}}))
        if name != "rendering.json":
            archive.writestr(name or "x", b"x")
    with pytest.raises(FobenchError, match=r"a\.zip is damaged .*is not the name of a clip"):
        clip_archive.open_archive(tmp_path / "a.zip")
    assert [path.name for path in (tmp_path / "home/converted").iterdir() if path.is_dir()] == []
