"""What a recogniser understands of the speaking side: texts -> codes, drawn as live -> audio -> words, held against the texts.

    python -m reference_model.train.speech_output.intelligibility_eval --codec runs/train/output-1 --speech runs/train/output-2 \\
        --texts runs/data/output/plan.jsonl --split valid --limit 100 --top-k 1 --top-k 2

Beside it stand the floors: the same segments spoken by the voice that was learnt from, and its speech there and back through the
codec. Texts are lines of JSON with "text", or with "question" and "reply" (a decoder that reads the LLM's thoughts is then given
them, unless --no-thoughts), or plain lines.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import jiwer
import numpy as np
import torch

from fobench.api import registry
from fobench.api.components import Recognizer
from fobench.api.types import AudioChunk
from fobench.audio import resample
from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalise as normal
from fobench.statistics.bootstrap import bootstrap_ratio
from reference_model.checkpoint import loading
from reference_model.codec.reference_codec import ReferenceCodec
from reference_model.config import ModelConfig
from reference_model.speech_output.sampling import Sampling
from reference_model.speech_output.segmenter import normalise
from reference_model.speech_output.speech_decoder import SpeechDecoder
from reference_model.train.engine.command import StageCommand
from reference_model.train.llm.frozen_llm import FrozenLLM
from reference_model.train.speech_output import batch_synthesis
from reference_model.train.speech_output.batch_synthesis import SynthesisLine, SynthesisPart
from reference_model.train.speech_output.reply_segments import voice_of
from reference_model.train.speech_output.stage_checkpoints import check_codes, load_codec, load_decoder


@dataclass(frozen=True, slots=True)
class IntelligibilityResult:
    """How one way of speaking was understood: `heard` is a transcript a line; rates are pooled over lines."""

    name: str
    heard: tuple[str, ...]
    wer: float
    wer_ci: tuple[float, float] | None
    cer: float
    speech_s: float
    made_in_s: float
    endless: int = 0  # segments that did not end of themselves

    def __str__(self) -> str:
        low, high = self.wer_ci or (float("nan"), float("nan"))
        rates = f"WER {self.wer:7.2%} ({low:.2%}-{high:.2%})  CER {self.cer:7.2%}"
        return f"{self.name:16} {rates}  {self.speech_s:6.1f} s in {self.made_in_s:5.1f} s  endless {self.endless}"


def read(path: Path, split: str, limit: int) -> list[SynthesisLine]:
    """The first lines of a file that can be said. FobenchError where there is none, or no file."""
    found: list[SynthesisLine] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FobenchError(f"{path} cannot be read as texts: {error}") from error
    for row in map(_row, lines):
        text = str(row.get("reply") or row.get("text") or "")
        if row.get("split", split) == split and normal(text) and normalise(text) and len(found) < limit:
            found.append(SynthesisLine(text, str(row.get("question", ""))))
    if not found:
        raise FobenchError(f"{path} holds no text to say (split {split}).")
    return found


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = line
    return row if isinstance(row, dict) else {"text": line}


# ---- ways of speaking ------------------------------------------------------------------------------------------------

Waves = list[np.ndarray]  # a segment each


def by_codes(codec: ReferenceCodec, codes: Sequence[torch.Tensor]) -> Waves:
    """Audio [T] of each segment's codes [K, F]."""
    with torch.no_grad():
        made = [codec.decode(one[None].to(codec.device))[0] if one.shape[1] else torch.zeros(0) for one in codes]
    return [one.float().clamp(-1, 1).cpu().numpy() for one in made]


def spoken(
    decoder: SpeechDecoder, codec: ReferenceCodec, parts: Sequence[SynthesisPart], sampling: Sampling
) -> tuple[Waves, int]:
    """Audio of each segment as the decoder says it, and how many had to be ended."""
    said = batch_synthesis.say(decoder, parts, sampling)
    return by_codes(codec, [codes for codes, _ in said]), sum(not ended for _, ended in said)


def by_voice(voice: Any, parts: Sequence[SynthesisPart], rate_hz: int) -> Waves:
    """Audio [T] of each segment by a voice, at the codec's rate."""
    return [resample(voice.speak(normalise(part.text), 0), rate_hz).samples for part in parts]


def through(codec: ReferenceCodec, waves: Waves) -> Waves:
    """Audio there and back."""
    with torch.no_grad():
        codes = [codec.encode(torch.from_numpy(one)[None].to(codec.device))[0] for one in waves]
    return by_codes(codec, codes)


# ---- the judge -------------------------------------------------------------------------------------------------------


