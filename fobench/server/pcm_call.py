"""A client that sends and gets 16-bit PCM as such, with a few JSON messages beside it: the mirror of our `websocket:URL`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fobench.api.types import Action, Event, EventKind
from fobench.audio.stream_resampler import StreamResampler
from fobench.audio.wire_format import from_pcm16, pcm16
from fobench.server.call import Call
from fobench.server.session_config import RATES_HZ

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class PcmRates:
    """The rates of the audio from the client, and to it."""

    rate_hz: int = RATE_HZ
    output_rate_hz: int = RATE_HZ

    @classmethod
    def of(cls, query: Mapping[str, str]) -> PcmRates:
        """The rates of an address's query: `rate` and, if it differs, `output_rate`. Raises ValueError for others."""
        rate = query.get("rate", str(RATE_HZ))
        rates = {"rate": rate, "output_rate": query.get("output_rate", rate)}
        for name, value in rates.items():
            if value not in map(str, RATES_HZ):
                raise ValueError(f"{name}={value:.20} is not served: give one of {', '.join(map(str, RATES_HZ))}.")
        return cls(*map(int, rates.values()))


@dataclass(slots=True, eq=False)
class PcmCall(Call):
    """A connection of raw audio.

    Replies are sent as they are made, which may be faster than they play: the client plays them one after the other, and
    drops what it has not played at `clear`. `end` tells that nothing more of a reply comes.
    """

    rates: PcmRates = field(default_factory=PcmRates)
    _incoming: StreamResampler = field(init=False)
    _words: list[str] | None = None  # of the reply that is generated; None: there is none

    def __post_init__(self) -> None:
        Call.__post_init__(self)
        self._incoming = StreamResampler(self.rates.rate_hz, self.system.input_rate_hz)

    async def take(self, message: str | bytes) -> None:
        self.active_ns = time.perf_counter_ns()
        if isinstance(message, str):
            self._read(message)
        elif len(message) % 2:
            self._fail("invalid_audio", f"{len(message):,} bytes are no whole number of 16-bit samples")
        else:
            samples = self._incoming.push(from_pcm16(message))
            _ = self._hear(samples) and self._push(samples)

    def _read(self, text: str) -> None:
        """A text message: some clients begin with one. It must be JSON, and changes nothing."""
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            self._fail("invalid_json", f"this is not JSON: {error}")

    def _fail(self, code: str, text: str) -> None:
        self._send("error", code=code, message=text)

    def _report_failure(self, text: str) -> None:
        self._fail("system_failed", text)

    def _send(self, kind: str, **fields: Any) -> None:
        self._post(json.dumps({"type": kind, **fields}))

    def _generates(self) -> bool:
        return self._words is not None

    def _tell(self, event: Event) -> None:
        if event.kind == EventKind.TRANSCRIPT:
            self._send("transcript", role="user", text=event.data["text"], final=True)
        elif event.kind == EventKind.DECISION:
            self._decided(event.data["action"])
        elif self._words is None or self._number(event) == self._dropped:
            return
        elif event.kind == EventKind.TOKEN and (text := event.data.get("text", "")):
            self._words.append(text)
            self._send("transcript", role="agent", text=text, final=False)
        elif event.kind == EventKind.AUDIO:
            if len(samples := self._speak(event, self.rates.output_rate_hz)):
                self._post(pcm16(samples))
        elif event.kind == EventKind.REPLY_END:
            self._finish("end")

    def _decided(self, action: str) -> None:
        if action == Action.SPEAK:
            self._finish("end")
            self._words = []
        elif action == Action.YIELD:
            self._playout.stop(time.perf_counter_ns())
            self._dropped, self._spoken = self._replies, None
            self._finish("clear")

    def _finish(self, sign: str) -> None:
        """The reply ends, or is stopped: what is left of its audio, its whole text, and the sign."""
        if self._words is not None:
            if self._spoken is not None and len(rest := self._spoken.finish()):
                self._post(pcm16(rest))
            if text := "".join(self._words).strip():
                self._send("transcript", role="agent", text=text, final=True)
        if self._words is not None or sign == "clear":
            self._send(sign)
        self._words = self._spoken = None
