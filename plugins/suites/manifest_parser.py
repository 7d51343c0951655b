"""What a manifest says: lines of JSON, a scenario file (TOML), or a folder of audio files, as items; what is wrong is collected,
each with its place.

A line's keys, all but the sound optional: `id`, `answers` or `answer`, `choices`, `family`, `tags`, `patience_s` (how long the
user waits for a reply), and those of its turn, or for conversations `turns`, a list of them. A turn's sound is one of
`audio` (a file, relative to the manifest), `say` (words, by `speaker` of `voice`), `noise` (of `length_s`); its other keys are
`text` or `question`, `role`, `level_db` (gain), `snr_db` (noise under it), `start_s`, `end_s` (of the speech), `anchor`:
{event, delay_s, or_after_s}. Other keys are left alone. In a scenario file each line is a table `[[scenario]]`, its turns are
`[[scenario.turns]]`, and `version = 1` stands above them.
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
from fobench.scoring.text_normalization import whole
from fobench_plugins.suites import noise_generators
from fobench_plugins.suites.scenario_spec import PATIENCE_NS, VOICE, ScenarioSpec, TurnSpec

MANIFEST = "manifest.jsonl"
VERSION = 1  # of scenario files
SOUNDS = ("audio", "say", "noise")  # of which a turn has one
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au")
FOLLOWING = Anchor("reply_end", NS_PER_S)  # where a conversation's later turns begin if they do not say
KINDS: dict[str, tuple[type, ...]] = {
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
    """The usable items of a manifest, and what is wrong with the others: `place: what`."""

    name: str
    items: list[ScenarioSpec] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(target: str) -> ParsedManifest:
    """Reads a JSON-lines or scenario file, a folder with `manifest.jsonl`, or a folder of audio files with texts beside them.

    Audio is checked by its header, and by its samples where the format can hold what is no number. Raises `FobenchError`
    where there is nothing to read.
    """
    path = Path(target).expanduser()
    if not path.exists():
        raise FobenchError(f"Manifest {target} does not exist. Give a JSON-lines file or a folder of audio files.")
    listing = path / MANIFEST if path.is_dir() else path
    reading = ParsedManifest((path if path.is_dir() or path.name != MANIFEST else path.parent).absolute().name)
    for where, make in _listed(listing) if listing.is_file() else _files(path):
        try:
            item = make()
            for spoken in item.turns:
                _check_sound(spoken)
            reading.items.append(item)
        except FobenchError as error:
            reading.problems.append(f"{where}: {error}")
    _drop_duplicates(reading)
    if not reading.items and not reading.problems:
        if listing.is_file():
            raise FobenchError(f"Manifest {listing} is empty: give it a line of JSON for each recording.")
        raise FobenchError(f"{target} holds no {MANIFEST} and no audio file ({', '.join(AUDIO_SUFFIXES)}).")
    return reading


class _ItemParser:
    """Makes the item of one place; calling it raises `FobenchError` for what is wrong there."""

    def __init__(self, where: str, folder: Path, data: Any) -> None:
        self.where, self.folder, self.data = where, folder, data

    def __call__(self) -> ScenarioSpec:
        data = self._decoded()
        _check_keys(data)
        if "turns" in data and not data["turns"]:
            raise FobenchError("'turns' is empty")
        described = data.get("turns") or [data]
        turns = tuple(self._spoken(turn, index) for index, turn in enumerate(described))
        return ScenarioSpec(
            where=self.where,
            id=str(data.get("id", "")) or _named(turns[0], self.where),
            turns=turns,
            answers=_texts(data, "answers") or _texts(data, "answer"),
            choices=_texts(data, "choices"),
            family=data.get("family") or "question",
            tags={str(k): str(v) for k, v in data.get("tags", {}).items()},
            patience_ns=_patience_ns(data),
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

    def _spoken(self, data: Any, index: int) -> TurnSpec:
        if not isinstance(data, dict):
            raise FobenchError(f"turn {index} must be a JSON object")
        data = {key: value for key, value in data.items() if value is not None}
        _check_keys(data)
        if len([key for key in SOUNDS if key in data]) != 1:
            has = "has no" if not any(key in data for key in SOUNDS) else "has more than one of"
            raise FobenchError(
                f"turn {index} {has} 'audio', 'say' or 'noise'"
                if "turns" in self.data
                else f"{has} 'audio', 'say' or 'noise'"
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


def _listed(path: Path) -> Iterator[tuple[str, _ItemParser]]:
    return _tables(path) if path.suffix == ".toml" else _lines(path)


def _tables(path: Path) -> Iterator[tuple[str, _ItemParser]]:
    """The tables `[[scenario]]` of a scenario file. Raises `FobenchError` for what is no such file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FobenchError(f"Scenario file {path} cannot be read as TOML: {error}.") from error
    if data.get("version") != VERSION:
        raise FobenchError(
            f"Scenario file {path} needs the line version = {VERSION}, above all tables; it has {data.get('version')!r}."
        )
    tables = data.get("scenario", [])
    if not isinstance(tables, list) or (strange := sorted(set(data) - {"version", "scenario"})):
        odd = "" if isinstance(tables, list) else " in [[double brackets]]"
        raise FobenchError(
            f"Scenario file {path} holds tables named scenario{odd}, and nothing but these: not {', '.join(strange) if not odd else '[scenario]'}."
        )
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


