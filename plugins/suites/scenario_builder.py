"""The stage: items become scenarios. Lines are taken from the shipped renderings or spoken once and kept; levels are set."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from fobench import audio
from fobench.api import registry
from fobench.api.components import Voice
from fobench.api.scenario import Expect, Scenario, Turn
from fobench.api.types import AudioChunk, Samples, ns_to_samples
from fobench.assets.store import home
from fobench_plugins.suites import noise_generators
from fobench_plugins.suites.audio_turns import item_seed, made, sound, turn
from fobench_plugins.suites.scenario_spec import ScenarioSpec, TurnSpec
from fobench_plugins.suites.spoken_qa.clip_archive import ARCHIVE as QUESTIONS
from fobench_plugins.suites.spoken_qa.clip_archive import unpacked
from fobench_plugins.suites.spoken_qa.suite import speak

LINES = Path(__file__).with_name("duplex") / "lines.zip"
ARCHIVES = (QUESTIONS, LINES)
BABBLERS = 4  # voices in a babble


@dataclass(frozen=True, slots=True)
class ShippedClip:
    """A rendered line that comes with the package; bounds are those of its speech."""

    path: Path
    start_ns: int
    end_ns: int


def scenario(item: ScenarioSpec, suite: str, seed: int) -> Scenario:
    """The item with its sound. Raises `FobenchError` for audio that cannot be used."""
    own = item_seed(seed, item.id)
    turns = tuple(sounding(spoken, own + index) for index, spoken in enumerate(item.turns))
    expect = Expect(item.answers, item.choices, item.family)
    return Scenario(item.id, suite, own, turns, expect, item.tags, item.patience_ns)


def sounding(spoken: TurnSpec, seed: int) -> Turn:
    """The turn with a file of its sound: the given one as it is, any other made once and kept under the home."""
    path, start_ns, end_ns = _source(spoken, seed)
    known = {"start_ns": start_ns, "end_ns": end_ns}
    if spoken.level_db or spoken.snr_db is not None:
        clean = sound(path)
        bounds = (clean.start_ns if start_ns is None else start_ns, clean.end_ns if end_ns is None else end_ns)
        known = dict(zip(known, bounds, strict=True))
        path = _levelled(path, clean.sha256, spoken, bounds, seed)
    return turn(
        path.absolute(), text=spoken.text, speaker=spoken.speaker, role=spoken.role, anchor=spoken.anchor, **known
    )


def _source(spoken: TurnSpec, seed: int) -> tuple[Path, int | None, int | None]:
    """The file of the turn's sound as it is recorded, said or made, and the bounds of its speech as far as known."""
    if spoken.path is not None:
        return spoken.path, spoken.start_ns, spoken.end_ns
    if spoken.say is not None:
        found = shipped().get((spoken.voice, spoken.speaker or "", _digest(spoken.say)))
        if found:
            return found.path, found.start_ns, found.end_ns
        return rendered(spoken.voice, spoken.speaker, spoken.say), None, None
    kind = spoken.noise or "silence"
    path = home() / "noises" / f"{kind}-{spoken.length_ns}-{seed}.flac"
    made(path, lambda partial: _write(partial, _noise(kind, spoken.length_ns, seed)))
    return path, 0, audio.load(path).duration_ns


@cache
def shipped() -> dict[tuple[str, str, str], ShippedClip]:
    """{(voice, speaker, hash of the text): the rendering} of all lines that come with the package."""
    renderings = [unpacked(archive) for archive in ARCHIVES]
    return {
        (rendering.voice, clip.speaker, clip.text_sha256): ShippedClip(
            rendering.folder / clip.file, clip.start_ns, clip.end_ns
        )
        for rendering in renderings
        for clip in rendering.clips.values()
    }


def rendered(voice: str, speaker: str | None, text: str) -> Path:
    """`text` spoken by a voice plugin, once. Raises `FobenchError` for an unknown voice, speaker, or a text without a sound."""
    key = _digest(f"{voice}\n{speaker}\n{text}")[:24]
    path = home() / "spoken_qa" / f"{key}.flac"
    if not path.exists():
        talker = _voice(voice)
        print(f"speaking {text!r}", file=sys.stderr, flush=True)
        made(path, lambda partial: _write(partial, speak(talker, text, speaker or talker.speakers[0])))
    return path


@lru_cache(maxsize=2)
def _voice(name: str) -> Voice:
    voice: Voice = registry.create("voices", name)
    return voice


def _noise(kind: str, length_ns: int, seed: int) -> AudioChunk:
    return (
        _babble(length_ns, seed) if kind == noise_generators.BABBLE else noise_generators.noise(kind, length_ns, seed)
    )


def _babble(length_ns: int, seed: int) -> AudioChunk:
    """Several shipped voices at once, each from a place of its own."""
    draw, length = np.random.default_rng(seed), ns_to_samples(length_ns, noise_generators.RATE_HZ)
    paths = sorted({clip.path for clip in shipped().values()})
    wave = np.zeros(length, dtype=np.float64)
    for index in draw.choice(len(paths), BABBLERS, replace=False):
        line = audio.load(paths[index], noise_generators.RATE_HZ).samples
        wave += np.resize(np.roll(line, -int(draw.integers(len(line)))), length)
    return AudioChunk(noise_generators.levelled(wave), noise_generators.RATE_HZ)


def _levelled(path: Path, sha256: str, spoken: TurnSpec, bounds_ns: tuple[int, int], seed: int) -> Path:
    """`path` at another level, with noise under it; the noise is as long as the clip and drawn by the seed."""
    key = f"{sha256} {spoken.level_db} {spoken.snr_db} {seed}"
    if spoken.snr_db is None:
        key = key.rpartition(" ")[0]
    to = home() / "levelled" / f"{_digest(key)[:24]}.flac"
    return made(to, lambda partial: _write(partial, _mixed(audio.load(path), spoken, bounds_ns, seed)))


def _mixed(chunk: AudioChunk, spoken: TurnSpec, bounds_ns: tuple[int, int], seed: int) -> AudioChunk:
    samples = chunk.samples.astype(np.float64)
    if spoken.snr_db is not None:
        first, last = (ns_to_samples(bound, chunk.rate_hz) for bound in bounds_ns)
        below = noise_generators.pink(len(samples), np.random.default_rng(seed)).astype(np.float64)
        samples += below * (_rms(chunk.samples[first:last]) / _rms(below) * 10 ** (-spoken.snr_db / 20))
    samples = np.clip(samples * 10 ** (spoken.level_db / 20), -1.0, 1.0)
    return AudioChunk(samples.astype(np.float32), chunk.rate_hz)


def _rms(samples: Samples | np.ndarray) -> float:
    return max(1e-9, float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, chunk: AudioChunk) -> None:
    import soundfile

    soundfile.write(path, chunk.samples, chunk.rate_hz, format="FLAC", subtype="PCM_16")
