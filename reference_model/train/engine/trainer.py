"""The training loop that all stages share: steps, schedule, checkpoints that resume exactly, a log, a guard against bad steps.

It runs on one device or, under `accelerate launch` or `torchrun`, on many: a batch is then dealt out, and the loss is taken over
the whole batch, so that the curve is that of one process. The same holds for batches that are accumulated to one step.
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
from reference_model.train.engine import checkpoints as saved
from reference_model.train.engine.batch_sampler import BatchSampler, DataPosition
from reference_model.train.engine.checkpoints import MODEL, TRAINER, checkpoints
from reference_model.train.engine.loop_config import LoopConfig
from reference_model.train.engine.skipped_samples import SkippedSamples
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
    "in_full",
    "to_device",
]

WINDOW = 100  # losses that a spike is told from
ENOUGH = 10  # of them


class TrainingStage(Protocol):
    """What is trained, on what. `module(batch)` gives {"loss": sum over the batch, "count": what to divide it by, ...}.

    A stage may have `faults`: what of its data could not be used; they grow while it loads. It may have `at`, a function that
    is told the number of every step before it is made.
    """

    name: str
    module: nn.Module

    def batches(self, loop: LoopConfig) -> BatchSampler: ...

    def load(self, indices: Sequence[int], epoch: int) -> Any:
        """The batch of these clips, the same in every run; None where none of them can be used."""

    def groups(self, loop: LoopConfig) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser, each with its "lr"."""

    def validate(self) -> dict[str, float]:
        """Scores on clips that are not trained on."""

    def config(self) -> dict[str, Any]:
        """Plain data that goes into the checkpoint; a checkpoint of another configuration is refused."""


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """A batch, the place behind it, and the clips that turned out to be unusable: [(where, why)]."""

    place: DataPosition
    batch: Any
    faults: list[tuple[str, str]]

    def pin_memory(self) -> LoadedBatch:
        """For the data loader: the batch in memory that a GPU reads while it computes, if the batch knows how."""
        pin = getattr(self.batch, "pin_memory", None)
        return replace(self, batch=pin()) if pin else self


class _Loader(Dataset[LoadedBatch]):
    """Batches as the data loader's items; it may live in another process, so it tells of faults with the batch."""

    def __init__(self, stage: TrainingStage, order: list[tuple[DataPosition, list[int]]]) -> None:
        self.stage, self.order = stage, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> LoadedBatch:
        place, indices = self.order[index]
        faults = faults_of(self.stage)
        before = len(faults)
        batch = self.stage.load(indices, place.epoch if place.batch else place.epoch - 1)
        return LoadedBatch(place, batch, faults.found[before:])


