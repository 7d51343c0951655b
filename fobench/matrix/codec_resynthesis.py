"""Codec encode-decode control: WER of a reference ASR and DNSMOS of clips, before and after a codec.

`codec_wer` is the WER on the resynthesis minus the WER on the original: the codec's contribution, independent of any
backbone.
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
from fobench.scoring.text_normalization import normalize_for_wer
from fobench.statistics.bootstrap import Interval, bootstrap_interval

VERSION = 1
MOS = "ovrl"


@dataclass(frozen=True, slots=True)
class CodecClip:
    """A speech clip, with its reference text and speaker if known."""

    name: str
    audio: AudioChunk
    text: str | None = None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedAudio:
    """The scores of one audio: reference-ASR transcript, word errors against the reference, DNSMOS (None: too short)."""

    transcript: str
    errors: int
    mos: float | None


@dataclass(frozen=True, slots=True)
class ClipResult:
    """The scores of a clip before and after the codec.

    `words`: length of the reference, i.e. the clip's text or, without one, the transcript of the original.
    """

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
    """The encode-decode results of a codec. `referenced`: all clips have a text, so that WERs are against reference texts."""

    codec: str
    about: Mapping[str, Any]
    bits_per_s: float
    referenced: bool
    results: Sequence[ClipResult] = field(default_factory=tuple)

    def wer(self, side: str) -> float | None:
        """Pooled WER of the side `before` or `after`; None without reference words."""
        words = sum(result.words for result in self.results)
        return sum(getattr(result, side).errors for result in self.results) / words if words else None

    def codec_wer(self) -> tuple[float | None, Interval | None]:
        """(WER after - WER before, its 95 % interval by a paired bootstrap over clips); None without reference words."""
        added_errors = [result.after.errors - result.before.errors for result in self.results]
        words = [result.words for result in self.results]
        return (sum(added_errors) / sum(words), bootstrap_interval(added_errors, words)) if sum(words) else (None, None)

    def mos(self, side: str) -> float | None:
        """Mean DNSMOS (OVRL) of the clips rated on both sides; None without any."""
        rated = [getattr(result, side).mos for result in self._rated()]
        return sum(rated) / len(rated) if rated else None

    def mos_change(self) -> tuple[float | None, Interval | None]:
        """(mean DNSMOS after - before, its 95 % bootstrap interval); None without rated clips."""
        differences = [float(t.after.mos or 0) - float(t.before.mos or 0) for t in self._rated()]
        return (sum(differences) / len(differences), bootstrap_interval(differences)) if differences else (None, None)

    def rtf(self) -> float | None:
        """Real-time factor: seconds of encoding and decoding per second of audio."""
        seconds = sum(result.duration_s for result in self.results)
        return sum(result.encode_s + result.decode_s for result in self.results) / seconds if seconds else None

    def to_json(self) -> dict[str, Any]:
        """The scores without the transcripts, whose texts may not be free to publish."""
        (added_errors, added_ci), (change, change_ci) = self.codec_wer(), self.mos_change()
        totals = {
            "n": len(self.results),
            "words": sum(result.words for result in self.results),
            "referenced": self.referenced,
            "wer_before": self.wer("before"),
            "wer_after": self.wer("after"),
            "codec_wer": added_errors,
            "codec_wer_ci": added_ci,
            "n_mos": len(self._rated()),
            "dnsmos_before": self.mos("before"),
            "dnsmos_after": self.mos("after"),
            "dnsmos_change": change,
            "dnsmos_change_ci": change_ci,
            "rtf": self.rtf(),
        }
        plain = {"codec": self.codec, "about": dict(self.about), "bits_per_s": self.bits_per_s}
        clips = [asdict(result) for result in self.results]
        for clip in clips:
            for side in ("before", "after"):
                del clip[side]["transcript"]
        return {"version": VERSION, **plain, "totals": totals, "clips": clips}

    def _rated(self) -> list[ClipResult]:
        return [result for result in self.results if result.before.mos is not None and result.after.mos is not None]


class CodecBenchmark:
    """Scores codecs by a reference ASR and DNSMOS. The scores of originals are cached and shared by several codecs."""

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
        """The encode-decode control of a codec over `clips`. `keep` is called with each clip and its resynthesis."""
        results = []
        for clip in clips:
            sound, encode_s, decode_s = resynthesis(codec, clip.audio)
            results.append(self._clip_result(clip, sound, encode_s, decode_s))
            if keep:
                keep(clip, sound)
        about_codec = getattr(codec, "about", None)
        about = dict(about_codec()) if about_codec else {}
        return CodecControl(name, about, bits_per_s(codec), all(clip.text for clip in clips), results)

    def _clip_result(self, clip: CodecClip, sound: AudioChunk, encode_s: float, decode_s: float) -> ClipResult:
        key = audio.sha256(clip.audio.samples, clip.audio.rate_hz)
        if key not in self._originals:
            self._originals[key] = self._transcribe_and_rate(clip.audio)
        original, resynthesized = self._originals[key], self._transcribe_and_rate(sound)
        reference = normalize_for_wer(clip.text if clip.text else original[0], transcript=not clip.text)
        before, after = (_judge_against(reference, *scores) for scores in (original, resynthesized))
        seconds = len(clip.audio.samples) / clip.audio.rate_hz
        return ClipResult(clip.name, clip.speaker, len(reference.split()), before, after, seconds, encode_s, decode_s)

    def _transcribe_and_rate(self, sound: AudioChunk) -> tuple[str, float | None]:
        return self._recognizer.transcribe(sound).text.strip(), self._rater.measure(sound).get(MOS)


def resynthesis(codec: Codec, sound: AudioChunk) -> tuple[AudioChunk, float, float]:
    """(the decoded audio at the codec's rate, padded or cut to the input's duration; seconds of encoding, of decoding)."""
    start = time.perf_counter()
    wave = audio.resample(sound, codec.sample_rate_hz).samples
    codes, _ = codec.encode(wave, last=True)
    coded = time.perf_counter()
    decoded, _ = codec.decode(codes, last=True)
    done = time.perf_counter()
    fitted: Samples = np.pad(decoded[: len(wave)], (0, max(0, len(wave) - len(decoded))))
    return AudioChunk(fitted, codec.sample_rate_hz), coded - start, done - coded


def bits_per_s(codec: Codec) -> float:
    return codec.frame_rate_hz * codec.num_codebooks * math.log2(codec.cardinality)


def user_clips(scenarios: Sequence[Scenario]) -> Iterator[CodecClip]:
    """The user turns of scenarios as clips, with their texts."""
    for scenario in scenarios:
        for index, turn in enumerate(scenario.turns):
            name = scenario.id if len(scenario.turns) == 1 else f"{scenario.id}-{index + 1}"
            yield CodecClip(name, audio.load(turn.audio), turn.text, turn.speaker)


def _judge_against(reference: str, transcript: str, mos: float | None) -> JudgedAudio:
    """The scores of one audio against the normalized reference; an empty reference has no errors."""
    errors = 0
    if reference:
        out = jiwer.process_words(reference, normalize_for_wer(transcript, transcript=True))
        errors = out.substitutions + out.deletions + out.insertions
    return JudgedAudio(transcript, errors, mos)
