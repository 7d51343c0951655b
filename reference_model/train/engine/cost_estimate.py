"""Cost estimate of a training run: parameters, memory and time, from one batch of random data.

No file is read or written. On an available device a few steps are run and timed. For other machines the operations of a
step are counted on the meta device (`meta_device`), and the time is their number divided by a given throughput.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.meta_device import META, MetaAutocast, MetaDeviceMode, OperationCounter
from reference_model.train.engine.trainer import TrainingStage

TIMED_STEPS = 2  # after one warm-up step
OPTIMIZER_BYTES = 8  # per parameter: the two float32 moments of AdamW
GRADIENT_BYTES = 4  # per parameter


@dataclass(frozen=True, slots=True)
class DryRunBatch:
    """A stage and one batch of random data, as one process receives it. `description`: e.g. "16 clips, 64 s"."""

    stage: TrainingStage
    batch: Any
    description: str
    full_precision: bool = False  # the stage computes in float32 at any precision of the loop


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Parameters, bytes, operations and seconds of one process. `step_s`: None if the step was counted, not timed."""

    trained_parameters: int
    frozen_parameters: int
    weight_bytes: int
    activation_bytes: int
    flops: int  # of a batch, forward and backward
    step_s: float | None

    @property
    def gradient_bytes(self) -> int:
        return GRADIENT_BYTES * self.trained_parameters

    @property
    def optimizer_bytes(self) -> int:
        return OPTIMIZER_BYTES * self.trained_parameters

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.activation_bytes


def measure(sample: DryRunBatch, loop: LoopConfig, device: torch.device) -> CostEstimate:
    """Returns the cost of one batch, forward and backward; on a real device training steps are also timed.

    The parameters of the stage's module change on a real device.
    """
    module = sample.stage.module.to(device).train()
    precision = "no" if sample.full_precision else loop.precision
    groups = sample.stage.groups(loop)
    trained = {_storage_id(p) for group in groups for p in group["params"] if p.requires_grad}
    with (
        _saved_storages() as saved,
        _used_parameters(module) as used,
        OperationCounter() as counter,
        _precision(precision, device),
    ):
        output = module(sample.batch)
        loss = output["loss"] / output["count"]
    with counter:
        loss.backward()
    parameters = {_storage_id(p): p for p in used}
    return CostEstimate(
        trained_parameters=sum(p.numel() for key, p in parameters.items() if key in trained),
        frozen_parameters=sum(p.numel() for key, p in parameters.items() if key not in trained),
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters.values()),
        activation_bytes=sum(s.nbytes() for key, s in saved.items() if key not in parameters),
        flops=counter.flops,
        step_s=None if device == META else _time_step(sample, loop, groups, device),
    )


def _storage_id(tensor: Tensor) -> int:
    """Returns an identifier of the storage, equal for tensors that share memory."""
    return tensor.untyped_storage()._cdata


def _time_step(sample: DryRunBatch, loop: LoopConfig, groups: list[dict[str, Any]], device: torch.device) -> float:
    """Returns the mean duration of a training step in seconds, including the optimizer's update."""
    module, optimizer = sample.stage.module, torch.optim.AdamW(groups, betas=loop.betas)
    durations = []
    for _ in range(1 + TIMED_STEPS):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=loop.precision != "no"):
            output = module(sample.batch)
        optimizer.zero_grad(set_to_none=True)
        (output["loss"] / output["count"]).backward()
        optimizer.step()
        float(output["loss"].detach())  # synchronizes with the device
        durations.append(time.perf_counter() - started)
    return sum(durations[1:]) / TIMED_STEPS


# ---- instrumentation of a step ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _saved_storages() -> Iterator[dict[int, Any]]:
    """Collects the storages that the forward pass saves for the backward pass, by storage identifier."""
    storages: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage  # the reference keeps the address from being reused
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield storages


@contextlib.contextmanager
def _used_parameters(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Collects the parameters of `module` and of every other network that runs in the block (teachers, the LLM)."""
    parameters = list(module.parameters())
    handle = nn.modules.module.register_module_forward_pre_hook(
        lambda network, inputs: parameters.extend(network.parameters())
    )
    try:
        yield parameters
    finally:
        handle.remove()


def _precision(precision: str, device: torch.device) -> Any:
    if precision == "no":
        return contextlib.nullcontext()
    if device == META:
        return MetaAutocast()
    return torch.autocast(device.type, torch.float16 if precision == "fp16" else torch.bfloat16)


# ---- report ---------------------------------------------------------------------------------------------------------


def report(
    sample: DryRunBatch, cost: CostEstimate, loop: LoopConfig, completed_steps: int, devices: int, tflops: float | None
) -> list[str]:
    """Returns the lines of the estimate.

    `completed_steps`: of an earlier run; `tflops`: assumed throughput of a counted step.
    """
    step_s = cost.step_s if cost.step_s is not None else cost.flops / (tflops or 1.0) / 1e12
    step_s *= loop.accumulate
    how = "measured here" if cost.step_s is not None else f"at {tflops:g} TFLOP/s"
    remaining = max(0, loop.steps - completed_steps)
    each = " on each device" if devices > 1 else ""
    total = timedelta(seconds=round(step_s * remaining))
    return [
        f"{sample.stage.name}: a batch of {sample.description}{each}",
        f"parameters   trained {cost.trained_parameters / 1e6:,.2f} M, frozen {cost.frozen_parameters / 1e6:,.2f} M",
        f"memory       {_size(cost.bytes)}{each}: weights {_size(cost.weight_bytes)}, gradients "
        f"{_size(cost.gradient_bytes)}, optimiser {_size(cost.optimizer_bytes)}, activations "
        f"{_size(cost.activation_bytes)}",
        f"work         {cost.flops / 1e12:,.4g} TFLOP a batch, {loop.accumulate} to a step",
        f"time         {step_s:,.3g} s a step ({how}), {total} for {remaining:,} steps; the loading of data not counted",
        "Nothing was written.",
    ]


def _size(count: int) -> str:
    """Formats a number of bytes in MB or GB."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def dry_run_mode(device: torch.device) -> Any:
    """Returns the context manager for a dry run on `device`: MetaDeviceMode on the meta device, else a null context."""
    return MetaDeviceMode() if device == META else contextlib.nullcontext()
