"""The training loop: learns, resumes to the bit, shares a batch among processes, leaves bad steps out, says what is wrong."""

import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
import torch

from fobench.errors import FobenchError
from reference_model.checkpoint import safetensors_io
from reference_model.train.engine import trainer as engine
from reference_model.train.engine.trainer import LoopConfig, Trainer
from tests.support.two_processes import run_in_two_processes
from tests.train.engine import toy_stage
from tests.train.engine.toy_stage import LOOP, InOrder, Net, Toy

PROGRAM = [sys.executable, "-m", "tests.train.engine.toy_stage"]


def rows(folder):
    """{(step, name): value} of a log, but for what depends on the machine's pace."""
    lines = [line.split(",") for line in (folder / engine.LOG).read_text().splitlines()]
    return {(int(step), name): value for step, name, value in lines if name != "seconds"}


def final(folder):
    return safetensors_io.load(engine.checkpoints(folder)[-1] / engine.MODEL)[1]


def test_it_learns_and_keeps_a_log(tmp_path):
    found = list(Trainer(Toy(), LOOP, tmp_path).run())
    assert len(found) == LOOP.steps
    assert found[-1]["valid_loss"] < 0.3 * found[0]["loss"]
    assert rows(tmp_path)[30, "valid_loss"] == f"{found[-1]['valid_loss']:.6g}"
    assert [c.name for c in engine.checkpoints(tmp_path)] == ["step-0000029", "step-0000030"]


