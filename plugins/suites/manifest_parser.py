"""Parser of manifests: JSON Lines, a scenario file (TOML), or a folder of audio files.

Problems are collected with their location.

Keys of an entry: `id`, `answers` or `answer` (a text, or a list of texts and numbers), `choices` (a list; each answer is
then the label or the text of one), `family`, `tags`, `patience_s` (how long the user waits for a reply), and those of its
turn, or `turns`, a list of turns. A turn has exactly one of `audio` (a file, relative to the manifest; also `path` or
`audio_filepath`), `say` (text to synthesize by `speaker` of `voice`), `noise` (of `length_s`); its other keys are `text`
or `question`, `role`, `level_db` (gain), `snr_db` (added noise), `start_s`, `end_s` (bounds of the speech), `anchor`:
{event, delay_s, or_after_s}. Absolute limits: `assert` of an entry (a list, e.g. "response_ms<=1200"), and of a turn
`expect` (stop or keep the reply, or reply), `max_stop_ms`, `max_response_ms`. All but the sound are optional. An unknown key is a problem if it resembles or means one that
is missing, and noted otherwise. In a scenario file an entry is a table `[[scenario]]`, its turns are
`[[scenario.turns]]`, and `version = 1` stands above them.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from fobench.api import registry
from fobench.api.option_ranges import DECIBELS
from fobench.api.scenario import ROLES, Anchor, AnchorEvent
from fobench.api.typed import shown
from fobench.api.types import NS_PER_S, samples_to_ns
from fobench.audio.limits import MAX_DURATION_S
from fobench.errors import FobenchError
from fobench.formatting import is_encodable
from fobench.outside_files import parse_json, read_lines, read_text, read_toml
from fobench.scoring.choice_parsing import expectation_problem
from fobench_plugins.suites import noise_generators
from fobench_plugins.suites.audio_turns import audible_facts
from fobench_plugins.suites.manifest_keys import (
    ANCHOR_KEYS,
    AUDIO_KEYS,
    ENTRY_KEYS,
    KEY_TYPES,
    TURN_KEYS,
    check_keys,
    similar_key,
    unknown_choice,
)
from fobench_plugins.suites.manifest_limits import scenario_limits, turn_expectations
from fobench_plugins.suites.scenario_spec import PATIENCE_NS, VOICE, ScenarioSpec, TurnSpec

MANIFEST = "manifest.jsonl"
VERSION = 1  # of scenario files
SOUNDS = ("audio", "say", "noise")  # a turn has exactly one of them
AUDIO_SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".caf")
AAC_SUFFIXES = (".m4a", ".m4b", ".mp4", ".m4v", ".aac", ".3gp", ".mov")
UNREADABLE_SUFFIXES = (  # of recordings in formats that libsndfile cannot decode
    *(*AAC_SUFFIXES, ".webm", ".weba", ".mka", ".mkv", ".avi", ".wma", ".wmv", ".amr", ".ac3", ".ape", ".wv", ".spx"),
    *(".alac", ".tta", ".dsf", ".mpc", ".ra", ".raw", ".pcm"),
)
DECODED_AHEAD = 2000  # entries whose audio is decoded when a manifest is read; that of later ones when it is used
OTHER_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".xls", ".yaml", ".yml", ".md")
FOLLOWING = Anchor("reply_end", NS_PER_S)  # default anchor of the later turns of a conversation


@dataclass(slots=True)
class ParsedManifest:
    """The valid items of a manifest, the problems of the others as "location: problem", and notes on what is left out."""

    name: str
    items: list[ScenarioSpec] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(target: str) -> ParsedManifest:
    """Reads a JSON Lines or scenario file, a folder with `manifest.jsonl`, or a folder of audio files with .txt files
    beside them.

    Audio is decoded, that of entries after the first `DECODED_AHEAD` checked by its header. Raises `FobenchError` if there
    is nothing to read.
    """
    path = Path(target).expanduser()
    if not path.exists():
        raise FobenchError(f"Manifest {target} does not exist. Give a JSON Lines file or a folder of audio files.")
    _check_format(path)
    listing = path / MANIFEST if path.is_dir() else path
    manifest = ParsedManifest((path if path.is_dir() or path.name != MANIFEST else path.parent).absolute().name)
    for where, make in _entries(listing) if listing.is_file() else _audio_files(path):
        try:
            item = make()
            for spec in item.turns:
                _check_sound(spec, len(manifest.items) < DECODED_AHEAD)
            manifest.items.append(item)
        except FobenchError as error:
            manifest.problems.append(f"{where}: {error}")
    _drop_duplicates(manifest)
    if unused := Counter(key for item in manifest.items for key in item.unused):
        keys = ", ".join(f"{key!r} ({count} of {len(manifest.items)})" for key, count in sorted(unused.items())[:10])
        manifest.notes.append(f"Keys of the manifest that are not used: {keys}{', ...' if len(unused) > 10 else ''}.")
    if not listing.is_file():
        manifest.notes += _unreadable_files(path)
    if not manifest.items and not manifest.problems:
        if listing.is_file():
            raise FobenchError(f"Manifest {listing} is empty: it needs a line of JSON for each recording.")
        nothing = f"{target} contains no {MANIFEST} and no audio file ({', '.join(AUDIO_SUFFIXES)})."
        raise FobenchError(" ".join([nothing, *manifest.notes]))
    return manifest


def _check_format(path: Path) -> None:
    """Raises `FobenchError` for a file that is a recording, or a table in another format."""
    suffix = path.suffix.lower()
    if not path.is_file() or suffix not in (*OTHER_TABLES, *AUDIO_SUFFIXES, *UNREADABLE_SUFFIXES):
        return
    if suffix not in OTHER_TABLES:
        raise FobenchError(f"{path} is a recording: give a manifest, or the folder {path.parent}.")
    raise FobenchError(
        f"{path} is no manifest: write JSON Lines (.jsonl), one object a line such as "
        '{"audio": "a.wav", "text": "...", "answers": ["..."]}, or a scenario file (.toml).'
    )


class _ItemParser:
    """Parses one entry; calling it returns the item, or raises `FobenchError` for its first problem."""

    def __init__(self, where: str, folder: Path, data: Any) -> None:
        self.where, self.folder, self.data = where, folder, data
        self.unused: set[str] = set()  # keys without a meaning

    def __call__(self) -> ScenarioSpec:
        data = self._decode()
        several = "turns" in data
        self.unused |= check_keys(data, ENTRY_KEYS if several else tuple(KEY_TYPES))
        if several and not data["turns"]:
            raise FobenchError("'turns' is empty")
        turns = tuple(
            self._parse_turn(turn, index, f"turn {index} " if several else "")
            for index, turn in enumerate(data["turns"] if several else [data])
        )
        answers, choices = (*_texts(data, "answers"), *_texts(data, "answer")), _texts(data, "choices")
        if problem := expectation_problem(answers, choices):
            raise FobenchError(problem)
        return ScenarioSpec(
            where=self.where,
            id=str(data.get("id", "")).strip() or _default_id(turns[0], self.where),
            turns=turns,
            answers=tuple(dict.fromkeys(answers)),
            choices=choices,
            family=data.get("family") or "question",
            tags=_tags(data.get("tags", {})),
            patience_ns=_patience_ns(data),
            unused=tuple(sorted(self.unused)),
            asserts=scenario_limits(data),
            expected=turn_expectations(data["turns"] if several else [data], turns),
        )

    def _decode(self) -> dict[str, Any]:
        try:
            data = parse_json(self.data) if isinstance(self.data, str) else self.data
        except ValueError as error:
            raise FobenchError(str(error).removeprefix("it is ")) from error
        if not isinstance(data, dict):
            raise FobenchError(f"must be a JSON object, not {json.dumps(data)[:40]}")
        if not is_encodable(json.dumps(data, ensure_ascii=False, default=str)):
            raise FobenchError("contains a lone surrogate (half a character, such as \\ud800)")
        for key in ("answers", "answer", "choices"):
            if key in data and data[key] in (None, []):
                raise FobenchError(f"{key!r} is {json.dumps(data[key])}: leave the key out where there are none")
        return {key: value for key, value in data.items() if value is not None}

    def _parse_turn(self, data: Any, index: int, place: str) -> TurnSpec:
        if not isinstance(data, dict):
            raise FobenchError(f"turn {index} must be a JSON object")
        data = {key: value for key, value in data.items() if value is not None}
        if place:
            self.unused |= check_keys(data, TURN_KEYS, place)
        if "audio" not in data and (alias := next((key for key in AUDIO_KEYS if key in data), None)):
            data["audio"] = data[alias]
        if len([key for key in SOUNDS if key in data]) != 1:
            problem = "has no" if not any(key in data for key in SOUNDS) else "has more than one of"
            raise FobenchError(f"{place}{problem} 'audio', 'say' or 'noise'")
        if data.get("offset"):
            raise FobenchError(f"{place}has an 'offset', but files are played from their beginning: cut the clip out")
        role = data.get("role", "question")
        if role not in ROLES:
            raise FobenchError(unknown_choice("role", role, ROLES))
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
        data = read_toml(path)
    except (OSError, ValueError) as error:
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
        close = difflib.get_close_matches(unknown[0], ("version", "scenario"), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise FobenchError(
            f"Scenario file {path} must have no tables but [[scenario]], not {', '.join(unknown)}.{hint}"
        )
    for number, table in enumerate(tables, start=1):
        where = f"{path.name}: scenario {number}" + (
            f" ({table['id']})" if isinstance(table, dict) and "id" in table else ""
        )
        yield where, _ItemParser(where, path.parent, table)


def _lines(path: Path) -> Iterator[tuple[str, _ItemParser]]:
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        raise FobenchError(f"Manifest {path} cannot be read: {error}.") from error
    for where, line in lines:
        yield where, _ItemParser(where, path.parent, line)


def _audio_files(folder: Path) -> Iterator[tuple[str, _ItemParser]]:
    for path in sorted(p for p in folder.rglob("[!.]*") if p.suffix.lower() in AUDIO_SUFFIXES):
        name = path.relative_to(folder)
        data = {"audio": str(name), "id": name.with_suffix("").as_posix()}
        yield name.as_posix(), _FileParser(name.as_posix(), folder, data)


class _FileParser(_ItemParser):
    """The entry of an audio file of a folder, with the text of the .txt file beside it, if there is one."""

    def __call__(self) -> ScenarioSpec:
        text_file = (self.folder / self.data["audio"]).with_suffix(".txt")
        if text_file.is_file():
            try:
                self.data["text"] = read_text(text_file).strip() or None
            except (OSError, ValueError) as error:
                raise FobenchError(f"the text beside it, {text_file.name}, cannot be read: {error}") from error
        return super().__call__()


def _unreadable_files(folder: Path) -> list[str]:
    """A note on the recordings of a folder in formats that cannot be read, unless they lie there in another format too."""
    found = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() in UNREADABLE_SUFFIXES)
    left = [path for path in found if not any(path.with_suffix(suffix).is_file() for suffix in AUDIO_SUFFIXES)]
    if not left:
        return []
    names = ", ".join(path.relative_to(folder).as_posix() for path in left[:5])
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    example = f"ffmpeg -i {left[0].name} {left[0].stem}.wav"
    return [f"Left out, in a format that cannot be read: {names}{more}. To use them, convert them, e.g. {example}"]


def _texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts of a key, numbers as texts."""
    value = data.get(key, [])
    items = [value] if isinstance(value, str) else value
    for item in items:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise FobenchError(f"{key!r} must hold texts, not {shown(item)}")
    return tuple(map(str, items))


