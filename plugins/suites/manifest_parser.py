"""Parser of manifests: JSON Lines, a scenario file (TOML), or a folder of audio files.

Problems are collected with their location.

Keys of an entry: `id`, `answers` or `answer`, `choices`, `family`, `tags`, `patience_s` (how long the user waits for a
reply), and those of its turn, or `turns`, a list of turns. A turn has exactly one of `audio` (a file, relative to the
manifest), `say` (text to synthesize by `speaker` of `voice`), `noise` (of `length_s`); its other keys are `text` or
`question`, `role`, `level_db` (gain), `snr_db` (added noise), `start_s`, `end_s` (bounds of the speech), `anchor`:
{event, delay_s, or_after_s}. All but the sound are optional, and other keys are ignored. In a scenario file an entry is
a table `[[scenario]]`, its turns are `[[scenario.turns]]`, and `version = 1` stands above them.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from fobench import audio
from fobench.api import registry
from fobench.api.scenario import ROLES, Anchor, AnchorEvent
from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError
from fobench.scoring.text_normalization import is_encodable
from fobench_plugins.suites import noise_generators
from fobench_plugins.suites.scenario_spec import PATIENCE_NS, VOICE, ScenarioSpec, TurnSpec

MANIFEST = "manifest.jsonl"
VERSION = 1  # of scenario files
SOUNDS = ("audio", "say", "noise")  # a turn has exactly one of them
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au")
FOLLOWING = Anchor("reply_end", NS_PER_S)  # default anchor of the later turns of a conversation
KEY_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys((*SOUNDS, "text", "question", "role", "family", "voice"), (str,)),
    **dict.fromkeys(("id", "speaker"), (str, int)),
    **dict.fromkeys(("answers", "answer", "choices"), (str, list)),
    **dict.fromkeys(("start_s", "end_s", "length_s", "level_db", "snr_db", "patience_s"), (int, float)),
    "tags": (dict,),
    "turns": (list,),
    "anchor": (dict,),
}


@dataclass(slots=True)
class ParsedManifest:
    """The valid items of a manifest, and the problems of the others as "location: problem"."""

    name: str
    items: list[ScenarioSpec] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(target: str) -> ParsedManifest:
    """Reads a JSON Lines or scenario file, a folder with `manifest.jsonl`, or a folder of audio files with .txt files
    beside them.

    Audio is checked by its header, and float formats also for non-finite samples. Raises `FobenchError` if there is
    nothing to read.
    """
    path = Path(target).expanduser()
    if not path.exists():
        raise FobenchError(f"Manifest {target} does not exist. Give a JSON Lines file or a folder of audio files.")
    listing = path / MANIFEST if path.is_dir() else path
    manifest = ParsedManifest((path if path.is_dir() or path.name != MANIFEST else path.parent).absolute().name)
    for where, make in _entries(listing) if listing.is_file() else _audio_files(path):
        try:
            item = make()
            for spec in item.turns:
                _check_sound(spec)
            manifest.items.append(item)
        except FobenchError as error:
            manifest.problems.append(f"{where}: {error}")
    _drop_duplicates(manifest)
    if not manifest.items and not manifest.problems:
        if listing.is_file():
            raise FobenchError(f"Manifest {listing} is empty: it needs a line of JSON for each recording.")
        raise FobenchError(f"{target} contains no {MANIFEST} and no audio file ({', '.join(AUDIO_SUFFIXES)}).")
    return manifest


class _ItemParser:
    """Parses one entry; calling it returns the item, or raises `FobenchError` for its first problem."""

    def __init__(self, where: str, folder: Path, data: Any) -> None:
        self.where, self.folder, self.data = where, folder, data

    def __call__(self) -> ScenarioSpec:
        data = self._decode()
        _check_keys(data)
        if "turns" in data and not data["turns"]:
            raise FobenchError("'turns' is empty")
        turn_data = data.get("turns") or [data]
        turns = tuple(self._parse_turn(turn, index) for index, turn in enumerate(turn_data))
        return ScenarioSpec(
            where=self.where,
            id=str(data.get("id", "")) or _default_id(turns[0], self.where),
            turns=turns,
            answers=_texts(data, "answers") or _texts(data, "answer"),
            choices=_texts(data, "choices"),
            family=data.get("family") or "question",
            tags={str(k): str(v) for k, v in data.get("tags", {}).items()},
            patience_ns=_patience_ns(data),
        )

    def _decode(self) -> dict[str, Any]:
        try:
            data = json.loads(self.data) if isinstance(self.data, str) else self.data
        except ValueError as error:
            raise FobenchError(f"not JSON: {error}") from error
        if not isinstance(data, dict):
            raise FobenchError(f"must be a JSON object, not {json.dumps(data)[:40]}")
        if not is_encodable(json.dumps(data, ensure_ascii=False)):
            raise FobenchError("contains a lone surrogate (half a character, such as \\ud800)")
        return {key: value for key, value in data.items() if value is not None}

    def _parse_turn(self, data: Any, index: int) -> TurnSpec:
        if not isinstance(data, dict):
            raise FobenchError(f"turn {index} must be a JSON object")
        data = {key: value for key, value in data.items() if value is not None}
        _check_keys(data)
        if len([key for key in SOUNDS if key in data]) != 1:
            problem = "has no" if not any(key in data for key in SOUNDS) else "has more than one of"
            raise FobenchError(
                f"turn {index} {problem} 'audio', 'say' or 'noise'"
                if "turns" in self.data
                else f"{problem} 'audio', 'say' or 'noise'"
            )
        role = data.get("role", "question")
        if role not in ROLES:
            raise FobenchError(_unknown("role", role, ROLES))
        return TurnSpec(
            path=self.folder / data["audio"] if "audio" in data else None,
            say=data.get("say"),
            voice=data.get("voice", VOICE),
            noise=data.get("noise"),
            length_ns=_ns(data, "length_s", NS_PER_S) or 0,
            level_db=float(data.get("level_db", 0)),
            snr_db=float(data["snr_db"]) if "snr_db" in data else None,
            text=data.get("text", data.get("question", data.get("say"))),
            speaker=str(data["speaker"]) if "speaker" in data else None,
            role=role,
            anchor=_anchor(data["anchor"], index) if "anchor" in data else FOLLOWING if index else Anchor(),
            start_ns=_ns(data, "start_s"),
            end_ns=_ns(data, "end_s"),
        )


def _entries(path: Path) -> Iterator[tuple[str, _ItemParser]]:
    return _tables(path) if path.suffix == ".toml" else _lines(path)


def _tables(path: Path) -> Iterator[tuple[str, _ItemParser]]:
    """The tables `[[scenario]]` of a scenario file. Raises `FobenchError` for an invalid file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FobenchError(f"Scenario file {path} cannot be read as TOML: {error}.") from error
    if data.get("version") != VERSION:
        raise FobenchError(
            f"Scenario file {path} needs the line version = {VERSION}, above all tables; "
            f"it has {data.get('version')!r}."
        )
    tables = data.get("scenario", [])
    if not isinstance(tables, list):
        raise FobenchError(f"Scenario file {path} must have tables [[scenario]] in double brackets, not [scenario].")
    if unknown := sorted(set(data) - {"version", "scenario"}):
        raise FobenchError(f"Scenario file {path} must have no tables but [[scenario]], not {', '.join(unknown)}.")
    for number, table in enumerate(tables, start=1):
        where = f"{path.name}: scenario {number}" + (
            f" ({table['id']})" if isinstance(table, dict) and "id" in table else ""
        )
        yield where, _ItemParser(where, path.parent, table)


