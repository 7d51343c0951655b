"""What a manifest says: lines of JSON, or a folder of audio files, as items; what is wrong is collected, each with its place.

A line's keys (all but `audio` optional): `audio` (relative to the manifest), `id`, `text` or `question`, `answers` or `answer`,
`choices`, `speaker`, `role`, `family`, `start_s`, `end_s` (of the speech), `tags`, and instead of `audio` for conversations
`turns`: a list of {audio, text, speaker, role, start_s, end_s, anchor: {event, delay_s}}. Other keys are left alone.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from fobench import audio
from fobench.errors import FobenchError
from fobench.scenario import ROLES, Anchor, AnchorEvent
from fobench.text import whole
from fobench.types import NS_PER_S

MANIFEST = "manifest.jsonl"
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au")
FOLLOWING = Anchor("reply_end", NS_PER_S)  # where a conversation's later turns begin if they do not say
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("audio", "text", "question", "role", "family"), (str,)),
    **dict.fromkeys(("id", "speaker"), (str, int)),
    **dict.fromkeys(("answers", "answer", "choices"), (str, list)),
    **dict.fromkeys(("start_s", "end_s"), (int, float)),
    "tags": (dict,),
    "turns": (list,),
    "anchor": (dict,),
}


@dataclass(frozen=True, slots=True)
class Spoken:
    """One turn as the manifest describes it."""

    path: Path
    text: str | None
    speaker: str | None
    role: str
    anchor: Anchor
    start_ns: int | None
    end_ns: int | None


@dataclass(frozen=True, slots=True)
class Item:
    """One scenario as the manifest describes it. `where` is its file and line."""

    where: str
    id: str
    turns: tuple[Spoken, ...]
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    family: str = "question"
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Reading:
    """The usable items of a manifest, and what is wrong with the others: `place: what`."""

    name: str
    items: list[Item] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(target: str) -> Reading:
    """Reads a JSON-lines file, a folder with `manifest.jsonl`, or a folder of audio files with texts beside them.

    Audio is checked by its header, and by its samples where the format can hold what is no number. Raises `FobenchError`
    where there is nothing to read.
    """
    path = Path(target).expanduser()
    if not path.exists():
        raise FobenchError(f"Manifest {target} does not exist. Give a JSON-lines file or a folder of audio files.")
    listing = path / MANIFEST if path.is_dir() else path
    reading = Reading((path if path.is_dir() or path.name != MANIFEST else path.parent).absolute().name)
    for where, make in _lines(listing) if listing.is_file() else _files(path):
        try:
            item = make()
            for spoken in item.turns:
                _check_audio(spoken)
            reading.items.append(item)
        except FobenchError as error:
            reading.problems.append(f"{where}: {error}")
    _drop_duplicates(reading)
    if not reading.items and not reading.problems:
        if listing.is_file():
            raise FobenchError(f"Manifest {listing} is empty: give it a line of JSON for each recording.")
        raise FobenchError(f"{target} holds no {MANIFEST} and no audio file ({', '.join(AUDIO_SUFFIXES)}).")
    return reading


class _Maker:
    """Makes the item of one place; calling it raises `FobenchError` for what is wrong there."""

    def __init__(self, where: str, folder: Path, data: Any) -> None:
        self.where, self.folder, self.data = where, folder, data

    def __call__(self) -> Item:
        data = self._decoded()
        _check_keys(data)
        if "turns" in data and not data["turns"]:
            raise FobenchError("'turns' is empty")
        described = data.get("turns") or [data]
        turns = tuple(self._spoken(turn, index) for index, turn in enumerate(described))
        return Item(
            where=self.where,
            id=str(data.get("id", "")) or turns[0].path.stem,
            turns=turns,
            answers=_texts(data, "answers") or _texts(data, "answer"),
            choices=_texts(data, "choices"),
            family=data.get("family") or "question",
            tags={str(k): str(v) for k, v in data.get("tags", {}).items()},
        )

    def _decoded(self) -> dict[str, Any]:
        try:
            data = json.loads(self.data) if isinstance(self.data, str) else self.data
        except ValueError as error:
            raise FobenchError(f"not JSON: {error}") from error
        if not isinstance(data, dict):
            raise FobenchError(f"must be a JSON object, not {json.dumps(data)[:40]}")
        if not whole(json.dumps(data, ensure_ascii=False)):
            raise FobenchError("holds half a character (a lone surrogate, such as \\ud800)")
        return {key: value for key, value in data.items() if value is not None}

    def _spoken(self, data: Any, index: int) -> Spoken:
        if not isinstance(data, dict):
            raise FobenchError(f"turn {index} must be a JSON object")
        data = {key: value for key, value in data.items() if value is not None}
        _check_keys(data)
        if "audio" not in data:
            raise FobenchError("has no 'audio'" if "turns" not in data else f"turn {index} has no 'audio'")
        role = data.get("role", "question")
        if role not in ROLES:
            raise FobenchError(_unknown("role", role, ROLES))
        return Spoken(
            path=self.folder / data["audio"],
            text=data.get("text", data.get("question")),
            speaker=str(data["speaker"]) if "speaker" in data else None,
            role=role,
            anchor=_anchor(data["anchor"]) if "anchor" in data else FOLLOWING if index else Anchor(),
            start_ns=_ns(data, "start_s"),
            end_ns=_ns(data, "end_s"),
        )


def _lines(path: Path) -> Iterator[tuple[str, _Maker]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FobenchError(f"Manifest {path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path.name}:{number}"
            yield where, _Maker(where, path.parent, line)


def _files(folder: Path) -> Iterator[tuple[str, _Maker]]:
    for path in sorted(p for p in folder.rglob("[!.]*") if p.suffix.lower() in AUDIO_SUFFIXES):
        name = path.relative_to(folder)
        beside = path.with_suffix(".txt")
        text = beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
        data = {"audio": str(name), "id": name.with_suffix("").as_posix(), "text": text or None}
        yield name.as_posix(), _Maker(name.as_posix(), folder, data)


def _check_keys(data: Mapping[str, Any]) -> None:
    """Refuses a known key of the wrong type, and a key that is a slip of a known one."""
    for key, value in data.items():
        if key in KINDS and (not isinstance(value, KINDS[key]) or isinstance(value, bool)):
            raise FobenchError(f"{key!r} must be {' or '.join(k.__name__ for k in KINDS[key])}, not {value!r}")
        near = [] if key in KINDS else difflib.get_close_matches(key, KINDS, n=1, cutoff=0.85)
        if near and isinstance(value, KINDS[near[0]]):
            raise FobenchError(f"unknown key {key!r}, did you mean {near[0]!r}?")


def _texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = data.get(key, [])
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _ns(data: Mapping[str, Any], key: str) -> int | None:
    return round(data[key] * NS_PER_S) if key in data else None


def _anchor(data: Mapping[str, Any]) -> Anchor:
    event, delay_s = data.get("event", "start"), data.get("delay_s", 0.5)
    if event not in get_args(AnchorEvent):
        raise FobenchError(_unknown("anchor event", event, get_args(AnchorEvent)))
    if not isinstance(delay_s, int | float) or delay_s < 0:
        raise FobenchError(f"anchor delay_s must be seconds from 0 up, not {delay_s!r}")
    return Anchor(event, round(delay_s * NS_PER_S))


def _unknown(what: str, name: Any, choices: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(name), choices, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}{hint} (choices: {', '.join(choices)})"


def _check_audio(spoken: Spoken) -> None:
    """Raises `FobenchError` for audio that its header, or samples that are no numbers, rule out."""
    import soundfile

    name = spoken.path.name
    if not spoken.path.is_file():
        raise FobenchError(f"audio file {spoken.path} does not exist")
    try:
        info = soundfile.info(str(spoken.path))
    except (soundfile.SoundFileError, OSError) as error:
        raise FobenchError(f"audio file {name} cannot be read: {error}") from error
    if not info.frames:
        raise FobenchError(f"audio file {name} is empty")
    if info.duration > audio.MAX_DURATION_S:
        raise FobenchError(f"audio file {name} lasts {info.duration:.0f} s, more than {audio.MAX_DURATION_S} s")
    if info.subtype in ("FLOAT", "DOUBLE") and not np.isfinite(soundfile.read(str(spoken.path))[0]).all():
        raise FobenchError(f"audio file {name} holds values that are not finite (NaN or infinite)")
    start, end = spoken.start_ns or 0, round(info.duration * NS_PER_S) if spoken.end_ns is None else spoken.end_ns
    if not 0 <= start < end <= info.duration * NS_PER_S + 1:
        raise FobenchError(f"speech from {start / 1e9:g} to {end / 1e9:g} s is not within {name} ({info.duration:g} s)")


def _drop_duplicates(reading: Reading) -> None:
    first: dict[str, str] = {}
    for item in reading.items:
        if item.id in first:
            reading.problems.append(f"{item.where}: id {item.id!r} is already that of {first[item.id]}")
        first.setdefault(item.id, item.where)
    kept = set(first.values())
    reading.items = [item for item in reading.items if item.where in kept]
