"""The lines of traces.jsonl after kills, power cuts, editors and copies: what can be healed without a loss is healed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from fobench import outside_files
from fobench.atomic_files import atomic_path
from fobench.console import counted
from fobench.errors import FobenchError

EDGES = b"\0 \t\r\n"  # around a line: zeros of blocks that a power cut left unwritten, line ends of other systems
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # of editors


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A line in the file: its number from 1, its place in bytes, the scenario's id (None: unreadable), a hash of its bytes."""

    number: int
    offset: int
    length: int
    scenario: str | None
    digest: bytes


def heal(path: Path, line_bytes: int) -> list[str]:
    """Heals a file of traces, which is replaced atomically if anything changes. Returns a sentence for each kind of change.

    Of lines of one scenario with equal content, the first is kept. An incomplete last line, empty lines, and zero bytes and
    white space around lines are removed. A broken line before the last stays, for the reader to name. Raises OSError, and
    `FobenchError` for a line of `line_bytes` or more and for lines of one scenario with different content; nothing is changed then.
    """
    lines = list(_lines(path, line_bytes))
    sentences = []
    if lines and lines[-1].scenario is None and not _is_json(_read(path, lines[-1])):
        lines.pop()
        sentences.append(f"The incomplete last line of {path.name} was removed: its scenario is run again.")
    kept = _without_doubles(path, lines)
    if len(kept) < len(lines):
        sentences.append(
            f"{counted(len(lines) - len(kept), 'doubled line')} of {path.name}, equal to the first, removed."
        )
    if _is_whole(path, kept):
        return sentences
    with atomic_path(path) as temporary, temporary.open("wb") as target:
        for line in kept:
            target.write(_read(path, line) + b"\n")
    return sentences or [f"{path.name} held bytes that are not of its lines: removed."]


def _lines(path: Path, line_bytes: int) -> Iterator[TraceLine]:
    """The lines that are not empty, without what is around them."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(line_bytes), b""), 1):
            if len(raw) == line_bytes and raw.strip(EDGES):
                raise FobenchError(f"{path}, line {number} is longer than {line_bytes:,} bytes: not a trace.")
            line = raw.lstrip(EDGES).removeprefix(BYTE_ORDER_MARK if number == 1 else b"")
            start, line = offset + len(raw) - len(line), line.rstrip(EDGES)
            if line:
                yield TraceLine(number, start, len(line), _scenario(line), hashlib.sha256(line).digest())
            offset += len(raw)


def _without_doubles(path: Path, lines: list[TraceLine]) -> list[TraceLine]:
    """The lines without equal doubles. Raises `FobenchError` naming the lines that differ."""
    first: dict[str, TraceLine] = {}
    kept, unlike = [], []
    for line in lines:
        other = first.setdefault(line.scenario, line) if line.scenario is not None else line
        if other is line:
            kept.append(line)
        elif other.digest != line.digest and _content(path, other) != _content(path, line):
            unlike.append(f"{line.scenario!r} (lines {other.number} and {line.number})")
    if unlike:
        more = f" and {len(unlike) - 5} more" if len(unlike) > 5 else ""
        raise FobenchError(
            f"{path} holds different traces of one scenario: {', '.join(unlike[:5])}{more}. Remove one line of each pair, then"
            f" fobench run --resume {path.parent}"
        )
    return kept


def _is_whole(path: Path, lines: list[TraceLine]) -> bool:
    """Whether a file holds exactly these lines, each with its end."""
    starts = [0, *accumulate(line.length + 1 for line in lines)]
    if [*(line.offset for line in lines), path.stat().st_size] != starts:
        return False
    with path.open("rb") as file:
        file.seek(max(0, starts[-1] - 1))
        return file.read() in (b"", b"\n")


def _read(path: Path, line: TraceLine) -> bytes:
    with path.open("rb") as file:
        file.seek(line.offset)
        return file.read(line.length)


def _content(path: Path, line: TraceLine) -> str:
    """The line's data, whatever the order of its keys."""
    return json.dumps(outside_files.parse_json(_read(path, line)), sort_keys=True)


def _scenario(line: bytes) -> str | None:
    try:
        scenario = outside_files.parse_json(line)["scenario"]["id"]
    except (ValueError, TypeError, KeyError):
        return None
    return scenario if isinstance(scenario, str) else None


def _is_json(line: bytes) -> bool:
    try:
        outside_files.parse_json(line)
    except ValueError:
        return False
    return True
