"""What a run says of a busy machine: decided from recorded figures, and measured beside a process that is not the run's."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from fobench.storage import machine_load
from fobench.storage.machine_load import MachineLoad
from fobench.storage.run_record import record_error

QUIET = {
    "seconds": 60.0, "cores": 2, "own_s": 80.0, "other_s": 3.0, "stolen_s": 0.4,
    "calibration_ms": [[9.8, 9.9], [9.7, 9.9]], "load_average": [0.1, 1.2], "mhz": [2400, 2400], "governor": None,
}  # fmt: skip
BURN = "import time\nwhile time.process_time() < 0.5: pass"  # of processor time, however busy the machine is


def run(*stretches, **facts):
    return {"costs": "measured", "clock": "virtual", "machine_load": [QUIET | one for one in stretches], **facts}


@pytest.mark.parametrize(
    ("stretches", "said"),
    [
        ([], []),
        ([{}], []),
        ([{"other_s": 48.0}], ["Other programs used 0.8 of 2 cores during this run: latencies may be too high."]),
        ([{"other_s": 48.0, "cores": 32}], []),  # 0.8 of 32 cores slow nothing down
        ([{"other_s": 11.9}], []),
        ([{"other_s": None, "own_s": None, "stolen_s": None, "calibration_ms": [], "mhz": [None, None]}], []),
        ([{"other_s": 0.9, "seconds": 0.5}], []),  # too short to tell
        ([{}, {"other_s": 57.0}], ["Other programs used 0.5 of 2 cores during this run: latencies may be too high."]),
        ([{"stolen_s": 12.0}], ["The hypervisor withheld 10 % of the processor time: latencies may be too high."]),
        (
            [{"calibration_ms": [[9.8, 9.9], [11.4, 11.5]]}],
            ["A fixed calculation took 9.9 to 11.5 ms before and after the run: the processor's speed varied."],
        ),
        (
            [{"calibration_ms": [[9.8, 13.9], [13.7, 13.9]]}],
            ["A fixed calculation took 9.8 to 13.9 ms at one moment: the processor's speed varied."],
        ),
    ],
)
def test_what_is_said_of_recorded_figures(stretches, said):
    assert machine_load.sentences(run(*stretches)) == said


def test_declared_latencies_depend_on_no_machine():
    busy = {"other_s": 48.0}
    assert machine_load.sentences(run(busy, costs="declared:1234")) == []
    assert machine_load.sentences(run(busy, costs="declared:1234", clock="wall")) != []


@pytest.mark.parametrize("broken", [[{"seconds": "long"}], [3], "none", {"seconds": 1}])
def test_figures_that_no_run_writes_are_told_by_nothing(broken):
    assert machine_load.sentences({"costs": "measured", "machine_load": broken}) == []


def test_run_json_holds_the_figures():
    assert record_error({"version": 1, "machine_load": [QUIET]}) is None
    assert "machine_load" in str(record_error({"version": 1, "machine_load": [QUIET | {"cores": "two"}]}))


def test_own_processes_and_others_are_told_apart():
    """A child of this process is the run's; one whose parent has ended is another's."""
    stretch, begun = machine_load.start(), time.monotonic()
    orphan = ["sh", "-c", f'"{sys.executable}" -c "{BURN}" &']
    subprocess.run(orphan, check=True, stdout=subprocess.PIPE)  # until the orphan, too, has closed its output
    subprocess.run([sys.executable, "-c", BURN], check=True)
    time.sleep(max(0.0, begun + 1.0 - time.monotonic()))
    found = MachineLoad(**stretch.finish())
    if found.other_s is None:
        pytest.skip("this operating system tells no processor times")
    assert found.own_s is not None and 0.4 < found.own_s < 0.9
    assert found.other_s > 0.4
    assert found.seconds >= 1.0 and len(found.calibration_ms) == 2
