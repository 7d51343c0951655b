"""The training loop that all stages share: steps, schedule, checkpoints that resume exactly, a log, a guard against bad steps.

It runs on one device or, under `accelerate launch` or `torchrun`, on many: a batch is then dealt out, and the loss is taken over
the whole batch, so that the curve is that of one process.
"""

from __future__ import annotations

import csv
import json
import math
import os
import random
import shutil
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fobench.errors import FobenchError
from reference_model import weights
from reference_model.train.batches import Batches, Place

MODEL, TRAINER, LOG = "model.safetensors", "trainer.pt", "log.csv"
KEPT = 2  # checkpoints
WINDOW = 100  # losses that a spike is told from
ENOUGH = 10  # of them


@dataclass(frozen=True, slots=True)
class Loop:
    """How long and how fast to train. The rate rises over `warmup` steps, stays, and falls to 0 over the last `decay` of them."""

    steps: int = 1000
    lr: float = 3e-4
    warmup: int = 100
    decay: float = 0.3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0  # norm of the gradient
    accumulate: int = 1
    batch_s: float = 64.0  # seconds of audio in a batch
    batch_most: int = 64  # clips
    precision: str = "no"  # or "bf16", "fp16"
    workers: int = 0  # processes that load data
    save_every_s: float = 240.0
    validate_every: int = 500
    spike: float = 4.0  # times the median loss: such a step is left out
    patience: int = 20  # bad steps in a row before it gives up
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate's factor at a step, in [0, 1]."""
        falling = max(1, round(self.steps * self.decay))
        return max(0.0, min(1.0, (step + 1) / max(1, self.warmup), (self.steps - step) / falling))


class Stage(Protocol):
    """What is trained, on what. `module(batch)` gives {"loss": sum over the batch, "count": what to divide it by, ...}."""

    name: str
    module: nn.Module

    def batches(self, loop: Loop) -> Batches: ...

    def load(self, indices: Sequence[int], epoch: int) -> Any:
        """The batch of these clips, the same in every run."""

    def groups(self, loop: Loop) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser, each with its "lr"."""

    def validate(self) -> dict[str, float]:
        """Scores on clips that are not trained on."""

    def config(self) -> dict[str, Any]:
        """Plain data that goes into the checkpoint; a checkpoint of another configuration is refused."""


class _Loaded(Dataset[Any]):
    """Batches as the data loader's items."""

    def __init__(self, stage: Stage, order: list[tuple[Place, list[int]]]) -> None:
        self.stage, self.order = stage, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[Place, Any]:
        place, indices = self.order[index]
        epoch = place.epoch if place.batch else place.epoch - 1
        return place, self.stage.load(indices, epoch)


