"""Intelligibility of the speech decoder: TTS WER and CER of synthesized texts, by a reference ASR.

    fobench train say --codec runs/train/output-1 \\
        --speech runs/train/output-2 --texts runs/data/output/plan.jsonl \\
        --split valid --limit 100 --top-k 1 --top-k 2

Codes are sampled as in inference. Two controls give lower bounds: the same segments by the voice of the training data,
and its speech after encode-decode by the codec. Texts are plain lines, or JSON lines with "text", or with "question"
and "reply"; a decoder with a prefix network then gets the LLM's hidden states, unless --no-thoughts is set.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import jiwer
import numpy as np
import torch

from fobench.api import registry
from fobench.api.components import Recognizer
from fobench.api.types import AudioChunk
from fobench.atomic_files import write_text
from fobench.audio import resample
from fobench.errors import FobenchError
from fobench.outside_files import parse_json, read_lines
from fobench.scoring.text_normalization import normalize_for_wer
from fobench.statistics.bootstrap import bootstrap_interval
from reference_model.checkpoint import loading
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.config import ModelConfig
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.segmenter import normalize
from reference_model.speech_output.speech_decoder import SpeechDecoder
from reference_model.train.engine.command import StageCommand
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output import batch_synthesis
from reference_model.train.speech_output.batch_synthesis import SynthesisLine, SynthesisPart
from reference_model.train.speech_output.reply_segments import reply_voice
from reference_model.train.speech_output.stage_checkpoints import check_codes, load_codec, load_decoder


@dataclass(frozen=True, slots=True)
class IntelligibilityResult:
    """Intelligibility of one synthesis method: `heard` is the transcript of each line; error rates are pooled over
    lines.
    """

    name: str
    heard: tuple[str, ...]
    wer: float
    wer_ci: tuple[float, float] | None
    cer: float
    speech_s: float
    made_in_s: float
    endless: int = 0  # segments without an end token

    def __str__(self) -> str:
        low, high = self.wer_ci or (float("nan"), float("nan"))
        rates = f"WER {self.wer:7.2%} ({low:.2%}-{high:.2%})  CER {self.cer:7.2%}"
        return f"{self.name:16} {rates}  {self.speech_s:6.1f} s in {self.made_in_s:5.1f} s  endless {self.endless}"


def read(path: Path, split: str, limit: int) -> list[SynthesisLine]:
    """Returns the first `limit` lines that can be synthesized. Raises FobenchError if there is none, or no file."""
    texts: list[SynthesisLine] = []
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        raise FobenchError(f"{path} cannot be read as texts: {error}") from error
    for row in (_row(line) for _, line in lines):
        text = row.get("reply") or row.get("text") or ""
        if not isinstance(text, str):
            raise FobenchError(f"{path} cannot be read as texts: {text!r:.60} is not a text.")
        if row.get("split", split) == split and normalize_for_wer(text) and normalize(text) and len(texts) < limit:
            texts.append(SynthesisLine(text, str(row.get("question", ""))))
    if not texts:
        raise FobenchError(f"{path} holds no text to synthesize (split {split}).")
    return texts


def _row(line: str) -> dict[str, Any]:
    """Parses a JSON object; any other line is a text."""
    try:
        row = parse_json(line)
    except ValueError:
        row = line
    return row if isinstance(row, dict) else {"text": line}


# ---- synthesis -------------------------------------------------------------------------------------------------------

Waveforms = list[np.ndarray]  # audio [T] of each segment


def decode(codec: ReferenceCodec, codes: Sequence[torch.Tensor]) -> Waveforms:
    """Returns the audio [T] of each segment's codes [K, F]."""
    with torch.no_grad():
        audio = [codec.decode(one[None].to(codec.device))[0] if one.shape[1] else torch.zeros(0) for one in codes]
    return [one.float().clamp(-1, 1).cpu().numpy() for one in audio]


def synthesize_parts(
    decoder: SpeechDecoder, codec: ReferenceCodec, parts: Sequence[SynthesisPart], sampling: Sampling
) -> tuple[Waveforms, int]:
    """Returns the audio of each segment by the decoder, and the number of segments without an end token."""
    segments = batch_synthesis.synthesize(decoder, parts, sampling)
    return decode(codec, [codes for codes, _ in segments]), sum(not ended for _, ended in segments)


def synthesize_with_voice(voice: Any, parts: Sequence[SynthesisPart], rate_hz: int) -> Waveforms:
    """Returns the audio [T] of each segment by a voice, at the codec's rate."""
    return [resample(voice.speak(normalize(part.text), 0), rate_hz).samples for part in parts]


def resynthesize(codec: ReferenceCodec, waveforms: Waveforms) -> Waveforms:
    """Returns the audio after encode-decode by the codec."""
    with torch.no_grad():
        codes = [codec.encode(torch.from_numpy(one)[None].to(codec.device))[0] for one in waveforms]
    return decode(codec, codes)


# ---- recognition -----------------------------------------------------------------------------------------------------


def evaluate(
    name: str,
    lines: Sequence[SynthesisLine],
    parts: Sequence[SynthesisPart],
    synthesize: Callable[[], tuple[Waveforms, int]],
    rate_hz: int,
    recognizer: Recognizer,
) -> IntelligibilityResult:
    """Synthesizes the segments and transcribes the audio of each line; `synthesize`: as `synthesize_parts`."""
    started = time.perf_counter()
    waveforms, endless = synthesize()
    made_in_s = time.perf_counter() - started
    audio = [
        np.concatenate(
            [np.zeros(0, np.float32), *(w for w, p in zip(waveforms, parts, strict=True) if p.line == number)]
        )
        for number in range(len(lines))
    ]
    transcripts = tuple(recognizer.transcribe(AudioChunk(one, rate_hz)).text for one in audio)
    words, chars = (rates([line.text for line in lines], transcripts, kind) for kind in ("words", "chars"))
    ci = bootstrap_interval(*words)
    speech_s = sum(map(len, audio)) / rate_hz
    wer, cer = (sum(edits) / sum(lengths) for edits, lengths in (words, chars))
    return IntelligibilityResult(name, transcripts, wer, ci, cer, speech_s, made_in_s, endless)


