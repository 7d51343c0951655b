"""Short conversations in real time with a server, by our own client: questions of 400 ms of tone."""

import numpy as np
import soundfile

from fobench.api import registry
from fobench.api.scenario import Anchor, Scenario, Turn
from fobench.api.types import NS_PER_MS, EventKind
from fobench.execution.system_driver import LocalDriver
from fobench.simulation import replay
from fobench.simulation.clock import WallClock

MS = NS_PER_MS
RATE_HZ = 16_000
QUESTION_MS = 400


def question(folder, **settings):
    """A turn of 400 ms of tone, soon after the start; both are whole chunks of 20 ms, so that replies begin with one."""
    path = folder / "tone.wav"
    if not path.exists():
        tone = 0.3 * np.cos(np.arange(RATE_HZ * QUESTION_MS // 1000) * 0.1)
        soundfile.write(path, tone, RATE_HZ, subtype="FLOAT")
    settings.setdefault("anchor", Anchor(delay_ns=160 * MS))
    return Turn(str(path), "", start_ns=0, end_ns=QUESTION_MS * MS, **settings)


def driver(name, **options):
    return LocalDriver(registry.spec("systems", name, options))


def play(driven, *turns, patience_ms=1500):
    """The trace of one conversation."""
    scenario = Scenario("s", "t", 0, turns, patience_ns=patience_ms * MS)
    return replay.replay(scenario, driven, WallClock(), clock_name="wall").trace


def play_undelayed(driven, turns, expected_ms, apart_ms=50):
    """The trace of a conversation whose first reply came when it was due; one that other work delays is held again, twice at most."""
    for _ in range(3):
        trace = play(driven, *turns)
        if trace.failure is None and abs(response_ms(trace) - expected_ms) <= apart_ms:
            break
    return trace


def decided(trace):
    """What the system decided to do, in order."""
    return [event.data["action"] for event in trace.of(EventKind.DECISION)]


def response_ms(trace, turn=0, reply=0):
    """From the end of a turn to the first audible sound of a reply."""
    return (trace.replies[reply].audible_start_ns - trace.user[turn].end_ns) / MS
