"""The crew: what the processes of its workers are told about cores and memory."""

import os
import platform
import resource

import pytest

from fobench.execution.worker_pool import _keep_memory
from fobench.process_host import ProcessHost

VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


class Buffers:
    """Needs the same large buffer again and again."""

    def faults(self, megabytes: int, times: int) -> int:
        """Pages that the kernel had to give for all but the first."""
        given = []
        for _ in range(times + 1):
            bytearray(megabytes << 20)[:] = b"x" * (megabytes << 20)
            given.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        return given[-1] - given[0]


@pytest.fixture
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what is set is undone
        monkeypatch.delenv(name)


@pytest.mark.subprocess
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc reads the variables")
def test_the_processes_keep_the_memory_that_they_free(environment):
    _keep_memory()
    host = ProcessHost(Buffers)
    assert host.call("faults", 24, 4) < 24 * 256  # fewer than one buffer's pages of 4 KiB
    host.stop()


def test_what_the_user_has_said_of_memory_stays(environment):
    os.environ[VARIABLES[0]] = "4096"
    _keep_memory()
    assert os.environ[VARIABLES[0]] == "4096"