@pytest.mark.parametrize("stop", [1, 7, 19])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, stop):
    def run(folder, steps):
        stage = Toy()
        stage.module.noise = 0.3  # draws from torch's generator at every step
        made = Trainer(stage, LOOP, folder).run()
        for _ in range(steps):
            next(made, None)
        made.close()

    run(tmp_path / "whole", 31)
    run(tmp_path / "parts", stop)
    run(tmp_path / "parts", 31)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    whole, parts = final(tmp_path / "whole"), final(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.subprocess
def test_a_killed_process_resumes_to_the_bit(tmp_path):
    running = subprocess.Popen([*PROGRAM, str(tmp_path / "killed"), "0.3"])
    while not engine.checkpoints(tmp_path / "killed"):
        assert running.poll() is None
        time.sleep(0.005)
    running.kill()
    running.wait()
    toy_stage.main(tmp_path / "killed", 0.3)
    toy_stage.main(tmp_path / "whole", 0.3)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


@pytest.mark.subprocess
def test_two_processes_have_the_curve_of_one(tmp_path):
    run_in_two_processes(*PROGRAM, str(tmp_path / "two"), "0")
    toy_stage.main(tmp_path / "one", 0)
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(float(two[key]) == pytest.approx(float(value), rel=1e-3, abs=1e-6) for key, value in one.items())


def test_a_bad_step_is_left_out_and_counted(tmp_path):
    stage = Toy(Net(poison=(0.25,)))
    trainer = Trainer(stage, replace(LOOP, steps=200, batch_most=4, batch_s=4.0), tmp_path)
    found = list(trainer.run())
    assert 0 < trainer.skipped < 60
    assert sum(row["skipped"] for row in found) == trainer.skipped
    assert found[-1]["valid_loss"] < 0.3 * found[0]["loss"]


def test_a_gradient_without_bound_is_left_out_and_counted(tmp_path):
    class Steep(Net):
        def forward(self, batch):
            found = super().forward(batch)
            zero = self.layers[0].weight.sum() * 0.0
            return {**found, "loss": found["loss"] + torch.sqrt(zero)}  # its value is 0, its slope infinite

    trainer = Trainer(Toy(Steep()), replace(LOOP, patience=6), tmp_path)
    before = {name: value.clone() for name, value in trainer.stage.module.state_dict().items()}
    with pytest.raises(FobenchError, match="6 steps in a row could not be used"):
        list(trainer.run())
    assert trainer.skipped == 6
    assert all(torch.equal(value, before[name]) for name, value in trainer.stage.module.state_dict().items())


def test_it_gives_up_where_every_step_is_bad(tmp_path):
    stage = Toy(Net())
    stage.module.layers[0].weight.data.fill_(float("nan"))
    with pytest.raises(
        FobenchError, match="Stage toy: 20 steps in a row could not be used, the last with a loss of nan"
    ):
        list(Trainer(stage, LOOP, tmp_path).run())


def test_a_training_of_another_configuration_is_not_gone_on_with(tmp_path):
    list(Trainer(Toy(), replace(LOOP, steps=2), tmp_path).run())
    with pytest.raises(FobenchError, match=r"another configuration \(sizes: 8, now 9\)"):
        list(Trainer(Toy(sizes=9), LOOP, tmp_path).run())


@pytest.mark.parametrize("sizes", [(4, 4), (7, 1)])
def test_two_batches_of_a_step_are_one_twice_as_large(tmp_path, sizes):
    """Also where they are of unlike size: each clip weighs the same."""

    @dataclass
    class Straight(Toy):
        order: InOrder = None

        def batches(self, loop):
            return self.order

    loop = replace(LOOP, steps=12, spike=1e9)
    list(Trainer(Straight(order=InOrder((8,))), loop, tmp_path / "one").run())
    list(Trainer(Straight(order=InOrder(sizes)), replace(loop, accumulate=2), tmp_path / "two").run())
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(float(two[key]) == pytest.approx(float(value), rel=1e-4, abs=1e-6) for key, value in one.items())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_learns_in_half_precision_and_resumes(tmp_path, precision):
    loop = replace(LOOP, precision=precision)
    for name, stops in (("whole", (31,)), ("parts", (9, 31))):
        for stop in stops:
            made = Trainer(Toy(), loop, tmp_path / name).run()
            for _ in range(stop):
                next(made, None)
            made.close()
    whole = rows(tmp_path / "whole")
    assert float(whole[30, "valid_loss"]) < 0.4 * float(whole[1, "loss"])
    assert rows(tmp_path / "parts") == whole
    assert all(value.dtype == torch.float32 for value in final(tmp_path / "whole").values())


def test_float16s_scale_falls_until_gradients_fit(tmp_path):
    """Gradients of 1e4 overflow at the first scale, 65,536: those steps are left out, then it learns."""

    class Loud(Net):
        def forward(self, batch):
            return {name: value * 1e3 if name == "loss" else value for name, value in super().forward(batch).items()}

    trainer = Trainer(Toy(Loud()), replace(LOOP, precision="fp16", clip=1e9), tmp_path)
    found = list(trainer.run())
    assert 0 < trainer.skipped < 12
    assert found[0]["skipped"] == 1
    assert found[-1]["skipped"] == 0
    assert found[-1]["loss"] < 0.7 * found[0]["loss"]


@pytest.mark.parametrize("workers", [0, 1])
def test_clips_that_cannot_be_used_are_counted_and_listed_once(tmp_path, workers):
    stage = Toy(broken=(3, 17))
    stage.faults.add("manifest.jsonl:7", "no text")  # from when the data were opened
    found = list(Trainer(stage, replace(LOOP, workers=workers), tmp_path).run())
    lines = (tmp_path / engine.SKIPPED).read_text().splitlines()
    assert sorted(lines) == ["clip-17: cannot be read", "clip-3: cannot be read", "manifest.jsonl:7: no text"]
    assert max(row.get("clips_skipped", 0) for row in found) == 3
    assert rows(tmp_path)[30, "valid_loss"] == f"{found[-1]['valid_loss']:.6g}"


def test_a_batch_of_which_nothing_can_be_used_is_passed_over(tmp_path):
    whole = list(
        Trainer(Toy(clips=16, broken=tuple(range(12))), replace(LOOP, batch_most=4, batch_s=4.0), tmp_path).run()
    )
    assert len(whole) == LOOP.steps
    assert len((tmp_path / engine.SKIPPED).read_text().splitlines()) == 12


def test_a_full_disk_is_told_and_the_last_checkpoint_stays(tmp_path):
    made = Trainer(Toy(), LOOP, tmp_path).run()
    for _ in range(5):
        next(made)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # a checkpoint is larger than that, its log is not
    try:
        with pytest.raises(
            FobenchError, match=r"cannot be written: .*File too large.* Free disk space; the same command"
        ):
            list(made)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [c.name for c in engine.checkpoints(tmp_path)] == ["step-0000004", "step-0000005"]
    assert not list(tmp_path.glob(".*"))
    list(Trainer(Toy(), LOOP, tmp_path).run())
    list(Trainer(Toy(), LOOP, tmp_path / "whole").run())
    assert rows(tmp_path) == rows(tmp_path / "whole")


def test_the_rate_rises_stays_and_falls():
    loop = LoopConfig(steps=100, warmup=10, decay=0.2)
    assert [loop.rate(step) for step in (0, 9, 50, 80, 90, 100)] == [0.1, 1.0, 1.0, 1.0, 0.5, 0.0]
    assert all(
        loop.rate(s) == LoopConfig(steps=200, warmup=10, decay=0.1).rate(s) for s in range(80)
    )  # so it can be prolonged
