"""`hub:NAME`: spoken question sets of the Hugging Face hub, or `hub:PATH`: a local copy of one, through `datasets`.

Columns are found by the names that such sets use, or given as options. Audio is decoded by soundfile, as the decoder of
`datasets` needs torchcodec.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fobench.api.scenario import Expect, Scenario
from fobench.api.typed import shown
from fobench.assets.store import home
from fobench.errors import FobenchError, PrerequisiteError, first_line, unknown
from fobench.outside_files import parquet_rows
from fobench.scoring.answer_matching import normalize_answer
from fobench.scoring.choice_parsing import expectation_problem
from fobench_plugins.suites.audio_turns import cached_file, item_seed, turn_from_audio

AUDIO_COLUMNS = ("audio", "speech", "question_audio", "wav")
QUESTION_COLUMNS = ("question", "Questions", "questions", "prompt", "instruction", "text", "query")
ANSWER_COLUMNS = ("answers", "answer", "Answer", "Answers", "reference", "aliases", "target", "output")
SPLITS = ("train", "validation", "valid", "dev", "test")
SUFFIXES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff"}
CHOICE = re.compile(r"(?:^|[\s(])([A-H])[.):]\s*(.+?)(?=\s*(?:[\s(][A-H][.):]\s|$))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HubSet:
    """Location of a data set on the hub.

    `choices`: its questions are multiple choice, with options A, B, C, ... in the text.
    """

    repository: str
    subset: str | None = None
    split: str = "test"
    choices: bool = False
    revision: str = "main"


VOICEBENCH = "hlt-lab/voicebench"
NAMES = {
    "llama-questions": HubSet("TwinkStart/llama-questions"),
    "web-questions": HubSet("TwinkStart/speech-web-questions"),
    "trivia-qa": HubSet("TwinkStart/speech-triavia-qa"),
    "voicebench-sd-qa": HubSet(VOICEBENCH, "sd-qa", "usa"),
    "voicebench-openbookqa": HubSet(VOICEBENCH, "openbookqa", choices=True),
    "voicebench-bbh": HubSet(VOICEBENCH, "bbh"),
    "voicebench-alpacaeval": HubSet(VOICEBENCH, "alpacaeval"),
    "voicebench-commoneval": HubSet(VOICEBENCH, "commoneval"),
    "voicebench-ifeval": HubSet(VOICEBENCH, "ifeval"),
}


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Column names; None: the data set has no such column."""

    audio: str
    question: str | None
    answer: str | None


class HubSuite:
    """The scenarios of one data set, in its order. See the factory for the options."""

    def __init__(self, name: str, source: HubSet, path: Path | None, columns: Mapping[str, str | None]) -> None:
        self.name, self.source = name, source
        self.rows = _local(path, source) if path else _remote(name, source)
        self.columns = _columns(f"hub:{name}", self.rows.column_names, columns)
        _check_kinds(f"hub:{name}", self.rows.features, self.columns)
        self.rows = _without_decoding(self.rows, self.columns.audio)

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        for index, row in enumerate(self.rows):
            name = f"{index:05d}"
            try:
                clip = self._clip(row[self.columns.audio])
                question = row[self.columns.question] if self.columns.question else None
                user_turn = turn_from_audio(clip, text=question)
            except FobenchError as error:
                raise FobenchError(f"hub:{self.name}, row {index}: {error}") from error
            expect = self._expect(index, row, question or "")
            yield Scenario(name, f"hub:{self.name}", item_seed(seed, name), (user_turn,), expect)

    def _expect(self, index: int, row: Mapping[str, Any], question: str) -> Expect:
        """The row's answers and choices. Raises `FobenchError` naming the row and column if no reply could be right."""
        column, options = self.columns.answer, choices(question) if self.source.choices else ()
        if column is None:
            return Expect()
        try:
            accepted = answers(row[column])
            problem = expectation_problem(accepted, options) if accepted else ""
        except FobenchError as error:
            accepted, problem = (), str(error)
        if problem:
            raise FobenchError(f"hub:{self.name}, row {index}, column {column!r}: {problem}")
        return Expect(accepted, options if accepted else ())

    def _clip(self, audio: Any) -> Path:
        """The row's audio as a cached file, named by the hash of its content."""
        content = _audio_bytes(audio)
        suffix = SUFFIXES.get(content[:4], ".mp3")
        path = home() / "hub" / f"{hashlib.sha256(content).hexdigest()[:24]}{suffix}"
        return cached_file(path, lambda partial: partial.write_bytes(content))


