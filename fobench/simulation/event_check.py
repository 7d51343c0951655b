"""The check of a system's events: what passes can be played, recorded, read again and scored."""

from __future__ import annotations

from typing import Any

import numpy as np

from fobench.api.plain_data import PIECE_BYTES, Allowance, plain
from fobench.api.trace import LONGEST_NS
from fobench.api.types import Action, AudioChunk, Event, EventKind
from fobench.errors import SystemFailure

MOST_REPLIES = 1 << 31  # numbers of replies are below it
MOST_SAMPLES = 1 << 24  # of one event: 11 minutes at 24 kHz
EVENT_BYTES = 240  # of an event as JSON, beside its data
TEXTS = ("text", "work", "path")  # data of any event that must be text, if given
PROBABILITIES = ("p0", "p1", "p2")


def checked_event(event: Any, rate_hz: int, allowance: Allowance | None = None, *, stamped: bool = False) -> Event:
    """`event` of a system with output at `rate_hz`, made of plain data and, for audio, of float32 samples in [-1, 1].

    `allowance`: bytes that events may still take in the trace. `stamped`: it keeps its `compute_ns`, the time at which it
    happened (`fobench.api.live`). Raises `SystemFailure` (`bad_event`, `bad_audio`) for
    an event that cannot be played, recorded or scored.
    """
    if not isinstance(event, Event):
        raise SystemFailure("bad_event", f"push must yield fobench.api.types.Event, not {type(event).__name__}")
    kind = _kind(event.kind)
    try:
        data = dict(event.data)
    except (TypeError, ValueError) as error:
        message = f"the data of an event {kind} must be a table, not {type(event.data).__name__}"
        raise SystemFailure("bad_event", message) from error
    audio = _audio(data.pop("audio", None), rate_hz) if kind == EventKind.AUDIO else None
    allowance = Allowance(PIECE_BYTES) if allowance is None else allowance
    try:
        allowance.use(EVENT_BYTES)
        data = plain(data, f"event {kind}: data", allowance)
        media_ns = _media_ns(plain(event.media_ns, f"event {kind}: media_ns"))
        stamp = _stamp(event.compute_ns) if stamped else None
        _check_data(kind, data, allowance)
    except ValueError as error:
        raise SystemFailure("bad_event", str(error)) from error
    if audio is not None:
        data["audio"] = audio
    return Event(kind, data, media_ns, stamp)


def _kind(kind: Any) -> EventKind:
    if isinstance(kind, str):
        name = str.__str__(kind)
        if name in EventKind._value2member_map_:
            return EventKind(name)
        shown = repr(name[:40])
    else:
        shown = f"of type {type(kind).__name__}"
    raise SystemFailure("bad_event", f"an event has the kind {shown}; the kinds are {', '.join(EventKind)}")


def _media_ns(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LONGEST_NS):
        return value
    raise ValueError(f"media_ns must be whole nanoseconds from the scenario's start, not {value!r:.60}")


def _stamp(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError(f"compute_ns must be time.perf_counter_ns() at the moment of the event, not {value!r:.60}")


def _check_data(kind: EventKind, data: dict[str, Any], allowance: Allowance) -> None:
    """Raises ValueError for plain data that an event of this kind cannot have."""
    for key in TEXTS:
        if key in data and not isinstance(data[key], str):
            raise ValueError(f"event {kind}: data[{key!r}] must be text, not {data[key]!r:.60}")
    if kind == EventKind.TRANSCRIPT and "text" not in data:
        raise ValueError(f"event {kind} has no data['text']")
    if kind == EventKind.TOKEN:
        allowance.use(6 * len(data.get("text", "")))  # it is also in the text of its reply
    if kind == EventKind.DECISION and data.get("action") not in tuple(Action):
        raise ValueError(
            f"event {kind}: data['action'] must be one of {', '.join(Action)}, not {data.get('action')!r:.60}"
        )
    if kind == EventKind.STATE:
        for key in PROBABILITIES:
            if key in data and (isinstance(data[key], bool) or not isinstance(data[key], int | float)):
                raise ValueError(f"event {kind}: data[{key!r}] must be a number, not {data[key]!r:.60}")
    reply = data.get("reply", 0)
    if isinstance(reply, bool) or not isinstance(reply, int) or not 0 <= reply < MOST_REPLIES:
        raise ValueError(f"event {kind}: data['reply'] must be the number of a reply, from 0, not {reply!r:.60}")


def _audio(chunk: Any, rate_hz: int) -> AudioChunk:
    """The audio of an event, with finite float32 samples [T] in [-1, 1] of its own memory."""
    if not isinstance(chunk, AudioChunk) or not isinstance(chunk.samples, np.ndarray) or chunk.samples.ndim != 1:
        raise SystemFailure("bad_audio", "an audio event must carry data['audio']: AudioChunk with samples [T]")
    samples, rate, start = np.asarray(chunk.samples), chunk.rate_hz, chunk.start
    if samples.dtype.kind != "f":
        raise SystemFailure("bad_audio", f"audio of {samples.dtype} instead of floats in [-1, 1]")
    if not isinstance(rate, int | np.integer) or rate != rate_hz:
        shown = f"{rate} Hz" if isinstance(rate, int | float | np.number) else f"a rate of type {type(rate).__name__}"
        raise SystemFailure("bad_audio", f"audio at {shown:.60} from a system that declared output_rate_hz={rate_hz}")
    if len(samples) > MOST_SAMPLES:
        raise SystemFailure(
            "bad_audio", f"{len(samples):,} samples of audio in one event; the limit is {MOST_SAMPLES:,}"
        )
    if not np.isfinite(samples).all():
        raise SystemFailure("bad_audio", "audio with values that are not finite (NaN or infinite)")
    samples = np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)
    return AudioChunk(samples, rate_hz, int(start) if isinstance(start, int | np.integer) else 0)
