"""waveforms.jsonl: the peaks of each recording, so that a report draws it without decoding thousands of files.

A line is written with each recording; the last one of a recording counts. Lines may be missing or torn (a killed process, an
older run): what is not here is measured from the recording itself.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np

from fobench import outside_files
from fobench.api.types import Samples
from fobench.atomic_files import open_append

NAME = "waveforms.jsonl"
POINTS = 240  # of a channel
FULL_SCALE = 255  # of a peak: a sample of 1.0

Waveform = tuple[bytes, bytes]  # peaks of the left and of the right channel, `POINTS` each


def measure(stereo: Samples) -> Waveform:
    """The peaks of the `POINTS` equal parts of audio [T, 2], T at least 1, from 0 (silence) to `FULL_SCALE`."""
    starts = np.arange(POINTS) * len(stereo) // POINTS
    peaks = np.maximum.reduceat(np.abs(stereo), starts, axis=0)  # [POINTS, 2]
    left, right = np.rint(np.clip(peaks, 0.0, 1.0) * FULL_SCALE).astype(np.uint8).T
    return left.tobytes(), right.tobytes()


def append(folder: Path, recording: str, stereo: Samples) -> None:
    """Adds the line of a recording of the run. A disk that is full is no error here: the trace's own line tells it."""
    if not len(stereo):
        return
    left, right = measure(stereo)
    line = json.dumps({"recording": recording, "user": left.hex(), "system": right.hex()}) + "\n"
    with suppress(OSError), open_append(folder / NAME) as file:
        file.write(line.encode())


def load(folder: Path) -> dict[str, Waveform]:
    """{recording: its waveform} of the readable lines."""
    found: dict[str, Waveform] = {}
    try:
        lines = outside_files.read_bytes(folder / NAME).splitlines()
    except (OSError, ValueError):
        return found
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            data = json.loads(line)
            waveform = bytes.fromhex(data["user"]), bytes.fromhex(data["system"])
            if {*map(len, waveform)} == {POINTS}:
                found[str(data["recording"])] = waveform
    return found
