"""A system keeps its speed beside processes that never rest: none of its threads waits by spinning, or for one without a core."""

import contextlib
import os

import pytest

from tests.bench.busy_neighbor import Listener, busy_processes

LIMIT = 2.5  # wall time beside busy processes, in CPU times on a quiet machine
ROUNDS = 3
NEIGHBORS = max(1, (os.cpu_count() or 2) - 1)  # one core is left for the system


@pytest.mark.slow
@pytest.mark.parametrize("system", ["freeze-omni", "cascade"])
def test_a_question_beside_busy_processes(benchmark, system):
    """Playing one question to a system in a process of its own, beside a busy process for every core but one."""
    with contextlib.closing(Listener(system)) as listener:
        quiet = min((listener.play() for _ in range(ROUNDS)), key=lambda cost: cost.cpu_s)
        with busy_processes(NEIGHBORS):
            beside = benchmark.pedantic(listener.play, rounds=ROUNDS)
    assert quiet.events == beside.events > 1
    benchmark.extra_info.update(limit_s=LIMIT * quiet.cpu_s, quiet_cpu_s=quiet.cpu_s, quiet_wall_s=quiet.wall_s)
    assert benchmark.stats["min"] <= LIMIT * quiet.cpu_s, f"{benchmark.stats['min']:.2f} s beside {NEIGHBORS}; {quiet}"
