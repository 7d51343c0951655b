"""The users' lines of the duplex scenarios: JSON Lines of {id, kind, say}, assigned to the speakers in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fobench.outside_files import read_json_lines

BUILT_IN = Path(__file__).with_name("lines.jsonl")


@dataclass(frozen=True, slots=True)
class UserLine:
    """One line; `index` is its position among the lines of its kind."""

    id: str
    kind: str
    say: str
    index: int


@cache
def lines() -> dict[str, tuple[UserLine, ...]]:
    """{kind: its lines}, read once."""
    found: dict[str, list[UserLine]] = {}
    for _, row in read_json_lines(BUILT_IN):
        same_kind = found.setdefault(row["kind"], [])
        same_kind.append(UserLine(row["id"], row["kind"], row["say"], len(same_kind)))
    return {kind: tuple(same_kind) for kind, same_kind in found.items()}


def speaker_of(line: UserLine, speakers: Sequence[str]) -> str:
    """The speaker of a line: round robin within its kind."""
    return speakers[line.index % len(speakers)]


def lines_of_speaker(kind: str, speaker: str, speakers: Sequence[str]) -> tuple[UserLine, ...]:
    """The lines of a kind that are assigned to a speaker; all of them if none is."""
    own = tuple(line for line in lines()[kind] if speaker_of(line, speakers) == speaker)
    return own or lines()[kind]
