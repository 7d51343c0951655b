"""Impressions of thousands of situations, made once and kept in files: a run that was stopped goes on, a head learns in a minute."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

from reference_model.checkpoint import safetensors_io
from reference_model.model import FreezeOmni
from reference_model.train.data.corpus import Corpus
from reference_model.train.turn_taking.head_features import HeadFeatureExtractor, HeadFeatures
from reference_model.train.turn_taking.vad_turns import NAMES, VadTurn, VadTurnDataset

FILE = 256  # situations in a file
LOT = 64  # of them that are listened to together: each holds files of the process that made its sound

Notice = Callable[[int], None]  # told how many situations there are so far


@dataclass(frozen=True, slots=True)
class HeadFeatureCache:
    """Files of impressions in a folder. `made_of`: plain data that says what they are of; files of anything else are made anew."""

    folder: Path
    made_of: Mapping[str, Any]

    def filled(
        self,
        observer: HeadFeatureExtractor,
        openings: VadTurnDataset,
        count: int,
        workers: int,
        notice: Notice = lambda done: None,
    ) -> list[HeadFeatures]:
        """The first `count` situations; `workers` processes make their sound. What is missing is made and written."""
        ranges = [range(begin, min(begin + FILE, count)) for begin in range(0, count, FILE)]
        found = {numbers.start: self.read(numbers) for numbers in ranges}
        missing = [numbers for numbers in ranges if found[numbers.start] is None]
        turns = _made(openings, [number for numbers in missing for number in numbers], workers)
        for numbers in missing:
            lots = (list(itertools.islice(turns, min(LOT, len(numbers) - i))) for i in range(0, len(numbers), LOT))
            self.write(numbers, [one for lot in lots for one in observer.impressions(lot)])
            found[numbers.start] = self.read(numbers)
            notice(sum(len(some) for some in found.values() if some))
        return [one for some in found.values() for one in some or ()]

    def write(self, numbers: range, impressions: Sequence[HeadFeatures]) -> None:
        tensors = {
            "vectors": torch.cat([one.vectors for one in impressions]).half(),
            "labels": torch.cat([one.labels for one in impressions]),
            "since": torch.cat([one.since for one in impressions]),
            "lengths": torch.tensor([len(one.labels) for one in impressions]),
            "kinds": torch.tensor([NAMES.index(one.kind) for one in impressions]),
            "states": torch.tensor([one.state for one in impressions]),
        }
        safetensors_io.save_tensors(tensors, self._about(numbers), self._path(numbers))

    def read(self, numbers: range) -> list[HeadFeatures] | None:
        """None if there is no such file, or it is of something else."""
        if not self._path(numbers).is_file():
            return None
        found, tensors = safetensors_io.load(self._path(numbers))
        if found != self._about(numbers):
            return None
        lengths = tensors["lengths"].tolist()
        parts = zip(*(tensors[name].split(lengths) for name in ("vectors", "labels", "since")), strict=True)
        named = zip(tensors["kinds"].tolist(), tensors["states"].tolist(), parts, strict=True)
        return [HeadFeatures(NAMES[kind], state, *part) for kind, state, part in named]

    def _about(self, numbers: range) -> dict[str, Any]:
        about: dict[str, Any] = json.loads(json.dumps({**self.made_of, "numbers": [numbers.start, numbers.stop]}))
        return about

    def _path(self, numbers: range) -> Path:
        return self.folder / f"situations-{numbers.start:06d}.safetensors"


def _made(openings: VadTurnDataset, numbers: Sequence[int], workers: int) -> Iterator[VadTurn]:
    """The situations of these numbers, in their order."""
    wanted: Subset[VadTurn] = Subset(openings, numbers)
    return iter(DataLoader(wanted, batch_size=None, num_workers=workers, generator=torch.Generator()))


def fingerprint(model: FreezeOmni, corpus: Corpus) -> dict[str, Any]:
    """What impressions depend on, in short: the parts of the model that hear, and the clips."""
    digest = hashlib.sha256()
    for part in (model.encoder, model.adapter):
        assert isinstance(part, torch.nn.Module)
        for name, value in sorted(part.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    digest.update(model.prompt.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    clips = hashlib.sha256("\n".join(f"{entry.id} {entry.text}" for entry in corpus.entries).encode())
    return {"model": digest.hexdigest()[:16], "clips": clips.hexdigest()[:16], "backbone": model.config.backbone}