def locate(name: str, path: str | None, **changes: str | None) -> tuple[str, HubSet, Path | None]:
    """(name, data set, local copy) of a short name, a repository `owner/name`, or the path of a local copy.

    `path`: the local copy, under any name. `changes` that are not None replace fields of the data set.
    """
    here = Path(name).expanduser()
    if (
        path is None
        and name not in NAMES
        and (name[:1] in (".", "~", "/") or here.suffix == ".parquet" or here.exists())
    ):
        name, path = here.absolute().stem if here.suffix == ".parquet" else here.resolve().name, name
    if path is None and name not in NAMES and "/" not in name:
        raise unknown("data set of suite 'hub:'", name, [*NAMES, "OWNER/REPOSITORY", "FOLDER"])
    found = NAMES.get(name) or HubSet(name)
    given: dict[str, Any] = {field: value for field, value in changes.items() if value is not None}
    return name, replace(found, **given), Path(path).expanduser() if path is not None else None


def answers(value: Any) -> tuple[str, ...]:
    """Accepted answers from an answer column: a text, a number, a list of these, a list written as text, TriviaQA's {value,
    aliases} or SQuAD's {text}. Aliases without words are left out.

    Raises `FobenchError` for anything else, and if no answer has words that a reply could contain.
    """
    if isinstance(value, str) and value.strip().startswith("["):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = ast.literal_eval(value.strip())
    if isinstance(value, Mapping):
        named = [value.get("value"), *_listed(value.get("aliases")), *_listed(value.get("text"))]
        if not {"value", "aliases", "text"} & set(value):
            raise FobenchError(f"holds a table with the keys {', '.join(map(str, value))}, not answers")
        value = [answer for answer in named if answer is not None]
    found = []
    for answer in _listed(value):
        if not isinstance(answer, str | int | float) or isinstance(answer, bool):
            raise FobenchError(f"holds {shown(answer)} among the answers, not a text")
        found.append(str(answer))
    usable = tuple(dict.fromkeys(answer for answer in found if normalize_answer(answer)))
    if not usable and any(answer.strip() for answer in found):
        raise FobenchError(f"holds no answer with words that a reply could contain, only {shown(found)}")
    return usable


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def choices(question: str) -> tuple[str, ...]:
    """The multiple-choice options A, B, C, ... in a question's text; empty if the labels are not in order."""
    found = CHOICE.findall(question)
    labels = "".join(label for label, _ in found)
    return tuple(text.strip(" .;,\n") for _, text in found) if labels and "ABCDEFGH".startswith(labels) else ()


