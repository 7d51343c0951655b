"""Recordings with their texts in the forms that speech corpora have, as entries of a `Corpus`.

- A manifest: JSON lines (.jsonl, .json), or a table with a header (.tsv as of Common Voice, .csv). Keys are found by the names
  in `AUDIO` and `TEXT`; "id", "speaker", "split" may stand beside them, "offset" and "duration" (s) cut a clip out of its file.
- A folder in LibriSpeech's form: `*.trans.txt`, each with its recordings beside it.
- `hub:NAME` or `hub:NAME:CONFIG`: a data set of the model hub through `datasets`, or `hub:FOLDER`, a copy of its parquet files.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import soundfile

from fobench.errors import FobenchError, PrerequisiteError
from reference_model.train.engine.skipped_samples import SkippedSamples

SECONDS = (0.15, 20.0)  # that a clip may last
SLACK_S = 0.1  # that a clip may be longer or shorter than is told of it
AUDIO = ("audio", "audio_filepath", "audio_path", "path", "file", "wav")
TEXT = ("text", "sentence", "transcript", "transcription", "normalized_text")
TABLES = {".tsv": "\t", ".csv": ","}
LINES = (".jsonl", ".json", ".manifest")
FOLDERS = ("", "clips")  # beside a manifest, that its paths may start in
HUB = "hub:"
SPLITS = {"train": ("train",), "valid": ("validation", "valid", "dev")}
UNREADABLE = (ValueError, KeyError, TypeError, OSError, soundfile.LibsndfileError)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """Where a clip lies. `offset`, `size`: of its FLAC file within a tar; `size` 0: a file of its own, or row `offset` of a data
    set of the hub. `start`: where in its file it begins, s."""

    id: str
    text: str
    seconds: float
    path: Path
    offset: int = 0
    size: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    start: float = 0.0


def entries(source: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
    """The clips of a manifest, of a folder in LibriSpeech's form or of a data set of the hub; what cannot be used goes to `faults`.

    Only a line's "split", or the hub's own, make a clip one of another split than "train". FobenchError for what is no source.
    """
    if str(source).startswith(HUB):
        return _hub(source, split, faults)
    if source.is_dir():
        return _entries(_librispeech(source), source, split, faults)
    if not source.exists():
        raise FobenchError(f"There is no {source}. Give {KINDS}.")
    if source.suffix not in (*TABLES, *LINES):
        raise FobenchError(f"{source} is no manifest that is known. Give {KINDS}.")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FobenchError(f"{source} cannot be read as a manifest: {error}. Give {KINDS}.") from error
    rows = _table(text, TABLES[source.suffix]) if source.suffix in TABLES else _lines(text)
    return _entries(rows, source, split, faults)


KINDS = f"a folder of shards (train-*.tar) or of *.trans.txt, a manifest ({', '.join((*LINES, *TABLES))}), or {HUB}NAME"


def spoken(text: Any) -> str:
    """A transcript, single-spaced. ValueError where there is nothing to say."""
    if not isinstance(text, str) or not any(map(str.isalnum, text)):
        raise ValueError(f"nothing to say: {text!r}")
    return " ".join(text.split())


def written(text: str) -> str:
    """A transcript as it would be written: ASR corpora have it all in capitals, or all small, and without a stop."""
    text = " ".join(text.split())
    if text.isupper() or text.islower():
        text = text.lower()
        text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."


def timed(seconds: float) -> float:
    """A clip's length, if it can be used. ValueError where it cannot."""
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise ValueError(f"lasts {seconds:.2f} s, not {SECONDS[0]} to {SECONDS[1]} s")
    return seconds


# ---- forms -------------------------------------------------------------------------------------------------------------

Told = Iterator[tuple[str, Callable[[], Row]]]  # where a row stands, and what gives it, or a ValueError


def _lines(text: str) -> Told:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield str(number), lambda line=line: json.loads(line)


def _table(text: str, delimiter: str) -> Told:
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    for number, row in enumerate(csv.DictReader(io.StringIO(text), delimiter=delimiter, quoting=quoting), 2):
        yield str(number), lambda row=row: row


def _librispeech(folder: Path) -> Told:
    """FobenchError where there is no transcript in the folder."""
    found = sorted(folder.rglob("*.trans.txt"))
    if not found:
        raise FobenchError(f"{folder} holds no shard train-*.tar and no *.trans.txt. Give {KINDS}.")
    for path in found:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            yield f"{path.name}:{number}", lambda line=line, path=path: _transcribed(line, path.parent)


def _transcribed(line: str, folder: Path) -> Row:
    name, _, text = line.partition(" ")
    files = [folder / f"{name}{suffix}" for suffix in (".flac", ".wav")]
    audio = next((file for file in files if file.is_file()), files[0])
    return {"id": name, "audio": str(audio.absolute()), "text": text, "speaker": name.partition("-")[0]}


