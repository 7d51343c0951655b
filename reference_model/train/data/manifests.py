"""Readers of speech corpora: transcribed recordings in common formats, as `ClipEntry` items of a `Corpus`.

- A manifest: JSON lines (.jsonl, .json), or a table with a header (.tsv as of Common Voice, .csv). `AUDIO` and `TEXT` list the
  accepted keys; "id", "speaker" and "split" are optional; "offset" and "duration" (s) cut the clip out of its file.
- A folder in LibriSpeech's layout: `*.trans.txt`, with the recordings next to each.
- `hub:NAME` or `hub:NAME:CONFIG`: a data set of the Hugging Face hub through `datasets`; `hub:FOLDER`: a copy of its parquet files.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import soundfile

from fobench.audio.decoding import open_sound
from fobench.errors import FobenchError, PrerequisiteError, first_line
from fobench.outside_files import parquet_rows, parse_json, read_text
from reference_model.train.engine.skipped_samples import SkippedSamples

SECONDS = (0.15, 20.0)  # allowed durations of a clip
SLACK_S = 0.1  # tolerance between a clip's stated and actual duration
AUDIO = ("audio", "audio_filepath", "audio_path", "path", "file", "wav")
TEXT = ("text", "sentence", "transcript", "transcription", "normalized_text")
SPAN = ("offset", "duration")
OTHER_SPAN = (
    ("start", "begin", "start_time", "begin_time"),
    ("end", "stop", "end_time"),
)  # not read: their units differ
TABLES = {".tsv": "\t", ".csv": ","}
LINES = (".jsonl", ".json", ".manifest")
FOLDERS = ("", "clips")  # next to a manifest, where relative paths may start
HUB = "hub:"
SPLITS = {"train": ("train",), "valid": ("validation", "valid", "dev")}
MANIFEST_BYTES = 1 << 31  # of a manifest
UNREADABLE = (ValueError, KeyError, TypeError, OSError, soundfile.LibsndfileError, FobenchError)

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
        text = read_text(source, MANIFEST_BYTES)
        rows = _table(text, TABLES[source.suffix]) if source.suffix in TABLES else _lines(text)
        return _entries(rows, source, split, faults)
    except (OSError, ValueError, csv.Error) as error:
        raise FobenchError(f"{source} cannot be read as a manifest: {error}. Give {KINDS}.") from error


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
    if not SECONDS[0] <= round(seconds, 6) <= SECONDS[1]:  # a difference of two times may fall a rounding error short
        raise ValueError(f"lasts {seconds:.2f} s, not {SECONDS[0]} to {SECONDS[1]} s")
    return seconds


# ---- formats ---------------------------------------------------------------------------------------------------------

RowReaders = Iterator[tuple[str, Callable[[], Row]]]  # (position of a row, function that parses it)


def _lines(text: str) -> RowReaders:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield str(number), partial(parse_json, line)


def _table(text: str, delimiter: str) -> RowReaders:
    file = io.StringIO(text)
    if delimiter == "\t":
        rows = csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        rows = csv.DictReader(file, delimiter=delimiter)
    names = rows.fieldnames or []
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"its header has {', '.join(map(repr, twice))} more than once")
    for row in rows:
        yield str(rows.line_num), partial(_table_row, row, len(names))


def _table_row(row: dict[Any, Any], columns: int) -> Row:
    """Returns a row of a table, its numbers as such. ValueError where it has more or fewer fields than the header."""
    fields = sum(value is not None for name, value in row.items() if name is not None) + len(row.get(None) or ())
    if fields != columns:
        raise ValueError(f"has {fields} fields, and the header {columns}")
    return {name: float(value) if name in SPAN and value.strip() else value for name, value in row.items()}


def _librispeech(folder: Path) -> RowReaders:
    """FobenchError where there is no transcript in the folder."""
    found = sorted(folder.rglob("*.trans.txt"))
    if not found:
        raise FobenchError(f"{folder} holds no shard train-*.tar and no *.trans.txt. Give {KINDS}.")
    for path in found:
        try:
            text = read_text(path, MANIFEST_BYTES)
        except (OSError, ValueError) as error:
            raise FobenchError(f"{path} cannot be read: {error}.") from error
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{path.name}:{number}", partial(_librispeech_row, line, path.parent)


def _librispeech_row(line: str, folder: Path) -> Row:
    name, _, text = line.partition(" ")
    files = [folder / f"{name}{suffix}" for suffix in (".flac", ".wav")]
    audio = next((file for file in files if file.is_file()), files[0])
    return {"id": name, "audio": str(audio.absolute()), "text": text, "speaker": name.partition("-")[0]}


def _entries(rows: RowReaders, source: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
    found: dict[str, ClipEntry] = {}
    for where, row in rows:
        try:
            entry = _entry(row(), source, where, split)
            if entry is not None and entry.id in found:
                raise ValueError(f"its id {entry.id!r} is that of an earlier clip")
        except UNREADABLE as error:
            faults.add(f"{source.name}:{where}", str(error))
            continue
        if entry is not None:
            found[entry.id] = entry
    return [*found.values()]


def _entry(row: Row, source: Path, where: str, split: str) -> ClipEntry | None:
    """Returns the entry of a row; None for one of another split. Raises any of `UNREADABLE` with the reason."""
    if not isinstance(row, Mapping):
        raise ValueError(f"is not an object: {row!r:.60}")
    if _split_name(row.get("split")) != split:
        return None
    audio, text = _path(source, _audio_name(_value(row, AUDIO))), checked_transcript(_value(row, TEXT))
    start, seconds = _span(row, sound_seconds(audio))
    name = str(row.get("id") or f"{source.parent.name}/{source.stem}:{where}")
    info = {**row, "speaker": row["client_id"]} if "client_id" in row else dict(row)
    return ClipEntry(name, sentence_case(text), checked_duration(seconds), audio, info=info, start=start)


def _split_name(value: Any) -> str:
    """Returns the split that a row names by any of its names; "train" where it names none."""
    return next((split for split, names in SPLITS.items() if value in names), str(value or "train"))


def _span(row: Row, file_s: float) -> tuple[float, float]:
    """Returns (start, duration) of a row's clip in its file of `file_s`, all in s.

    ValueError for what are no times, and for a clip that leaves its file by more than `SLACK_S`.
    """
    offset, duration = (row.get(key) for key in SPAN)
    for key, value in zip(SPAN, (offset, duration), strict=True):
        if value in (None, ""):
            continue
        if (
            type(value) not in (int, float)
            or not math.isfinite(value)
            or value < 0
            or (key == "duration" and not value)
        ):
            raise ValueError(
                f"{key} must be seconds {'above' if key == 'duration' else 'of at least'} 0, not {value!r:.60}"
            )
    begin, end = (next((row[key] for key in keys if type(row.get(key)) in (int, float)), None) for keys in OTHER_SPAN)
    if not (offset or duration) and begin is not None and end is not None and file_s > end - begin + SLACK_S:
        raise ValueError(f"is a part of its file, {begin:g} to {end:g}; write it as offset and duration, in seconds")
    start = float(offset or 0)
    seconds = float(duration) if duration else file_s - start
    if start >= file_s or start + seconds > file_s + SLACK_S:
        raise ValueError(
            f"its file lasts {file_s:.2f} s and has no audio from {start:.2f} s to {start + seconds:.2f} s"
        )
    return start, min(seconds, file_s - start)


def sound_seconds(source: Path | bytes) -> float:
    """Returns the duration of an audio file or its content. FobenchError where it cannot be read or is cut."""
    with open_sound(source) as sound:
        frames = sound.known_frames
        return (sum(map(len, sound.blocks())) if frames is None else frames) / float(sound.samplerate)


def _audio_name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its audio must be the path of a file, not {value!r:.60}")
    return value


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
    found: dict[str, ClipEntry] = {}
    for number, row in enumerate(rows):
        name = str(row.get("id") or f"{source}:{number}")
        try:
            if name in found:
                raise ValueError(f"its id {name!r} is that of an earlier clip")
            text = sentence_case(checked_transcript(_value(row, TEXT)))
            seconds = checked_duration(sound_seconds(_audio_bytes(row[column])))
        except UNREADABLE as error:
            faults.add(f"{source}:{number}", str(error))
            continue
        speaker = row.get("speaker_id", row.get("speaker", row.get("client_id")))
        info = {"split": split} | ({} if speaker is None else {"speaker": str(speaker)})
        found[name] = ClipEntry(name, text, seconds, source, number, info=info)
    return [*found.values()]


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
        raise PrerequisiteError(
            f"{source} (split {split}) is not available: {first_line(error)}.\nWithout network access: on a machine that has it, run\n"
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
    filled = []
    for file in chosen:
        try:
            filled += [file] if parquet_rows(file) else []
        except ValueError as error:
            raise FobenchError(f"{file} cannot be read: {error}.") from error
    if not filled:
        names = ", ".join(file.name for file in chosen[:5])
        raise FobenchError(f"{folder} contains no row of split {split} in {names}.")
    return datasets.load_dataset("parquet", data_files=[str(file) for file in filled], split="train")


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
