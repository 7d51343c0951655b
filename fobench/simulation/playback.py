"""The playback buffer: which of the system's audio the listener hears, and when.

Packets play in order, never before they are available. A packet that arrives too late causes an underrun; when the system
yields, everything not yet played is dropped. Positions are sample indices at the system's output rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fobench.api.trace import Reply, Underrun
from fobench.api.types import Samples, ns_to_samples, samples_to_ns
from fobench.audio import FRAME_NS, audible_bounds


@dataclass(slots=True)
class Packet:
    """Audio of one reply from sample `start` of the listener's timeline on; a flush may truncate it."""

    reply: int
    start: int
    samples: Samples

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


class PlaybackBuffer:
    """A loudspeaker at `rate_hz`. `delay_ns`: the length of the device's buffer, which still plays after a stop."""

    def __init__(self, rate_hz: int, delay_ns: int = 0) -> None:
        self.rate_hz = rate_hz
        self._delay_ns = delay_ns
        self._packets: list[Packet] = []
        self._generated: dict[int, int] = {}  # samples per reply, dropped ones included
        self._stopped_ns: dict[int, int] = {}
        self._complete: set[int] = set()
        self._cuts: list[int] = []  # samples of the timeline at which a reply was stopped

    def add(self, reply: int, samples: Samples, available_ns: int) -> int:
        """Queues a packet that became available at `available_ns`; returns the playback time of its first sample in ns."""
        ready = ns_to_samples(available_ns + self._delay_ns, self.rate_hz)
        start = max(ready, self._packets[-1].end if self._packets else 0)
        self._generated[reply] = self._generated.get(reply, 0) + len(samples)
        if len(samples):
            self._packets.append(Packet(reply, start, samples))
        return samples_to_ns(start, self.rate_hz)

    def flush(self, at_ns: int) -> None:
        """Drops audio that would play after `at_ns` plus the device's delay."""
        cut = ns_to_samples(at_ns + self._delay_ns, self.rate_hz)
        if self._packets and (self._packets[-1].end > cut or self._packets[-1].reply not in self._complete):
            self._cuts.append(cut)
        for packet in self._packets:
            if packet.end > cut:
                self._stopped_ns.setdefault(packet.reply, at_ns)
                packet.samples = packet.samples[: max(0, cut - packet.start)]
        self._packets = [packet for packet in self._packets if len(packet.samples)]

    def complete(self, reply: int) -> None:
        """Marks a reply as complete: no more audio will be added to it."""
        self._complete.add(reply)

    @property
    def was_stopped(self) -> bool:
        """Whether the latest reply was stopped before its end, and nothing has been added since."""
        return bool(self._cuts) and (not self._packets or self._packets[-1].end <= self._cuts[-1])

    @property
    def closing_ns(self) -> int | None:
        """The end of the latest reply in ns; None while it is incomplete."""
        return self.end_ns if self._packets and self._packets[-1].reply in self._complete else None

    @property
    def end_ns(self) -> int:
        """The end of the last queued packet in ns; 0 without packets."""
        return samples_to_ns(self._packets[-1].end, self.rate_hz) if self._packets else 0

    @property
    def last_start_ns(self) -> int:
        """The start of the latest reply's playback in ns; -1 without packets."""
        if not self._packets:
            return -1
        latest = self._packets[-1].reply
        return samples_to_ns(next(p.start for p in self._packets if p.reply == latest), self.rate_hz)

    def position(self, at_ns: int) -> tuple[int, int] | None:
        """(reply number, samples of it played by `at_ns`) of the latest reply that has begun to play; None without one."""
        at, reply, samples = ns_to_samples(at_ns, self.rate_hz), None, 0
        for packet in reversed(self._packets):
            if packet.start >= at:
                continue
            if reply is not None and packet.reply != reply:
                break
            reply, samples = packet.reply, samples + min(packet.end, at) - packet.start
        return None if reply is None else (reply, samples)

    def audible_ns(self, from_ns: int, to_ns: int) -> tuple[int, int] | None:
        """(start, end) in ns of the audible part of the span; None if all of it is silent."""
        first, last = self._trim_silence(ns_to_samples(from_ns, self.rate_hz), ns_to_samples(to_ns, self.rate_hz))
        bounds = audible_bounds(self.render(first, last), self.rate_hz)
        if bounds is None:
            return None
        return samples_to_ns(first + bounds[0], self.rate_hz), samples_to_ns(first + bounds[1], self.rate_hz)

    def _was_cut_within(self, first: int, last: int) -> bool:
        """Whether a reply was stopped in [first, last): a resumed reply has no underrun there."""
        return any(first <= cut < last for cut in self._cuts)

    def _trim_silence(self, first: int, last: int) -> tuple[int, int]:
        """[first, last) without leading and trailing silence, in whole level frames, which makes the frequent `audible_ns` cheap."""
        frame = ns_to_samples(FRAME_NS, self.rate_hz)
        overlapping = [packet for packet in self._packets if packet.end > first and packet.start < last]
        if not overlapping:
            return first, first
        skipped = max(0, overlapping[0].start - first) // frame * frame
        return first + skipped, min(last, first + -(-(overlapping[-1].end - first) // frame) * frame)

    def render(self, first: int, last: int) -> Samples:
        """The played audio in samples [first, last): float32 [last - first], zeros without playback."""
        output = np.zeros(max(0, last - first), dtype=np.float32)
        for packet in self._packets:
            start, end = max(packet.start, first), min(packet.end, last)
            if start < end:
                output[start - first : end - first] = packet.samples[start - packet.start : end - packet.start]
        return output

    def replies(self, texts: dict[int, str]) -> tuple[Reply, ...]:
        """All replies as they were played, in order of their numbers; `texts`: the text of each."""
        return tuple(self._reply(number, texts.get(number, "")) for number in sorted({*texts, *self._generated}))

    def _reply(self, number: int, text: str) -> Reply:
        packets = [packet for packet in self._packets if packet.reply == number]
        span = (
            (samples_to_ns(packets[0].start, self.rate_hz), samples_to_ns(packets[-1].end, self.rate_hz))
            if packets
            else None
        )
        audible = self.audible_ns(*span) if span else None
        gaps = [
            (a.end, b.start - a.end)
            for a, b in pairwise(packets)
            if b.start > a.end and not self._was_cut_within(a.end, b.start)
        ]
        return Reply(
            reply=number,
            text=text,
            start_ns=span[0] if span else None,
            audible_start_ns=audible[0] if audible else None,
            audible_end_ns=audible[1] if audible else None,
            generated_ns=samples_to_ns(self._generated.get(number, 0), self.rate_hz),
            heard_ns=samples_to_ns(sum(len(packet.samples) for packet in packets), self.rate_hz),
            stopped_ns=self._stopped_ns.get(number),
            underruns=tuple(Underrun(*(samples_to_ns(x, self.rate_hz) for x in gap)) for gap in gaps),
        )
