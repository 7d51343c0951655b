"""What situations are made of: clips, recordings, noises, rooms, a detector; and which of it is kept for validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fobench.assets import store
from reference_model.model import FreezeOmni
from reference_model.train.data.augmentation import Sounds
from reference_model.train.data.corpus import Corpus
from reference_model.train.turn_taking import examples
from reference_model.train.turn_taking.examples import ClipPools
from reference_model.train.turn_taking.vad_turns import VadSegmenter, VadTurnDataset
from reference_model.turn_taking.speech_activity import VoiceActivityDetector

RATE_HZ = 16_000
SEEDS = {"train": 1, "valid": 2}


@dataclass(frozen=True, slots=True)
class ExampleSources:
    """`data`: folders of shards, or manifests; `real`: manifests of whole sentences by people; the rest: folders of sounds."""

    data: Sequence[Path]
    real: Sequence[Path]
    noises: Sequence[Path]
    rooms: Sequence[Path]
    detectors: Callable[[], VoiceActivityDetector] | None

    def openings(
        self, model: FreezeOmni, split: str, pasts: int = 0, asked: Callable[[str], bool] = lambda text: True
    ) -> VadTurnDataset:
        """The situations of a split. `asked`: whether a question or request, by its text, may come up."""
        encoder, duplex = model.encoder, model.config.settings.duplex
        opener = VadSegmenter(encoder.front, encoder.chunk, encoder.context, duplex, self.detectors)
        return VadTurnDataset(self._pools(split, asked), opener, SEEDS[split], pasts)

    def _pools(self, split: str, asked: Callable[[str], bool]) -> ClipPools:
        """With speakers, noises and rooms of the split alone."""
        corpus, held_out = Corpus.open(self.data, RATE_HZ, split), split == "valid"
        corpus.entries = [e for e in corpus.entries if e.info.get("kind") not in examples.ASKS or asked(e.text)]
        sounds = examples.kept_apart(Sounds.read(self.noises, self.rooms, RATE_HZ), held_out)
        recorded = Corpus.open(self.real, RATE_HZ) if self.real else Corpus([], RATE_HZ)
        corpus.faults.found.extend(recorded.faults.found)
        return ClipPools.of(corpus, sounds, examples.by_speaker(recorded.entries, held_out))


@cache
def _silero() -> Any:
    from reference_model.turn_taking.silero_vad import SileroVAD

    return SileroVAD(next(store.get("silero-vad").glob("*.onnx")))


def silero() -> VoiceActivityDetector:
    """A stream's detector; each process loads the network once."""
    from reference_model.turn_taking.silero_vad import SileroDetector

    return SileroDetector(_silero())


def loudness() -> VoiceActivityDetector:
    from reference_model.turn_taking.energy_vad import EnergyVAD

    return EnergyVAD()


DETECTORS: dict[str, Callable[[], VoiceActivityDetector] | None] = {
    "silero": silero,
    "loudness": loudness,
    "none": None,
}
