"""Suites of the hub, from local copies."""

import pytest
import soundfile

from fobench.api.types import NS_PER_MS
from fobench.errors import FobenchError, PrerequisiteError
from fobench_plugins.suites.hub import answers
from tests.plugins.suites.suite_sounds import RATE, create, scenarios, sound

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


def rows(tmp_path, **columns):
    return parquet(tmp_path / "set", "a.parquet", **{"audio": [encoded(tmp_path, 500)], **columns})


def test_a_local_copy_needs_no_name(datasets, tmp_path, monkeypatch):
    folder = rows(tmp_path, question=["Who?"], answer=["Me"])
    expected = scenarios("hub:me/mine", path=str(folder))
    monkeypatch.chdir(tmp_path)
    for name in (f"hub:{folder}", f"hub:{folder}/a.parquet", "hub:set", "hub:./set", "hub:set/a.parquet"):
        (found,) = scenarios(name)
        assert found.suite in ("hub:set", "hub:a")
        assert (found.turns, found.expect) == (expected[0].turns, expected[0].expect)
    assert scenarios("hub:mine", path=str(folder))[0].suite == "hub:mine"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"question": [["How many?", "And then?"]], "answer": ["2"]},
            r"column 'question' holds lists .*texts: answer\.",
        ),
        ({"question": [3], "said": ["Who?"]}, r"column 'question' holds values, .*texts: said\."),
    ],
)
def test_questions_that_are_no_texts_are_refused_with_the_columns_that_are(datasets, tmp_path, columns, message):
    with pytest.raises(FobenchError, match=message):
        create(f"hub:{rows(tmp_path, **columns)}")


def test_lists_of_recordings_are_refused(datasets, tmp_path):
    clip = encoded(tmp_path, 500)
    with pytest.raises(FobenchError, match=r"column 'audio' holds lists .*Other columns: question\."):
        create(f"hub:{rows(tmp_path, audio=[[clip, clip]], question=['Who?'])}")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda whole: POINTER,
            r"a\.parquet cannot be read: it is no parquet file but a Git LFS pointer; .*git lfs pull",
        ),
        (lambda whole: b"", r"a\.parquet cannot be read: it is empty, no parquet file"),
        (lambda whole: b"PK\3\4" + bytes(90), r"a\.parquet cannot be read: it is no parquet file"),
        (lambda whole: whole[: len(whole) // 2], r"a\.parquet cannot be read: it is a cut parquet file"),
        (lambda whole: b"PAR1" + bytes(90) + b"PAR1", r"a\.parquet cannot be read: it is a damaged parquet file"),
    ],
)
def test_what_is_no_parquet_file_is_told(datasets, tmp_path, content, message):
    path = rows(tmp_path, question=["Who?"]) / "a.parquet"
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(FobenchError, match=message):
        create(f"hub:{path.parent}")


def test_a_set_without_rows_or_without_the_split_is_told(datasets, tmp_path):
    with pytest.raises(FobenchError, match=r"contains no row in a\.parquet"):
        create(f"hub:{rows(tmp_path, audio=[], question=[])}")
    for split in ("train", "validation"):
        parquet(tmp_path / "two", f"{split}-00000-of-00001.parquet", audio=[encoded(tmp_path, 500)], question=["Who?"])
    with pytest.raises(FobenchError, match="has no file of split 'test': choose one with --suite-args split=train or"):
        create(f"hub:{tmp_path / 'two'}")
    assert len(scenarios(f"hub:{tmp_path / 'two'}", split="validation")) == 1


def test_a_row_in_which_nothing_can_be_heard_is_told(datasets, tmp_path):
    soundfile.write(tmp_path / "mute.wav", 0 * sound(500), RATE)
    mute = {"bytes": (tmp_path / "mute.wav").read_bytes(), "path": "mute.wav"}
    with pytest.raises(FobenchError, match="hub:set, row 0: Nothing can be heard"):
        scenarios(f"hub:{rows(tmp_path, audio=[mute], question=['Who?'])}")


def test_trivia_qas_aliases_are_answers():
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
        PrerequisiteError, match=r"(?s)Couldn't reach the hub\.\n.*hf download --repo-type dataset .*path=FOLDER"
    ):
        create("hub:llama-questions")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(PrerequisiteError, match=r"pip install 'fobench\[hub\]'"):
        create("hub:llama-questions")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("['4', 'four']", ("4", "four")),
        ([4, 4.5, "four"], ("4", "4.5", "four")),
        ({"text": ["Sun"], "answer_start": [3]}, ("Sun",)),
        (["Sun", "?", ""], ("Sun",)),
        ("", ()),
        ([], ()),
    ],
)
def test_answers_are_texts_and_numbers_with_words(value, found):
    assert answers(value) == found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([None], "holds None among the answers"),
        ([["4", "four"]], "among the answers, not a text"),
        ([True], "holds True among"),
        ("?!", "no answer with words"),
        ({"label": 3}, "a table with the keys label"),
    ],
)
def test_answers_that_can_never_match_are_told(value, message):
    with pytest.raises(FobenchError, match=message):
        answers(value)
