"""Scripted controls: systems without a model and with known timing, to validate the harness.

They detect the user by level alone (`scripted.audio`), which is exact for the suite `controls`, whose sounds have no gaps. Real
speech has gaps, and needs `hangover_ms` of about 600.

Common options: `reply_ms` (length of the reply's tone), `says` (a text to speak through `voice` instead), `writes` (the reply's
text; default `says`), `hears` (the reported transcript of the user), `hangover_ms` (silence after which the user's sound
has ended), `decide_ms` (user's end -> decision and text; default: when the sound begins), `pace` (send the reply as it plays, or
at once).
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from fobench import audio
from fobench.api import registry
from fobench.api.hookspecs import Factories
from fobench.api.option_ranges import Index, Milliseconds, Seconds, Seed
from fobench.api.types import AudioChunk, Event, EventKind, Message, Samples
from fobench.errors import FobenchError
from fobench_plugins.systems.scripted import sessions
from fobench_plugins.systems.scripted.audio import CHUNK, INPUT_HZ, OUTPUT_HZ, babble, tone

STEP_MS = CHUNK * 1000 // INPUT_HZ
PROPER = "The capital of France is Paris."


@dataclass(kw_only=True)
class ScriptedSystem:
    """The common part of all controls: rates, and a text route that answers `writes`."""

    writes: str | None = None
    hangover_ms: Milliseconds = 60

    input_rate_hz: ClassVar[int] = INPUT_HZ
    output_rate_hz: ClassVar[int] = OUTPUT_HZ
    chunk: ClassVar[int] = CHUNK

    @property
    def text(self) -> str:
        return self.writes or ""

    def answer(self, history: Sequence[Message], seed: int) -> str:
        return self.text


@dataclass(kw_only=True)
class Silent(ScriptedSystem):
    """Never speaks."""

    def open(self, seed: int) -> sessions.ControlSession:
        return sessions.ControlSession(self.hangover_ms)


@dataclass(kw_only=True)
class Late(ScriptedSystem):
    """Answers: the first sound of the reply comes exactly `delay_ms` after the true end of the user's speech."""

    delay_ms: Milliseconds = 700
    decide_ms: Milliseconds | None = None
    reply_ms: Milliseconds = 2000
    says: str | None = None
    voice: str = "piper"
    hears: str | None = None
    pace: Literal["realtime", "at_once"] = "realtime"
    _wave: Samples = field(init=False, repr=False)

    def __post_init__(self) -> None:
        first, last = self.decision_ms, self.answer_after_ms
        if not self.hangover_ms + STEP_MS <= first <= last:
            raise FobenchError(
                f"A scripted system can answer {self.hangover_ms + STEP_MS} ms (hangover_ms + {STEP_MS}) after the user's "
                f"end at the earliest, and decides before it answers: decides at {first} ms, answers at {last} ms."
            )
        self._wave = speech(self.says, self.voice) if self.says else self.sound()

    def open(self, seed: int) -> sessions.ReplySession:
        return sessions.ReplySession(self)

    def sound(self) -> Samples:
        """The reply's audio if it is not speech, at OUTPUT_HZ."""
        return tone(self.reply_ms)

    @property
    def text(self) -> str:
        return self.says or "" if self.writes is None else self.writes

    @property
    def decision_ms(self) -> int:
        return self.answer_after_ms if self.decide_ms is None else self.decide_ms

    @property
    def answer_after_ms(self) -> int:
        return self.delay_ms

    def wave(self) -> Samples:
        return self._wave


def speech(text: str, voice: str) -> Samples:
    """`text` spoken by the voice plugin, from its first to its last audible sample, at OUTPUT_HZ."""
    spoken = audio.resample(registry.create("voices", voice).speak(text, seed=0), OUTPUT_HZ)
    bounds = audio.audible_bounds(spoken.samples, OUTPUT_HZ)
    if bounds is None:
        raise FobenchError(f"Voice {voice!r} produces no audible sound for {text!r}.")
    return spoken.samples[slice(*bounds)]


@dataclass(kw_only=True)
class Talking(Late):
    """Talks always, from the first chunk to the end, whatever it hears."""

    def open(self, seed: int) -> sessions.TalkingSession:
        return sessions.TalkingSession(self)