def _entries(rows: Told, source: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
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
    """None for a row of another split. Any of `UNREADABLE`, saying what is wrong with it."""
    if not isinstance(row, Mapping):
        raise ValueError(f"is no object with keys: {row!r:.60}")
    if row.get("split", "train") != split:
        return None
    audio, text = _path(source, str(_value(row, AUDIO))), spoken(_value(row, TEXT))
    found = soundfile.info(audio)
    whole, start = found.frames / found.samplerate, float(row.get("offset") or 0)
    seconds = float(row.get("duration") or whole - start) if start else whole
    if not 0 <= start <= whole or start + seconds > whole + SLACK_S:
        raise ValueError(f"its file of {whole:.2f} s has nothing from {start:.2f} s to {start + seconds:.2f} s")
    name = str(row.get("id") or f"{source.parent.name}/{source.stem}:{where}")
    info = {**row, "speaker": row["client_id"]} if "client_id" in row else dict(row)
    return ClipEntry(name, written(text), timed(seconds), audio, info=info, start=start)


def _value(row: Row, names: tuple[str, ...]) -> Any:
    """The value of the first of the names that the row has. ValueError where it has none."""
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        raise ValueError(f"has none of {', '.join(names)}; its keys are {', '.join(map(str, row)) or 'none'}")
    return row[name]


def _path(source: Path, audio: str) -> Path:
    files = [source.parent / folder / audio for folder in FOLDERS]  # a path from the root stays as it is
    return next((file for file in files if file.is_file()), files[0])


# ---- the hub -----------------------------------------------------------------------------------------------------------


def content(entry: ClipEntry) -> bytes | None:
    """The file's bytes of a clip of the hub; None for any other's. Any of `UNREADABLE` where there are none."""
    if not str(entry.path).startswith(HUB):
        return None
    rows, column = _opened(entry.path, entry.info["split"])
    return _bytes(rows[entry.offset][column])


def _hub(source: Path, split: str, faults: SkippedSamples) -> list[ClipEntry]:
    rows, column = _opened(source, split)
    found = []
    for number, row in enumerate(rows):
        try:
            about = soundfile.info(io.BytesIO(_bytes(row[column])))
            text, seconds = written(spoken(_value(row, TEXT))), timed(about.frames / about.samplerate)
        except UNREADABLE as error:
            faults.add(f"{source}:{number}", str(error))
            continue
        speaker = row.get("speaker_id", row.get("speaker", row.get("client_id")))
        info = {"split": split} | ({} if speaker is None else {"speaker": str(speaker)})
        found.append(ClipEntry(str(row.get("id") or f"{source}:{number}"), text, seconds, source, number, info=info))
    return found


@cache
def _opened(source: Path, split: str) -> tuple[Any, str]:
    """A data set's rows, audio undecoded, and its column of audio. PrerequisiteError where it cannot be had."""
    try:
        import datasets
    except ImportError as error:
        raise PrerequisiteError("Data sets of the hub need datasets: pip install 'fobench[hub]'.") from error
    name, _, config = str(source).removeprefix(HUB).partition(":")
    try:
        rows = _copied(Path(name), split) if Path(name).is_dir() else _downloaded(name, config or None, split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).split("\n", 1)[0]
        raise PrerequisiteError(
            f"{source} (split {split}) cannot be had: {reason}\nIf this machine has no hub: on one that has, run\n"
            f"  hf download --repo-type dataset {name} --local-dir FOLDER\nand give {HUB}FOLDER."
        ) from error
    column = next((name for name in AUDIO if name in rows.column_names), None)
    if column is None:
        raise FobenchError(f"{source} has no column of audio ({', '.join(AUDIO)}): {', '.join(rows.column_names)}.")
    if isinstance(rows.features[column], datasets.Audio):
        rows = rows.cast_column(column, datasets.Audio(decode=False))
    return rows, column


def _downloaded(name: str, config: str | None, split: str) -> Any:
    import datasets

    known = datasets.get_dataset_split_names(name, config)
    wanted = next((alias for alias in SPLITS.get(split, (split,)) if alias in known), None)
    if wanted is None:
        raise ValueError(f"its splits are {', '.join(map(str, known))}")
    return datasets.load_dataset(name, config, split=wanted)


def _copied(folder: Path, split: str) -> Any:
    """The parquet files of a split, as their names tell; all of them for "train" where no name tells."""
    import datasets

    files = sorted(folder.rglob("*.parquet"))
    named = {file: _split_of(file.relative_to(folder)) for file in files}
    chosen = [file for file in files if named[file] == split] or (
        files if split == "train" and not any(named.values()) else []
    )
    if not chosen:
        raise ValueError(f"{len(files)} parquet files, and none of the split")
    return datasets.load_dataset("parquet", data_files=[str(file) for file in chosen], split="train")


def _split_of(file: Path) -> str | None:
    """The split that a file's name or folders begin with, if they do."""
    words = [part.split("-")[0].split(".")[0] for part in file.parts]
    return next(
        (s for s, aliases in SPLITS.items() if any(w in aliases for w in words)), "test" if "test" in words else None
    )


def _bytes(audio: Any) -> bytes:
    if isinstance(audio, bytes):
        return audio
    if isinstance(audio, Mapping) and audio.get("bytes"):
        return bytes(audio["bytes"])
    path = audio.get("path") if isinstance(audio, Mapping) else audio
    if isinstance(path, str):
        return Path(path).read_bytes()
    raise ValueError("holds no audio")
