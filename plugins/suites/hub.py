"""`hub:NAME`: spoken question sets of the Hugging Face hub, through `datasets`, or a local copy of one.

Columns are found by the names that such sets use, or given as options. Audio is decoded by soundfile, as the decoder of
`datasets` needs torchcodec.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fobench.api.scenario import Expect, Scenario
from fobench.assets.store import home
from fobench.errors import FobenchError, PrerequisiteError, unknown
from fobench_plugins.suites.audio_turns import cached_file, item_seed, turn_from_audio

AUDIO_COLUMNS = ("audio", "speech", "question_audio", "wav")
QUESTION_COLUMNS = ("question", "Questions", "questions", "prompt", "instruction", "text", "query")
ANSWER_COLUMNS = ("answers", "answer", "Answer", "Answers", "reference", "aliases", "target", "output")
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
            expect = Expect(
                answers=answers(row[self.columns.answer]) if self.columns.answer else (),
                choices=choices(question or "") if self.source.choices else (),
            )
            yield Scenario(name, f"hub:{self.name}", item_seed(seed, name), (user_turn,), expect)

    def _clip(self, audio: Any) -> Path:
        """The row's audio as a cached file, named by the hash of its content."""
        content = _audio_bytes(audio)
        suffix = SUFFIXES.get(content[:4], ".mp3")
        path = home() / "hub" / f"{hashlib.sha256(content).hexdigest()[:24]}{suffix}"
        return cached_file(path, lambda partial: partial.write_bytes(content))


def source(name: str, **changes: str | None) -> HubSet:
    """The `HubSet` of a short name or a repository `owner/name`; `changes` that are not None replace its fields."""
    if name not in NAMES and "/" not in name:
        raise unknown("data set of suite 'hub:'", name, [*NAMES, "OWNER/REPOSITORY"])
    found = NAMES.get(name) or HubSet(name)
    given: dict[str, Any] = {field: value for field, value in changes.items() if value is not None}
    return replace(found, **given)


def answers(value: Any) -> tuple[str, ...]:
    """Accepted answers from an answer column: a text, a list, a list written as text, or TriviaQA's {value,
    aliases}.
    """
    if isinstance(value, Mapping):
        named = [value.get("value"), *(value.get("aliases") or ())]
        return tuple(dict.fromkeys(str(answer) for answer in named if answer))
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            return (value,)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(map(str, value)) if isinstance(value, list) else (str(value),)


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
        reason = str(error).split("\n", 1)[0]
        raise PrerequisiteError(
            f"hub:{name} needs the data set {source.repository}, which is not available: {reason}\n"
            "If this machine cannot reach the hub, run on one that can:\n"
            f"  hf download --repo-type dataset {source.repository} --local-dir FOLDER\n"
            "and pass the copied folder with --suite-args path=FOLDER."
        ) from error


def _local(path: Path, source: HubSet) -> Any:
    """A local copy of the data set's parquet files: those of its subset and split, where file names show them."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise FobenchError(f"{path} contains no parquet file: pass the folder of a downloaded data set.")
    for part in filter(None, (source.subset, source.split)):
        files = [file for file in files if _matches(file.relative_to(path), part)] or files
    return _datasets().load_dataset("parquet", data_files=[str(file) for file in files], split="train")


def _matches(file: Path, part: str) -> bool:
    """Whether `part` is a folder of the path, or a prefix of the file name as in test-00000-of-00002.parquet."""
    return any(name == part or name.startswith(part + "-") for name in (*file.parts[:-1], file.stem))


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise PrerequisiteError("The suite 'hub:' needs datasets: pip install 'fobench[hub]'.") from error
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
    raise FobenchError(f"contains no audio: {str(audio)[:80]}")
