"""Codec2 (Rowe 2011): a parametric speech codec of 700 to 3200 bit/s without any weights, from the `pycodec2` wheel.

The library is called directly: its noise generator is one for the whole process, so that the same bits would sound different
each time. Each stream here has a copy of the library for itself, and is the same however often it is decoded.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fobench.api.types import Samples
from fobench.errors import PrerequisiteError
from fobench_plugins.codecs.windowed_streaming import Codes

RATE_HZ = 8_000
MODES = {3200: 0, 2400: 1, 1600: 2, 1400: 3, 1300: 4, 1200: 5, 700: 8}  # {bit/s: CODEC2_MODE_* of codec2.h}
FULL = 32_767
NIBBLE = 4  # bits of a code: every mode's frame is a whole number of them


def codec2(*, bitrate: Literal["3200", "2400", "1600", "1400", "1300", "1200", "700"] = "1300") -> Codec2:
    """Codec2 at 8 kHz, a speech codec of `bitrate` bit/s that needs no weights; intelligible from 1300, and robotic."""
    return Codec2(int(bitrate))


class Codec2:
    """A frame's bits as codes of 4 bits each. A state may go into several calls: the stream is then made again from its past."""

    sample_rate_hz = RATE_HZ
    cardinality = 1 << NIBBLE

    def __init__(self, bitrate: int) -> None:
        self.bitrate = bitrate
        coder = Codec2Coder(bitrate)
        self.hop = coder.samples
        self.frame_rate_hz = RATE_HZ / coder.samples
        self.num_codebooks = coder.bits // NIBBLE

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {"codec": "codec2", "bitrate": self.bitrate, "weights": "none", "streaming": "a frame at a time"}

    def encode(
        self, audio: Samples, state: Codec2Stream | None = None, last: bool = False
    ) -> tuple[Codes, Codec2Stream]:
        """[T] -> [K, F], the whole frames; a last, unfinished one is filled up with zeros."""
        at = (state or Codec2Stream()).ready(self.bitrate)
        wave = np.concatenate([at.rest, np.asarray(audio, np.float32)])
        if last:
            wave = np.pad(wave, (0, -len(wave) % self.hop))
        whole = len(wave) // self.hop
        frames = _to_int16(wave[: whole * self.hop]).reshape(whole, self.hop)
        bits = [at.put(frame.tobytes()) for frame in frames]
        packed = np.frombuffer(b"".join(bits), np.uint8)
        nibbles = np.stack([packed >> NIBBLE, packed & 15], -1).reshape(
            whole, self.num_codebooks + self.num_codebooks % 2
        )
        return nibbles[:, : self.num_codebooks].T.astype(np.int64), at.after(wave[whole * self.hop :])

    def decode(
        self, codes: Codes, state: Codec2Stream | None = None, last: bool = False
    ) -> tuple[Samples, Codec2Stream]:
        """[K, F] -> [F * hop]"""
        at = (state or Codec2Stream(decodes=True)).ready(self.bitrate)
        nibbles = np.asarray(codes, np.uint8).T  # [F, K]
        nibbles = np.pad(nibbles, ((0, 0), (0, nibbles.shape[1] % 2)))
        packed = nibbles[:, 0::2] << NIBBLE | nibbles[:, 1::2]
        waves = [np.frombuffer(at.put(frame.tobytes()), np.int16) for frame in packed]
        wave = np.concatenate([np.zeros(0, np.int16), *waves])
        return wave.astype(np.float32) / (FULL + 1), at.after(at.rest)


class Codec2Coder:
    """One codec2 state, in a copy of the library of its own."""

    def __init__(self, bitrate: int) -> None:
        library = _copy()
        library.codec2_create.restype = ctypes.c_void_p
        self._library, self._state = library, ctypes.c_void_p(library.codec2_create(MODES[bitrate]))
        self.samples: int = library.codec2_samples_per_frame(self._state)
        self.bits: int = library.codec2_bits_per_frame(self._state)
        weakref.finalize(self, _close, library, self._state)

    def encode(self, frame: bytes) -> bytes:
        """int16 samples of a frame -> its bits."""
        bits = ctypes.create_string_buffer((self.bits + 7) // 8)
        self._library.codec2_encode(self._state, bits, frame)
        return bits.raw

    def decode(self, bits: bytes) -> bytes:
        """A frame's bits -> int16 samples."""
        frame = ctypes.create_string_buffer(2 * self.samples)
        self._library.codec2_decode(self._state, frame, bits)
        return frame.raw


@dataclass(frozen=True, slots=True)
class Codec2Stream:
    """A place in a stream: the samples not coded yet, the frames that have gone through, and the coder that took them."""

    rest: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    decodes: bool = False
    length: int = 0
    frames: list[bytes] = field(default_factory=list)  # shared along the stream; `length` of them lie before this place
    coder: Codec2Coder | None = None

    def ready(self, bitrate: int) -> Codec2Stream:
        """This place with a coder that has heard just what lies before it."""
        if self.coder is not None and len(self.frames) == self.length:
            return self
        made = Codec2Stream(self.rest, self.decodes, 0, [], Codec2Coder(bitrate))
        for frame in self.frames[: self.length]:
            made.put(frame)
        return made

    def put(self, frame: bytes) -> bytes:
        assert self.coder is not None
        self.frames.append(frame)
        return self.coder.decode(frame) if self.decodes else self.coder.encode(frame)

    def after(self, rest: Samples) -> Codec2Stream:
        """The place after all that has been put."""
        return Codec2Stream(rest.copy(), self.decodes, len(self.frames), self.frames, self.coder)


def _to_int16(wave: Samples) -> np.typing.NDArray[np.int16]:
    return np.round(np.clip(wave, -1, 1) * FULL).astype(np.int16)


def _copy() -> ctypes.CDLL:
    """The library of the pycodec2 wheel, loaded from a copy, so that its globals are this one's."""
    source = _library()
    with tempfile.TemporaryDirectory() as folder:
        return ctypes.CDLL(str(shutil.copy(source, folder)))


def _library() -> Path:
    try:
        files = distribution("pycodec2").files or []
    except PackageNotFoundError as error:
        raise PrerequisiteError("pycodec2 is not installed. Get it: pip install 'fobench[codecs]'") from error
    found = [Path(str(file.locate())) for file in files if file.name.startswith("libcodec2")]
    if not found:
        raise PrerequisiteError("This build of pycodec2 holds no libcodec2: install its wheel, not its source.")
    return found[0]


def _close(library: ctypes.CDLL, state: ctypes.c_void_p) -> None:
    import _ctypes

    library.codec2_destroy(state)
    _ctypes.dlclose(library._handle)