def judged(
    name: str,
    lines: Sequence[SynthesisLine],
    parts: Sequence[SynthesisPart],
    make: Callable[[], tuple[Waves, int]],
    rate_hz: int,
    judge: Recognizer,
) -> IntelligibilityResult:
    """Makes the segments' audio, and has each line's recognised as a whole."""
    started = time.perf_counter()
    waves, endless = make()
    made_in_s = time.perf_counter() - started
    whole = [
        np.concatenate([np.zeros(0, np.float32), *(w for w, p in zip(waves, parts, strict=True) if p.line == number)])
        for number in range(len(lines))
    ]
    heard = tuple(judge.transcribe(AudioChunk(one, rate_hz)).text for one in whole)
    words, chars = (rates([line.text for line in lines], heard, kind) for kind in ("words", "chars"))
    ci = bootstrap_ratio(*words)
    speech_s = sum(map(len, whole)) / rate_hz
    wer, cer = (sum(wrong) / sum(size) for wrong, size in (words, chars))
    return IntelligibilityResult(name, heard, wer, ci, cer, speech_s, made_in_s, endless)


def rates(texts: Sequence[str], heard: Sequence[str], per: str) -> tuple[list[int], list[int]]:
    """(edits, length) of every text, both sides normalised; `per`: "words" or "chars"."""
    align = jiwer.process_words if per == "words" else jiwer.process_characters
    wrong, sizes = [], []
    for text, words in zip(texts, heard, strict=True):
        out = align(normal(text), normal(words))
        wrong.append(out.substitutions + out.deletions + out.insertions)
        sizes.append(out.hits + out.substitutions + out.deletions)
    return wrong, sizes


# ---- the command -----------------------------------------------------------------------------------------------------


def loaded(
    config: str, model: Path | None, codec: Path | None, speech: Path | None
) -> tuple[ModelConfig, ReferenceCodec, SpeechDecoder]:
    """From one assembled checkpoint, or from the folders of two stages."""
    if model:
        whole = loading.load(model, device="cpu")
        if not isinstance(whole.codec, ReferenceCodec):
            raise FobenchError(f"{model} has the published codec, which cannot encode: there is no floor to measure.")
        return whole.config, whole.codec, whole.decoder
    if not (codec and speech):
        raise FobenchError("Give --model, or both --codec and --speech.")
    return ModelConfig.load(config), load_codec(codec), load_decoder(speech)


@click.command(cls=StageCommand, help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", default="small", show_default=True, help="Whose LLM, prompt and segmentation; of --model: its own."
)
@click.option("--model", type=Path, help="An assembled checkpoint, instead of --codec and --speech.")
@click.option("--codec", type=Path, help="Folder of output stage 1.")
@click.option("--speech", type=Path, help="Folder of output stage 2 or 3.")
@click.option("--texts", type=Path, required=True)
@click.option("--split", default="valid", show_default=True, help="Of lines that name one.")
@click.option("--limit", default=100, show_default=True, help="Lines.")
@click.option(
    "--top-k", "top_ks", multiple=True, type=int, help="Again for another; without any, the configuration's sampling."
)
@click.option("--seed", default=0, show_default=True, help="Of the draws.")
@click.option("--no-thoughts", is_flag=True, help="Say replies as if the LLM's thoughts were not known.")
@click.option("--no-floors", is_flag=True, help="Leave the voice and the codec out.")
@click.option("--voice", default="piper", show_default=True, help="That spoke what was learnt from.")
@click.option("--recognizer", default="faster-whisper", show_default=True)
@click.option("--backbone", help="Instead of the configuration's.")
@click.option("--threads", default=1, show_default=True, help="Of the voice, and of torch.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--out", type=Path, help="File for results and transcripts, JSON.")
def main(
    config: str,
    model: Path | None,
    codec: Path | None,
    speech: Path | None,
    texts: Path,
    split: str,
    limit: int,
    top_ks: Sequence[int],
    seed: int,
    no_thoughts: bool,
    no_floors: bool,
    voice: str,
    recognizer: str,
    backbone: str | None,
    threads: int,
    device: str,
    out: Path | None,
) -> None:
    torch.set_num_threads(threads)
    about, codes, decoder = loaded(config, model, codec, speech)
    check_codes(codes, decoder.config)
    codes, decoder = codes.to(device), decoder.to(device)
    lines = read(texts, split, limit)
    frozen = FrozenLLM.of_model(about, backbone, {}, device)
    parts = batch_synthesis.parts(decoder, frozen, about, lines, thinking=not no_thoughts, seed=seed)
    judge = registry.create("recognizers", recognizer, {})
    results = []

    def measure(name: str, make: Callable[[], tuple[Waves, int]]) -> None:
        results.append(judged(name, lines, parts, make, codes.sample_rate_hz, judge))
        print(results[-1], flush=True)

    print(f"{len(lines)} texts in {len(parts)} segments", flush=True)
    for sampling in [replace(about.settings.speech, top_k=k) for k in top_ks] or [about.settings.speech]:
        measure(f"top-k {sampling.top_k}", lambda sampling=sampling: spoken(decoder, codes, parts, sampling))
    if not no_floors:
        speaker = voice_of(voice, threads)
        waves = by_voice(speaker, parts, codes.sample_rate_hz)
        measure(voice, lambda: (waves, 0))
        measure(f"{voice} by codec", lambda: (through(codes, waves), 0))
    if out:
        out.write_text(json.dumps([asdict(one) for one in results], indent=1))


if __name__ == "__main__":
    main()
