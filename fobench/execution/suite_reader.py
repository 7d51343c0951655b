"""Reads the scenarios of a suite, checked one by one; those of another package in a process of their own."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from itertools import count
from typing import Any

from fobench.api import registry
from fobench.api.option_ranges import SCENARIOS
from fobench.api.plain_data import plain
from fobench.api.registry import ComponentSpec
from fobench.api.scenario import Scenario
from fobench.api.types import NS_PER_S
from fobench.errors import FobenchError, SystemFailure, describe_error
from fobench.process_host import ProcessHost
from fobench.scoring.choice_parsing import expectation_problem

LONGEST_WAIT_NS = 3_600 * NS_PER_S  # of a turn for its anchor, and of the user for a reply


class SuiteReader:
    """The suite of a spec, which is read once."""

    def __init__(self, spec: ComponentSpec) -> None:
        self._suite = registry.create(spec)
        self._scenarios: Iterator[Any] = iter(())

    def begin(self, seed: int) -> list[str]:
        """Begins with the first scenario; returns the suite's notes."""
        self._scenarios = iter(self._suite.scenarios(seed))
        return self.notes()

    def notes(self) -> list[str]:
        """The suite's notes so far: reading may add some."""
        return [str(note) for note in plain(getattr(self._suite, "notes", ()), "notes")]

    def read(self) -> Scenario | None:
        """The next scenario, made of plain data; None after the last. Raises `SystemFailure` for one that cannot be replayed."""
        end = object()
        scenario = next(self._scenarios, end)
        return None if scenario is end else checked_scenario(scenario)


def scenarios(
    spec: ComponentSpec, seed: int, limit_s: float, notes: list[str] | None = None
) -> Generator[Scenario, None, None]:
    """The scenarios of a suite, whose notes are added to `notes`.

    `limit_s`: time that a suite of another package may take for one scenario.

    Raises `FobenchError`, naming the suite, for whatever it does instead of yielding scenarios with ids of their own.
    """
    host = ProcessHost(SuiteReader, (spec,), time_limit_s=limit_s) if _is_third_party(spec) else None
    try:
        reader = None if host else SuiteReader(spec)

        def call(method: str, *args: Any) -> Any:
            return host.call(method, *args) if host else getattr(reader, method)(*args)

        noted = call("begin", seed)
        if notes is not None:
            notes += noted
        known: set[str] = set()
        for number in count(1):
            if (scenario := call("read")) is None:
                if notes is not None:
                    notes += [note for note in call("notes") if note not in noted]
                return
            if number > SCENARIOS.high:
                raise SystemFailure(
                    "endless",
                    f"it holds more than {SCENARIOS.high:,} scenarios; --limit takes the first ones, at most so many",
                )
            if scenario.id in known:
                raise SystemFailure("bad_scenario", f"it yields the scenario {scenario.id!r} twice")
            known.add(scenario.id)
            yield scenario
    except SystemFailure as error:
        raise FobenchError(f"The suite {spec.name!r} cannot be read: {error}.") from error
    except (FobenchError, OSError):
        raise
    except (Exception, SystemExit) as error:  # a plugin may raise anything; the message names the suite
        raise FobenchError(f"The suite {spec.name!r} cannot be read: {describe_error(error)}.") from error
    finally:
        if host:
            host.stop()


def checked_scenario(scenario: Any) -> Scenario:
    """`scenario`, made of plain data. Raises `SystemFailure` (`bad_scenario`) for what cannot be replayed and recorded."""
    if not isinstance(scenario, Scenario):
        raise SystemFailure("bad_scenario", f"it yields a {type(scenario).__name__} instead of a fobench.api.Scenario")
    try:
        data = scenario.to_json()
        checked = Scenario.from_json(plain(data, "it"))
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        message = f"scenario {scenario.id!r} holds half a character (a lone surrogate)"
        raise SystemFailure("bad_scenario", message) from error
    except (FobenchError, TypeError, ValueError, RecursionError) as error:
        raise SystemFailure("bad_scenario", f"it yields no valid scenario: {str(error).rstrip('.')}") from error
    waits = {"patience_ns": checked.patience_ns}
    for index, turn in enumerate(checked.turns):
        waits[f"turns[{index}].anchor.delay_ns"] = turn.anchor.delay_ns
        waits[f"turns[{index}].anchor.or_after_ns"] = turn.anchor.or_after_ns or 0
    if wrong := next((name for name, wait in waits.items() if not 0 <= wait <= LONGEST_WAIT_NS), None):
        message = f"scenario {checked.id!r} has {wrong}={waits[wrong]}; it must be from 0 to {LONGEST_WAIT_NS} ns"
        raise SystemFailure("bad_scenario", message)
    if problem := expectation_problem(checked.expect.answers, checked.expect.choices):
        raise SystemFailure("bad_scenario", f"scenario {checked.id!r}: {problem}")
    if not checked.id:
        raise SystemFailure("bad_scenario", "it yields a scenario without an id")
    return checked


def _is_third_party(spec: ComponentSpec) -> bool:
    """Whether the suite, or the voice that it is given, is of another package."""
    voice = spec.options.get("voice")
    try:
        return registry.is_third_party("suites", spec.name) or (
            isinstance(voice, str) and registry.is_third_party("voices", voice)
        )
    except FobenchError:  # an unknown voice, of which the suite tells
        return False
