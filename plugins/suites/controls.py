"""`controls`: exactly timed users for the scripted systems. Synthetic sounds whose first and last samples are known.

A question is a tone of 1.2 to 2.0 s without gaps; over the reply come longer tones that claim the floor (`interrupt`, `stop`)
and short sounds that do not (`backchannel` 300 ms, `noise` 200 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fobench import audio
from fobench.api.scenario import Anchor, Expect, Scenario, Turn
from fobench.api.types import NS_PER_MS, NS_PER_S, Samples, samples_to_ns
from fobench.assets.store import home
from fobench.errors import FobenchError, unknown
from fobench_plugins.suites.audio_turns import item_seed, made

RATE_HZ = 16_000
LEVEL = 0.2
PATIENCE_NS = 4 * NS_PER_S
INTO_REPLY = Anchor("reply_audible", NS_PER_S)
PAUSE_MS = 1200
SPEAKER = "tone"


class ToneMaker:
    """Draws the sounds of one scenario: `seed` decides lengths and pitches."""

    def __init__(self, seed: int, text: str | None) -> None:
        self._draw = np.random.default_rng(seed)
        self._text = text

    def ask(self, role: str = "question", anchor: Anchor | None = None, pause_ms: int = 0) -> Turn:
        """A tone that claims the floor; a `pause_ms` inside makes two of it."""
        length, hz = int(self._draw.integers(19_200, 32_000)), int(self._draw.integers(180, 320))
        wave = tone(length, hz)
        middle = length // 2
        wave = np.concatenate([wave[:middle], np.zeros(RATE_HZ * pause_ms // 1000, np.float32), wave[middle:]])
        text = self._text if role in ("question", "interrupt") else None
        return clip(f"tone-{hz}-{length}-{pause_ms}", wave, text=text, role=role, anchor=anchor or Anchor())

    def utter(self, role: str, ms: int, anchor: Anchor = INTO_REPLY) -> Turn:
        """A short sound that claims nothing: a tone, or noise."""
        length, hz = RATE_HZ * ms // 1000, int(self._draw.integers(180, 320))
        if role == "noise":
            return clip(f"noise-{hz}-{length}", noise(length, hz), role=role, anchor=anchor)
        return clip(f"tone-{hz}-{length}-0", tone(length, hz), role=role, anchor=anchor)


def tone(length: int, hz: int) -> Samples:
    wave: Samples = (LEVEL * np.cos(2 * np.pi * hz * np.arange(length) / RATE_HZ)).astype(np.float32)
    return wave


def noise(length: int, seed: int) -> Samples:
    return np.random.default_rng(seed).choice([-LEVEL, LEVEL], length).astype(np.float32)  # loud in every sample


def clip(name: str, sound: Samples, role: str, anchor: Anchor, text: str | None = None) -> Turn:
    """The turn whose file is exactly `sound`, written once to the cache."""
    path = made(home() / "controls" / f"{name}.wav", lambda partial: _write(partial, sound))
    return Turn(
        audio=str(path),
        sha256=audio.sha256(sound, RATE_HZ),
        text=text,
        speaker=SPEAKER,
        role=role,
        anchor=anchor,
        start_ns=0,
        end_ns=samples_to_ns(len(sound), RATE_HZ),
    )


def _write(path: Path, wave: Samples) -> None:
    import soundfile

    soundfile.write(path, wave, RATE_HZ, format="WAV", subtype="FLOAT")


def _over(delay_ms: int) -> Anchor:
    return Anchor("reply_audible", delay_ms * NS_PER_MS)


FAMILIES: dict[str, Callable[[ToneMaker], tuple[Turn, ...]]] = {
    "question": lambda make: (make.ask(),),
    "interruption": lambda make: (make.ask(), make.ask("interrupt", INTO_REPLY)),
    "backchannel": lambda make: (make.ask(), make.utter("backchannel", 300)),
    "noise": lambda make: (make.ask(), make.utter("noise", 200)),
    "stop": lambda make: (make.ask(), make.ask("stop", INTO_REPLY)),
    "pause": lambda make: (make.ask(pause_ms=PAUSE_MS),),
    "silence": lambda make: (clip("silence", np.zeros(3 * RATE_HZ, np.float32), "background", Anchor()),),
    "twice": lambda make: (make.ask(), make.ask("interrupt", INTO_REPLY), make.ask("interrupt", INTO_REPLY)),
    "early": lambda make: (make.ask(), make.ask("interrupt", _over(100))),
    "late": lambda make: (make.ask(), make.ask("interrupt", _over(1700))),
}


class ControlsSuite:
    """`count` scenarios, the `families` in turn (names parted by commas; see `FAMILIES`).

    `text` and `answer`: what the questions are said to ask, for what a scripted system writes; their sound stays a tone.
    """

    def __init__(
        self,
        count: int = 12,
        families: str = "question,interruption,backchannel,noise",
        text: str | None = None,
        answer: str | None = None,
    ) -> None:
        self.families = [name.strip() for name in families.split(",")]
        for name in self.families:
            if name not in FAMILIES:
                raise unknown("family of suite 'controls'", name, FAMILIES)
        if count < 1:
            raise FobenchError(f"Suite 'controls' needs a count of at least 1, not {count}.")
        self.count, self.text, self.answers = count, text, (answer,) if answer else ()

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        for index in range(self.count):
            family = self.families[index % len(self.families)]
            name = f"{family}-{index // len(self.families) + 1:02d}"
            own = item_seed(seed, name)
            yield Scenario(
                id=name,
                suite="controls",
                seed=own,
                turns=FAMILIES[family](ToneMaker(own, self.text)),
                expect=Expect(answers=self.answers, family=family),
                tags={"family": family},
                patience_ns=PATIENCE_NS,
            )
