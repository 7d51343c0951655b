"""The result cache: on declared costs, equal results that are computed once."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fobench.api.registry import ComponentSpec
from fobench.api.types import AudioChunk, Transcript
from fobench.execution import system_driver
from fobench.execution.worker_pool import paired
from fobench_plugins.systems.result_cache import ResultCache, SharedIterator
from tests.plugins.systems.cascade.listener import Counter, Drone, Ears, Listener, quiet, say

QUESTION = "Which city is the capital of France?"


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(0, 8))
def test_every_reader_has_all_values_and_each_is_computed_once(turns, length):
    made: list[int] = []
    source = (made.append(i) or i for i in range(length))
    shared = SharedIterator(source)
    readers = [iter(shared) for _ in range(3)]
    read: list[list[int]] = [[], [], []]
    for turn in turns:
        read[turn] += [value for value in (next(readers[turn], None),) if value is not None]
    assert made == list(range(max(map(len, read))))
    for values, reader in zip(read, readers, strict=True):
        assert values + list(reader) == list(range(length))
    assert made == list(range(length))


def test_an_error_is_raised_for_every_reader():
    shared = SharedIterator(1 // n for n in (1, 0, 1))
    for _ in range(2):
        reader = iter(shared)
        assert next(reader) == 1
        with pytest.raises(ZeroDivisionError):
            next(reader)


def test_what_was_not_asked_for_longest_is_forgotten():
    numbers, cache = count(), ResultCache(most=2)
    assert [cache.get(key, lambda: next(numbers)) for key in "abacab"] == [0, 1, 0, 2, 0, 3]


def conversation(cache_results, system=None):
    """A question asked in two sessions: (the system, the events of each)."""
    events = []
    for _ in range(2):
        talk = Listener()
        if system is None:
            system = talk.system
            system.cache_results = cache_results
        talk.session = system.open(0)
        talk.hear(quiet(500), say(QUESTION, 1000), quiet(6000))
        events.append([(at, e.kind, e.data.get("text"), e.data.get("work")) for at, e in talk.events])
    return system, events


@pytest.mark.parametrize("cache_results", [False, True])
def test_a_cascade_says_the_same_and_thinks_it_once_if_it_may(cache_results, monkeypatch):
    calls = []
    for part, name in ((Ears, "transcribe"), (Drone, "speak")):
        whole = getattr(part, name)

        def noted(self, *given, _whole=whole, _name=name, **more):
            calls.append(_name)
            return _whole(self, *given, **more)

        monkeypatch.setattr(part, name, noted)
    system, (first, again) = conversation(cache_results)
    assert first == again and len(first) > 5
    times = 1 if cache_results else 2
    assert isinstance(system.components.backbone, Counter) and len(system.components.backbone.told) == times
    assert calls.count("speak") == 3 * times and calls.count("transcribe") == times


def test_only_a_system_that_is_not_timed_may_give_again_what_it_has_computed(monkeypatch):
    def made(spec):
        return SimpleNamespace(input_rate_hz=8000, output_rate_hz=8000, chunk=1, open=lambda seed: None, **spec.options)

    monkeypatch.setattr(system_driver.registry, "create", made)
    cacheable = ComponentSpec("systems", "mine", {"cache_results": False})
    assert not system_driver.LocalDriver(cacheable)._system.cache_results
    assert system_driver.LocalDriver(cacheable, timed=False)._system.cache_results
    plain = ComponentSpec("systems", "mine")
    assert not hasattr(system_driver.LocalDriver(plain, timed=False)._system, "cache_results")


@given(st.lists(st.integers(0, 3), max_size=8), st.booleans())
def test_a_control_goes_with_its_scenario_and_none_is_lost(numbers, controls):
    names = [name for n in numbers for name in ([f"stop-{n}", f"stop-{n}-control"] if controls else [f"stop-{n}"])]
    scenarios = [SimpleNamespace(id=name) for name in names]
    pairs = paired(scenarios)
    assert [scenario for pair in pairs for scenario in pair] == scenarios
    assert all(len(pair) == 1 + controls for pair in pairs)


def test_sound_is_the_same_if_its_samples_and_rate_are():
    components = Listener().system.components
    components.cache_results = True
    heard = [
        AudioChunk(np.full(400, level, np.float32), rate) for level, rate in ((0.0, 16000), (0.1, 16000), (0.1, 8000))
    ]
    calls = count()
    components.recognizer = SimpleNamespace(transcribe=lambda audio: Transcript(str(next(calls))))
    assert [components.hear(audio) for audio in (*heard, *heard)] == ["0", "1", "2", "0", "1", "2"]
