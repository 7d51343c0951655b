"""Codec2 (Rowe 2011): a parametric speech codec of 700 to 3200 bit/s without any weights, from the `pycodec2` wheel.

The library is called through ctypes. Its noise generator is global to the process, so that decoding would not be
deterministic; therefore each stream loads its own copy of the library.
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
INT16_MAX = 32_767
CODE_BITS = 4  # bits per code; divides the frame size of every mode


def codec2(*, bitrate: Literal["3200", "2400", "1600", "1400", "1300", "1200", "700"] = "1300") -> Codec2:
    """Codec2 (Rowe 2011) at 8 kHz, a parametric speech codec of `bitrate` bit/s without weights; intelligible from
    1300 bit/s.
    """
    return Codec2(int(bitrate))


class Codec2:
    """Codec2 with the bits of a frame as codes of 4 bits.

    If a state is passed to several calls, the stream is recomputed from its past.
    """

    sample_rate_hz = RATE_HZ
    cardinality = 1 << CODE_BITS

    def __init__(self, bitrate: int) -> None:
        self.bitrate = bitrate
        coder = Codec2Coder(bitrate)
        self.hop = coder.samples
        self.frame_rate_hz = RATE_HZ / coder.samples
        self.num_codebooks = coder.bits // CODE_BITS

    def about(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        return {"codec": "codec2", "bitrate": self.bitrate, "weights": "none", "streaming": "a frame at a time"}

    def encode(
        self, audio: Samples, state: Codec2Stream | None = None, last: bool = False
    ) -> tuple[Codes, Codec2Stream]:
        """[T] -> [K, F], the complete frames; with `last`, an incomplete one is zero-padded."""
        stream = (state or Codec2Stream()).with_coder(self.bitrate)
        wave = np.concatenate([stream.rest, np.asarray(audio, np.float32)])
        if last:
            wave = np.pad(wave, (0, -len(wave) % self.hop))
        num_frames = len(wave) // self.hop
        frames = _to_int16(wave[: num_frames * self.hop]).reshape(num_frames, self.hop)
        bits = [stream.process(frame.tobytes()) for frame in frames]
        packed = np.frombuffer(b"".join(bits), np.uint8)
        nibbles = np.stack([packed >> CODE_BITS, packed & 15], -1).reshape(
            num_frames, self.num_codebooks + self.num_codebooks % 2
        )
        return nibbles[:, : self.num_codebooks].T.astype(np.int64), stream.advance(wave[num_frames * self.hop :])

    def decode(
        self, codes: Codes, state: Codec2Stream | None = None, last: bool = False
    ) -> tuple[Samples, Codec2Stream]:
        """[K, F] -> [F * hop] samples."""
        stream = (state or Codec2Stream(decodes=True)).with_coder(self.bitrate)
        nibbles = np.asarray(codes, np.uint8).T  # [F, K]
        nibbles = np.pad(nibbles, ((0, 0), (0, nibbles.shape[1] % 2)))
        packed = nibbles[:, 0::2] << CODE_BITS | nibbles[:, 1::2]
        waves = [np.frombuffer(stream.process(frame.tobytes()), np.int16) for frame in packed]
        wave = np.concatenate([np.zeros(0, np.int16), *waves])
        return wave.astype(np.float32) / np.float32(INT16_MAX + 1), stream.advance(stream.rest)


class Codec2Coder:
    """One Codec2 state, in its own copy of the library."""

    def __init__(self, bitrate: int) -> None:
        library = _load_private_copy()
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
    """State of a stream: samples not encoded yet, the frames processed so far, and the coder that processed them."""

    rest: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    decodes: bool = False
    length: int = 0
    frames: list[bytes] = field(default_factory=list)  # shared along the stream; the first `length` precede this state
    coder: Codec2Coder | None = None

    def with_coder(self, bitrate: int) -> Codec2Stream:
        """This state with a coder that has processed exactly the frames before it."""
        if self.coder is not None and len(self.frames) == self.length:
            return self
        stream = Codec2Stream(self.rest, self.decodes, 0, [], Codec2Coder(bitrate))
        for frame in self.frames[: self.length]:
            stream.process(frame)
        return stream

    def process(self, frame: bytes) -> bytes:
        assert self.coder is not None
        self.frames.append(frame)
        return self.coder.decode(frame) if self.decodes else self.coder.encode(frame)

    def advance(self, rest: Samples) -> Codec2Stream:
        """The state after all processed frames."""
        return Codec2Stream(rest.copy(), self.decodes, len(self.frames), self.frames, self.coder)


def _to_int16(wave: Samples) -> np.typing.NDArray[np.int16]:
    return np.round(np.clip(wave, -1, 1) * INT16_MAX).astype(np.int16)


def _load_private_copy() -> ctypes.CDLL:
    """The library of the pycodec2 wheel, loaded from a copy, so that its globals are private."""
    source = _library_path()
    with tempfile.TemporaryDirectory() as folder:
        return ctypes.CDLL(str(shutil.copy(source, folder)))


def _library_path() -> Path:
    try:
        files = distribution("pycodec2").files or []
    except PackageNotFoundError as error:
        raise PrerequisiteError("pycodec2 is not installed. Get it: pip install 'fobench[codecs]'") from error
    found = [Path(str(file.locate())) for file in files if file.name.startswith("libcodec2")]
    if not found:
        raise PrerequisiteError(
            "This build of pycodec2 contains no libcodec2: install the wheel, not the source distribution."
        )
    return found[0]


def _close(library: ctypes.CDLL, state: ctypes.c_void_p) -> None:
    import _ctypes

    library.codec2_destroy(state)
    _ctypes.dlclose(library._handle)
