"""Judging in the background: a thread that waits for the judge's process, while the system goes on in its own.

Where the system's time is measured, the judge works while the system answers by text, which is not timed, and the next
dialogue waits for it: with a core or a cache that it shares, the judge would make the system look slower. Under declared
costs nothing is measured, and it works beside the dialogues, too. Where one system holds several conversations at once, one
judge hears the replies of all, one after the other, at a low priority: only the conversation that it judges waits for it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from fobench import audio
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import AudioChunk, Samples
from fobench.errors import FobenchError, SystemFailure
from fobench.process_host import ProcessHost

JUDGE_LOSSES = 3  # processes of the judge lost in succession, after which it is not asked again
JUDGE_PROBLEM = "problem"  # key of a trace's `judge` that says why something in it is missing
# in run.json: when the judge works
BESIDE, BETWEEN = "beside the dialogues", "between the dialogues"
BESIDE_OTHERS = "beside the other conversations, at a low priority"


@dataclass(frozen=True, slots=True)
class ScenarioOutcome:
    """A scenario's trace and recording, and the time that its parts took (ns).

    `system_ns`: the system's computation in the dialogue; `routes_ns`: its answers by text; `judge_ns`; `worker_ns`: the
    worker's time for the scenario, without waiting for the judge.
    """

    trace: Trace
    stereo: Samples  # [T, 2]
    rate_hz: int
    system_ns: int
    routes_ns: int
    judge_ns: int
    worker_ns: int


@dataclass(slots=True)
class Judgment:
    """What the judge heard of a reply and measured on it, as in `Trace`, and the ns that it took."""

    heard: dict[str, str | None] = field(default_factory=dict)
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    taken_ns: int = 0


class Judging:
    """Hands the outcomes of scenarios to `deliver` with what the judge heard, in order, from a thread of its own.

    `judge`: the process of a `Judge`, named `name`. `beside`: whether the next dialogue may be played meanwhile; at most one
    scenario is waited for.
    """

    def __init__(
        self, judge: ProcessHost, name: str, deliver: Callable[[ScenarioOutcome], None], *, beside: bool
    ) -> None:
        self._judge, self._name, self._deliver, self._beside = judge, name, deliver, beside
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._last: Future[None] = self._thread.submit(judge.start)

    def twin(self) -> Judging:
        """For another conversation at the same time: the same judge, to whose thread both hand their replies."""
        return copy.copy(self)

    def wait(self) -> None:
        """Waits until the judge is loaded, and all outcomes are delivered. Raises what went wrong."""
        self._last.result()

    def begin(self, scenario: Scenario, reply: AudioChunk) -> Future[Judgment]:
        """Has the reply of a scenario judged, once the scenario before has been."""
        self.wait()
        return self._thread.submit(self._judged, scenario, reply)

    def complete(self, outcome: ScenarioOutcome, judgment: Future[Judgment]) -> None:
        """Has an outcome delivered with its judgment; waits for that unless the next dialogue may be played meanwhile."""

        def deliver() -> None:
            judged = judgment.result()  # there already: this thread does one thing after another
            trace = replace(outcome.trace, judge=judged.heard, measured=judged.measured)
            self._deliver(replace(outcome, trace=trace, judge_ns=judged.taken_ns))

        self._last = self._thread.submit(deliver)
        if not self._beside:
            self.wait()

    def end(self) -> None:
        """Lets the thread end; what has not been begun is left."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _judged(self, scenario: Scenario, reply: AudioChunk) -> Judgment:
        """A failure of the judge is recorded in the judgment, and not held against the system."""
        question, judged = scenario.question, Judgment()
        try:
            if self._judge.losses >= JUDGE_LOSSES:
                raise SystemFailure(
                    "died", f"it hung or ended {JUDGE_LOSSES} times in succession and is not asked again"
                )
            judged.heard["reply"], reply_ns = self._judge.call("hear", reply)
            asked = audio.load(question.audio) if question and question.text else None
            judged.heard["floor"], floor_ns = self._judge.call("hear_prompt", asked) if asked else (None, 0)
            judged.measured, failed, measured_ns = self._judge.call("measure", reply)
            judged.taken_ns = reply_ns + floor_ns + measured_ns
            if failed:
                judged.heard[JUDGE_PROBLEM] = "; ".join(f"metric {name!r}: {why}" for name, why in failed.items())
        except FobenchError as error:
            judged.heard[JUDGE_PROBLEM] = f"the judge {self._name!r} failed: {error}"
        return judged


def described(host: ProcessHost) -> dict[str, Any]:
    """The description of a component; {"problem": why} if its process does not give one."""
    try:
        return {**host.call("about")}
    except FobenchError as error:
        return {"problem": str(error)}
