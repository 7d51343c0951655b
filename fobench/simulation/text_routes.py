"""Text routes: the scenario's questions as reference text (t2t) and as the system's own transcripts (a2t2t)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fobench.api.scenario import ASKING_ROLES
from fobench.api.thoughts import without_thoughts
from fobench.api.trace import Trace
from fobench.api.types import Message
from fobench.simulation.driver import SystemDriver


def text_routes(trace: Trace, driver: SystemDriver) -> Mapping[str, str | None]:
    """The answer by each text route: t2t from the reference texts, a2t2t from the system's own transcripts.

    The history holds the user's earlier questions that have a text, each with the system's answer by the same route.
    The value is None if the question has no text or the system has no text route.
    """
    scenario, transcripts = trace.scenario, trace.transcripts()
    references = [turn.text for turn in scenario.turns if turn.role in ASKING_ROLES]
    questions = {
        "t2t": references if references and references[-1] is not None else None,
        "a2t2t": transcripts if any(transcripts) else None,
    }
    known: dict[tuple[str, ...], str | None] = {}
    return {
        route: None if texts is None else _answer(texts, driver, scenario.seed, known)
        for route, texts in questions.items()
    }


def _answer(
    questions: Sequence[str | None], driver: SystemDriver, seed: int, known: dict[tuple[str, ...], str | None]
) -> str | None:
    """The answer to the last question, after the earlier ones. `known`: answers by the tuple of all questions up to them."""
    history: list[Message] = []
    asked: tuple[str, ...] = ()
    answer: str | None = ""
    for question in (*filter(None, questions[:-1]), questions[-1] or ""):
        asked = (*asked, question)
        history.append({"role": "user", "content": question})
        if asked not in known:
            known[asked] = driver.answer(list(history), seed)
        if (answer := known[asked]) is None:
            return None
        history.append({"role": "assistant", "content": without_thoughts(answer)})
    return answer