def _tags(tags: Mapping[str, Any]) -> dict[str, str]:
    for key, value in tags.items():
        if not isinstance(value, str | int | float):
            raise FobenchError(f"tag {key!r} must be a text or a number, not {shown(value)}")
    return {str(key): str(value) for key, value in tags.items()}


def _ns(data: Mapping[str, Any], key: str, default: int | None = None) -> int | None:
    if key not in data:
        return default
    if not abs(data[key]) <= MAX_DURATION_S:  # which no NaN is
        raise FobenchError(f"{key} must be seconds, up to {MAX_DURATION_S}, not {shown(data[key])}")
    return round(data[key] * NS_PER_S)


def _patience_ns(data: Mapping[str, Any]) -> int:
    patience_ns = _ns(data, "patience_s", PATIENCE_NS) or 0
    if patience_ns <= 0:
        raise FobenchError(f"patience_s must be seconds above 0, not {data['patience_s']!r}")
    return patience_ns


def _anchor(data: Mapping[str, Any], index: int) -> Anchor:
    event, delay_s, or_after_s = data.get("event", "start"), data.get("delay_s", 0.5), data.get("or_after_s")
    if odd := sorted(set(data) - set(ANCHOR_KEYS)):
        close = similar_key(odd[0], ANCHOR_KEYS)
        hint = f"; did you mean {close!r}?" if close else ""
        raise FobenchError(f"anchor has no {odd[0]!r}, only {', '.join(ANCHOR_KEYS)}{hint}")
    if event not in get_args(AnchorEvent):
        raise FobenchError(unknown_choice("anchor event", event, get_args(AnchorEvent)))
    if event != "start" and not index:
        raise FobenchError(f"anchor {event!r} refers to an earlier turn, and this is the first one: use start")
    for key, value in (("delay_s", delay_s), ("or_after_s", 0 if or_after_s is None else or_after_s)):
        if type(value) not in (int, float) or not 0 <= value <= MAX_DURATION_S:
            raise FobenchError(
                f"anchor {key} must be seconds of at least 0, up to {MAX_DURATION_S}, not {shown(value)}"
            )
    return Anchor(event, round(delay_s * NS_PER_S), None if or_after_s is None else round(or_after_s * NS_PER_S))


