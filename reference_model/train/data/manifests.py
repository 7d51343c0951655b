"""Readers of speech corpora: transcribed recordings in common formats, as `ClipEntry` items of a `Corpus`.

- A manifest: JSON lines (.jsonl, .json), or a table with a header (.tsv as of Common Voice, .csv). `AUDIO` and `TEXT` list the
  accepted keys; "id", "speaker" and "split" are optional; "offset" and "duration" (s) select a part of the file.
- A folder in LibriSpeech's layout: `*.trans.txt`, with the recordings next to each.
- `hub:NAME` or `hub:NAME:CONFIG`: a data set of the Hugging Face hub through `datasets`; `hub:FOLDER`: a copy of its parquet files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import soundfile

from fobench.errors import FobenchError, PrerequisiteError
from reference_model.train.engine.skipped_samples import SkippedSamples

SECONDS = (0.15, 20.0)  # allowed durations of a clip
SLACK_S = 0.1  # tolerance between a clip's stated and actual duration
AUDIO = ("audio", "audio_filepath", "audio_path", "path", "file", "wav")
TEXT = ("text", "sentence", "transcript", "transcription", "normalized_text")
TABLES = {".tsv": "\t", ".csv": ","}
LINES = (".jsonl", ".json", ".manifest")
FOLDERS = ("", "clips")  # next to a manifest, where relative paths may start
HUB = "hub:"
SPLITS = {"train": ("train",), "valid": ("validation", "valid", "dev")}
UNREADABLE = (ValueError, KeyError, TypeError, OSError, soundfile.LibsndfileError)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """Location and metadata of a clip. `offset`, `size`: bytes of its FLAC file within a tar; `size` 0: a separate file, or row
    `offset` of a hub data set. `start`: where the clip begins in its file, s."""

    id: str
    text: str
    seconds: float
    path: Path
    offset: int = 0
    size: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    start: float = 0.0


def entries(source: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
    """Reads the clips of a manifest, a LibriSpeech folder or a hub data set; unusable ones are listed in `faults`.

    A clip belongs to "train" unless its row's "split", or the hub's, names another. FobenchError for an unknown source.
    """
    if str(source).startswith(HUB):
        return _hub(source, split, faults)
    if source.is_dir():
        return _entries(_librispeech(source), source, split, faults)
    if not source.exists():
        raise FobenchError(f"There is no {source}. Give {KINDS}.")
    if source.suffix not in (*TABLES, *LINES):
        raise FobenchError(f"{source} is not a known manifest format. Give {KINDS}.")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FobenchError(f"{source} cannot be read as a manifest: {error}. Give {KINDS}.") from error
    rows = _table(text, TABLES[source.suffix]) if source.suffix in TABLES else _lines(text)
    return _entries(rows, source, split, faults)


KINDS = f"a folder of shards (train-*.tar) or of *.trans.txt, a manifest ({', '.join((*LINES, *TABLES))}), or {HUB}NAME"


def checked_transcript(text: Any) -> str:
    """Returns a transcript with single spaces. ValueError where it has no letter or digit."""
    if not isinstance(text, str) or not any(map(str.isalnum, text)):
        raise ValueError(f"the transcript has no words: {text!r}")
    return " ".join(text.split())


def sentence_case(text: str) -> str:
    """Converts a transcript to sentence case with a final stop: ASR corpora often lack case and punctuation."""
    text = " ".join(text.split())
    if text.isupper() or text.islower():
        text = text.lower()
        text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."


def checked_duration(seconds: float) -> float:
    """Returns a clip's duration, s. ValueError where it is out of range."""
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise ValueError(f"lasts {seconds:.2f} s, not {SECONDS[0]} to {SECONDS[1]} s")
    return seconds


# ---- formats ---------------------------------------------------------------------------------------------------------

RowReaders = Iterator[tuple[str, Callable[[], Row]]]  # (position of a row, function that parses it)


def _lines(text: str) -> RowReaders:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield str(number), partial(json.loads, line)


def _table(text: str, delimiter: str) -> RowReaders:
    file = io.StringIO(text)
    if delimiter == "\t":
        rows = csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        rows = csv.DictReader(file, delimiter=delimiter)
    for number, row in enumerate(rows, 2):
        yield str(number), partial(dict, row)


def _librispeech(folder: Path) -> RowReaders:
    """FobenchError where there is no transcript in the folder."""
    found = sorted(folder.rglob("*.trans.txt"))
    if not found:
        raise FobenchError(f"{folder} holds no shard train-*.tar and no *.trans.txt. Give {KINDS}.")
    for path in found:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            yield f"{path.name}:{number}", partial(_librispeech_row, line, path.parent)


def _librispeech_row(line: str, folder: Path) -> Row:
    name, _, text = line.partition(" ")
    files = [folder / f"{name}{suffix}" for suffix in (".flac", ".wav")]
    audio = next((file for file in files if file.is_file()), files[0])
    return {"id": name, "audio": str(audio.absolute()), "text": text, "speaker": name.partition("-")[0]}


