"""Recorded questions that the client page can play in place of a microphone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from fobench import audio
from fobench.api import registry
from fobench.api.scenario import Scenario
from fobench.errors import FobenchError

SUITE = "spoken-qa"
COUNT = 12
RATE_HZ = 24_000


@dataclass(frozen=True, slots=True)
class Question:
    """One recorded question: its text and its audio file."""

    text: str
    path: str

    def wav(self) -> bytes:
        """The recording as a WAV file, 16 bit at `RATE_HZ`."""
        import soundfile

        data, chunk = io.BytesIO(), audio.load(self.path, RATE_HZ)
        soundfile.write(data, chunk.samples, chunk.rate_hz, format="WAV", subtype="PCM_16")
        return data.getvalue()


def shipped() -> Sequence[Scenario]:
    """The first scenarios of the built-in suite; none where it cannot be read."""
    try:
        return list(islice(registry.create("suites", SUITE).scenarios(0), COUNT))
    except (FobenchError, OSError):
        return []


def playable(scenarios: Sequence[Scenario]) -> Mapping[str, Question]:
    """The questions of scenarios, by the scenarios' ids."""
    asked = {s.id: s.question for s in scenarios}
    return {name: Question(turn.text, turn.audio) for name, turn in asked.items() if turn and turn.text}
