"""Sources of turn-taking examples: clips, real recordings, noises, rooms and a VAD, and their split into training and
validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fobench.assets import store
from fobench.errors import FobenchError
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
    """`data`: folders of shards, or manifests; `real`: manifests of real sentences; `noises`, `rooms`: folders of audio
    files.

    Real sentences are held out as their manifests say ("split": "valid"); where none says so, one of six speakers is.
    """

    data: Sequence[Path]
    real: Sequence[Path]
    noises: Sequence[Path]
    rooms: Sequence[Path]
    make_detector: Callable[[], VoiceActivityDetector] | None

    def turns(
        self, model: FreezeOmni, split: str, histories: int = 0, accepts_text: Callable[[str], bool] = lambda text: True
    ) -> VadTurnDataset:
        """Returns the turns of a split. `accepts_text`: whether a question or request with this text may be used."""
        encoder, duplex = model.encoder, model.config.settings.duplex
        segmenter = VadSegmenter(encoder.front, encoder.chunk, encoder.context, duplex, self.make_detector)
        return VadTurnDataset(self._pools(split, accepts_text), segmenter, SEEDS[split], histories)

    def _pools(self, split: str, accepts_text: Callable[[str], bool]) -> ClipPools:
        """Returns the clip pools of a split, whose speakers, noises and rooms do not occur in the other split."""
        corpus, held_out = Corpus.open(self.data, RATE_HZ, split), split == "valid"
        corpus.entries = [
            e for e in corpus.entries if e.info.get("kind") not in examples.ANSWERED_KINDS or accepts_text(e.text)
        ]
        sounds = examples.split_sounds(Sounds.read(self.noises, self.rooms, RATE_HZ), held_out)
        recorded = self.recordings(held_out)
        corpus.faults.entries.extend(recorded.faults.entries)
        return ClipPools.of(corpus, sounds, recorded.entries)

    def recordings(self, held_out: bool) -> Corpus:
        """Returns the real sentences of one side of the split."""
        if not self.real:
            return Corpus([], RATE_HZ)
        others = Corpus.open(self.real, RATE_HZ)
        try:
            named = Corpus.open(self.real, RATE_HZ, "valid")
        except FobenchError:  # no manifest holds any out
            return Corpus(examples.split_speakers(others.entries, held_out), RATE_HZ, others.faults)
        return named if held_out else others


@cache
def _silero_vad() -> Any:
    from reference_model.turn_taking.silero_vad import SileroVAD

    return SileroVAD(next(store.get("silero-vad").glob("*.onnx")))


def silero_detector() -> VoiceActivityDetector:
    """Returns a new Silero detector for a stream; each process loads the network once."""
    from reference_model.turn_taking.silero_vad import SileroDetector

    return SileroDetector(_silero_vad())


def energy_detector() -> VoiceActivityDetector:
    from reference_model.turn_taking.energy_vad import EnergyVAD

    return EnergyVAD()


DETECTORS: dict[str, Callable[[], VoiceActivityDetector] | None] = {
    "silero": silero_detector,
    "loudness": energy_detector,
    "none": None,
}
