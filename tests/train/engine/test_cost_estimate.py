"""Dry runs: counts on the meta device equal those of a real step; the paper's stages fit their GPUs; no file is written."""

import os
import re
import resource
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fobench.api import registry
from fobench.cli.main import main
from fobench.errors import FobenchError
from reference_model.config import ModelConfig
from reference_model.train.engine import cost_estimate
from reference_model.train.engine.cost_estimate import CostEstimate, measure, report
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.meta_device import META
from reference_model.train.llm import shape_stub
from reference_model.train.stages.dry_run import DryRunCase
from reference_model.train.stages.input_1 import sample_input_1
from reference_model.train.stages.input_2 import sample_input_2
from reference_model.train.stages.input_3 import sample_input_3
from reference_model.train.stages.output_1 import sample_output_1
from reference_model.train.stages.output_2 import sample_output_2
from reference_model.train.stages.output_3 import sample_output_3
from reference_model.train.stages.second_pass import sample_reread

ROOT = Path(__file__).parents[3]
RUNS = ROOT / "reference_model" / "runs"
LOOP = LoopConfig(batch_s=8.0)
SAMPLES = {
    "input_1": sample_input_1,
    "reread": sample_reread,
    "input_2": sample_input_2,
    "input_3": sample_input_3,
    "output_1": sample_output_1,
    "output_2": sample_output_2,
    "output_3": sample_output_3,
}
PUBLISHED_M = {"input-2": 375.9, "output-2": 99.6, "output-3": 50.5}  # that learn: README


def measured(stage, device, loop=LOOP, config="tiny", devices=1, **options):
    with cost_estimate.dry_run_mode(device):
        case = DryRunCase(ModelConfig.load(config), loop, device, devices, options)
        return measure(SAMPLES[stage](case), loop, device)


@pytest.mark.parametrize("stage", SAMPLES)
def test_shapes_alone_tell_what_a_real_step_has(stage):
    """On the CPU attention is fused: it keeps less, and its products are not counted."""
    config = "small" if stage == "reread" else "tiny"  # which has no second pass
    counted, real = (measured(stage, device, config=config) for device in (META, torch.device("cpu")))
    assert (counted.trained_parameters, counted.frozen_parameters) == (real.trained_parameters, real.frozen_parameters)
    assert counted.trained_parameters > 0
    assert counted.weight_bytes <= real.weight_bytes  # an LLM is in bfloat16 but on the CPU
    assert 0.97 < counted.flops / real.flops < 3
    assert 0.97 < counted.activation_bytes / real.activation_bytes < 2
    assert counted.step_s is None
    assert real.step_s > 0


def test_a_second_pass_that_hears_clips_anew_counts_its_encoder():
    kept, anew = (measured("reread", META, config="small", folders=folders) for folders in (["frames"], []))
    assert anew.flops > 1.5 * kept.flops
    assert anew.frozen_parameters > 7e6 > kept.frozen_parameters


def test_half_precision_keeps_less():
    whole, half = measured("input_2", META), measured("input_2", META, replace(LOOP, precision="bf16"))
    assert half.activation_bytes < 0.8 * whole.activation_bytes
    assert half.flops == whole.flops


def test_a_batch_is_dealt_out():
    one, four = (measured("input_1", META, replace(LOOP, batch_s=64.0), devices=n) for n in (1, 4))
    assert one.activation_bytes == pytest.approx(4 * four.activation_bytes, rel=0.02)
    assert one.weight_bytes == four.weight_bytes


def test_the_llm_counts_though_it_is_no_part_of_what_learns():
    found = measured("input_2", META)
    llm = shape_stub.ShapeOnlyLLM("tiny", META, torch.float32).model
    assert found.frozen_parameters == sum(p.numel() for p in llm.parameters())


