"""A tiny live Freeze-Omni with random weights, and a listener who talks with it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from fobench.api.types import AudioChunk, EventKind
from reference_model.checkpoint.loading import untrained
from reference_model.config import ModelConfig
from reference_model.inference.engine import InferenceEngine
from reference_model.inference.session import FreezeOmniSession
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_adapter import CTCAdapterConfig
from reference_model.speech_input.whisper_encoder import WhisperConfig
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.segmenter import Segmentation
from reference_model.speech_output.speech_decoder import EOS
from reference_model.turn_taking.energy_vad import EnergyVAD
from tests.support.tiny_models import backbone

RATE, WINDOW = 16_000, 512


@cache
def model():
    """Random weights, but for one: a segment has always 40 frames, 1 s."""
    made = untrained("tiny").eval()
    made.decoder.config = replace(made.decoder.config, max_frames=40)
    with torch.no_grad():
        made.decoder.out.bias[made.decoder.special(EOS)] -= 99
    return made


def hears_letters():
    """A tiny model that hears letters, so that its LLM gets tokens."""
    torch.manual_seed(0)
    units = BPEUnits.letters_only()
    adapter = CTCAdapterConfig(32, units.merges, hidden=32)
    config = replace(ModelConfig.load("tiny"), encoder=WhisperConfig(32, 1, 2), adapter=adapter, prompts=0)
    made = FreezeOmni(config).eval()
    with torch.no_grad():
        made.adapter.spell.weight.mul_(20.0)  # so that some letters are read, and not the same all the time
    made.decoder, made.codec = model().decoder, model().codec
    return made


def live(shape="qwen2", **duplex):
    """A tiny model at work; turns end by rule, since random weights know no states."""
    made = model()
    duplex = replace(made.config.settings.duplex, **{"turn_end": "vad", **duplex})
    saying = {"text": Sampling(temperature=99.0), "segmentation": Segmentation(most=8)}  # any token, seldom the end
    settings = replace(made.config.settings, duplex=duplex, **saying)
    return InferenceEngine(made, backbone(shape), settings, EnergyVAD)


def sound(seconds, seed=0):
    """Speech, to a loudness detector."""
    return np.random.default_rng(seed).normal(0, 0.2, int(seconds * RATE)).astype(np.float32)


def silence(seconds):
    return np.zeros(int(seconds * RATE), np.float32)


def chunks(wave, size=WINDOW):
    for start in range(0, len(wave) - size + 1, size):
        yield AudioChunk(wave[start : start + size], RATE, start)


class Talk:
    """A session, its events, and a listener who hears audio as fast as it plays."""

    def __init__(self, system, seed=0, listens=True):
        self.session, self.listens = FreezeOmniSession(system, seed), listens
        self.rate = system.model.codec.sample_rate_hz
        self.events, self.reply, self.made, self.heard = [], -1, 0, 0

    def hear(self, wave, size=WINDOW, steps=None):
        for chunk in chunks(wave, size):
            if self.listens and self.reply >= 0:
                self.heard = min(self.made, self.heard + size * self.rate // RATE)
                self.session.heard(self.reply, self.heard)
            work = self.session.push(chunk)
            for _, event in zip(range(steps or 10_000), work, strict=False):
                self.note(event)
        return self

    def note(self, event):
        self.events.append(event)
        if event.kind is EventKind.AUDIO:
            if event.data["reply"] != self.reply:
                self.reply, self.made, self.heard = event.data["reply"], 0, 0
            self.made += len(event.data["audio"].samples)

    def of(self, kind):
        return [event for event in self.events if event.kind is kind]

    def actions(self):
        return [event.data["action"] for event in self.of(EventKind.DECISION)]

    def text(self, reply=0):
        return "".join(e.data["text"] for e in self.of(EventKind.TOKEN) if e.data["reply"] == reply)

    def states(self):
        """What the state head has said, over and over: a fingerprint of all that the LLM was given."""
        return [[e.data[f"p{i}"] for i in range(3)] for e in self.of(EventKind.STATE)]

    def audio(self, reply=0):
        made = [e.data["audio"].samples for e in self.of(EventKind.AUDIO) if e.data["reply"] == reply]
        return np.concatenate(made) if made else np.zeros(0)
