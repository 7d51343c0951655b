"""`controls`: synthetic users with exactly known timing, for the scripted systems.

A question is a continuous tone of 1.2 to 2.0 s. Sounds over the reply are tones of that length that claim the floor
(`interrupt`, `stop`) and short sounds that do not (`backchannel` 300 ms, `noise` 200 ms). First and last samples of
every sound are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fobench import audio
from fobench.api.scenario import Anchor, Expect, Scenario, Turn
from fobench.api.types import NS_PER_MS, NS_PER_S, Samples, samples_to_ns
from fobench.assets.store import home
from fobench.errors import unknown
from fobench_plugins.suites.audio_turns import cached_file, item_seed

RATE_HZ = 16_000
LEVEL = 0.2
PATIENCE_NS = 4 * NS_PER_S
DURING_REPLY = Anchor("reply_audible", NS_PER_S)
PAUSE_MS = 1200
SPEAKER = "tone"


class ToneMaker:
    """Generates the sounds of one scenario; `seed` determines lengths and pitches."""

    def __init__(self, seed: int, text: str | None) -> None:
        self._rng = np.random.default_rng(seed)
        self._text = text

    def speech_turn(self, role: str = "question", anchor: Anchor | None = None, pause_ms: int = 0) -> Turn:
        """A tone that claims the floor, with a silence of `pause_ms` in its middle."""
        length, hz = int(self._rng.integers(19_200, 32_000)), int(self._rng.integers(180, 320))
        wave = tone(length, hz)
        middle = length // 2
        wave = np.concatenate([wave[:middle], np.zeros(RATE_HZ * pause_ms // 1000, np.float32), wave[middle:]])
        text = self._text if role in ("question", "interrupt") else None
        return turn_from_samples(
            f"tone-{hz}-{length}-{pause_ms}", wave, text=text, role=role, anchor=anchor or Anchor()
        )

    def short_sound(self, role: str, ms: int, anchor: Anchor = DURING_REPLY) -> Turn:
        """A short sound that does not claim the floor: noise for the role "noise", else a tone."""
        length, hz = RATE_HZ * ms // 1000, int(self._rng.integers(180, 320))
        if role == "noise":
            return turn_from_samples(f"noise-{hz}-{length}", noise(length, hz), role=role, anchor=anchor)
        return turn_from_samples(f"tone-{hz}-{length}-0", tone(length, hz), role=role, anchor=anchor)


def tone(length: int, hz: int) -> Samples:
    """[length] cosine at `RATE_HZ`."""
    wave: Samples = (LEVEL * np.cos(2 * np.pi * hz * np.arange(length) / RATE_HZ)).astype(np.float32)
    return wave


def noise(length: int, seed: int) -> Samples:
    """[length] random signs at `RATE_HZ`."""
    return np.random.default_rng(seed).choice([-LEVEL, LEVEL], length).astype(np.float32)  # loud in every sample


def turn_from_samples(name: str, sound: Samples, role: str, anchor: Anchor, text: str | None = None) -> Turn:
    """A turn whose file holds exactly `sound` [T], written once to the cache."""
    path = cached_file(home() / "controls" / f"{name}.wav", lambda partial: _write(partial, sound))
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


def _after_audible(delay_ms: int) -> Anchor:
    return Anchor("reply_audible", delay_ms * NS_PER_MS)


FAMILIES: dict[str, Callable[[ToneMaker], tuple[Turn, ...]]] = {
    "question": lambda make: (make.speech_turn(),),
    "interruption": lambda make: (make.speech_turn(), make.speech_turn("interrupt", DURING_REPLY)),
    "backchannel": lambda make: (make.speech_turn(), make.short_sound("backchannel", 300)),
    "noise": lambda make: (make.speech_turn(), make.short_sound("noise", 200)),
    "stop": lambda make: (make.speech_turn(), make.speech_turn("stop", DURING_REPLY)),
    "pause": lambda make: (make.speech_turn(pause_ms=PAUSE_MS),),
    "silence": lambda make: (turn_from_samples("silence", np.zeros(3 * RATE_HZ, np.float32), "background", Anchor()),),
    "twice": lambda make: (
        make.speech_turn(),
        make.speech_turn("interrupt", DURING_REPLY),
        make.speech_turn("interrupt", DURING_REPLY),
    ),
    "early": lambda make: (make.speech_turn(), make.speech_turn("interrupt", _after_audible(100))),
    "late": lambda make: (make.speech_turn(), make.speech_turn("interrupt", _after_audible(1700))),
}


class ControlsSuite:
    """`count` scenarios, of the `families` in turn (categories separated by commas; see `FAMILIES`).

    `text` and `answer` are the questions' reference text and accepted answer, to match what a scripted system writes;
    the audio stays a tone. Raises `FobenchError` for an unknown category.
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
                raise unknown("category of suite 'controls'", name, FAMILIES)
        self.count, self.text, self.answers = count, text, (answer,) if answer else ()

    def scenarios(self, seed: int) -> Iterator[Scenario]:
        for index in range(self.count):
            family = self.families[index % len(self.families)]
            name = f"{family}-{index // len(self.families) + 1:02d}"
            scenario_seed = item_seed(seed, name)
            yield Scenario(
                id=name,
                suite="controls",
                seed=scenario_seed,
                turns=FAMILIES[family](ToneMaker(scenario_seed, self.text)),
                expect=Expect(answers=self.answers, family=family),
                tags={"family": family},
                patience_ns=PATIENCE_NS,
            )