@dataclass(kw_only=True)
class EchoSystem(Late):
    """Plays the user's sound back, sample by sample, `delay_ms` after its end."""

    def open(self, seed: int) -> sessions.EchoSession:
        return sessions.EchoSession(self)


@dataclass(kw_only=True)
class NeverYields(Late):
    """Never stops a reply; answers only speech that outlasts its reply."""


@dataclass(kw_only=True)
class Yields(Late):
    """Stops `delay_ms` after the user began to speak over its reply, if the user still speaks then.

    A shorter sound (backchannel, noise) does not stop it. It answers `answer_ms` after the user's end.
    """

    delay_ms: Milliseconds = 400
    answer_ms: Milliseconds = 700
    to_anything: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.delay_ms < STEP_MS:
            raise FobenchError(f"A scripted system yields {STEP_MS} ms after the user's onset at the earliest.")
        super().__post_init__()

    def open(self, seed: int) -> sessions.YieldSession:
        return sessions.YieldSession(self, self.delay_ms, self.to_anything)

    @property
    def answer_after_ms(self) -> int:
        return self.answer_ms


@dataclass(kw_only=True)
class YieldsAlways(Yields):
    """Stops `delay_ms` after the onset of any sound over its reply, however short."""

    delay_ms: Milliseconds = 200
    to_anything: ClassVar[bool] = True


@dataclass(kw_only=True)
class Gibberish(Late):
    """Writes a correct sentence and plays noise in the rhythm of speech."""

    writes: str | None = PROPER

    def sound(self) -> Samples:
        return babble(self.reply_ms)


@dataclass(kw_only=True)
class TwoFaced(Late):
    """Speaks another sentence than it writes."""

    says: str | None = "The capital of France is London."
    writes: str | None = PROPER


@dataclass(kw_only=True)
class Failing(Late, ABC):
    """Answers like `scripted:late` until chunk `at_chunk`, where it fails.

    `at_scenario`: only in the conversation of that number (from 0, counted in this process, warm-ups included);
    `at_seed`: only in the conversation with that seed; default: in all.
    """

    at_chunk: Index = 25
    at_scenario: Index | None = None
    at_seed: Seed | None = None
    _opened: int = field(init=False, default=-1, repr=False)

    def open(self, seed: int) -> sessions.ReplySession:
        self._opened += 1
        due = self.at_scenario in (None, self._opened) and self.at_seed in (None, seed)
        return sessions.FailingSession(self, self.at_chunk, self.fail) if due else super().open(seed)

    @abstractmethod
    def fail(self, session: sessions.ReplySession) -> None:
        """What happens instead of the step."""


@dataclass(kw_only=True)
class Raises(Failing):
    """Raises an exception."""

    def fail(self, session: sessions.ReplySession) -> None:
        raise RuntimeError(f"scripted:raises raised at chunk {self.at_chunk}, as it was told to")


@dataclass(kw_only=True)
class Hangs(Failing):
    """Blocks for `hang_s` seconds."""

    hang_s: Seconds = 3600.0

    def fail(self, session: sessions.ReplySession) -> None:
        time.sleep(self.hang_s)


@dataclass(kw_only=True)
class Nan(Failing):
    """Sends 20 ms of audio that is not a number (NaN)."""

    def fail(self, session: sessions.ReplySession) -> None:
        chunk = AudioChunk(tone(STEP_MS) * float("nan"), OUTPUT_HZ)
        session.pending.append(Event(EventKind.AUDIO, {"audio": chunk, "reply": session.count}))


@dataclass(kw_only=True)
class Dies(Failing):
    """Ends its process at once."""

    def fail(self, session: sessions.ReplySession) -> None:
        os._exit(3)


FACTORIES: Factories = {
    "scripted:silent": Silent,
    "scripted:talking": Talking,
    "scripted:echo": EchoSystem,
    "scripted:late": Late,
    "scripted:yields": Yields,
    "scripted:never-yields": NeverYields,
    "scripted:yields-always": YieldsAlways,
    "scripted:gibberish": Gibberish,
    "scripted:two-faced": TwoFaced,
    "scripted:raises": Raises,
    "scripted:hangs": Hangs,
    "scripted:nan": Nan,
    "scripted:dies": Dies,
}
