"""model_answers.jsonl of a run folder: what a model answered to a metric that asks one, so that a later scoring asks nothing.

A line {"metric", "judge"} begins a scoring by a named metric; the lines {"key", "text", "problem"} after it are its answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fobench import atomic_files, outside_files
from fobench.api.components import ModelAnswer, ModelMetric
from fobench.api.trace import Trace
from fobench.errors import FobenchError

NAME = "model_answers.jsonl"


@dataclass(frozen=True, slots=True)
class Asked:
    """The metric that was named, and its `judge`."""

    metric: str
    judge: dict[str, str]


@dataclass(frozen=True, slots=True)
class AnswerLine:
    key: str
    text: str
    problem: str


class ModelAnswers:
    """The answers kept in a run folder. Raises `FobenchError` naming a line that cannot be read."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._asked: list[tuple[Asked, dict[str, ModelAnswer]]] = []
        try:
            content = outside_files.read_bytes(self._path)
        except (FileNotFoundError, NotADirectoryError):
            content = b""
        except (OSError, ValueError) as error:
            raise self._unusable("", error) from error
        self._complete = content.rfind(b"\n") + 1  # bytes up to the last complete line; a kill leaves a part of one
        for number, line in enumerate(content[: self._complete].splitlines(), 1):
            try:
                self._read(outside_files.parse_json(line))
            except ValueError as error:
                raise self._unusable(f":{number}", error) from error

    @property
    def metric(self) -> str:
        """The metric that was named last; empty if none was."""
        return self._asked[-1][0].metric if self._asked else ""

    def provide(self, metric: ModelMetric, traces: Sequence[Trace], named: str) -> None:
        """Gives `metric` its answers: those of the last scoring, or, if it was `named`, also new ones, which are kept."""
        if not named:
            asked, answers = self._asked[-1]
            metric.recall(asked.judge, self._of(asked))
            return
        asked = Asked(named, dict(metric.judge))
        answers = self._of(asked)
        with closing(metric.ask(traces, dict(answers))) as found:
            first = next(found, None)  # raises before anything is written
            self._append(asdict(asked))
            for key, answer in chain([first] if first else [], found):
                self._append({"key": key, **asdict(answer)})
                answers[key] = answer
        metric.recall(asked.judge, answers)

    def _of(self, asked: Asked) -> dict[str, ModelAnswer]:
        return {key: answer for one, found in self._asked if one == asked for key, answer in found.items()}

    def _read(self, data: Any) -> None:
        if isinstance(data, dict) and "metric" in data:
            self._asked.append((outside_files.record(Asked, data), {}))
            return
        line = outside_files.record(AnswerLine, data)
        if not self._asked:
            raise ValueError("it is an answer, and no line before it names a metric")
        self._asked[-1][1][line.key] = ModelAnswer(line.text, line.problem)

    def _append(self, line: dict[str, Any]) -> None:
        text = json.dumps(line, ensure_ascii=False) + "\n"
        try:
            with atomic_files.open_append(self._path) as file:
                file.truncate(self._complete)
                self._complete += file.write(text.encode(errors="backslashreplace"))
        except OSError as error:
            raise FobenchError(f"The answers cannot be kept in {self._path}: {error}.") from error

    def _unusable(self, place: str, error: Exception) -> FobenchError:
        return FobenchError(
            f"{self._path}{place} cannot be read: {error}. Remove the file, and name the metric again:"
            f" fobench score {self._path.parent} --metric llm_judge:MODEL"
        )
