"""Conditions: the same scenarios under which a system hears worse, paired with the clean ones.

A condition changes the sound of a turn and nothing else: text, role, anchor and seed stay, so that a scenario and its clean
twin differ in the sound alone. All draws come from the scenario's seed. `accent-ja` is other speakers instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr

from fobench import audio
from fobench.api.scenario import CLEAN, CONDITION_MARK, Turn
from fobench.api.types import NS_PER_S, Samples, ns_to_samples, samples_to_ns
from fobench.assets.store import home
from fobench.errors import FobenchError, unknown
from fobench_plugins.suites import noise_generators
from fobench_plugins.suites.audio_turns import cached_file, item_seed, turn_from_audio
from fobench_plugins.suites.scenario_spec import VOICE

VERSION = 1  # of the sounds: part of the names of their cache files
ACCENTED = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
ACCENT = "accent-ja"
PHONE_HZ, PHONE_BAND_HZ, MU = 8_000, (300.0, 3_400.0), 255
SNR_DB, LEAD_NS, TAIL_NS = 10.0, NS_PER_S // 2, 3 * NS_PER_S // 2
ROOM_S, ROOM_DRR_DB = (
    (0.4, 0.8),
    (-3.0, 3.0),
)  # ranges of the reverberation time RT60 and the direct-to-reverberant ratio
TEMPO = 1.4
QUIET_DB = -24.0
FRAME_S = 0.03  # of the time-scale modification, which searches half a frame for the best overlap


@dataclass(frozen=True, slots=True)
class Sound:
    """A turn's sound [T] and the bounds of its speech in it, in samples. `first`, `last`: of its scenario's turns."""

    samples: Samples
    rate_hz: int
    start: int
    end: int
    has_speech: bool
    first: bool
    last: bool


Transform = Callable[[Sound, np.random.Generator], Sound]


def telephone(sound: Sound, rng: np.random.Generator) -> Sound:
    """8 kHz, 300 to 3400 Hz, 8 bits of mu-law (ITU-T G.711)."""
    samples = soxr.resample(sound.samples, sound.rate_hz, PHONE_HZ)
    spectrum, hz = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / PHONE_HZ)
    low, high = PHONE_BAND_HZ
    spectrum *= np.clip((hz - low) / 100 + 1, 0, 1) * np.clip((high - hz) / 100 + 1, 0, 1)  # edges of 100 Hz
    line = np.clip(np.fft.irfft(spectrum, len(samples)), -1.0, 1.0)
    code = np.round(np.log1p(MU * np.abs(line)) / np.log1p(MU) * 127)
    decoded = np.sign(line) * np.expm1(code / 127 * np.log1p(MU)) / MU
    start, end = (min(len(decoded), at * PHONE_HZ // sound.rate_hz) for at in (sound.start, sound.end))
    return replace(sound, samples=decoded.astype(np.float32), rate_hz=PHONE_HZ, start=start, end=end)


def noisy(sound: Sound, rng: np.random.Generator) -> Sound:
    """Pink noise, 10 dB below the speech; it begins before the user's first word and goes on after the last one."""
    if not sound.has_speech:
        return sound
    lead = ns_to_samples(LEAD_NS, sound.rate_hz) if sound.first else 0
    tail = ns_to_samples(TAIL_NS, sound.rate_hz) if sound.last else 0
    samples = np.pad(sound.samples.astype(np.float64), (lead, tail))
    noise = noise_generators.pink(len(samples), rng).astype(np.float64)
    samples += noise * (_rms(sound.samples[sound.start : sound.end]) / _rms(noise) * 10 ** (-SNR_DB / 20))
    return _with(sound, samples, sound.start + lead, sound.end + lead)


