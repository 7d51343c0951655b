"""The users' lines of the duplex families: JSON lines of {id, kind, say}, each spoken by one of the speakers in turn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

BUILT_IN = Path(__file__).with_name("lines.jsonl")


@dataclass(frozen=True, slots=True)
class UserLine:
    """`place`: its index among the lines of its kind."""

    id: str
    kind: str
    say: str
    place: int


@cache
def lines() -> dict[str, tuple[UserLine, ...]]:
    """{kind: its lines}."""
    found: dict[str, list[UserLine]] = {}
    for row in map(json.loads, BUILT_IN.read_text(encoding="utf-8").splitlines()):
        of_kind = found.setdefault(row["kind"], [])
        of_kind.append(UserLine(row["id"], row["kind"], row["say"], len(of_kind)))
    return {kind: tuple(of_kind) for kind, of_kind in found.items()}


def speaker_of(line: UserLine, speakers: Sequence[str]) -> str:
    return speakers[line.place % len(speakers)]


def spoken_by(kind: str, speaker: str, speakers: Sequence[str]) -> tuple[UserLine, ...]:
    """The lines of a kind that are this speaker's: all of them if there are more speakers than lines."""
    own = tuple(line for line in lines()[kind] if speaker_of(line, speakers) == speaker)
    return own or lines()[kind]
