"""Decoding of audio files from outside, in blocks: mixed down and, above 96 kHz, resampled while they are read.

Every function raises `FobenchError`, naming the file, for what is missing, in no readable format, beyond the limits, cut or
not finite.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from fobench.api.types import Samples
from fobench.audio.limits import CUT_S, MAX_CHANNELS, MAX_DURATION_S, NARROWED_HZ, RATES_HZ, WIDE_HZ
from fobench.errors import FobenchError
from fobench.outside_files import lfs_pointer

BLOCK_VALUES = 1 << 18  # samples of all channels that are decoded at once
CANCELED = 0.1  # power of the mean of the channels, relative to that of unrelated channels, below which they cancel
STREAMED = 0x7FFF_0000  # sizes in a WAV header from here on stand for "until the end of the file"
UNTIL_END = (
    b"\xff\xff\xff\xff"  # the size in a WAV header that libsndfile reads so; it reads nothing where the size is 0
)
MAX_CHUNKS = 1000  # of a header that are looked at
UNKNOWN_FRAMES = 1 << 62  # libsndfile's number of frames of a streamed file is above it
FORMATS = "WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF and AU"

NOTE_CANCELED = "its channels cancel each other, so that the loudest channel is played instead of their mean"
NOTE_UNENDED = "it may be cut: its last Ogg page does not end the stream"
NOTE_LONGER = "its header ends the sound before the file ends; what follows is not played"


@dataclass(frozen=True, slots=True)
class DecodedAudio:
    """A decoded file: mono float32 [T], not clipped. `notes`: what a user must know of it, as ends of sentences."""

    samples: Samples
    rate_hz: int
    notes: tuple[str, ...] = ()


def decode(path: Path) -> DecodedAudio:
    """The file as the mean of its channels; as its loudest channel where they cancel each other (antiphase stereo)."""
    with open_sound(path) as sound:
        samples, canceled_by = _mono(sound)
        notes, rate_hz = sound.notes, sound.mono_rate_hz
    if canceled_by is not None:
        with open_sound(path) as sound:
            samples, _ = _mono(sound, canceled_by)
        notes = (*notes, NOTE_CANCELED)
    return DecodedAudio(samples, rate_hz, notes)


def open_sound(source: Path | bytes, name: str = "") -> SoundReader:
    """An opened audio file, or encoded audio in memory, whose header is within the limits and whose data is complete.

    `name`: what to call the audio in messages, the path by default.
    """
    name = name or (f"Audio file {source}" if isinstance(source, Path) else "The audio")
    try:
        if isinstance(source, Path) and not source.is_file():
            raise FobenchError(f"{name} does not exist.")
        with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
            if lfs_pointer(file.read(200)):
                raise FobenchError(f"{name} is a Git LFS pointer, not the audio itself. Fetch it: git lfs pull")
            span, notes = _data_span(file), tuple(_trailing_notes(file))
        patch = (span.field, UNTIL_END) if span is not None and span.is_streamed and not span.declared else (0, b"")
        if isinstance(source, Path) and not patch[1]:
            sound = SoundReader(os.fsencode(source), name)  # without callbacks into Python
        else:
            sound = SoundReader(
                _PatchedFile(source.open("rb") if isinstance(source, Path) else io.BytesIO(source), *patch), name
            )
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: headerless audio, by the file's name
        raise FobenchError(
            f"{name} cannot be read: {_reason(error)}. Supported formats: {FORMATS}. Convert it: ffmpeg -i FILE new.wav"
        ) from error
    try:
        sound.check_header(span)
    except FobenchError:
        sound.close()
        raise
    sound.notes = (*notes, *([NOTE_LONGER] if span is not None and span.goes_on else []))
    return sound


class SoundReader(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no type hints
    """A sound file that is read forwards, in blocks. `soundfile` seeks after each read where it can, which streamed FLAC
    files do not survive and which loses samples of MP3 files.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, file: bytes | _PatchedFile, label: str) -> None:
        self.label = label
        super().__init__(file)

    def seekable(self) -> bool:
        return False

    @property
    def known_frames(self) -> int | None:
        """The number of frames by the header; None where it does not say."""
        return int(self.frames) if self.frames < UNKNOWN_FRAMES else None

    @property
    def mono_rate_hz(self) -> int:
        """The rate of `mono_blocks`."""
        return NARROWED_HZ if self.samplerate > WIDE_HZ else int(self.samplerate)

    def check_header(self, span: DataSpan | None) -> None:
        """Raises `FobenchError` for a header beyond the limits, and for data that ends before the header says."""
        rate, frames = int(self.samplerate), self.known_frames
        if self.format == "RAW":  # libsndfile guesses it by the file's name
            raise FobenchError(f"{self.label} cannot be read: it has no header. Supported formats: {FORMATS}.")
        if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
            raise FobenchError(
                f"{self.label} has a sample rate of {rate:,} Hz; it must be {RATES_HZ[0]:,} to {RATES_HZ[1]:,} Hz. "
                "Convert it: ffmpeg -i FILE -ar 16000 new.wav"
            )
        if self.channels > MAX_CHANNELS:
            raise FobenchError(
                f"{self.label} has {self.channels} channels; it may have {MAX_CHANNELS}. Mix it down: ffmpeg -i FILE -ac 1 new.wav"
            )
        if frames is not None and span is not None and span.missing and frames:
            self.check_complete(round(frames * span.declared / span.present), frames)
        if frames == 0:
            raise FobenchError(f"{self.label} is empty.")

    def check_duration(self, frames: int) -> None:
        """Raises `FobenchError` for more than `MAX_DURATION_S`."""
        if frames > MAX_DURATION_S * self.samplerate:
            seconds = frames / self.samplerate
            raise FobenchError(
                f"{self.label} lasts {seconds:.0f} s; a turn may last {MAX_DURATION_S} s. Cut it into turns."
            )

    def check_complete(self, declared: int, present: int) -> None:
        """Raises `FobenchError` where more than `CUT_S` of the declared frames are missing."""
        if declared - present > CUT_S * self.samplerate:
            promised, there = declared / self.samplerate, present / self.samplerate
            raise FobenchError(
                f"{self.label} is cut: its header promises {promised:.2f} s, and {there:.2f} s are there. Copy it again, or, if "
                "nothing is missed, rewrite it: ffmpeg -i FILE new.wav"
            )

    def blocks(self, frames: int | None = None) -> Iterator[npt.NDArray[np.float32]]:
        """Blocks [t, C] from the current position on, at most `frames` in all. Raises `FobenchError` where they cannot be
        decoded or are not finite.
        """
        size = max(1, BLOCK_VALUES // self.channels)
        left = UNKNOWN_FRAMES if frames is None else frames
        while left > 0:
            try:
                block = self.read(min(size, left), dtype="float32", always_2d=True)
            except (soundfile.SoundFileError, OSError) as error:
                raise FobenchError(
                    f"{self.label} cannot be read: {_reason(error)}. It may be damaged or cut."
                ) from error
            if not len(block):
                return
            if not np.isfinite(block).all():
                raise FobenchError(f"{self.label} contains values that are not finite (NaN or infinite).")
            left -= len(block)
            yield block


@dataclass(slots=True)
class ChannelPowers:
    """Sums over the frames of a file: of each channel, of their squares, and of the mean of the channels."""

    sums: npt.NDArray[np.float64]  # [C + 1]: of the channels and of their mean
    squares: npt.NDArray[np.float64]
    frames: int = 0

    @classmethod
    def of(cls, channels: int) -> ChannelPowers:
        return cls(np.zeros(channels + 1), np.zeros(channels + 1))

    def add(self, block: npt.NDArray[np.float32], mean: Samples) -> None:
        """`block`: [t, C]; `mean`: [t]."""
        values = np.column_stack([block, mean]).astype(np.float64)
        self.sums += values.sum(axis=0)
        self.squares += np.square(values).sum(axis=0)
        self.frames += len(block)

    @property
    def canceled_by(self) -> int | None:
        """The loudest channel where the channels cancel each other; None where they do not.

        The mean of C unrelated channels has 1/C^2 of the sum of their powers; of equal channels it has more.
        """
        power = self.squares / self.frames - np.square(self.sums / self.frames)  # without constant offsets
        *channels, mean = power
        unrelated = sum(channels) / len(channels) ** 2
        return int(np.argmax(channels)) if unrelated > 1e-12 and mean < CANCELED * unrelated else None


def _mono(sound: SoundReader, channel: int | None = None) -> tuple[Samples, int | None]:
    """(the mean of the channels [T] at `mono_rate_hz`, or one of them; the loudest channel where they cancel each other)."""
    import soxr

    known, rate, powers = sound.known_frames, sound.samplerate, ChannelPowers.of(sound.channels)
    sound.check_duration(known or 0)
    narrow = soxr.ResampleStream(rate, NARROWED_HZ, 1, dtype="float32") if rate > WIDE_HZ else None
    found: list[Samples] = []
    for block in sound.blocks():
        mono = block.mean(axis=1) if channel is None else np.ascontiguousarray(block[:, channel])
        if sound.channels > 1:
            powers.add(block, mono)
        else:
            powers.frames += len(block)
        sound.check_duration(powers.frames)
        found.append(mono if narrow is None else narrow.resample_chunk(mono))
    if narrow is not None:
        found.append(narrow.resample_chunk(np.zeros(0, np.float32), last=True))
    sound.check_complete(known or 0, powers.frames)
    samples = np.concatenate(found)
    if not len(samples):  # less than a sample at the lower rate
        raise FobenchError(f"{sound.label} is empty.")
    return samples, powers.canceled_by if sound.channels > 1 and channel is None else None


def _reason(error: Exception) -> str:
    """The reason of an error without the path, which `soundfile` puts before it."""
    return str(getattr(error, "error_string", error)).strip().rstrip(".") or type(error).__name__


def mix_down(channels: npt.NDArray[np.float32]) -> Samples:
    """The mean [T] of channels [T, C], or the loudest of channels that cancel each other."""
    mono, powers = channels.mean(axis=1), ChannelPowers.of(channels.shape[1])
    powers.add(channels, mono)
    canceled_by = powers.canceled_by if len(channels) and channels.shape[1] > 1 else None
    return mono if canceled_by is None else np.ascontiguousarray(channels[:, canceled_by])


# ---- what a header says of its data ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataSpan:
    """The encoded samples of a WAV, AIFF or AU file. `field`: position of their size in the header; sizes in bytes.

    `is_streamed`: the size was not known when the header was written. `goes_on`: what follows them is no chunk.
    """

    field: int
    declared: int
    present: int
    is_streamed: bool = False
    goes_on: bool = False

    @property
    def missing(self) -> int:
        return 0 if self.is_streamed else max(0, self.declared - self.present)


def _data_span(file: BinaryIO) -> DataSpan | None:
    """Where the samples of a WAV, AIFF or AU file lie; None for other formats."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b".snd" and len(head) == 12:
        offset, declared = struct.unpack(">II", head[4:])
        return DataSpan(8, declared, max(0, size - offset), declared >= STREAMED)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE":
        order = ">" if head[:4] == b"RIFX" else "<"
        return _chunk(file, size, order, b"data", struct.unpack(f"{order}I", head[4:8])[0])
    return _chunk(file, size, ">", b"SSND", 0) if head[:4] == b"FORM" else None


def _chunk(file: BinaryIO, size: int, order: str, wanted: bytes, outer: int) -> DataSpan | None:
    """The chunk `wanted` of a file of `size` bytes, whose outer chunk claims `outer` bytes; None without such a chunk."""
    position, long_size = 12, 0
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return None
        name, length = struct.unpack(f"{order}4sI", head)
        if name == b"ds64" and len(sizes := file.read(16)) == 16:  # of RF64, whose sizes have 64 bits
            long_size = struct.unpack("<8xQ", sizes)[0]
        if name == wanted:
            if length >= STREAMED and 0 < long_size < UNKNOWN_FRAMES:
                return DataSpan(position + 4, long_size, size - position - 8)
            present = size - position - 8
            is_empty = not length and present > 0 and (outer <= position or outer >= STREAMED)
            file.seek(position + 8 + length + (length & 1))
            following = file.read(4)  # a chunk begins with its name
            goes_on = present - length > max(length, 1 << 12) and not all(32 <= byte < 127 for byte in following)
            return DataSpan(position + 4, length, present, is_empty or length >= STREAMED, goes_on)
        position += 8 + length + (length & 1)
    return None


def _trailing_notes(file: BinaryIO) -> Iterator[str]:
    """What the end of an Ogg file says of its sound."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(4) == b"OggS":
        file.seek(max(0, size - (1 << 17)))  # a page has less than 64 KiB
        page = file.read().rpartition(b"OggS")[2]
        if len(page) > 1 and not page[1] & 4:
            yield NOTE_UNENDED


class _PatchedFile:
    """A file that reads as if `content` stood at `position`. libsndfile calls it, which an exception would not reach."""

    def __init__(self, file: BinaryIO, position: int, content: bytes) -> None:
        self._file, self._position, self._content = file, position, content

    def read(self, count: int) -> bytes:
        start = self._file.tell()
        data = bytearray(self._file.read(max(0, count)))
        for index, byte in enumerate(self._content, self._position - start):
            if 0 <= index < len(data):
                data[index] = byte
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (
            0
            if whence == os.SEEK_SET
            else self._file.tell()
            if whence == os.SEEK_CUR
            else self._file.seek(0, os.SEEK_END)
        )
        return self._file.seek(max(0, base + offset))

    def tell(self) -> int:
        return self._file.tell()
