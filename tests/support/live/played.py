"""Short conversations in real time with a server: a question of 400 ms of tone."""

import contextlib

import numpy as np
import soundfile

from fobench.api import registry
from fobench.api.scenario import Anchor, Scenario, Turn
from fobench.api.types import NS_PER_MS
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay
from fobench.simulation.clock import WallClock

RATE_HZ = 16_000
QUESTION_MS = 400


def question(folder, **settings):
    path = folder / "tone.wav"
    if not path.exists():
        tone = 0.3 * np.cos(np.arange(RATE_HZ * QUESTION_MS // 1000) * 0.1)
        soundfile.write(path, tone, RATE_HZ, subtype="FLOAT")
    settings.setdefault("anchor", Anchor(delay_ns=150 * NS_PER_MS))
    return Turn(str(path), "", start_ns=0, end_ns=QUESTION_MS * NS_PER_MS, **settings)


def driver(name, **options):
    return LocalDriver(registry.spec("systems", name, options))


def play(driven, *turns, patience_ms=1500):
    """The trace of one conversation."""
    scenario = Scenario("s", "t", 0, turns, patience_ns=patience_ms * NS_PER_MS)
    return replay.replay(scenario, driven, WallClock(), clock_name="wall").trace


@contextlib.contextmanager
def short_tail(monkeypatch):
    """Conversations end soon after their last sound."""
    with monkeypatch.context() as patch:
        patch.setattr(replay, "TAIL_NS", 100 * NS_PER_MS)
        yield