def test_time_is_that_of_the_steps_left():
    found = CostEstimate(
        trained_parameters=10**6,
        frozen_parameters=0,
        weight_bytes=4 * 10**6,
        activation_bytes=10**7,
        flops=10**12,
        step_s=None,
    )
    sample = type("Sample", (), {"stage": type("Stage", (), {"name": "toy"}), "description": "8 clips, 64 s"})
    lines = report(sample, found, LoopConfig(steps=1000, accumulate=2), completed_steps=400, devices=8, tflops=100.0)
    assert lines[0] == "toy: a batch of 8 clips, 64 s on each device"
    assert "26.0 MB on each device: weights 4.0 MB, gradients 4.0 MB, optimiser 8.0 MB, activations 10.0 MB" in lines[2]
    assert "0.02 s a step (at 100 TFLOP/s), 0:00:12 for 600 steps" in lines[4]


def test_an_llm_that_the_model_does_not_fit_is_refused():
    with pytest.raises(FobenchError, match="for an LLM of hidden size 64; qwen2-7b has 3584"):
        measured("input_2", META, backbone="qwen2-7b")
    with pytest.raises(FobenchError, match=r"Unknown LLM for a dry run 'qwen2-7'\. Did you mean 'qwen2-7b'"):
        measured("input_2", META, backbone="qwen2-7")


def test_a_dry_run_needs_no_data_and_writes_nothing(tmp_path):
    out = tmp_path / "out"
    args = ["train", "input-2", "--config", "tiny", "--out", str(out), "--data", "nowhere", "--dry-run"]
    result = CliRunner().invoke(main, [*args, "--set", "batch_s=8", "--set", "precision=no"])
    assert result.exit_code == 0, result.output
    assert "input-2: a batch of 2 clips, 8 s" in result.output
    assert "(measured here)" in result.output
    assert not out.exists()
    assert CliRunner().invoke(main, args[:-1]).exit_code == 2  # the data that a training needs


# ---- the scripts -----------------------------------------------------------------------------------------------------


def commands(script, *args):
    """The `fobench` command lines of a script, which are only said."""
    env = {**os.environ, "FOBENCH": "echo", "OUT": "runs/none"}
    said = subprocess.run(
        ["bash", str(RUNS / script), *args], env=env, capture_output=True, text=True, check=True
    ).stdout
    return [shlex.split(line)[1:] for line in said.splitlines() if line.startswith("train ")]


STAGES = ["input-1", "input-2", "input-3", "output-1", "output-2", "output-3"]
QUICK = ("input-1", "output-1", "output-2")


@pytest.mark.subprocess
@pytest.mark.parametrize(  # the others go through Qwen2-7B, layer by layer
    "stage", [pytest.param(stage, marks=[] if stage in QUICK else pytest.mark.slow) for stage in STAGES]
)
def test_papers_stages_fit_gpus_of_80_gb(stage):
    lines = commands("paper.sh", "--dry-run")
    assert [line[0] for line in lines] == STAGES
    (line,) = [line for line in lines if line[0] == stage]
    result = CliRunner().invoke(main, ["train", *line])
    assert result.exit_code == 0, result.output
    gigabytes = float(re.search(r"memory +([\d.]+) GB on each device", result.output)[1])
    assert 1 < gigabytes < 70
    trained = float(re.search(r"trained ([\d.]+) M", result.output)[1])
    assert trained == pytest.approx(PUBLISHED_M.get(stage, trained), rel=0.001)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4e6  # KB: no weights were made


@pytest.mark.subprocess
@pytest.mark.parametrize("script", ["paper.sh", "small.sh"])
def test_every_command_of_a_script_has_options_that_there_are(script, tmp_path):
    env = {"ACCELERATE": "echo", "OUT": str(tmp_path)}
    said = subprocess.run(
        ["bash", str(RUNS / script)],
        env={**os.environ, **env, "FOBENCH": "echo"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [shlex.split(line.partition("train ")[2]) for line in said.splitlines() if "train " in line]
    assert len(lines) >= 8
    for name, *args in lines:
        command = registry.create("trainers", name)
        command.make_context(name, args, resilient_parsing=True)  # raises for an option that there is not


@pytest.mark.slow
def test_smalls_stages_can_be_dry_run():
    lines = commands("small.sh", "--dry-run")
    assert [line[0] for line in lines] == ["input-1", "reread", "output-1", "output-2", "input-3"]
    for line in lines:
        result = CliRunner().invoke(main, ["train", *line, "--tflops", "0.1"])
        assert result.exit_code == 0, result.output