@dataclass(slots=True)
class Trainer:
    """One training of one stage, in one folder."""

    stage: TrainingStage
    loop: LoopConfig
    folder: Path
    accelerator: Accelerator = field(init=False)
    journal: TrainingLog = field(init=False)
    step: int = 0
    place: DataPosition = field(default_factory=DataPosition)
    skipped: int = 0  # steps
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _bad: int = 0
    _module: Any = field(init=False)  # the stage's, shared among processes
    _optimiser: torch.optim.Optimizer = field(init=False)
    _scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.accelerator = Accelerator(mixed_precision="no")  # one a process; precision is each training's own
        # cuDNN's attention plans anew for every shape of a batch, which takes longer than a step
        torch.backends.cuda.enable_cudnn_sdp(False)
        self._scaler = torch.amp.GradScaler(self.accelerator.device.type, enabled=self.loop.precision == "fp16")
        saved.seed_everything(self.loop.seed)
        self.stage.module.to(self.accelerator.device)
        groups = self.stage.groups(self.loop)
        self._module = self.accelerator.prepare(self.stage.module)
        self._optimiser = torch.optim.AdamW(groups, betas=self.loop.betas, weight_decay=self.loop.weight_decay)
        for group in self._optimiser.param_groups:
            group["peak"] = group["lr"]
        self.journal = TrainingLog(self.folder, self.accelerator.is_main_process)

    # ---- the loop --------------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[dict[str, float]]:
        """Trains to the end, from the newest checkpoint in the folder if there is one; gives a row of the log each step."""
        self.resume()
        self.journal.skip(faults_of(self.stage).found)
        data, last_saved = self._data(), time.monotonic()
        while self.step < self.loop.steps:
            loaded = list(itertools.islice(data, self.loop.accumulate))
            row = self._step([one.batch for one in loaded])
            self.place, self.step = loaded[-1].place, self.step + 1
            last = self.step >= self.loop.steps
            if last or self.step % self.loop.validate_every == 0:
                row |= self._validated()
            if faults := [fault for one in loaded for fault in one.faults]:
                self.journal.skip(faults)
                row["clips_skipped"] = float(self.journal.skipped)
            self.journal.add(row)
            if last or time.monotonic() - last_saved > self.loop.save_every_s:
                self.save()
                last_saved = time.monotonic()
            yield row

    def _data(self) -> Iterator[LoadedBatch]:
        """Batches from the present place on, each process its share; of too few clips, some more than once."""
        place, batches = self.place, self.stage.batches(self.loop)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        while True:
            order = []
            for place, indices in batches.after(place):  # noqa: B020 - the place moves on
                order.append((place, indices[rank::world] or [indices[rank % len(indices)]]))
                if place.batch == 0:
                    break
            own = torch.Generator()  # else it draws from the training's own randomness each time it begins
            loader = _Loader(self.stage, order)
            pinned = self.accelerator.device.type == "cuda"
            found = DataLoader(loader, batch_size=None, num_workers=self.loop.workers, generator=own, pin_memory=pinned)
            yield from (one for one in found if self._usable(one))

    def _usable(self, loaded: LoadedBatch) -> bool:
        """Whether every process has something of this batch to learn from; what is wrong with one that is left out is listed."""
        empty = torch.tensor(float(loaded.batch is None), device=self.accelerator.device)
        if float(self.accelerator.reduce(empty, "sum")) == 0:
            return True
        self.journal.skip(loaded.faults)
        return False

    def _step(self, batches: Sequence[Any]) -> dict[str, float]:
        """One step on all the batches together."""
        started, factor = time.perf_counter(), self.loop.rate(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        if told := getattr(self.stage, "at", None):
            told(self.step)
        self._module.train()
        sums: dict[str, float] = {}
        first = fine = 0.0
        for number, batch in enumerate(batches, 1):
            shared = contextlib.nullcontext() if number == len(batches) else self.accelerator.no_sync(self._module)
            with shared:
                first, fine = self._learn(batch, sums, first)
            if not fine:
                break
        count = max(1.0, sums.pop("count"))
        row = {"step": self.step + 1, **{name: total / count for name, total in sums.items()}}
        row["lr"] = factor * self.loop.lr
        if fine:
            row["norm"] = self._descend(first / count)
            fine = math.isfinite(row["norm"])
        self._optimiser.zero_grad(set_to_none=True)
        self._judged(bool(fine), row["loss"])
        return row | {"skipped": float(not fine), "seconds": time.perf_counter() - started}

    def _learn(self, batch: Any, sums: dict[str, float], first: float) -> tuple[float, bool]:
        """Adds a batch's values to `sums`, and its gradients, over the first batch's count, to those there are.

        Returns that count, and whether the batch is fit to learn from: not where its loss is no number, or far above what
        was usual.
        """
        with self._precisely():
            found = self._module(batch)
        summed = {name: self.accelerator.reduce(value.detach().float(), "sum") for name, value in found.items()}
        values = {name: float(value) for name, value in summed.items()}
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
        loss = values["loss"] / max(1.0, values["count"])
        if not math.isfinite(loss) or loss > self.loop.spike * self._usual:
            return first, False
        self._recent.append(loss)
        first = first or max(1.0, values["count"])
        self._scaler.scale(found["loss"] / first * self.accelerator.num_processes).backward()
        return first, True

    def _descend(self, share: float) -> float:
        """A step along the gradients, which are 1 / `share` too large; their norm."""
        self._scaler.unscale_(self._optimiser)
        if share != 1.0:
            for parameter in self._module.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(share)
        norm = float(nn.utils.clip_grad_norm_(self._module.parameters(), self.loop.clip))
        if math.isfinite(norm):
            self._scaler.step(self._optimiser)
        self._scaler.update()  # lowers float16's scale after a gradient without bound
        return norm

    def _precisely(self) -> torch.autocast:
        """The training's precision, for a forward pass."""
        kind = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.loop.precision]
        return torch.autocast(self.accelerator.device.type, kind, enabled=kind is not None)

    @property
    def _usual(self) -> float:
        """The median loss of late; without bound while there are few."""
        return statistics.median(self._recent) if len(self._recent) >= ENOUGH else math.inf

    def _judged(self, fine: bool, loss: float) -> None:
        """Counts bad steps; FobenchError after too many in a row."""
        self._bad = 0 if fine else self._bad + 1
        self.skipped += not fine
        if self._bad >= self.loop.patience:
            raise FobenchError(
                f"Stage {self.stage.name}: {self._bad} steps in a row could not be used, the last with a loss of {loss:.4g} "
                f"(usual: {self._usual:.4g}). Lower lr ({self.loop.lr:g}), or go on from an older checkpoint in {self.folder}."
            )

    @torch.no_grad()
    def _validated(self) -> dict[str, float]:
        self._module.eval()
        with self._precisely():
            return {f"valid_{name}": value for name, value in self.stage.validate().items()}

    # ---- checkpoints -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes `step-N/`, whole or not at all, and forgets all but the newest."""
        if self.accelerator.is_main_process:
            saved.write(self.stage.module, self.stage.config(), self._state(), self.folder, self.step)

    def resume(self) -> bool:
        """Takes the newest checkpoint, if any; the log is cut back to it. FobenchError for one of another configuration."""
        state = saved.read(self.stage.module, self.stage.config(), self.folder)
        if state is None:
            return False
        self._optimiser.load_state_dict(state["optimiser"])
        if state.get("scaler") and self._scaler.is_enabled():  # begun in another precision, it has none
            self._scaler.load_state_dict(state["scaler"])
        self.step, self.place = state["step"], DataPosition(*state["place"])
        self.skipped, self._bad = state["skipped"], state.get("bad", 0)
        self._recent.extend(state["recent"])
        saved.set_random_state(state["random"])
        self.journal.cut(self.step)
        return True

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "place": (self.place.epoch, self.place.batch),
            "skipped": self.skipped,
            "bad": self._bad,
            "recent": list(self._recent),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": saved.random_state(),
            "loop": asdict(self.loop),
        }


def faults_of(stage: TrainingStage) -> SkippedSamples:
    """What of a stage's data could not be used; nothing for a stage that has no clips."""
    found = getattr(stage, "faults", None)
    return found if found is not None else SkippedSamples()


def in_full(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Float32 within, whatever the training's precision. The meta device, of dry runs, has no autocast."""
    return contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def to_device(value: Tensor, module: nn.Module) -> Tensor:
    return value.to(next(module.parameters()).device)