def rates(texts: Sequence[str], transcripts: Sequence[str], per: str) -> tuple[list[int], list[int]]:
    """Returns (edits, reference lengths) of every text after normalization of both sides; `per`: "words" or "chars"."""
    align = jiwer.process_words if per == "words" else jiwer.process_characters
    edits, lengths = [], []
    for text, transcript in zip(texts, transcripts, strict=True):
        out = align(normalize_for_wer(text), normalize_for_wer(transcript, transcript=True))
        edits.append(out.substitutions + out.deletions + out.insertions)
        lengths.append(out.hits + out.substitutions + out.deletions)
    return edits, lengths


# ---- the command -----------------------------------------------------------------------------------------------------


def load_models(
    config: str, model: Path | None, codec: Path | None, speech: Path | None
) -> tuple[ModelConfig, ReferenceCodec, SpeechDecoder]:
    """Returns configuration, codec and speech decoder of an assembled checkpoint, or of the folders of two stages.

    Raises FobenchError if neither is given, or for the published codec, which has no encoder.
    """
    if model:
        checkpoint = loading.load(model, device="cpu")
        if not isinstance(checkpoint.codec, ReferenceCodec):
            raise FobenchError(f"{model} has the published codec, which has no encoder for the control.")
        return checkpoint.config, checkpoint.codec, checkpoint.decoder
    if not (codec and speech):
        raise FobenchError("Give --model, or both --codec and --speech.")
    return ModelConfig.load(config), load_codec(codec), load_decoder(speech)


@dataclass(frozen=True, slots=True)
class IntelligibilityOptions:
    """The options of the command."""

    config: str
    model: Path | None
    codec: Path | None
    speech: Path | None
    texts: Path
    split: str
    limit: int
    top_ks: tuple[int, ...]
    seed: int
    no_thoughts: bool
    no_floors: bool
    voice: str
    recognizer: str
    backbone: str | None
    threads: int
    device: str
    out: Path | None


@click.command(cls=StageCommand, help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    default="small",
    show_default=True,
    help="Configuration with LLM, prompt and segmentation; ignored with --model.",
)
@click.option("--model", type=Path, help="An assembled checkpoint, instead of --codec and --speech.")
@click.option("--codec", type=Path, help="Folder of output stage 1.")
@click.option("--speech", type=Path, help="Folder of output stage 2 or 3.")
@click.option("--texts", type=Path, required=True, help="File of texts.")
@click.option("--split", default="valid", show_default=True, help="Split of lines that name one.")
@click.option("--limit", type=click.IntRange(1, 10_000_000), default=100, show_default=True, help="Number of lines.")
@click.option(
    "--top-k",
    "top_ks",
    multiple=True,
    type=click.IntRange(1, 1_000_000),
    help="Repeatable.  [default: the configuration's sampling]",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the sampling.")
@click.option("--no-thoughts", is_flag=True, help="Synthesize replies without the LLM's hidden states.")
@click.option("--no-floors", is_flag=True, help="Skip the two controls, voice and codec.")
@click.option("--voice", default="piper", show_default=True, help="Voice of the training data.")
@click.option("--recognizer", default="faster-whisper", show_default=True, help="The reference ASR.")
@click.option("--backbone", help="Instead of the configuration's.")
@click.option(
    "--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads of the voice and of torch."
)
@click.option("--device", default="cpu", show_default=True)
@click.option("--out", type=Path, help="File for results and transcripts, JSON.")
def main(**values: Any) -> None:
    run(IntelligibilityOptions(**values))


def run(options: IntelligibilityOptions) -> None:
    """Evaluates the speech decoder, and the two controls, and prints and writes the results."""
    torch.set_num_threads(options.threads)
    config, codec, decoder = load_models(options.config, options.model, options.codec, options.speech)
    check_codes(codec, decoder.config)
    codec, decoder = codec.to(options.device), decoder.to(options.device)
    lines = read(options.texts, options.split, options.limit)
    frozen = FrozenLLM.of_model(config, options.backbone, {}, options.device)
    use_hidden = not options.no_thoughts
    parts = batch_synthesis.make_parts(decoder, frozen, config, lines, use_hidden=use_hidden, seed=options.seed)
    recognizer = registry.create("recognizers", options.recognizer, {})
    results = []

    def measure(name: str, synthesize: Callable[[], tuple[Waveforms, int]]) -> None:
        results.append(evaluate(name, lines, parts, synthesize, codec.sample_rate_hz, recognizer))
        print(results[-1], flush=True)

    print(f"{len(lines)} texts in {len(parts)} segments", flush=True)
    sampling = config.settings.speech
    for setting in [replace(sampling, top_k=k) for k in options.top_ks] or [sampling]:
        measure(f"top-k {setting.top_k}", partial(synthesize_parts, decoder, codec, parts, setting))
    if not options.no_floors:
        voice = reply_voice(options.voice, options.threads)
        waveforms = synthesize_with_voice(voice, parts, codec.sample_rate_hz)
        measure(options.voice, lambda: (waveforms, 0))
        measure(f"{options.voice} by codec", lambda: (resynthesize(codec, waveforms), 0))
    if options.out:
        write_text(options.out, json.dumps([asdict(result) for result in results], indent=1))


if __name__ == "__main__":
    main()
