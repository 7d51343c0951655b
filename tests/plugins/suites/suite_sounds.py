"""What the suites' tests share: their scenarios, and sounds to make them of."""

import json

import numpy as np
import soundfile

from fobench.api import registry

RATE = 16_000


def create(name, **options):
    return registry.create("suites", name, options)


def scenarios(name, seed=0, **options):
    return list(create(name, **options).scenarios(seed))


def sound(ms=500, rate=RATE, hz=220):
    return (0.2 * np.cos(2 * np.pi * hz * np.arange(rate * ms // 1000) / rate)).astype(np.float32)


def two_clips(folder):
    """The folder, with two clips of known bounds: silence 200 ms, sound 500 ms, silence 100 ms."""
    for name in ("a", "b"):
        wave = np.concatenate([np.zeros(3_200, np.float32), sound(), np.zeros(1_600, np.float32)])
        soundfile.write(folder / f"{name}.wav", wave, RATE)
    return folder


def manifest(folder, *lines):
    """Writes the folder's manifest, and returns the suite's name."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "manifest.jsonl").write_text(text + "\n")
    return f"manifest:{folder}"