def _entries(rows: RowReaders, source: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
    found = []
    for where, row in rows:
        try:
            entry = _entry(row(), source, where, split)
        except UNREADABLE as error:
            faults.add(f"{source.name}:{where}", str(error))
            continue
        if entry is not None:
            found.append(entry)
    return found


def _entry(row: Row, source: Path, where: str, split: str) -> ClipEntry | None:
    """Returns the entry of a row; None for one of another split. Raises any of `UNREADABLE` with the reason."""
    if not isinstance(row, Mapping):
        raise ValueError(f"is not an object: {row!r:.60}")
    if row.get("split", "train") != split:
        return None
    audio, text = _path(source, str(_value(row, AUDIO))), checked_transcript(_value(row, TEXT))
    audio_info = soundfile.info(audio)
    file_s, start = audio_info.frames / audio_info.samplerate, float(row.get("offset") or 0)
    seconds = float(row.get("duration") or file_s - start) if start else file_s
    if not 0 <= start <= file_s or start + seconds > file_s + SLACK_S:
        raise ValueError(
            f"its file lasts {file_s:.2f} s and has no audio from {start:.2f} s to {start + seconds:.2f} s"
        )
    name = str(row.get("id") or f"{source.parent.name}/{source.stem}:{where}")
    info = {**row, "speaker": row["client_id"]} if "client_id" in row else dict(row)
    return ClipEntry(name, sentence_case(text), checked_duration(seconds), audio, info=info, start=start)


def _value(row: Row, names: tuple[str, ...]) -> Any:
    """Returns the value of the first key in `names` that the row has. ValueError where it has none."""
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        raise ValueError(f"has none of {', '.join(names)}; its keys are {', '.join(map(str, row)) or 'none'}")
    return row[name]


def _path(source: Path, audio: str) -> Path:
    files = [source.parent / folder / audio for folder in FOLDERS]  # an absolute path is unchanged
    return next((file for file in files if file.is_file()), files[0])


# ---- the hub -----------------------------------------------------------------------------------------------------------


def hub_audio(entry: ClipEntry) -> bytes | None:
    """Returns the encoded audio of a clip of a hub data set; None for other clips. Raises any of `UNREADABLE`."""
    if not str(entry.path).startswith(HUB):
        return None
    rows, column = _open_dataset(entry.path, entry.info["split"])
    return _audio_bytes(rows[entry.offset][column])


def _hub(source: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
    rows, column = _open_dataset(source, split)
    found = []
    for number, row in enumerate(rows):
        try:
            about = soundfile.info(io.BytesIO(_audio_bytes(row[column])))
            text, seconds = (
                sentence_case(checked_transcript(_value(row, TEXT))),
                checked_duration(about.frames / about.samplerate),
            )
        except UNREADABLE as error:
            faults.add(f"{source}:{number}", str(error))
            continue
        speaker = row.get("speaker_id", row.get("speaker", row.get("client_id")))
        info = {"split": split} | ({} if speaker is None else {"speaker": str(speaker)})
        found.append(ClipEntry(str(row.get("id") or f"{source}:{number}"), text, seconds, source, number, info=info))
    return found


@cache
def _open_dataset(source: Path, split: str) -> tuple[Any, str]:
    """Returns (rows of a data set with undecoded audio, name of its audio column).

    PrerequisiteError where it is not available.
    """
    try:
        import datasets
    except ImportError as error:
        raise PrerequisiteError("Data sets of the hub need datasets: pip install 'fobench[hub]'.") from error
    name, _, config = str(source).removeprefix(HUB).partition(":")
    try:
        rows = _load_parquet(Path(name), split) if Path(name).is_dir() else _load_from_hub(name, config or None, split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).split("\n", 1)[0]
        raise PrerequisiteError(
            f"{source} (split {split}) is not available: {reason}\nWithout network access: on a machine that has it, run\n"
            f"  hf download --repo-type dataset {name} --local-dir FOLDER\nand give {HUB}FOLDER."
        ) from error
    column = next((name for name in AUDIO if name in rows.column_names), None)
    if column is None:
        raise FobenchError(f"{source} has no audio column ({', '.join(AUDIO)}): {', '.join(rows.column_names)}.")
    if isinstance(rows.features[column], datasets.Audio):
        rows = rows.cast_column(column, datasets.Audio(decode=False))
    return rows, column


def _load_from_hub(name: str, config: str | None, split: str) -> Any:
    import datasets

    known = datasets.get_dataset_split_names(name, config)
    wanted = next((alias for alias in SPLITS.get(split, (split,)) if alias in known), None)
    if wanted is None:
        raise ValueError(f"its splits are {', '.join(map(str, known))}")
    return datasets.load_dataset(name, config, split=wanted)


def _load_parquet(folder: Path, split: str) -> Any:
    """Loads the parquet files whose names contain the split; all files for "train" where no name contains a split."""
    import datasets

    files = sorted(folder.rglob("*.parquet"))
    named = {file: _split_of(file.relative_to(folder)) for file in files}
    chosen = [file for file in files if named[file] == split] or (
        files if split == "train" and not any(named.values()) else []
    )
    if not chosen:
        raise ValueError(f"{len(files)} parquet files, none of the split")
    return datasets.load_dataset("parquet", data_files=[str(file) for file in chosen], split="train")


def _split_of(file: Path) -> str | None:
    """Returns the split that a file's name or a folder of its path starts with, if any."""
    words = [part.split("-")[0].split(".")[0] for part in file.parts]
    return next(
        (s for s, aliases in SPLITS.items() if any(w in aliases for w in words)), "test" if "test" in words else None
    )


def _audio_bytes(audio: Any) -> bytes:
    if isinstance(audio, bytes):
        return audio
    if isinstance(audio, Mapping) and audio.get("bytes"):
        return bytes(audio["bytes"])
    path = audio.get("path") if isinstance(audio, Mapping) else audio
    if isinstance(path, str):
        return Path(path).read_bytes()
    raise ValueError("contains no audio")