@dataclass(slots=True)
class Trainer:
    """One training of one stage, in one folder."""

    stage: Stage
    loop: Loop
    folder: Path
    accelerator: Accelerator = field(init=False)
    step: int = 0
    place: Place = field(default_factory=Place)
    skipped: int = 0
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _bad: int = 0
    _module: Any = field(init=False)
    _optimiser: Any = field(init=False)

    def __post_init__(self) -> None:
        self.accelerator = Accelerator(mixed_precision=self.loop.precision)
        seed_everything(self.loop.seed)
        self.stage.module.to(self.accelerator.device)
        groups = self.stage.groups(self.loop)
        optimiser = torch.optim.AdamW(groups, betas=self.loop.betas, weight_decay=self.loop.weight_decay)
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
        self._module, self._optimiser = self.accelerator.prepare(self.stage.module, optimiser)

    # ---- the loop --------------------------------------------------------------------------------------------------------

    def run(self) -> Iterator[dict[str, float]]:
        """Trains to the end, from the newest checkpoint in the folder if there is one; gives a row of the log each step."""
        self.resume()
        saved = time.monotonic()
        for place, batch in self._data():
            if self.step >= self.loop.steps:
                break
            row = self._step(batch)
            self.place, self.step = place, self.step + 1
            last = self.step >= self.loop.steps
            if last or self.step % self.loop.validate_every == 0:
                row |= self._validated()
            self._log(row)
            if last or time.monotonic() - saved > self.loop.save_every_s:
                self.save()
                saved = time.monotonic()
            yield row

    def _data(self) -> Iterator[tuple[Place, Any]]:
        """Batches from the present place on, each process its share."""
        place, batches = self.place, self.stage.batches(self.loop)
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        while True:
            order = []
            for place, indices in batches.after(place):  # noqa: B020 - the place moves on
                order.append((place, indices[rank::world]))
                if place.batch == 0:
                    break
            own = torch.Generator()  # else it draws from the training's own randomness each time it begins
            loaded = _Loaded(self.stage, order)
            yield from DataLoader(loaded, batch_size=None, num_workers=self.loop.workers, generator=own)

    def _step(self, batch: Any) -> dict[str, float]:
        started = time.perf_counter()
        factor = self.loop.rate(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        self._module.train()
        sums = self._module(batch)
        count = self.accelerator.reduce(sums["count"].detach().float(), "sum").clamp(min=1)
        loss = sums["loss"] / count
        means = {
            name: float(self.accelerator.reduce(value.detach().float(), "sum") / count) for name, value in sums.items()
        }
        row = {"step": self.step + 1, **{k: v for k, v in means.items() if k != "count"}, "lr": factor * self.loop.lr}
        if self._suspect(means["loss"]):
            return row | {"skipped": 1.0, "seconds": time.perf_counter() - started}
        self.accelerator.backward(loss * self.accelerator.num_processes)
        row["norm"] = float(self.accelerator.clip_grad_norm_(self._module.parameters(), self.loop.clip))
        if math.isfinite(row["norm"]):
            self._optimiser.step()
            self._bad = 0
        self._optimiser.zero_grad(set_to_none=True)
        return row | {"skipped": float(not math.isfinite(row["norm"])), "seconds": time.perf_counter() - started}

    def _suspect(self, loss: float) -> bool:
        """Whether to leave this step out: no number, or far above what was usual."""
        usual = statistics.median(self._recent) if len(self._recent) >= ENOUGH else math.inf
        bad = not math.isfinite(loss) or loss > self.loop.spike * usual
        if not bad:
            self._recent.append(loss)
            return False
        self._bad, self.skipped = self._bad + 1, self.skipped + 1
        if self._bad >= self.loop.patience:
            raise FobenchError(
                f"Stage {self.stage.name}: {self._bad} steps in a row had a loss of {loss:.4g} (usual: {usual:.4g}). "
                f"Lower lr ({self.loop.lr:g}), or go on from an older checkpoint in {self.folder}."
            )
        return True

    @torch.no_grad()
    def _validated(self) -> dict[str, float]:
        self._module.eval()
        with self.accelerator.autocast():
            return {f"valid_{name}": value for name, value in self.stage.validate().items()}

    # ---- checkpoints -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Writes `step-N/`, whole or not at all, and forgets all but the newest."""
        if not self.accelerator.is_main_process:
            return
        partial = self.folder / f".step-{self.step:07d}.{os.getpid()}"
        partial.mkdir(parents=True, exist_ok=True)
        try:
            weights.save(self.stage.module, self.stage.config(), partial / MODEL)
            torch.save(self._state(), partial / TRAINER)
            target = self.folder / f"step-{self.step:07d}"
            shutil.rmtree(target, ignore_errors=True)
            partial.replace(target)
        except OSError as error:
            raise FobenchError(
                f"{self.folder} cannot be written: {error}. Make room and run the same command."
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for old in checkpoints(self.folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def resume(self) -> bool:
        """Takes the newest checkpoint, if any; the log is cut back to it. FobenchError for one of another configuration."""
        found = checkpoints(self.folder)
        if not found:
            return False
        config, tensors = weights.load(found[-1] / MODEL)
        if config != json.loads(json.dumps(self.stage.config())):
            raise FobenchError(
                f"{self.folder} holds a training of another configuration ({_differences(config, self.stage.config())}). "
                "Choose another folder, or remove it."
            )
        weights.fill(self.stage.module, tensors, found[-1])
        state = torch.load(found[-1] / TRAINER, weights_only=False)
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.place, self.skipped = state["step"], Place(*state["place"]), state["skipped"]
        self._recent.extend(state["recent"])
        _set_random_state(state["random"])
        self._cut_log()
        return True

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "place": (self.place.epoch, self.place.batch),
            "skipped": self.skipped,
            "recent": list(self._recent),
            "optimiser": self._optimiser.state_dict(),
            "random": _random_state(),
            "loop": asdict(self.loop),
        }

    # ---- the log ---------------------------------------------------------------------------------------------------------

    def _log(self, row: dict[str, float]) -> None:
        if not self.accelerator.is_main_process:
            return
        path = self.folder / LOG
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", newline="") as file:
            for name, value in row.items():
                if name != "step":
                    csv.writer(file).writerow([int(row["step"]), name, f"{value:.6g}"])

    def _cut_log(self) -> None:
        path = self.folder / LOG
        if self.accelerator.is_main_process and path.is_file():
            rows = [line for line in path.read_text().splitlines() if int(line.split(",")[0]) <= self.step]
            path.write_text("".join(line + "\n" for line in rows))


def checkpoints(folder: Path) -> list[Path]:
    """The complete ones, the newest last."""
    return sorted(path.parent for path in folder.glob(f"step-*/{TRAINER}"))


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    return ", ".join(sorted(key for key in {*old, *new} if old.get(key) != json.loads(json.dumps(new.get(key)))))


def to_device(value: Tensor, module: nn.Module) -> Tensor:
    return value.to(next(module.parameters()).device)
