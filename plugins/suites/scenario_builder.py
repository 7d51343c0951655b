"""Builds scenarios from their specifications: finds or synthesizes the audio, and applies level and noise.

Speech is taken from the shipped clips, or synthesized once and cached.
"""

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
from fobench.atomic_files import file_name
from fobench.audio.facts import audio_facts
from fobench_plugins.suites import noise_generators
from fobench_plugins.suites.audio_turns import cached_file, item_seed, turn_from_audio
from fobench_plugins.suites.scenario_spec import ScenarioSpec, TurnSpec
from fobench_plugins.suites.spoken_qa.clip_archive import ARCHIVE as QUESTIONS
from fobench_plugins.suites.spoken_qa.clip_archive import open_archive
from fobench_plugins.suites.spoken_qa.suite import speak

LINES = Path(__file__).with_name("duplex") / "lines.zip"
ARCHIVES = (QUESTIONS, LINES)
BABBLE_VOICES = 4


@dataclass(frozen=True, slots=True)
class ShippedClip:
    """A synthesized line that comes with the package; bounds of its speech in ns."""

    path: Path
    start_ns: int
    end_ns: int


def build_scenario(spec: ScenarioSpec, suite: str, seed: int) -> Scenario:
    """The scenario of a specification, with its audio files. Raises `FobenchError` for audio that cannot be used."""
    scenario_seed = item_seed(seed, spec.id)
    turns = tuple(build_turn(turn, scenario_seed + index) for index, turn in enumerate(spec.turns))
    expect = Expect(spec.answers, spec.choices, spec.family, spec.asserts, spec.expected)
    return Scenario(spec.id, suite, scenario_seed, turns, expect, spec.tags, spec.patience_ns)


def build_turn(spec: TurnSpec, seed: int) -> Turn:
    """The turn of a specification, with its audio file: a given file as it is, any other created once and cached."""
    path, start_ns, end_ns = _source(spec, seed)
    speech_bounds = {"start_ns": start_ns, "end_ns": end_ns}
    if spec.level_db or spec.snr_db is not None:
        clean = audio_facts(path)
        bounds = (clean.start_ns if start_ns is None else start_ns, clean.end_ns if end_ns is None else end_ns)
        speech_bounds = dict(zip(speech_bounds, bounds, strict=True))
        path = _adjust_level(path, clean.sha256, spec, bounds, seed)
    return turn_from_audio(
        path.absolute(), text=spec.text, speaker=spec.speaker, role=spec.role, anchor=spec.anchor, **speech_bounds
    )


def _source(spec: TurnSpec, seed: int) -> tuple[Path, int | None, int | None]:
    """(file, start_ns, end_ns): the turn's recorded, synthesized or generated audio, and the bounds of its speech if
    known.
    """
    if spec.path is not None:
        return spec.path, spec.start_ns, spec.end_ns
    if spec.say is not None:
        found = shipped_clips().get((spec.voice, spec.speaker or "", _digest(spec.say)))
        if found:
            return found.path, found.start_ns, found.end_ns
        return render_text(spec.voice, spec.speaker, spec.say), None, None
    kind = spec.noise or "silence"
    path = home() / "noises" / f"{file_name(kind)}-{spec.length_ns}-{seed}.flac"
    cached_file(path, lambda partial: _write(partial, _noise(kind, spec.length_ns, seed)))
    return path, 0, audio.load(path).duration_ns


@cache
def shipped_clips() -> dict[tuple[str, str, str], ShippedClip]:
    """{(voice, speaker, SHA-256 of the text): clip} of all lines that come with the package."""
    renderings = [open_archive(archive) for archive in ARCHIVES]
    return {
        (rendering.voice, clip.speaker, clip.text_sha256): ShippedClip(
            rendering.folder / clip.file, clip.start_ns, clip.end_ns
        )
        for rendering in renderings
        for clip in rendering.clips.values()
    }


def render_text(voice: str, speaker: str | None, text: str) -> Path:
    """The cached file of `text`, synthesized by a voice.

    Raises `FobenchError` for an unknown voice or speaker, or silent output.
    """
    key = _digest(f"{voice}\n{speaker}\n{text}")[:24]
    path = home() / "spoken_qa" / f"{key}.flac"
    if not path.exists():
        tts = _load_voice(voice)
        print(f"synthesizing {text!r}", file=sys.stderr, flush=True)
        cached_file(path, lambda partial: _write(partial, speak(tts, text, speaker or tts.speakers[0])[0]))
    return path


@lru_cache(maxsize=2)
def _load_voice(name: str) -> Voice:
    voice: Voice = registry.create("voices", name)
    return voice


def _noise(kind: str, length_ns: int, seed: int) -> AudioChunk:
    return (
        _babble(length_ns, seed) if kind == noise_generators.BABBLE else noise_generators.noise(kind, length_ns, seed)
    )


def _babble(length_ns: int, seed: int) -> AudioChunk:
    """Babble: several shipped clips at once, each from a random offset."""
    rng, length = np.random.default_rng(seed), ns_to_samples(length_ns, noise_generators.RATE_HZ)
    paths = sorted({clip.path for clip in shipped_clips().values()})
    wave = np.zeros(length, dtype=np.float64)
    for index in rng.choice(len(paths), BABBLE_VOICES, replace=False):
        clip = audio.load(paths[index], noise_generators.RATE_HZ).samples
        wave += np.resize(np.roll(clip, -int(rng.integers(len(clip)))), length)
    return AudioChunk(noise_generators.normalize_level(wave), noise_generators.RATE_HZ)


def _adjust_level(path: Path, sha256: str, spec: TurnSpec, bounds_ns: tuple[int, int], seed: int) -> Path:
    """The cached file of `path` with gain and added pink noise over its whole length, drawn from the seed."""
    key = f"{sha256} {spec.level_db} {spec.snr_db} {seed}"
    if spec.snr_db is None:
        key = key.rpartition(" ")[0]
    adjusted = home() / "levelled" / f"{_digest(key)[:24]}.flac"
    return cached_file(
        adjusted, lambda partial: _write(partial, _apply_level_and_noise(audio.load(path), spec, bounds_ns, seed))
    )


def _apply_level_and_noise(chunk: AudioChunk, spec: TurnSpec, bounds_ns: tuple[int, int], seed: int) -> AudioChunk:
    samples = chunk.samples.astype(np.float64)
    if spec.snr_db is not None:
        first, last = (ns_to_samples(bound, chunk.rate_hz) for bound in bounds_ns)
        noise = noise_generators.pink(len(samples), np.random.default_rng(seed)).astype(np.float64)
        samples += noise * (_rms(chunk.samples[first:last]) / _rms(noise) * 10 ** (-spec.snr_db / 20))
    samples = np.clip(samples * 10 ** (spec.level_db / 20), -1.0, 1.0)
    return AudioChunk(samples.astype(np.float32), chunk.rate_hz)


def _rms(samples: Samples | np.ndarray) -> float:
    return max(1e-9, float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, chunk: AudioChunk) -> None:
    import soundfile

    soundfile.write(path, chunk.samples, chunk.rate_hz, format="FLAC", subtype="PCM_16")
