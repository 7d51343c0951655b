"""The training loop of all stages: steps, schedule, checkpoints with exact resume, a log, and skipping of bad steps.

The loop runs on one device or, under `accelerate launch` or `torchrun`, on several: a batch is then split among the
processes, and the loss is normalized over the whole batch, so that the loss curve equals that of one process. The same
holds for gradient accumulation.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fobench.errors import FobenchError
from reference_model.train.engine import checkpoints as checkpoint_files
from reference_model.train.engine.batch_sampler import BatchSampler, DataPosition
from reference_model.train.engine.checkpoints import MODEL, TRAINER, checkpoints
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.skipped_samples import SkippedSamples
from reference_model.train.engine.trainer_state import check_optimizer
from reference_model.train.engine.training_log import LOG, SKIPPED, TrainingLog

__all__ = [
    "LOG",
    "MODEL",
    "SKIPPED",
    "TRAINER",
    "LoopConfig",
    "Trainer",
    "TrainingStage",
    "checkpoints",
    "full_precision",
    "to_device",
]

LOSS_WINDOW = 100  # recent losses whose median is the reference for spikes
MIN_LOSSES = 10  # of them, before a spike is detected


class TrainingStage(Protocol):
    """A module with its training data.

    `module(batch)` returns {"loss": sum over the batch, "count": its divisor, ...}. Optional members: `faults`, the
    SkippedSamples of its data, which grow during loading; `before_step(step)`, which is called with the number of every
    step before the step.
    """

    name: str

    @property
    def module(self) -> nn.Module: ...

    def batches(self, loop: LoopConfig) -> BatchSampler:
        """Returns the batch sampler over the training clips."""

    def load(self, indices: Sequence[int], epoch: int) -> Any:
        """Returns the batch of these clips, the same in every run, or None if none of them can be used."""

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        """Returns the parameter groups of the optimizer, each with its "lr"."""

    def validate(self) -> dict[str, float]:
        """Returns scores on validation clips, by name."""

    def config(self) -> dict[str, Any]:
        """Returns plain data for the checkpoint; a checkpoint of another configuration is rejected."""


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """A batch, the data position after it, and the clips that could not be used: [(shard or clip, reason)]."""

    position: DataPosition
    batch: Any
    faults: list[tuple[str, str]]

    def pin_memory(self) -> LoadedBatch:
        """Called by the data loader: returns the batch in page-locked memory, if the batch supports it."""
        pin = getattr(self.batch, "pin_memory", None)
        return replace(self, batch=pin()) if pin else self


class _Loader(Dataset[LoadedBatch]):
    """Batches as items of the data loader. Workers are other processes, so each batch carries its skipped clips."""

    def __init__(self, stage: TrainingStage, order: list[tuple[DataPosition, list[int]]]) -> None:
        self.stage, self.order = stage, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> LoadedBatch:
        position, indices = self.order[index]
        faults = faults_of(self.stage)
        before = len(faults)
        batch = self.stage.load(indices, position.epoch if position.batch else position.epoch - 1)
        return LoadedBatch(position, batch, faults.entries[before:])


@dataclass(slots=True)
class Trainer:
    """One training run of one stage, in one folder."""

    stage: TrainingStage
    loop: LoopConfig
    folder: Path
    accelerator: Accelerator = field(init=False)
    log: TrainingLog = field(init=False)
    step: int = 0
    position: DataPosition = field(default_factory=DataPosition)
    skipped: int = 0  # number of skipped steps
    _recent_losses: deque[float] = field(default_factory=lambda: deque(maxlen=LOSS_WINDOW))
    _bad_steps: int = 0  # in a row
    _module: Any = field(init=False)  # the stage's module, wrapped for several processes
    _optimizer: torch.optim.Optimizer = field(init=False)
    _scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.accelerator = Accelerator(
            mixed_precision="no"
        )  # one per process; the precision belongs to each training run
        # cuDNN attention compiles a plan for every batch shape, which takes longer than a step
        torch.backends.cuda.enable_cudnn_sdp(False)
        self._scaler = torch.amp.GradScaler(self.accelerator.device.type, enabled=self.loop.precision == "fp16")
        checkpoint_files.seed_everything(self.loop.seed)
        self.stage.module.to(self.accelerator.device)
        groups = self.stage.groups(self.loop)
        self._module = self.accelerator.prepare(self.stage.module)
        self._optimizer = torch.optim.AdamW(groups, betas=self.loop.betas, weight_decay=self.loop.weight_decay)
        for group in self._optimizer.param_groups:
            group["peak"] = group["lr"]
        self.log = TrainingLog(self.folder, self.accelerator.is_main_process)

    # ---- the loop --------------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[dict[str, float]]:
        """Trains to the last step, from the newest checkpoint in the folder if there is one; yields a row of the log
        per step.
        """
        self.resume()
        self.log.list_skipped(faults_of(self.stage).entries)
        data, last_saved = self._data(), time.monotonic()
        while self.step < self.loop.steps:
            loaded = list(itertools.islice(data, self.loop.accumulate))
            row = self._step([one.batch for one in loaded])
            self.position, self.step = loaded[-1].position, self.step + 1
            last = self.step >= self.loop.steps
            if last or self.step % self.loop.validate_every == 0:
                row |= self._validate()
            if faults := [fault for one in loaded for fault in one.faults]:
                self.log.list_skipped(faults)
                row["clips_skipped"] = float(self.log.skipped)
            self.log.add(row)
            if last or time.monotonic() - last_saved > self.loop.save_every_s:
                self.save()
                last_saved = time.monotonic()
            yield row

    def _data(self) -> Iterator[LoadedBatch]:
        """Yields the batches from the current position on, for each process its share; a clip repeats if there are too
        few.
        """
        position, batches = self.position, self.stage.batches(self.loop)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        while True:
            order = []
            for position, indices in batches.batches_after(position):  # noqa: B020 - the position advances
                order.append((position, indices[rank::world] or [indices[rank % len(indices)]]))
                if position.batch == 0:
                    break
            generator = torch.Generator()  # a separate one: the default generator belongs to the training
            loader = _Loader(self.stage, order)
            pinned = self.accelerator.device.type == "cuda"
            batches_loaded = DataLoader(
                loader, batch_size=None, num_workers=self.loop.workers, generator=generator, pin_memory=pinned
            )
            yield from (one for one in batches_loaded if self._usable(one))

    def _usable(self, loaded: LoadedBatch) -> bool:
        """Returns whether every process has a part of this batch; the faults of a skipped batch are listed."""
        empty = torch.tensor(float(loaded.batch is None), device=self.accelerator.device)
        if float(self.accelerator.reduce(empty, "sum")) == 0:
            return True
        self.log.list_skipped(loaded.faults)
        return False

    def _step(self, batches: Sequence[Any]) -> dict[str, float]:
        """Trains one step on the accumulated batches; returns its row of the log."""
        started, factor = time.perf_counter(), self.loop.rate(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        if before_step := getattr(self.stage, "before_step", None):
            before_step(self.step)
        self._module.train()
        sums: dict[str, float] = {}
        first_count, usable = 0.0, False
        for number, batch in enumerate(batches, 1):
            synchronization = (
                contextlib.nullcontext() if number == len(batches) else self.accelerator.no_sync(self._module)
            )
            with synchronization:
                first_count, usable = self._accumulate_gradients(batch, sums, first_count)
            if not usable:
                break
        count = max(1.0, sums.pop("count"))
        row = {"step": self.step + 1, **{name: total / count for name, total in sums.items()}}
        row["lr"] = factor * self.loop.lr
        if usable:
            row["norm"] = self._update_weights(first_count / count)
            usable = math.isfinite(row["norm"])
        self._optimizer.zero_grad(set_to_none=True)
        self._count_bad_steps(usable, row["loss"])
        return row | {"skipped": float(not usable), "seconds": time.perf_counter() - started}

    def _accumulate_gradients(self, batch: Any, sums: dict[str, float], first_count: float) -> tuple[float, bool]:
        """Adds the values of a batch to `sums`, and its gradients, divided by the first batch's count, to the
        accumulated ones.

        Returns the first batch's count, and whether the batch is usable: its loss is finite and no spike
        (`LoopConfig.spike`).
        """
        with self._autocast():
            output = self._module(batch)
        summed = {name: self.accelerator.reduce(value.detach().float(), "sum") for name, value in output.items()}
        values = {name: float(value) for name, value in summed.items()}
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
        loss = values["loss"] / max(1.0, values["count"])
        if not math.isfinite(loss) or loss > self.loop.spike * self._median_loss:
            return first_count, False
        self._recent_losses.append(loss)
        first_count = first_count or max(1.0, values["count"])
        self._scaler.scale(output["loss"] / first_count * self.accelerator.num_processes).backward()
        return first_count, True

    def _update_weights(self, scale: float) -> float:
        """Scales the gradients by `scale`, clips them and updates the weights; returns the norm before clipping."""
        self._scaler.unscale_(self._optimizer)
        if scale != 1.0:
            for parameter in self._module.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(scale)
        norm = float(nn.utils.clip_grad_norm_(self._module.parameters(), self.loop.clip))
        if math.isfinite(norm):
            self._scaler.step(self._optimizer)
        self._scaler.update()  # lowers the float16 loss scale after a non-finite gradient
        return norm

    def _autocast(self) -> torch.autocast:
        """Returns the autocast context of the loop's precision, for a forward pass."""
        dtype = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.loop.precision]
        return torch.autocast(self.accelerator.device.type, dtype, enabled=dtype is not None)

    @property
    def _median_loss(self) -> float:
        """The median of the recent losses; infinite while there are too few."""
        return statistics.median(self._recent_losses) if len(self._recent_losses) >= MIN_LOSSES else math.inf

    def _count_bad_steps(self, usable: bool, loss: float) -> None:
        """Counts bad steps; raises FobenchError after too many in a row."""
        self._bad_steps = 0 if usable else self._bad_steps + 1
        self.skipped += not usable
        if self._bad_steps >= self.loop.patience:
            raise FobenchError(
                f"Stage {self.stage.name}: {self._bad_steps} steps in a row could not be used, the last with "
                f"a loss of {loss:.4g} (median: {self._median_loss:.4g}). Lower lr ({self.loop.lr:g}), or resume from an older "
                f"checkpoint in {self.folder}."
            )

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        self._module.eval()
        with self._autocast():
            return {f"valid_{name}": value for name, value in self.stage.validate().items()}

    # ---- checkpoints -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes the checkpoint `step-N/` atomically and removes all but the newest."""
        if self.accelerator.is_main_process:
            checkpoint_files.write(self.stage.module, self.stage.config(), self._state(), self.folder, self.step)

    def resume(self) -> bool:
        """Loads the newest checkpoint and truncates the log to its step; returns False if there is none.

        Raises FobenchError if the checkpoint has another configuration, is broken, or does not fit the optimizer.
        """
        state = checkpoint_files.read(self.stage.module, self.stage.config(), self.folder)
        if state is None:
            return False
        check_optimizer(self._optimizer, state["optimiser"], self.folder)
        self._optimizer.load_state_dict(state["optimiser"])
        if state.get("scaler") and self._scaler.is_enabled():  # a run begun in another precision has no scaler state
            self._scaler.load_state_dict(state["scaler"])
        self.step, self.position = state["step"], DataPosition(*state["place"])
        self.skipped, self._bad_steps = state["skipped"], state.get("bad", 0)
        self._recent_losses.extend(state["recent"])
        checkpoint_files.set_random_state(state["random"])
        self.log.truncate(self.step)
        return True

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "place": (self.position.epoch, self.position.batch),
            "skipped": self.skipped,
            "bad": self._bad_steps,
            "recent": list(self._recent_losses),
            "optimiser": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": checkpoint_files.random_state(),
            "loop": asdict(self.loop),
        }


def faults_of(stage: TrainingStage) -> SkippedSamples:
    """Returns the skipped samples of a stage; an empty list for a stage without clips."""
    faults = getattr(stage, "faults", None)
    return faults if faults is not None else SkippedSamples()


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Returns a context that computes in float32 at any precision of the loop; on the meta device, a null context."""
    return contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def to_device(value: Tensor, module: nn.Module) -> Tensor:
    """Returns `value` on the device of the module's first parameter."""
    return value.to(next(module.parameters()).device)
