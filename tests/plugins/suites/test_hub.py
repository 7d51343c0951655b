"""Suites of the hub, from local copies."""

import pytest
import soundfile

from fobench.api.types import NS_PER_MS
from fobench.errors import FobenchError, PrerequisiteError
from tests.support.suite_sounds import RATE, create, scenarios, sound

MS = NS_PER_MS
pytestmark = pytest.mark.usefixtures("home")


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
    with pytest.raises(FobenchError, match=r"no known audio column: name it with audio=\. Columns: snd, q, a"):
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
    with pytest.raises(FobenchError, match="contains no parquet file"):
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
