"""The text routes: the same questions put to the system in writing (t2t) and as transcripts (a2t2t)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fobench.api.scenario import ASKING_ROLES
from fobench.api.trace import Trace
from fobench.api.types import Message
from fobench.simulation.driver import SystemDriver


def text_routes(trace: Trace, driver: SystemDriver) -> Mapping[str, str | None]:
    """The same question by text: t2t from the reference texts, a2t2t from the system's own transcripts.

    The user's earlier questions come before it, as far as they are texts, each with the system's answer by the same route.
    None where there is no text to ask, or the system has no text route.
    """
    scenario, heard = trace.scenario, trace.transcripts()
    written = [turn.text for turn in scenario.turns if turn.role in ASKING_ROLES]
    lines = {
        "t2t": written if written and written[-1] is not None else None,
        "a2t2t": heard if any(heard) else None,
    }
    known: dict[tuple[str, ...], str | None] = {}
    return {
        route: None if said is None else _asked(said, driver, scenario.seed, known) for route, said in lines.items()
    }


def _asked(
    lines: Sequence[str | None], driver: SystemDriver, seed: int, known: dict[tuple[str, ...], str | None]
) -> str | None:
    """The answer to the last line, after those to the earlier ones that are texts. `known`: answers by all lines before them."""
    history: list[Message] = []
    said: tuple[str, ...] = ()
    answer: str | None = ""
    for line in (*filter(None, lines[:-1]), lines[-1] or ""):
        said = (*said, line)
        history.append({"role": "user", "content": line})
        if said not in known:
            known[said] = driver.answer(list(history), seed)
        if (answer := known[said]) is None:
            return None
        history.append({"role": "assistant", "content": answer})
    return answer
