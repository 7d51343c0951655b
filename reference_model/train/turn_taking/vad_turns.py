"""Situations as they reach the model: the user turn that the detector opens in each, chunk by chunk, with what is right to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reference_model.speech_input.log_mel import FrontEnd
from reference_model.train.turn_taking.examples import KINDS, ClipPools, TurnTakingExample
from reference_model.turn_taking.settings import TurnTakingSettings
from reference_model.turn_taking.speech_activity import SpeechActivity, VoiceActivityDetector
from reference_model.turn_taking.state_head import TurnState

UNLABELLED = -100
MARGIN_S = 0.1  # before and after the last word's end, in which to listen on and to decide are both right
NAMES = list(KINDS)


@dataclass(frozen=True, slots=True)
class VadTurn:
    """One turn of N chunks, the first `rehearsed` of them from before the onset: no verdict is heeded on those.

    `since` [N]: the time at each chunk's end, in s after the end of what was said (or after the noise was known for one).
    """

    kind: str
    state: TurnState
    features: Tensor  # [N chunk, mels]
    before: Tensor | None  # [context, mels]: what went before, if anything did
    rehearsed: int
    since: Tensor
    text: str = ""  # see TurnTakingExample
    past: int = 0  # which conversation it goes on with; 0: it is the first turn

    @property
    def labels(self) -> Tensor:
        """The right state at every chunk [N]; `UNLABELLED` where there is no verdict, or two are right."""
        after = torch.full_like(self.since, int(self.state), dtype=torch.long)
        labels = torch.where(self.since <= 0, int(TurnState.KEEP_LISTENING), after)
        if self.state is not TurnState.KEEP_LISTENING:
            labels[(self.since > 0) & (self.since < MARGIN_S)] = UNLABELLED
        labels[: self.rehearsed] = UNLABELLED
        return labels

    def until(self, chunks: int) -> VadTurn:
        """Its first chunks."""
        size = len(self.features) // len(self.since)
        return replace(self, features=self.features[: chunks * size], since=self.since[:chunks])


@dataclass(frozen=True, slots=True)
class VadSegmenter:
    """Opens turns as a session does (`FreezeOmniSession`); `detectors` makes a voice activity detector, None: it listens always."""

    front: FrontEnd
    chunk: int  # feature frames
    context: int  # feature frames from before a turn that its first frame depends on
    duplex: TurnTakingSettings
    detectors: Callable[[], VoiceActivityDetector] | None

    @property
    def chunk_samples(self) -> int:
        return self.chunk * self.front.hop

    def open(self, found: TurnTakingExample) -> VadTurn:
        """Where the detector notices nothing, the turn opens with the first sound: as with a detector that notices more."""
        onset = self._onset(found)
        first = max(0, onset - self.duplex.pre_roll)
        features = self.front.offline(torch.from_numpy(found.samples)[None])[0]
        whole = len(features) // self.chunk
        begin = first * self.chunk
        ends = torch.arange(first + 1, whole + 1) * (self.chunk_samples / self.front.rate_hz)
        before = features[begin - self.context : begin] if first and self.context else None
        heard = features[begin : whole * self.chunk]
        return VadTurn(found.kind, found.state, heard, before, onset - first, ends - found.end_s, found.text)

    def _onset(self, found: TurnTakingExample) -> int:
        """Whole chunks that have been heard when the turn opens."""
        if self.detectors is None:
            return 0
        activity, heard = SpeechActivity(self.duplex.release), 0
        for window, probability in self.detectors().push(found.samples):
            heard += len(window)
            speech = probability >= self.duplex.speech_probability
            activity.push(speech)
            if speech and activity.speech == self.duplex.onset:
                return heard // self.chunk_samples
        return int(found.begin_s * self.front.rate_hz) // self.chunk_samples


@dataclass(frozen=True, slots=True)
class VadTurnDataset(Dataset[VadTurn]):
    """Situations number 0, 1, 2, ...: each drawn by its own number, so the same ones in any order, by any process.

    Half of them go on with one of `pasts` conversations, where there are any.
    """

    pools: ClipPools
    opener: VadSegmenter
    seed: int
    pasts: int = 0

    def __getitem__(self, number: int) -> VadTurn:
        rng = np.random.default_rng([self.seed, number])
        turn = self.opener.open(self.pools.situation(rng))
        past = int(rng.integers(1, self.pasts + 1)) if self.pasts and rng.random() < 0.5 else 0
        return replace(turn, past=past)
