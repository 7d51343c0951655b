"""What the harness itself costs: replaying a conversation to a system that does nothing, over a process boundary.

Run: pytest tests/bench/test_runner_speed.py --benchmark-columns=median,iqr
"""

import pytest

from fobench.api import registry
from fobench.execution.remote_driver import RemoteDriver
from fobench.execution.system_driver import LocalDriver
from fobench.process_host import ProcessHost
from fobench.simulation import replay
from fobench.simulation.clock import VirtualClock
from fobench.simulation.costs import CostTable

LIMIT = 0.03  # s of harness for each s of conversation


@pytest.fixture(scope="module")
def driver():
    host = ProcessHost(LocalDriver, (registry.spec("systems", "scripted:late", {"delay_ms": 700}),))
    yield RemoteDriver(host)
    host.stop()


def test_replaying_a_scenario(benchmark, driver):
    """Replaying one scenario to a system that does nothing."""
    scenario = next(iter(registry.create("suites", "controls", {"count": 1}).scenarios(0)))
    recording = benchmark(lambda: replay.replay(scenario, driver, VirtualClock(CostTable())))
    media_s = recording.trace.duration_ns / 1e9
    benchmark.extra_info["limit_s"] = LIMIT * media_s
    benchmark.extra_info["harness_s_per_media_s"] = benchmark.stats["median"] / media_s
    assert benchmark.stats["median"] < LIMIT * media_s
