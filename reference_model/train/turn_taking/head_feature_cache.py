"""Cache of the state head's inputs: extracted once into files, so that an interrupted run resumes and the head trains
in a minute."""

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

FILE = 256  # examples in a file
EXTRACT_BATCH = 64  # examples extracted together; each holds file handles of its worker process

OnProgress = Callable[[int], None]  # called with the number of examples so far


@dataclass(frozen=True, slots=True)
class HeadFeatureCache:
    """Cache files in a folder.

    `provenance`: JSON data that identifies model and data; files with other data are overwritten.
    """

    folder: Path
    provenance: Mapping[str, Any]

    def load_or_extract(
        self,
        extractor: HeadFeatureExtractor,
        dataset: VadTurnDataset,
        count: int,
        workers: int,
        on_progress: OnProgress = lambda done: None,
    ) -> list[HeadFeatures]:
        """Returns the inputs of the first `count` examples; missing ones are extracted and written.

        `workers` processes render the audio.
        """
        ranges = [range(begin, min(begin + FILE, count)) for begin in range(0, count, FILE)]
        cached = {numbers.start: self.read(numbers) for numbers in ranges}
        missing = [numbers for numbers in ranges if cached[numbers.start] is None]
        turns = _load_turns(dataset, [number for numbers in missing for number in numbers], workers)
        for numbers in missing:
            batches = (
                list(itertools.islice(turns, min(EXTRACT_BATCH, len(numbers) - i)))
                for i in range(0, len(numbers), EXTRACT_BATCH)
            )
            self.write(numbers, [one for batch in batches for one in extractor.extract(batch)])
            cached[numbers.start] = self.read(numbers)
            on_progress(sum(len(some) for some in cached.values() if some))
        return [one for some in cached.values() for one in some or ()]

    def write(self, numbers: range, features: Sequence[HeadFeatures]) -> None:
        tensors = {
            "vectors": torch.cat([one.vectors for one in features]).half(),
            "labels": torch.cat([one.labels for one in features]),
            "since": torch.cat([one.since for one in features]),
            "lengths": torch.tensor([len(one.labels) for one in features]),
            "kinds": torch.tensor([NAMES.index(one.kind) for one in features]),
            "states": torch.tensor([one.state for one in features]),
        }
        safetensors_io.save_tensors(tensors, self._about(numbers), self._path(numbers))

    def read(self, numbers: range) -> list[HeadFeatures] | None:
        """Reads a file; None if it does not exist or has another provenance."""
        if not self._path(numbers).is_file():
            return None
        provenance, tensors = safetensors_io.load(self._path(numbers))
        if provenance != self._about(numbers):
            return None
        lengths = tensors["lengths"].tolist()
        parts = zip(*(tensors[name].split(lengths) for name in ("vectors", "labels", "since")), strict=True)
        named = zip(tensors["kinds"].tolist(), tensors["states"].tolist(), parts, strict=True)
        return [HeadFeatures(NAMES[kind], state, *part) for kind, state, part in named]

    def _about(self, numbers: range) -> dict[str, Any]:
        about: dict[str, Any] = json.loads(json.dumps({**self.provenance, "numbers": [numbers.start, numbers.stop]}))
        return about

    def _path(self, numbers: range) -> Path:
        return self.folder / f"situations-{numbers.start:06d}.safetensors"


def _load_turns(dataset: VadTurnDataset, numbers: Sequence[int], workers: int) -> Iterator[VadTurn]:
    """Loads the turns of these numbers, in order."""
    subset: Subset[VadTurn] = Subset(dataset, numbers)
    return iter(DataLoader(subset, batch_size=None, num_workers=workers, generator=torch.Generator()))


def fingerprint(model: FreezeOmni, corpus: Corpus, backbone: str) -> dict[str, Any]:
    """Returns what the inputs depend on: hashes of encoder, adapter and prompt and of the clips, the parts of the head's
    input, and the LLM's name."""
    digest = hashlib.sha256()
    for part in (model.encoder, model.adapter):
        assert isinstance(part, torch.nn.Module)
        for name, value in sorted(part.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    digest.update(model.prompt.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    clips = hashlib.sha256("\n".join(f"{entry.id} {entry.text}" for entry in corpus.entries).encode())
    inputs = list(model.config.state_inputs)
    return {
        "model": digest.hexdigest()[:16],
        "clips": clips.hexdigest()[:16],
        "inputs": inputs,
        "backbone": backbone,
    }