def _remote(name: str, source: HubSet) -> Any:
    """The data set from the hub or its local cache. Raises `PrerequisiteError` if neither has it."""
    datasets = _datasets()
    try:
        return datasets.load_dataset(source.repository, source.subset, split=source.split, revision=source.revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise PrerequisiteError(
            f"hub:{name} needs the data set {source.repository}, which is not available: {first_line(error)}.\n"
            "If this machine cannot reach the hub, run on one that can:\n"
            f"  hf download --repo-type dataset {source.repository} --local-dir FOLDER\n"
            "and pass the copied folder with --suite-args path=FOLDER."
        ) from error


def _local(path: Path, source: HubSet) -> Any:
    """A local copy of the data set's parquet files: those of its subset and split, where file names show them."""
    datasets = _datasets()
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise FobenchError(f"{path} contains no parquet file: pass the folder of a downloaded data set.")
    root = path if path.is_dir() else path.parent
    for part in filter(None, (source.subset, source.split)):
        files = [file for file in files if _matches(file.relative_to(root), part)] or files
    splits = [
        name for name in SPLITS if name != source.split and any(_matches(f.relative_to(root), name) for f in files)
    ]
    if len(splits) > 1 or (splits and source.split != SPLITS[-1]):
        raise FobenchError(
            f"{path} has no file of split {source.split!r}: choose one with --suite-args split={' or split='.join(splits)}."
        )
    filled = [file for file in files if _row_count(file)]
    if not filled:
        raise FobenchError(f"{path} contains no row in {', '.join(file.name for file in files[:5])}.")
    try:
        rows = datasets.load_dataset("parquet", data_files=[str(file) for file in filled], split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise FobenchError(f"{path} cannot be read as a data set: {first_line(error.__cause__ or error)}.") from error
    return rows


def _row_count(file: Path) -> int:
    try:
        return parquet_rows(file)
    except (OSError, ValueError) as error:
        raise FobenchError(f"{file} cannot be read: {error}.") from error


def _matches(file: Path, part: str) -> bool:
    """Whether `part` is a folder of the path, or a prefix of the file name as in test-00000-of-00002.parquet."""
    return any(name == part or name.startswith(part + "-") for name in (*file.parts[:-1], file.stem))


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise PrerequisiteError("The suite 'hub:' needs datasets: pip install 'fobench[hub]'.") from error
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # an error is raised here, as a sentence
    return datasets


def _columns(suite_name: str, names: Sequence[str], requested: Mapping[str, str | None]) -> ColumnNames:
    """The columns to use. Raises `FobenchError` for a requested one that is missing, or without an audio column."""
    for role, name in requested.items():
        if name is not None and name not in names:
            raise unknown(f"{role} column of {suite_name}", name, names)
    audio = requested.get("audio") or next((n for n in AUDIO_COLUMNS if n in names), None)
    if audio is None:
        raise FobenchError(f"{suite_name} has no known audio column: name it with audio=. Columns: {', '.join(names)}.")
    question = requested.get("question") or next((n for n in QUESTION_COLUMNS if n in names), None)
    answer = requested.get("answer") or next((n for n in ANSWER_COLUMNS if n in names), None)
    return ColumnNames(audio, question, answer)


def _check_kinds(suite_name: str, features: Mapping[str, Any], columns: ColumnNames) -> None:
    """Raises `FobenchError` where the question column holds no texts, or the audio column lists."""
    texts = [name for name, kind in features.items() if _is_text(kind)]
    if columns.question is not None and not _is_text(features[columns.question]):
        what = "lists (of a multi-turn set)" if _is_list(features[columns.question]) else "values"
        others = ", ".join(texts) or "none"
        raise FobenchError(
            f"{suite_name}: the column {columns.question!r} holds {what}, not one text a row; name another with "
            f"--suite-args question=COLUMN. Columns of texts: {others}."
        )
    if _is_list(features[columns.audio]):
        others = ", ".join(name for name in features if name != columns.audio)
        raise FobenchError(
            f"{suite_name}: the column {columns.audio!r} holds lists (of a multi-turn set), not one recording a row; name "
            f"another with --suite-args audio=COLUMN. Other columns: {others}."
        )


def _is_text(kind: Any) -> bool:
    return getattr(kind, "dtype", None) in ("string", "large_string", "null")


def _is_list(kind: Any) -> bool:
    return isinstance(kind, list) or type(kind).__name__ in ("List", "LargeList", "Sequence")


def _without_decoding(rows: Any, column: str) -> Any:
    """The rows, with their audio as {bytes, path}."""
    datasets = _datasets()
    if isinstance(rows.features[column], datasets.Audio):
        return rows.cast_column(column, datasets.Audio(decode=False))
    return rows


def _audio_bytes(audio: Any) -> bytes:
    if isinstance(audio, bytes):
        return audio
    if isinstance(audio, Mapping) and audio.get("bytes"):
        return bytes(audio["bytes"])
    path = audio.get("path") if isinstance(audio, Mapping) else audio
    if isinstance(path, str) and Path(path).is_file():
        return Path(path).read_bytes()
    raise FobenchError(f"contains no audio but {type(audio).__name__} {shown(audio)}")
