"""The playback buffer: what a listener hears of the audio a system makes available, and when.

Packets play one after another, never before they are available. When a packet comes too late, the listener hears a gap;
when the system yields, everything not yet played is dropped. Positions are sample indices at the system's output rate.
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
    """Audio of one reply, on the listener's timeline from sample `start` on; a flush may shorten it."""

    reply: int
    start: int
    samples: Samples

    @property
    def end(self) -> int:
        return self.start + len(self.samples)


class PlaybackBuffer:
    """A listener's loudspeaker at `rate_hz`. `delay_ns`: a device's own buffer, which also still plays after a stop."""

    def __init__(self, rate_hz: int, delay_ns: int = 0) -> None:
        self.rate_hz = rate_hz
        self._delay_ns = delay_ns
        self._packets: list[Packet] = []
        self._generated: dict[int, int] = {}  # samples by reply, dropped ones included
        self._stopped_ns: dict[int, int] = {}
        self._complete: set[int] = set()
        self._cuts: list[int] = []  # where a reply was stopped: samples of the timeline

    def add(self, reply: int, samples: Samples, available_ns: int) -> int:
        """Queues a packet that became available at `available_ns`; returns when its first sample plays, in ns."""
        ready = ns_to_samples(available_ns + self._delay_ns, self.rate_hz)
        start = max(ready, self._packets[-1].end if self._packets else 0)
        self._generated[reply] = self._generated.get(reply, 0) + len(samples)
        if len(samples):
            self._packets.append(Packet(reply, start, samples))
        return samples_to_ns(start, self.rate_hz)

    def flush(self, at_ns: int) -> None:
        """Drops what would play after `at_ns` (and after what the device has already taken in)."""
        cut = ns_to_samples(at_ns + self._delay_ns, self.rate_hz)
        if self._packets and (self._packets[-1].end > cut or self._packets[-1].reply not in self._complete):
            self._cuts.append(cut)
        for packet in self._packets:
            if packet.end > cut:
                self._stopped_ns.setdefault(packet.reply, at_ns)
                packet.samples = packet.samples[: max(0, cut - packet.start)]
        self._packets = [packet for packet in self._packets if len(packet.samples)]

    def complete(self, reply: int) -> None:
        """Nothing more will be added to this reply."""
        self._complete.add(reply)

    @property
    def silenced(self) -> bool:
        """Whether the latest reply was stopped before its end, and nothing has been added since."""
        return bool(self._cuts) and (not self._packets or self._packets[-1].end <= self._cuts[-1])

    @property
    def closing_ns(self) -> int | None:
        """When the latest reply ends, or None while more of it may come."""
        return self.end_ns if self._packets and self._packets[-1].reply in self._complete else None

    @property
    def end_ns(self) -> int:
        """When the last queued sample will have been played; 0 if there never was one."""
        return samples_to_ns(self._packets[-1].end, self.rate_hz) if self._packets else 0

    @property
    def last_start_ns(self) -> int:
        """When the latest reply began to play; -1 if none has."""
        if not self._packets:
            return -1
        latest = self._packets[-1].reply
        return samples_to_ns(next(p.start for p in self._packets if p.reply == latest), self.rate_hz)

    def heard(self, at_ns: int) -> tuple[int, int] | None:
        """(reply, samples of it played by `at_ns`) for the latest reply that has begun to play, or None."""
        at, reply, samples = ns_to_samples(at_ns, self.rate_hz), None, 0
        for packet in reversed(self._packets):
            if packet.start >= at:
                continue
            if reply is not None and packet.reply != reply:
                break
            reply, samples = packet.reply, samples + min(packet.end, at) - packet.start
        return None if reply is None else (reply, samples)

    def audible_ns(self, from_ns: int, to_ns: int) -> tuple[int, int] | None:
        """(start, end) of what is audible to a listener within the span, in ns, or None."""
        first, last = self._sounding(ns_to_samples(from_ns, self.rate_hz), ns_to_samples(to_ns, self.rate_hz))
        bounds = audible_bounds(self.render(first, last), self.rate_hz)
        if bounds is None:
            return None
        return samples_to_ns(first + bounds[0], self.rate_hz), samples_to_ns(first + bounds[1], self.rate_hz)

    def _cut_within(self, first: int, last: int) -> bool:
        """Whether a reply was stopped in [first, last): what follows is no gap in its sound, it was resumed."""
        return any(first <= cut < last for cut in self._cuts)

    def _sounding(self, first: int, last: int) -> tuple[int, int]:
        """[first, last) without the silence around what plays there, by whole frames of level: `audible_ns` is asked often."""
        frame = ns_to_samples(FRAME_NS, self.rate_hz)
        within = [packet for packet in self._packets if packet.end > first and packet.start < last]
        if not within:
            return first, first
        skipped = max(0, within[0].start - first) // frame * frame
        return first + skipped, min(last, first + -(-(within[-1].end - first) // frame) * frame)

    def render(self, first: int, last: int) -> Samples:
        """What is heard in samples [first, last): float32 [last - first], zeros where nothing plays."""
        heard = np.zeros(max(0, last - first), dtype=np.float32)
        for packet in self._packets:
            start, end = max(packet.start, first), min(packet.end, last)
            if start < end:
                heard[start - first : end - first] = packet.samples[start - packet.start : end - packet.start]
        return heard

    def replies(self, texts: dict[int, str]) -> tuple[Reply, ...]:
        """Every reply as it was heard, by number; `texts` is what the system wrote for each."""
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
            if b.start > a.end and not self._cut_within(a.end, b.start)
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