def _default_id(first: TurnSpec, where: str) -> str:
    """The default id of an item: the name of its first file, or its location."""
    return first.path.stem if first.path else where.replace(": ", "-").replace(":", "-").replace(" ", "-")


def _check_sound(spec: TurnSpec, decode: bool) -> None:
    """Raises `FobenchError` for an invalid sound: no words, an unknown voice or noise, an invalid length, a bad
    file.
    """
    if not all(DECIBELS.low <= level <= DECIBELS.high for level in (spec.level_db, spec.snr_db or 0.0)):
        raise FobenchError(f"level_db and snr_db must be numbers of dB {DECIBELS}")
    if spec.say is not None:
        if not spec.say.strip():
            raise FobenchError("'say' is empty")
        registry.find("voices", spec.voice)
    elif spec.noise is not None:
        if spec.noise not in noise_generators.NAMES:
            raise FobenchError(unknown_choice("noise", spec.noise, noise_generators.NAMES))
        if not 0 < spec.length_ns <= MAX_DURATION_S * NS_PER_S:
            raise FobenchError(
                f"length_s must be seconds above 0, up to {MAX_DURATION_S}, not {spec.length_ns / 1e9:g}"
            )
    elif spec.path is not None:
        _check_audio(spec, spec.path, decode)


def _check_audio(spec: TurnSpec, path: Path, decode: bool) -> None:
    """Raises `FobenchError` for audio that cannot be used, or in which nothing can be heard, and for bounds outside of it.

    `decode`: the whole file is checked, not only its header.
    """
    from fobench.audio.decoding import open_sound  # here, because `fobench --help` reads no audio

    with open_sound(path, f"audio file {path}") as sound:
        frames, rate_hz = sound.known_frames, sound.samplerate
        sound.check_duration(frames or 0)
    if decode:
        length_ns = audible_facts(path, spec.role).duration_ns
    elif frames is not None:
        length_ns = samples_to_ns(frames, rate_hz)
    else:
        return
    start, end = spec.start_ns or 0, length_ns if spec.end_ns is None else spec.end_ns
    if not 0 <= start < end <= length_ns + 1:
        raise FobenchError(
            f"speech from {start / 1e9:g} to {end / 1e9:g} s is not within {path.name} ({length_ns / 1e9:g} s)"
        )


def _drop_duplicates(manifest: ParsedManifest) -> None:
    first: dict[str, str] = {}
    for item in manifest.items:
        if item.id in first:
            manifest.problems.append(f"{item.where}: id {item.id!r} is already used by {first[item.id]}")
        first.setdefault(item.id, item.where)
    kept = set(first.values())
    manifest.items = [item for item in manifest.items if item.where in kept]
