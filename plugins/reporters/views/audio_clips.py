"""The audio of a report: MP3 inside the file up to a budget, links to the FLAC files beyond it, and envelopes."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from fobench import audio
from fobench.api.trace import Trace
from fobench.api.types import AudioChunk, Samples
from fobench.atomic_files import file_inside

RATE_HZ = 16_000
COMPRESSION = 0.85  # libsndfile's scale at a constant rate: 32 kbit/s, stereo
THREADS = 2
WAVE_POINTS = 240  # envelope points of a channel
WAVE_HEIGHT = 50  # half the height of an envelope's own coordinates
FULL_SCALE = 0.5  # peak drawn at full height


@dataclass(frozen=True, slots=True)
class AudioPlayer:
    """The audio of one scenario. `embedded`: a data URI; `link`: the file in the run folder; `why`: the reason if neither exists.

    `user` and `system` are SVG path data of the envelopes, `WAVE_POINTS` by 2 `WAVE_HEIGHT`; empty without audio.
    """

    embedded: str = ""
    link: str = ""
    why: str = ""
    user: str = ""
    system: str = ""


def players(traces: Sequence[Trace], folder: Path, budget_bytes: int) -> list[AudioPlayer]:
    """One player per trace, in the given order, in which the budget is spent. A file is embedded as a whole or not at all."""
    made: list[AudioPlayer] = []
    left, rest = budget_bytes, iter(traces)
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(rest, 2 * THREADS)):  # small batches: few files are encoded beyond the budget
            for player in pool.map(partial(_player, folder=folder, encode=left > 0), batch):
                fits = len(player.embedded) <= left
                left = left - len(player.embedded) if fits else 0
                made.append(player if fits else replace(player, embedded=""))
    return made


def _player(trace: Trace, folder: Path, encode: bool) -> AudioPlayer:
    if trace.audio is None:
        return AudioPlayer(why="no audio was kept")
    path = file_inside(folder, trace.audio)
    if path is None:
        return AudioPlayer(why="its audio file is missing")
    stereo = _read(path)
    if stereo is None:
        return AudioPlayer(why="its audio file cannot be read")
    embedded = "data:audio/mpeg;base64," + base64.b64encode(mp3(stereo)).decode() if encode else ""
    link = quote(Path(trace.audio).as_posix())
    return AudioPlayer(embedded, link, user=envelope(stereo[:, 0]), system=envelope(stereo[:, 1]))


def _read(path: Path) -> Samples | None:
    """[T, 2] float32 at `RATE_HZ`, mono on both channels; None if it is not an audio file."""
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError):
        return None
    if not len(samples):
        return None
    sides = [AudioChunk(np.ascontiguousarray(samples[:, channel]), int(rate)) for channel in (0, -1)]
    return np.stack([audio.resample(side, RATE_HZ).samples for side in sides], axis=1)


def mp3(stereo: Samples) -> bytes:
    """Audio [T, 2] at `RATE_HZ`, encoded as MP3."""
    import soundfile

    file = io.BytesIO()
    options = {"compression_level": COMPRESSION, "bitrate_mode": "CONSTANT"}
    soundfile.write(file, stereo, RATE_HZ, format="MP3", subtype="MPEG_LAYER_III", **options)
    return file.getvalue()


def envelope(samples: Samples) -> str:
    """Peaks of samples [T] as an SVG path around the middle; silent points are left out."""
    peaks = _peaks(samples)
    heights = np.minimum(WAVE_HEIGHT, np.round(peaks / FULL_SCALE * WAVE_HEIGHT)).astype(int)
    bars = (f"M{i} {WAVE_HEIGHT - h}V{WAVE_HEIGHT + h}" for i, h in enumerate(heights) if h > 0)
    return "".join(bars)


def _peaks(samples: Samples) -> npt.NDArray[np.float64]:
    """Peak of each of `WAVE_POINTS` equal parts, [WAVE_POINTS]."""
    edges = np.linspace(0, len(samples), WAVE_POINTS + 1).astype(int)
    return np.array([float(np.abs(samples[a:b]).max()) if b > a else 0.0 for a, b in pairwise(edges)])