def far(sound: Sound, rng: np.random.Generator) -> Sound:
    """A room: the direct sound and a diffuse tail of decaying noise, at the level of the clean sound."""
    reverberation_s, ratio_db = rng.uniform(*ROOM_S), rng.uniform(*ROOM_DRR_DB)
    length = int(reverberation_s * sound.rate_hz)
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)  # -60 dB at its end
    tail[: sound.rate_hz // 200] = 0.0  # the first reflection comes after 5 ms
    tail *= 10 ** (-ratio_db / 20) / np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1.0
    total = len(sound.samples) + length
    points = 1 << total.bit_length()  # an FFT of any other length takes longer
    wet = np.fft.irfft(np.fft.rfft(sound.samples, points) * np.fft.rfft(tail, points), points)[:total]
    speech = slice(sound.start, sound.end)
    wet *= _rms(sound.samples[speech]) / _rms(wet[speech])
    return _with(sound, wet if sound.last else wet[: len(sound.samples)], sound.start, sound.end)


def fast(sound: Sound, rng: np.random.Generator) -> Sound:
    """Speech 1.4 times as fast at the same pitch, by waveform similarity overlap-add (WSOLA, Verhelst and Roelands 1993)."""
    if not sound.has_speech:
        return sound
    samples, half = sound.samples.astype(np.float64), int(FRAME_S * sound.rate_hz) // 2
    padded, window = np.pad(samples, (half, 4 * half)), np.hanning(2 * half + 1)[:-1]
    count = int(len(samples) / TEMPO) // half + 1
    out, expected = np.zeros((count + 2) * half), 0
    for index in range(count):
        nominal = int(index * half * TEMPO)
        low = max(0, nominal - half // 2)
        region = padded[low : nominal + half // 2 + 2 * half]
        fit = np.correlate(region, padded[expected : expected + 2 * half], "valid") if index else np.ones(1)
        at = (low if index else 0) + int(np.argmax(fit))
        out[index * half : (index + 2) * half] += padded[at : at + 2 * half] * window
        expected = at + half
    length = int(len(samples) / TEMPO)
    start, end = int(sound.start / TEMPO), min(length, round(sound.end / TEMPO))
    return _with(sound, out[half : half + length], start, end)


def quiet(sound: Sound, rng: np.random.Generator) -> Sound:
    """24 dB softer."""
    return _with(sound, sound.samples * 10 ** (QUIET_DB / 20), sound.start, sound.end)


TRANSFORMS: Mapping[str, Transform] = {
    "telephone": telephone,
    "noise-10db": noisy,
    "far": far,
    "fast": fast,
    "quiet": quiet,
}
NAMES = (CLEAN, ACCENT, *TRANSFORMS)


def parse(text: str | None, voice: str) -> tuple[str, ...]:
    """The conditions of an option, separated by commas; () without one.

    Raises `FobenchError` for an unknown or repeated name, and for `accent-ja` with another voice plugin than Kokoro.
    """
    names = tuple(name.strip() for name in text.split(",")) if text is not None else ()
    for name in names:
        if name not in NAMES:
            raise unknown("condition", name, NAMES)
    if len({*names}) < len(names):
        raise FobenchError(f"condition={text}: name each condition once.")
    if ACCENT in names and voice != VOICE:
        raise FobenchError(f"condition={ACCENT} needs voice={VOICE}, whose speakers have that accent; it is {voice}.")
    return names


def paired_id(name: str, condition: str) -> str:
    """The id of the scenario `name` under a condition; the clean one keeps its own."""
    return name if condition in ("", CLEAN) else f"{name}{CONDITION_MARK}{condition}"


def speaker_under(condition: str, speaker: str, speakers: Sequence[str]) -> str:
    """Who speaks for `speaker`, one of `speakers`, under a condition."""
    return ACCENTED[speakers.index(speaker) % len(ACCENTED)] if condition == ACCENT else speaker


def turns_under(condition: str, turns: Sequence[Turn], seed: int) -> tuple[Turn, ...]:
    """The turns with their sounds under a condition, each created once and cached; `seed` is the scenario's."""
    transform = TRANSFORMS.get(condition)
    if transform is None:
        return tuple(turns)
    return tuple(_turn(condition, transform, turns, index, item_seed(seed, condition)) for index in range(len(turns)))


def _turn(condition: str, transform: Transform, turns: Sequence[Turn], index: int, seed: int) -> Turn:
    turn, first, last = turns[index], index == 0, index == len(turns) - 1
    place = f"{first} {last} {bool(turn.text)} {turn.start_ns} {turn.end_ns}"
    key = hashlib.sha256(f"{VERSION} {condition} {turn.sha256} {seed + index} {place}".encode()).hexdigest()[:24]
    chunk = audio.load(turn.audio)
    start, end = (ns_to_samples(at or 0, chunk.rate_hz) for at in (turn.start_ns, turn.end_ns))
    clean = Sound(chunk.samples, chunk.rate_hz, start, end, bool(turn.text), first, last)
    heard = transform(clean, np.random.default_rng(seed + index))
    path = cached_file(home() / "conditions" / f"{key}.flac", lambda partial: _write(partial, heard))
    bounds = {"start_ns": samples_to_ns(heard.start, heard.rate_hz), "end_ns": samples_to_ns(heard.end, heard.rate_hz)}
    return turn_from_audio(path, text=turn.text, speaker=turn.speaker, role=turn.role, anchor=turn.anchor, **bounds)


def _with(sound: Sound, samples: np.ndarray, start: int, end: int) -> Sound:
    return replace(sound, samples=np.clip(samples, -1.0, 1.0).astype(np.float32), start=start, end=end)


def _rms(samples: Samples | np.ndarray) -> float:
    return max(1e-9, float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))))


def _write(path: Path, sound: Sound) -> None:
    import soundfile

    soundfile.write(path, sound.samples, sound.rate_hz, format="FLAC", subtype="PCM_16")
