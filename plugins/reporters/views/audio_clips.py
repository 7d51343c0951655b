"""The audio of a report: MP3 inside the file up to a budget, links to the FLAC files beyond it, and waveforms."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np

from fobench import audio
from fobench.api.trace import Trace
from fobench.api.types import AudioChunk, Samples
from fobench.atomic_files import file_inside
from fobench.storage import waveforms
from fobench.storage.waveforms import Waveform

RATE_HZ = 16_000
COMPRESSION = 0.85  # libsndfile's scale at a constant rate: 32 kbit/s, stereo
THREADS = 2
WAVE_HEIGHT = 50  # half the height of a waveform's own coordinates
FULL_SCALE = 0.5  # peak drawn at full height
HEIGHTS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[: WAVE_HEIGHT + 1]  # a character each
HEIGHT_OF_PEAK = bytes(
    ord(HEIGHTS[min(WAVE_HEIGHT, round(peak / waveforms.FULL_SCALE / FULL_SCALE * WAVE_HEIGHT))]) for peak in range(256)
)


@dataclass(frozen=True, slots=True)
class AudioPlayer:
    """The audio of one scenario. `embedded`: a data URI; `link`: the file in the run folder; `why`: the reason if neither exists.

    `user` and `system` are the waveforms, a character of `HEIGHTS` for each of their points; empty without audio.
    """

    embedded: str = ""
    link: str = ""
    why: str = ""
    user: str = ""
    system: str = ""


def players(traces: Sequence[Trace], folder: Path, budget_bytes: int) -> list[AudioPlayer]:
    """One player per trace, in the given order, in which the budget is spent. A file is embedded as a whole or not at all."""
    made: list[AudioPlayer] = []
    left, rest, known = budget_bytes, iter(traces), waveforms.load(folder)
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(rest, 2 * THREADS if left > 0 else 256)):  # few files are encoded beyond the budget
            for player in pool.map(partial(_player, folder=folder, known=known, encode=left > 0), batch):
                fits = len(player.embedded) <= left
                left = left - len(player.embedded) if fits else 0
                made.append(player if fits else replace(player, embedded=""))
    return made


def _player(trace: Trace, folder: Path, known: Mapping[str, Waveform], encode: bool) -> AudioPlayer:
    if trace.audio is None:
        return AudioPlayer(why="no audio was kept")
    path = file_inside(folder, trace.audio)
    if path is None:
        return AudioPlayer(why="its audio file is missing")
    link, waveform, embedded = quote(Path(trace.audio).as_posix()), known.get(trace.audio), ""
    if encode or waveform is None:
        found = _read(path)
        if found is None:
            return AudioPlayer(why="its audio file cannot be read")
        waveform = waveforms.measure(found[0])
        embedded = f"data:audio/mpeg;base64,{base64.b64encode(mp3(*found)).decode()}" if encode else ""
    return AudioPlayer(embedded, link, "", *map(heights, waveform))


def _read(path: Path) -> tuple[Samples, int] | None:
    """Float32 [T, 2], mono on both channels, and its rate in Hz; None if it is not an audio file."""
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError):
        return None
    return (samples[:, [0, -1]], int(rate)) if len(samples) else None


def mp3(stereo: Samples, rate_hz: int) -> bytes:
    """Audio [T, 2], encoded as MP3 at `RATE_HZ`."""
    import soundfile

    sides = [AudioChunk(np.ascontiguousarray(side), rate_hz) for side in stereo.T]
    resampled = np.stack([audio.resample(side, RATE_HZ).samples for side in sides], axis=1)
    file = io.BytesIO()
    options = {"compression_level": COMPRESSION, "bitrate_mode": "CONSTANT"}
    soundfile.write(file, resampled, RATE_HZ, format="MP3", subtype="MPEG_LAYER_III", **options)
    return file.getvalue()


def heights(peaks: bytes) -> str:
    """A channel's peaks as characters of `HEIGHTS`; empty for silence."""
    text = peaks.translate(HEIGHT_OF_PEAK).decode()
    return text if text.strip("0") else ""
