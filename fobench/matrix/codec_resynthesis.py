"""What a codec alone does to speech: clips there and back, heard by a recogniser and rated by DNSMOS before and after.

`codec_wer` is the recogniser's WER on the resynthesis minus that on the original: the codec's own share, which is to be blamed
on no backbone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jiwer
import numpy as np

from fobench import audio
from fobench.api.components import AudioMetric, Codec, Recognizer
from fobench.api.scenario import Scenario
from fobench.api.types import AudioChunk, Samples
from fobench.scoring.text_normalization import normalise
from fobench.statistics.bootstrap import Interval, bootstrap_mean, bootstrap_ratio

VERSION = 1
MOS = "ovrl"


@dataclass(frozen=True, slots=True)
class CodecClip:
    """Speech, and the text that is said in it, if it is known."""

    name: str
    audio: AudioChunk
    text: str | None = None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedAudio:
    """A sound: what the recogniser heard, its word errors against the reference, DNSMOS (None: too short to be rated)."""

    heard: str
    errors: int
    mos: float | None


@dataclass(frozen=True, slots=True)
class ClipResult:
    """A clip before and after. `words` of the reference: the clip's text or, without one, what was heard in the original."""

    clip: str
    speaker: str | None
    words: int
    before: JudgedAudio
    after: JudgedAudio
    duration_s: float
    encode_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class CodecControl:
    """A codec's round trips. `referenced`: every clip's text is known, so that the WERs are against what was said."""

    codec: str
    about: Mapping[str, Any]
    bits_per_s: float
    referenced: bool
    trips: Sequence[ClipResult] = field(default_factory=tuple)

    def wer(self, side: str) -> float | None:
        """Pooled WER of `before` or `after`; None without a word."""
        words = sum(trip.words for trip in self.trips)
        return sum(getattr(trip, side).errors for trip in self.trips) / words if words else None

    def codec_wer(self) -> tuple[float | None, Interval | None]:
        """(WER after - WER before, its 95 % interval by a paired bootstrap over clips)."""
        more = [trip.after.errors - trip.before.errors for trip in self.trips]
        words = [trip.words for trip in self.trips]
        return (sum(more) / sum(words), bootstrap_ratio(more, words)) if sum(words) else (None, None)

    def mos(self, side: str) -> float | None:
        """Mean DNSMOS (OVRL) of the clips that could be rated on both sides."""
        rated = [getattr(trip, side).mos for trip in self._rated()]
        return sum(rated) / len(rated) if rated else None

    def mos_lost(self) -> tuple[float | None, Interval | None]:
        """(DNSMOS after - before, its interval)."""
        apart = [float(t.after.mos or 0) - float(t.before.mos or 0) for t in self._rated()]
        return (sum(apart) / len(apart), bootstrap_mean(apart)) if apart else (None, None)

    def rtf(self) -> float | None:
        """Seconds of computation, both ways, a second of sound."""
        seconds = sum(trip.duration_s for trip in self.trips)
        return sum(trip.encode_s + trip.decode_s for trip in self.trips) / seconds if seconds else None

    def to_json(self) -> dict[str, Any]:
        """The scores, without the words that were heard, which may not be ours to publish."""
        (more, more_ci), (lost, lost_ci) = self.codec_wer(), self.mos_lost()
        totals = {
            "n": len(self.trips),
            "words": sum(trip.words for trip in self.trips),
            "referenced": self.referenced,
            "wer_before": self.wer("before"),
            "wer_after": self.wer("after"),
            "codec_wer": more,
            "codec_wer_ci": more_ci,
            "n_mos": len(self._rated()),
            "dnsmos_before": self.mos("before"),
            "dnsmos_after": self.mos("after"),
            "dnsmos_change": lost,
            "dnsmos_change_ci": lost_ci,
            "rtf": self.rtf(),
        }
        plain = {"codec": self.codec, "about": dict(self.about), "bits_per_s": self.bits_per_s}
        clips = [asdict(trip) for trip in self.trips]
        for clip in clips:
            for side in ("before", "after"):
                del clip[side]["heard"]
        return {"version": VERSION, **plain, "totals": totals, "clips": clips}

    def _rated(self) -> list[ClipResult]:
        return [trip for trip in self.trips if trip.before.mos is not None and trip.after.mos is not None]


class CodecBenchmark:
    """The judges of round trips. What they say of an original is kept, so that several codecs share it."""

    def __init__(self, recognizer: Recognizer, rater: AudioMetric) -> None:
        self._recognizer, self._rater = recognizer, rater
        self._originals: dict[str, tuple[str, float | None]] = {}

    def control(
        self,
        name: str,
        codec: Codec,
        clips: Sequence[CodecClip],
        keep: Callable[[CodecClip, AudioChunk], None] | None = None,
    ) -> CodecControl:
        """Every clip through the codec. `keep` is handed each resynthesis."""
        trips = []
        for clip in clips:
            sound, encode_s, decode_s = resynthesis(codec, clip.audio)
            trips.append(self._trip(clip, sound, encode_s, decode_s))
            if keep:
                keep(clip, sound)
        describe = getattr(codec, "about", None)
        about = dict(describe()) if describe else {}
        return CodecControl(name, about, bits_per_s(codec), all(clip.text for clip in clips), trips)

    def _trip(self, clip: CodecClip, sound: AudioChunk, encode_s: float, decode_s: float) -> ClipResult:
        key = audio.sha256(clip.audio.samples, clip.audio.rate_hz)
        if key not in self._originals:
            self._originals[key] = self._judge(clip.audio)
        original, resynthesised = self._originals[key], self._judge(sound)
        reference = normalise(clip.text if clip.text else original[0])
        before, after = (_judged(reference, *judged) for judged in (original, resynthesised))
        seconds = len(clip.audio.samples) / clip.audio.rate_hz
        return ClipResult(clip.name, clip.speaker, len(reference.split()), before, after, seconds, encode_s, decode_s)

    def _judge(self, sound: AudioChunk) -> tuple[str, float | None]:
        return self._recognizer.transcribe(sound).text.strip(), self._rater.measure(sound).get(MOS)


def resynthesis(codec: Codec, sound: AudioChunk) -> tuple[AudioChunk, float, float]:
    """(the sound there and back, as long as it was and at the codec's rate; seconds of encoding, of decoding)."""
    start = time.perf_counter()
    wave = audio.resample(sound, codec.sample_rate_hz).samples
    codes, _ = codec.encode(wave, last=True)
    coded = time.perf_counter()
    back, _ = codec.decode(codes, last=True)
    done = time.perf_counter()
    fitted: Samples = np.pad(back[: len(wave)], (0, max(0, len(wave) - len(back))))
    return AudioChunk(fitted, codec.sample_rate_hz), coded - start, done - coded


def bits_per_s(codec: Codec) -> float:
    return codec.frame_rate_hz * codec.num_codebooks * math.log2(codec.cardinality)


def spoken(scenarios: Sequence[Scenario]) -> Iterator[CodecClip]:
    """The users' turns of scenarios, with their texts."""
    for scenario in scenarios:
        for index, turn in enumerate(scenario.turns):
            name = scenario.id if len(scenario.turns) == 1 else f"{scenario.id}-{index + 1}"
            yield CodecClip(name, audio.load(turn.audio), turn.text, turn.speaker)


def _judged(reference: str, heard: str, mos: float | None) -> JudgedAudio:
    """Errors against the normalised reference; of one that is empty, none are counted."""
    errors = 0
    if reference:
        out = jiwer.process_words(reference, normalise(heard))
        errors = out.substitutions + out.deletions + out.insertions
    return JudgedAudio(heard, errors, mos)
