"""What a training would cost: parameters, memory and time, from one batch of its shapes. Nothing is read, nothing written.

On a device a few steps are made and timed. For a machine that is not at hand, the steps are counted on the meta device
(`shapes`), and time is that of so many operations at a stated speed.
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

TIMED = 2  # steps, after one that is not
MOMENTS = 8  # bytes a parameter of AdamW: two numbers
GRADIENT = 4


@dataclass(frozen=True, slots=True)
class DryRunBatch:
    """A stage and one batch as a process gets it, of random data; `said` describes it, e.g. "16 clips, 64 s"."""

    stage: TrainingStage
    batch: Any
    said: str
    in_full: bool = False  # it computes in float32 whatever the loop's precision


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Bytes, operations and seconds of one process. `step_s`: None where it was only counted."""

    trained: int  # parameters
    frozen: int
    weight_bytes: int
    activation_bytes: int
    flops: int  # of a batch, forth and back
    step_s: float | None

    @property
    def gradient_bytes(self) -> int:
        return GRADIENT * self.trained

    @property
    def optimiser_bytes(self) -> int:
        return MOMENTS * self.trained

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.gradient_bytes + self.optimiser_bytes + self.activation_bytes


def measure(sample: DryRunBatch, loop: LoopConfig, device: torch.device) -> CostEstimate:
    """One batch forth and back, counted; on a real device also steps, timed. The stage's module is trained by it."""
    module = sample.stage.module.to(device).train()
    precision = "no" if sample.in_full else loop.precision
    groups = sample.stage.groups(loop)
    trained = {_place(p) for group in groups for p in group["params"] if p.requires_grad}
    with _kept() as kept, _used(module) as used, OperationCounter() as work, _precision(precision, device):
        found = module(sample.batch)
        loss = found["loss"] / found["count"]
    with work:
        loss.backward()
    parameters = {_place(p): p for p in used}
    return CostEstimate(
        trained=sum(p.numel() for key, p in parameters.items() if key in trained),
        frozen=sum(p.numel() for key, p in parameters.items() if key not in trained),
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters.values()),
        activation_bytes=sum(s.nbytes() for key, s in kept.items() if key not in parameters),
        flops=work.flops,
        step_s=None if device == META else _timed(sample, loop, groups, device),
    )


def _place(tensor: Tensor) -> int:
    """The same for tensors that share their memory."""
    return tensor.untyped_storage()._cdata


def _timed(sample: DryRunBatch, loop: LoopConfig, groups: list[dict[str, Any]], device: torch.device) -> float:
    """Seconds of a whole step, the optimiser's part included."""
    module, optimiser = sample.stage.module, torch.optim.AdamW(groups, betas=loop.betas)
    spent = []
    for _ in range(1 + TIMED):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=loop.precision != "no"):
            found = module(sample.batch)
        optimiser.zero_grad(set_to_none=True)
        (found["loss"] / found["count"]).backward()
        optimiser.step()
        float(found["loss"].detach())  # waits for the device
        spent.append(time.perf_counter() - started)
    return sum(spent[1:]) / TIMED


# ---- watching a step ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _kept() -> Iterator[dict[int, Any]]:
    """The storages that a forward pass keeps for its gradients, each once."""
    found: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage  # held, so that its place is not another's
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


@contextlib.contextmanager
def _used(module: nn.Module) -> Iterator[list[nn.Parameter]]:
    """The module's parameters, and those of every net that works meanwhile, though it be no part of it: teachers, the LLM."""
    found = list(module.parameters())
    handle = nn.modules.module.register_module_forward_pre_hook(lambda net, given: found.extend(net.parameters()))
    try:
        yield found
    finally:
        handle.remove()


def _precision(precision: str, device: torch.device) -> Any:
    if precision == "no":
        return contextlib.nullcontext()
    if device == META:
        return MetaAutocast()
    return torch.autocast(device.type, torch.float16 if precision == "fp16" else torch.bfloat16)


# ---- telling ---------------------------------------------------------------------------------------------------------


def report(
    sample: DryRunBatch, found: CostEstimate, loop: LoopConfig, done: int, devices: int, tflops: float | None
) -> list[str]:
    """Lines of the estimate. `done`: steps already made; `tflops`: the speed that a counted step is taken to have."""
    step_s = found.step_s if found.step_s is not None else found.flops / (tflops or 1.0) / 1e12
    step_s *= loop.accumulate
    how = "measured here" if found.step_s is not None else f"at {tflops:g} TFLOP/s"
    left = max(0, loop.steps - done)
    each = " on each device" if devices > 1 else ""
    total = timedelta(seconds=round(step_s * left))
    return [
        f"{sample.stage.name}: a batch of {sample.said}{each}",
        f"parameters   trained {found.trained / 1e6:,.2f} M, frozen {found.frozen / 1e6:,.2f} M",
        f"memory       {_size(found.bytes)}{each}: weights {_size(found.weight_bytes)}, gradients "
        f"{_size(found.gradient_bytes)}, optimiser {_size(found.optimiser_bytes)}, activations "
        f"{_size(found.activation_bytes)}",
        f"work         {found.flops / 1e12:,.4g} TFLOP a batch, {loop.accumulate} to a step",
        f"time         {step_s:,.3g} s a step ({how}), {total} for {left:,} steps; the loading of data not counted",
        "Nothing was written.",
    ]


def _size(count: int) -> str:
    """Bytes, in MB or GB."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def shapes_of(device: torch.device) -> Any:
    """What a dry run on a device has to happen under."""
    return MetaDeviceMode() if device == META else contextlib.nullcontext()
