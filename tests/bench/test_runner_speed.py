"""What the harness itself costs: replaying a conversation to a system that does nothing, over a process boundary."""

import pytest

from fobench.api import registry
from fobench.execution.remote_driver import RemoteDriver
from fobench.execution.system_driver import LocalDriver
from fobench.process_host import ProcessHost
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable


@pytest.fixture(scope="module")
def driver():
    host = ProcessHost(LocalDriver, (registry.spec("systems", "scripted:late", {"delay_ms": 700}),))
    yield RemoteDriver(host)
    host.stop()


def test_replaying_a_scenario(benchmark, driver):
    """Seconds of harness for each second of conversation; the cascade takes some 0.5 s for it on two cores."""
    scenario = next(iter(registry.create("suites", "controls", {"count": 1}).scenarios(0)))
    recording = benchmark(lambda: replay.replay(scenario, driver, VirtualClock(CostTable())))
    per_second = benchmark.stats["median"] / (recording.trace.duration_ns / 1e9)
    benchmark.extra_info["harness_s_per_media_s"] = per_second
    assert per_second < 0.03
