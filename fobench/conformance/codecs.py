"""Conformance of codecs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fobench import audio
from fobench.api.components import Codec
from fobench.api.types import Samples
from fobench.conformance.checks import Probe, need
from fobench.conformance.speech import need_count, need_sound, speech

# ---- Codecs ----------------------------------------------------------------------------------------------------------


def codec_probes(codec: Codec) -> Sequence[tuple[str, Probe]]:
    subject = _CodecProbes(codec)
    return (
        ("rates and sizes", subject.sizes),
        ("codes", subject.codes_fit),
        ("same audio, same codes", subject.repeatable),
        ("streaming encoding equals offline", subject.encode_streamed),
        ("streaming decoding equals offline", subject.decode_streamed),
        ("reusing a state forks it", subject.fork),
        ("encode-decode", subject.round_trip),
        ("0 and 1 samples", subject.short_input),
    )


class _CodecProbes:
    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    @cached_property
    def wave(self) -> Samples:
        return audio.resample(speech()[0], self.codec.sample_rate_hz).samples

    @cached_property
    def codes(self) -> npt.NDArray[np.int64]:
        """[K, F]"""
        return self.codec.encode(self.wave, last=True)[0]

    @cached_property
    def decoded(self) -> Samples:
        return self.codec.decode(self.codes, last=True)[0]

    @property
    def hop(self) -> float:
        """Samples per frame."""
        return self.codec.sample_rate_hz / self.codec.frame_rate_hz

    def sizes(self) -> str:
        for name in ("sample_rate_hz", "num_codebooks", "cardinality"):
            need_count(getattr(self.codec, name, None), name)
        need(self.codec.frame_rate_hz > 0, f"frame_rate_hz must be > 0, not {self.codec.frame_rate_hz!r}")
        bits = self.codec.frame_rate_hz * self.codec.num_codebooks * float(np.log2(self.codec.cardinality))
        return f"{self.codec.frame_rate_hz:.2f} Hz x {self.codec.num_codebooks} of {self.codec.cardinality}: {bits:.0f} bit/s"

    def codes_fit(self) -> str:
        codes = self.codes
        need(isinstance(codes, np.ndarray) and codes.ndim == 2, "encode() must return a numpy array [K, F] and a state")
        need(codes.shape[0] == self.codec.num_codebooks, f"{codes.shape[0]} codebooks, not {self.codec.num_codebooks}")
        need(np.issubdtype(codes.dtype, np.integer), f"codes must be integers, not {codes.dtype}")
        low, high = int(codes.min()), int(codes.max())
        need(
            low >= 0 and high < self.codec.cardinality, f"codes {low} to {high} leave 0 to {self.codec.cardinality - 1}"
        )
        expected = len(self.wave) / self.hop
        need(abs(codes.shape[1] - expected) <= 2, f"{codes.shape[1]} frames for {expected:.1f} frames of audio")
        return f"{codes.shape[1]} frames for {len(self.wave) / self.codec.sample_rate_hz:.2f} s"

    def repeatable(self) -> str:
        need(np.array_equal(self.codec.encode(self.wave, last=True)[0], self.codes), "the second time gave other codes")
        return "equal twice"

    def encode_streamed(self) -> str:
        sizes = [max(1, round(self.hop * frames)) for frames in (1, 3, 0.37)]
        for size in sizes:
            pieces = [self.wave[at : at + size] for at in range(0, len(self.wave), size)]
            codes = _stream(lambda piece, state, last: self.codec.encode(piece, state, last), pieces)
            need_equal_codes(self.codes, codes, f"in chunks of {size} samples")
        return f"chunks of {', '.join(map(str, sizes))} samples"

    def decode_streamed(self) -> str:
        worst = 0.0
        for size in (1, 2, 7):
            pieces = [self.codes[:, at : at + size] for at in range(0, self.codes.shape[1], size)]
            wave = _stream(lambda piece, state, last: self.codec.decode(piece, state, last), pieces)
            need(
                len(wave) == len(self.decoded),
                f"{len(self.decoded)} samples became {len(wave)} by {size} frames at a time",
            )
            worst = max(worst, float(np.abs(wave - self.decoded).max()))
            need(worst < 1e-3, f"the audio differs by {worst:.2g} if decoded by {size} frames at a time")
        return f"1, 2 and 7 frames at a time: difference at most {worst:.1g}"

    def fork(self) -> str:
        """A state that is used twice gives the same result the second time."""
        cut = (
            len(self.wave) // 2 // int(self.hop) * int(self.hop) + 1
        )  # within a frame, so that the state holds samples
        first, state = self.codec.encode(self.wave[:cut])
        self.codec.encode(self.wave[:cut], state)
        rest, _ = self.codec.encode(self.wave[cut:], state, last=True)
        need_equal_codes(self.codes, np.concatenate([first, rest], axis=1), "encode() with a state used before")
        middle = self.codes.shape[1] // 2
        first_half, state = self.codec.decode(self.codes[:, :middle])
        self.codec.decode(self.codes[:, :middle], state)
        second_half, _ = self.codec.decode(self.codes[:, middle:], state, last=True)
        wave = np.concatenate([first_half, second_half])
        need(len(wave) == len(self.decoded), "decode() with a state used before gives another number of samples")
        difference = float(np.abs(wave - self.decoded).max(initial=0.0))
        need(
            difference < 1e-3,
            f"decode() with a state used before differs by {difference:.2g}: copy what a call changes",
        )
        return "encoding and decoding"

    def round_trip(self) -> str:
        need_sound(self.decoded, "decode()")
        frames = abs(len(self.decoded) - len(self.wave)) / self.hop
        need(frames <= 2, f"{len(self.wave)} samples became {len(self.decoded)}: {frames:.1f} frames off")
        return f"{len(self.wave)} samples became {len(self.decoded)}"

    def short_input(self) -> str:
        frames = [self.codec.encode(self.wave[:size], last=True)[0].shape[1] for size in (0, 1)]
        need(max(frames) <= 2, f"0 and 1 samples became {frames} frames")
        return f"0 and 1 samples become {frames[0]} and {frames[1]} frames"


def need_equal_codes(expected: npt.NDArray[np.int64], found: npt.NDArray[np.int64], how: str) -> None:
    need(found.shape == expected.shape, f"{how}: codes {list(found.shape)}, offline {list(expected.shape)}")
    differing = np.flatnonzero((found != expected).any(axis=0))
    need(
        not len(differing),
        f"{how}: {len(differing)} of {expected.shape[1]} frames differ, the first is {differing[:1]}",
    )


def _stream(code: Callable[[Any, Any, bool], tuple[Any, Any]], pieces: Sequence[Any]) -> Any:
    """The outputs of a codec for consecutive pieces with its state, concatenated along time."""

    def run() -> Iterator[Any]:
        state = None
        for index, piece in enumerate(pieces):
            output, state = code(piece, state, index == len(pieces) - 1)
            yield output

    return np.concatenate(list(run()), axis=-1)