def _lines(path: Path) -> Iterator[tuple[str, _ItemParser]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FobenchError(f"Manifest {path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path.name}:{number}"
            yield where, _ItemParser(where, path.parent, line)


def _audio_files(folder: Path) -> Iterator[tuple[str, _ItemParser]]:
    for path in sorted(p for p in folder.rglob("[!.]*") if p.suffix.lower() in AUDIO_SUFFIXES):
        name = path.relative_to(folder)
        text_file = path.with_suffix(".txt")
        text = text_file.read_text(encoding="utf-8", errors="replace").strip() if text_file.is_file() else ""
        data = {"audio": str(name), "id": name.with_suffix("").as_posix(), "text": text or None}
        yield name.as_posix(), _ItemParser(name.as_posix(), folder, data)


def _check_keys(data: Mapping[str, Any]) -> None:
    """Raises `FobenchError` for a known key of the wrong type, and for an unknown key that resembles a known one."""
    for key, value in data.items():
        if key in KEY_TYPES and (not isinstance(value, KEY_TYPES[key]) or isinstance(value, bool)):
            raise FobenchError(f"{key!r} must be {' or '.join(k.__name__ for k in KEY_TYPES[key])}, not {value!r}")
        close_keys = [] if key in KEY_TYPES else difflib.get_close_matches(key, KEY_TYPES, n=1, cutoff=0.85)
        if close_keys and isinstance(value, KEY_TYPES[close_keys[0]]):
            raise FobenchError(f"unknown key {key!r}, did you mean {close_keys[0]!r}?")


def _texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = data.get(key, [])
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _ns(data: Mapping[str, Any], key: str, default: int | None = None) -> int | None:
    if key not in data:
        return default
    if not math.isfinite(data[key]):
        raise FobenchError(f"{key} must be seconds, not {data[key]!r}")
    return round(data[key] * NS_PER_S)


def _patience_ns(data: Mapping[str, Any]) -> int:
    patience_ns = _ns(data, "patience_s", PATIENCE_NS) or 0
    if patience_ns <= 0:
        raise FobenchError(f"patience_s must be seconds above 0, not {data['patience_s']!r}")
    return patience_ns


def _anchor(data: Mapping[str, Any], index: int) -> Anchor:
    event, delay_s, or_after_s = data.get("event", "start"), data.get("delay_s", 0.5), data.get("or_after_s")
    if odd := sorted(set(data) - {"event", "delay_s", "or_after_s"}):
        raise FobenchError(f"anchor has no {odd[0]!r}, only event, delay_s, or_after_s")
    if event not in get_args(AnchorEvent):
        raise FobenchError(_unknown("anchor event", event, get_args(AnchorEvent)))
    if event != "start" and not index:
        raise FobenchError(f"anchor {event!r} refers to an earlier turn, and this is the first one: use start")
    for key, value in (("delay_s", delay_s), ("or_after_s", 0 if or_after_s is None else or_after_s)):
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise FobenchError(f"anchor {key} must be seconds of at least 0, not {value!r}")
    return Anchor(event, round(delay_s * NS_PER_S), None if or_after_s is None else round(or_after_s * NS_PER_S))


def _unknown(what: str, name: Any, choices: tuple[str, ...]) -> str:
    close_keys = difflib.get_close_matches(str(name), choices, n=1)
    hint = f", did you mean {close_keys[0]!r}?" if close_keys else ""
    return f"unknown {what} {name!r}{hint} (choices: {', '.join(choices)})"


def _default_id(first: TurnSpec, where: str) -> str:
    """The default id of an item: the name of its first file, or its location."""
    return first.path.stem if first.path else where.replace(": ", "-").replace(":", "-").replace(" ", "-")


def _check_sound(spec: TurnSpec) -> None:
    """Raises `FobenchError` for an invalid sound: no words, an unknown voice or noise, an invalid length, a bad
    file.
    """
    if not all(map(math.isfinite, (spec.level_db, spec.snr_db or 0.0))):
        raise FobenchError("level_db and snr_db must be finite numbers of dB")
    if spec.say is not None:
        if not spec.say.strip():
            raise FobenchError("'say' is empty")
        registry.find("voices", spec.voice)
    elif spec.noise is not None:
        if spec.noise not in noise_generators.NAMES:
            raise FobenchError(_unknown("noise", spec.noise, noise_generators.NAMES))
        if not 0 < spec.length_ns <= audio.MAX_DURATION_S * NS_PER_S:
            raise FobenchError(
                f"length_s must be seconds above 0, up to {audio.MAX_DURATION_S}, not {spec.length_ns / 1e9:g}"
            )
    elif spec.path is not None:
        _check_audio(spec, spec.path)


def _check_audio(spec: TurnSpec, path: Path) -> None:
    """Raises `FobenchError` for audio with an invalid header, length, or non-finite samples."""
    import soundfile

    name = path.name
    if not path.is_file():
        raise FobenchError(f"audio file {path} does not exist")
    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise FobenchError(f"audio file {name} cannot be read: {error}") from error
    if not info.frames:
        raise FobenchError(f"audio file {name} is empty")
    if info.duration > audio.MAX_DURATION_S:
        raise FobenchError(f"audio file {name} lasts {info.duration:.0f} s, more than {audio.MAX_DURATION_S} s")
    if info.subtype in ("FLOAT", "DOUBLE") and not np.isfinite(soundfile.read(str(path))[0]).all():
        raise FobenchError(f"audio file {name} contains values that are not finite (NaN or infinite)")
    start, end = spec.start_ns or 0, round(info.duration * NS_PER_S) if spec.end_ns is None else spec.end_ns
    if not 0 <= start < end <= info.duration * NS_PER_S + 1:
        raise FobenchError(f"speech from {start / 1e9:g} to {end / 1e9:g} s is not within {name} ({info.duration:g} s)")


def _drop_duplicates(manifest: ParsedManifest) -> None:
    first: dict[str, str] = {}
    for item in manifest.items:
        if item.id in first:
            manifest.problems.append(f"{item.where}: id {item.id!r} is already used by {first[item.id]}")
        first.setdefault(item.id, item.where)
    kept = set(first.values())
    manifest.items = [item for item in manifest.items if item.where in kept]
