"""User turns as the model gets them: the VAD's segment of each turn-taking example, by chunk, with the expected turn
state."""

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
MARGIN_S = 0.1  # tolerance around the end of speech, in which both listening and deciding are correct
NAMES = list(KINDS)


@dataclass(frozen=True, slots=True)
class VadTurn:
    """A turn of N chunks, the first `pre_roll_chunks` of them from before the onset, where decisions are ignored.

    `since` [N]: the end of each chunk, s after the end of speech (or after a noise can be recognized as such).
    """

    kind: str
    state: TurnState
    features: Tensor  # [N chunk, mels]
    before: Tensor | None  # [context, mels]: preceding feature frames, if any
    pre_roll_chunks: int
    since: Tensor
    text: str = ""  # as in TurnTakingExample
    history: int = 0  # number of the preceding conversation; 0: it is the first turn

    @property
    def labels(self) -> Tensor:
        """Expected state at every chunk [N]; `UNLABELLED` in the pre-roll, and where two states are correct."""
        after = torch.full_like(self.since, int(self.state), dtype=torch.long)
        labels = torch.where(self.since <= 0, int(TurnState.KEEP_LISTENING), after)
        if self.state is not TurnState.KEEP_LISTENING:
            labels[(self.since > 0) & (self.since < MARGIN_S)] = UNLABELLED
        labels[: self.pre_roll_chunks] = UNLABELLED
        return labels

    def first_chunks(self, chunks: int) -> VadTurn:
        """Returns the turn cut to its first `chunks` chunks."""
        size = len(self.features) // len(self.since)
        return replace(self, features=self.features[: chunks * size], since=self.since[:chunks])


@dataclass(frozen=True, slots=True)
class VadSegmenter:
    """Segments turns as a live session does; `make_detector` makes a voice activity detector, None: no VAD, the turn
    starts at once."""

    front: FrontEnd
    chunk: int  # feature frames
    context: int  # preceding feature frames that a turn's first frame depends on
    duplex: TurnTakingSettings
    make_detector: Callable[[], VoiceActivityDetector] | None

    @property
    def chunk_samples(self) -> int:
        return self.chunk * self.front.hop

    def segment(self, example: TurnTakingExample) -> VadTurn:
        """Segments an example; where the VAD detects no speech, the turn starts at the first sound."""
        onset = self._onset(example)
        first = max(0, onset - self.duplex.pre_roll)
        features = self.front.offline(torch.from_numpy(example.samples)[None])[0]
        chunks = len(features) // self.chunk
        begin = first * self.chunk
        ends = torch.arange(first + 1, chunks + 1) * (self.chunk_samples / self.front.rate_hz)
        before = features[begin - self.context : begin] if first and self.context else None
        turn_features = features[begin : chunks * self.chunk]
        return VadTurn(
            example.kind, example.state, turn_features, before, onset - first, ends - example.end_s, example.text
        )

    def _onset(self, example: TurnTakingExample) -> int:
        """Returns the number of complete chunks before the turn starts."""
        if self.make_detector is None:
            return 0
        activity, samples_seen = SpeechActivity(self.duplex.release), 0
        for window, probability in self.make_detector().push(example.samples):
            samples_seen += len(window)
            speech = probability >= self.duplex.speech_probability
            activity.push(speech)
            if speech and activity.speech == self.duplex.onset:
                return samples_seen // self.chunk_samples
        return int(example.begin_s * self.front.rate_hz) // self.chunk_samples


@dataclass(frozen=True, slots=True)
class VadTurnDataset(Dataset[VadTurn]):
    """Turns by number; each number seeds its own draw, so a turn is the same in any order and any process.

    Half of them follow one of `histories` preceding conversations, where there are any.
    """

    pools: ClipPools
    segmenter: VadSegmenter
    seed: int
    histories: int = 0

    def __getitem__(self, number: int) -> VadTurn:
        rng = np.random.default_rng([self.seed, number])
        turn = self.segmenter.segment(self.pools.draw_example(rng))
        history = int(rng.integers(1, self.histories + 1)) if self.histories and rng.random() < 0.5 else 0
        return replace(turn, history=history)