def _files(folder: Path) -> Iterator[tuple[str, _ItemParser]]:
    for path in sorted(p for p in folder.rglob("[!.]*") if p.suffix.lower() in AUDIO_SUFFIXES):
        name = path.relative_to(folder)
        beside = path.with_suffix(".txt")
        text = beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
        data = {"audio": str(name), "id": name.with_suffix("").as_posix(), "text": text or None}
        yield name.as_posix(), _ItemParser(name.as_posix(), folder, data)


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


def _ns(data: Mapping[str, Any], key: str, default: int | None = None) -> int | None:
    if key not in data:
        return default
    if not math.isfinite(data[key]):
        raise FobenchError(f"{key} must be seconds, not {data[key]!r}")
    return round(data[key] * NS_PER_S)


def _patience_ns(data: Mapping[str, Any]) -> int:
    found = _ns(data, "patience_s", PATIENCE_NS) or 0
    if found <= 0:
        raise FobenchError(f"patience_s must be seconds above 0, not {data['patience_s']!r}")
    return found


def _anchor(data: Mapping[str, Any], index: int) -> Anchor:
    event, delay_s, or_after_s = data.get("event", "start"), data.get("delay_s", 0.5), data.get("or_after_s")
    if odd := sorted(set(data) - {"event", "delay_s", "or_after_s"}):
        raise FobenchError(f"anchor has no {odd[0]!r}, only event, delay_s, or_after_s")
    if event not in get_args(AnchorEvent):
        raise FobenchError(_unknown("anchor event", event, get_args(AnchorEvent)))
    if event != "start" and not index:
        raise FobenchError(f"anchor {event!r} waits for what comes before, and this is the first turn: use start")
    for key, value in (("delay_s", delay_s), ("or_after_s", 0 if or_after_s is None else or_after_s)):
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise FobenchError(f"anchor {key} must be seconds from 0 up, not {value!r}")
    return Anchor(event, round(delay_s * NS_PER_S), None if or_after_s is None else round(or_after_s * NS_PER_S))


def _unknown(what: str, name: Any, choices: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(name), choices, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}{hint} (choices: {', '.join(choices)})"


def _named(first: TurnSpec, where: str) -> str:
    """The id of an item that gives none: its file's name, or its place."""
    return first.path.stem if first.path else where.replace(": ", "-").replace(":", "-").replace(" ", "-")


def _check_sound(spoken: TurnSpec) -> None:
    """Raises `FobenchError` for a sound that cannot be: no words, an unknown voice or noise, no length, a bad file."""
    if not all(map(math.isfinite, (spoken.level_db, spoken.snr_db or 0.0))):
        raise FobenchError("level_db and snr_db must be finite numbers of dB")
    if spoken.say is not None:
        if not spoken.say.strip():
            raise FobenchError("'say' is empty")
        registry.find("voices", spoken.voice)
    elif spoken.noise is not None:
        if spoken.noise not in noise_generators.NAMES:
            raise FobenchError(_unknown("noise", spoken.noise, noise_generators.NAMES))
        if not 0 < spoken.length_ns <= audio.MAX_DURATION_S * NS_PER_S:
            raise FobenchError(
                f"length_s must be seconds above 0, up to {audio.MAX_DURATION_S}, not {spoken.length_ns / 1e9:g}"
            )
    elif spoken.path is not None:
        _check_audio(spoken, spoken.path)


def _check_audio(spoken: TurnSpec, path: Path) -> None:
    """Raises `FobenchError` for audio that its header, or samples that are no numbers, rule out."""
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
        raise FobenchError(f"audio file {name} holds values that are not finite (NaN or infinite)")
    start, end = spoken.start_ns or 0, round(info.duration * NS_PER_S) if spoken.end_ns is None else spoken.end_ns
    if not 0 <= start < end <= info.duration * NS_PER_S + 1:
        raise FobenchError(f"speech from {start / 1e9:g} to {end / 1e9:g} s is not within {name} ({info.duration:g} s)")


def _drop_duplicates(reading: ParsedManifest) -> None:
    first: dict[str, str] = {}
    for item in reading.items:
        if item.id in first:
            reading.problems.append(f"{item.where}: id {item.id!r} is already that of {first[item.id]}")
        first.setdefault(item.id, item.where)
    kept = set(first.values())
    reading.items = [item for item in reading.items if item.where in kept]
