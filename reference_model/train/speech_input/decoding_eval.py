"""Measures the WER of a CTC adapter: greedy decoding, and beam search with an n-gram language model, whose weights can be tuned.

    fobench train beam-search --checkpoint reference_model/shipped/any --spoken-qa --second-pass
    fobench train beam-search --checkpoint runs/train/small.safetensors --lm runs/train/unit_lm.safetensors \\
        --valid runs/data/input --tune

The language model is the checkpoint's own, or that of --lm. Tuning saves the best weights in the file of --lm, for
`reference_model.train.release.assemble --lm`. It uses every other clip of each set; the WER is that of the remaining clips. The
benchmark's questions can be evaluated (--spoken-qa), but are never tuned on. With --second-pass, beam search decodes both passes
jointly (greedy decoding: the second pass alone), and tuning saves the weights in the checkpoint; where the checkpoint's second pass
has a share of attention, its transcripts by CTC, by attention and by both jointly are compared, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import click
import jiwer
import torch
from torch import Tensor

from fobench.api import registry
from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalize_for_wer
from reference_model.checkpoint import loading
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BPEUnits, collapsed
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.speech_input.ctc_beam_search import BeamSearch, CTCPrefixBeam, rescore_jointly
from reference_model.speech_input.log_mel import RATE_HZ
from reference_model.speech_input.ngram_lm import NGramLM
from reference_model.speech_input.whisper_weights import ranged
from reference_model.train.data.asr_batches import PLAIN, AsrBatch, AsrBatcher
from reference_model.train.data.asr_validation import validation_batches
from reference_model.train.data.augmentation import Sounds
from reference_model.train.data.corpus import Corpus
from reference_model.train.data.data_options import PATH
from reference_model.train.data.manifests import ClipEntry
from reference_model.train.engine.command import StageCommand
from reference_model.train.speech_input import ngram_lm_training

LM_WEIGHTS = (0.3, 0.45, 0.6, 0.75)
UNIT_BONUSES = (0.5, 1.0, 1.5, 2.0, 2.5)


@dataclass(frozen=True, slots=True)
class ScoredClip:
    """A reference text and the log-probabilities of the tokens [n, U]; the model computes `chunk` outputs per step.

    For a second pass, `adapter_log_p` [n, U] are the log-probabilities of the adapter, and `weights` those of (second pass, adapter).
    """

    text: str
    log_p: Tensor
    chunk: int
    adapter_log_p: Tensor | None = None
    weights: tuple[float, float] = (1.0, 0.0)


@dataclass(frozen=True, slots=True)
class DecodingMethod:
    """CTC decoding of token log-probabilities: beam search with a language model, or greedy without one.

    Call it with a clip.
    """

    units: BPEUnits
    search: BeamSearch | None = None
    lm: NGramLM | None = None

    def __call__(self, clip: ScoredClip) -> str:
        if self.search is None or self.lm is None:
            return self.units.decode(collapsed(clip.log_p.argmax(-1).tolist()))
        if clip.adapter_log_p is not None:
            return self.units.decode(
                rescore_jointly((clip.log_p, clip.adapter_log_p), clip.weights, self.search, self.lm)
            )
        beam = CTCPrefixBeam(self.search, self.lm)
        for part in clip.log_p.split(clip.chunk):
            beam.push(part)
        return self.units.decode(beam.best)

    def wer(self, clips: Sequence[ScoredClip]) -> float:
        """Returns the WER of the clips, normalized by `fobench-en-2`."""
        return word_error_rate((clip.text, self(clip)) for clip in clips)

    def chunk_ms(self, clips: Sequence[ScoredClip]) -> float:
        """Returns the CPU time to decode one step of the model, ms."""
        begin = time.process_time()
        for clip in clips:
            self(clip)
        return 1000 * (time.process_time() - begin) / sum(-(-len(clip.log_p) // clip.chunk) for clip in clips)


def beam_method(adapter: CTCAdapter, lm: Path | None) -> DecodingMethod:
    """Returns beam search with the language model in a file, or the adapter's own.

    FobenchError where there is neither.
    """
    if lm:
        search, grams, scores = ngram_lm_training.load(lm, adapter.units)
        return DecodingMethod(adapter.units, search, NGramLM.of(grams, scores))
    if adapter.config.beam is None:
        raise FobenchError("The checkpoint has no language model: give --lm.")
    return DecodingMethod(adapter.units, adapter.config.beam, adapter.lm)


@torch.inference_mode()
def score_clips(
    model: FreezeOmni, entries: Sequence[ClipEntry], max_clips: int, *, second_pass: bool = False
) -> list[ScoredClip]:
    """Computes log-probabilities of at most `max_clips` clips without augmentation, the same ones in every run; with
    `second_pass`, of both passes."""
    encoder = model.encoder
    corpus = Corpus(list(entries), RATE_HZ)
    batcher = AsrBatcher(corpus, Sounds.read([], [], RATE_HZ), PLAIN, encoder.front, encoder.chunk, clean=False)
    clips = []
    for batch in validation_batches(entries, batcher, max_clips):
        logits, features, valid = _adapter_outputs(model, batch)
        size = len(logits[0]) // (batch.features.shape[1] // encoder.chunk)
        if not second_pass:
            rows = zip(batch.texts, logits.log_softmax(-1), valid, strict=True)
            clips += [ScoredClip(text, log_p[inside], size) for text, log_p, inside in rows]
            continue
        second, first = _second_pass_logits(model, batch, logits, features).log_softmax(-1), logits.log_softmax(-1)
        assert model.rereader is not None
        weights = model.rereader.config.weights
        pairs = zip(batch.texts, second, first, valid, strict=True)
        clips += [ScoredClip(text, one[inside], size, other[inside], weights) for text, one, other, inside in pairs]
    return clips


@torch.inference_mode()
def second_pass_wer(model: FreezeOmni, entries: Sequence[ClipEntry], max_clips: int) -> dict[str, float]:
    """The WER of the second pass as live sessions run it, turn by turn: by CTC, by attention and by both jointly."""
    assert model.rereader is not None
    own, encoder = model.rereader.config, model.encoder
    batcher = AsrBatcher(
        Corpus(list(entries), RATE_HZ), Sounds.read([], [], RATE_HZ), PLAIN, encoder.front, encoder.chunk, clean=False
    )
    texts: dict[str, list[tuple[str, str]]] = {kind: [] for kind in ("ctc", "attention", "joint")}
    for batch in validation_batches(entries, batcher, max_clips):
        logits, features, valid = _adapter_outputs(model, batch)
        for i, (text, length) in enumerate(zip(batch.texts, batch.lengths.tolist(), strict=True)):
            heard = torch.cat([logits[i, valid[i]], features[i, valid[i]]], -1)[None]
            for kind, found in texts.items():
                model.rereader.config = own.of(kind)
                found.append((text, model.reread(batch.features[i : i + 1, :length], heard)))
    model.rereader.config = own
    return {kind: word_error_rate(found) for kind, found in texts.items()}


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """The WER of (reference, transcript) pairs, normalized by `fobench-en-2`; a reference without words is left out."""
    normalized = [(normalize_for_wer(text), normalize_for_wer(found, transcript=True)) for text, found in pairs]
    references, transcripts = zip(*[pair for pair in normalized if pair[0]], strict=True)
    return float(jiwer.wer(list(references), list(transcripts)))


def _adapter_outputs(model: FreezeOmni, batch: AsrBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the adapter's logits [B, n, U], features [B, n, F] and mask [B, n] with the streaming encoder."""
    config = model.encoder.config
    frames = model.encoder(batch.features, batch.lengths, config.chunk, config.left_chunks)
    found: tuple[Tensor, Tensor, Tensor] = model.adapter(*frames)
    return found


def _second_pass_logits(model: FreezeOmni, batch: AsrBatch, logits: Tensor, features: Tensor) -> Tensor:
    """Computes the logits [B, n, U] of the second pass; a correcting one adds its output to the adapter's logits."""
    assert model.rereader is not None
    frames, mask = model.rereader.encoder()(ranged(batch.features), batch.lengths)
    if model.rereader.config.features:
        return logits + model.rereader(frames, mask, features)[0]
    found: Tensor = model.rereader(frames, mask)[0]
    return found


def tune_search(method: DecodingMethod, clips: Sequence[ScoredClip]) -> BeamSearch:
    """Returns the search weights with the lowest WER, by grid search."""
    assert method.search is not None
    candidates = [
        replace(method.search, lm_weight=weight, unit_bonus=bonus)
        for weight, bonus in product(LM_WEIGHTS, UNIT_BONUSES)
    ]
    return min(candidates, key=lambda search: replace(method, search=search).wer(clips))


def benchmark_questions() -> list[ClipEntry]:
    """Returns the questions of the spoken-qa suite with their shipped audio."""
    asked = [(one.id, one.turns[0]) for one in registry.create("suites", "spoken-qa").scenarios(seed=0)]
    return [ClipEntry(name, turn.text, _seconds(Path(turn.audio)), Path(turn.audio)) for name, turn in asked]


def _seconds(path: Path) -> float:
    import soundfile

    return float(soundfile.info(path).duration)


def validation_sets(sources: Sequence[Path]) -> dict[str, list[ClipEntry]]:
    """Returns the validation clips of each source by set name: shards split by seen and unseen voices; a manifest's validation
    split, or all of it where it has none."""
    found: dict[str, list[ClipEntry]] = {}
    for source in sources:
        for entry in _validation_entries(source):
            unseen = (entry.info or {}).get("manner", {}).get("held_out")
            kind = "" if unseen is None else " unseen voice" if unseen else " seen voice"
            found.setdefault(f"{source.parent.name if source.is_file() else source.stem}{kind}", []).append(entry)
    return found


def _validation_entries(source: Path) -> list[ClipEntry]:
    try:
        return Corpus.open([source], RATE_HZ, "valid").entries
    except FobenchError:
        if not source.is_file():
            raise
        return Corpus.open([source], RATE_HZ).entries


def save_search_weights(model: FreezeOmni, search: BeamSearch, checkpoint: Path) -> None:
    """Saves the search weights of the second pass in the checkpoint."""
    assert model.rereader is not None
    config = replace(model.rereader.config, beam=search)
    model.config = replace(model.config, rereader=config)
    loading.save(model, checkpoint)


@click.command(cls=StageCommand)
@click.option("--checkpoint", type=PATH, required=True, help="A model with a CTC adapter.")
@click.option(
    "--lm",
    type=PATH,
    help="Language model made by fobench train unit-lm.  [default: the checkpoint's own]",
)
@click.option("--valid", type=PATH, multiple=True, help="Folder of shards, or manifest; repeatable.")
@click.option("--spoken-qa", is_flag=True, help="Evaluate the questions of the spoken-qa suite as well.")
@click.option("--second-pass", is_flag=True, help="Evaluate both passes together.")
@click.option("--tune", is_flag=True, help="Find the best search weights and save them.")
@click.option(
    "--most", "max_clips", type=click.IntRange(1, 10_000_000), default=200, show_default=True, help="Clips of each set."
)
def main(
    checkpoint: Path,
    lm: Path | None,
    valid: tuple[Path, ...],
    spoken_qa: bool,
    second_pass: bool,
    tune: bool,
    max_clips: int,
) -> None:
    """Measures the WER of a CTC adapter: greedy decoding, and beam search with an n-gram language model."""
    model = loading.load(checkpoint, device="cpu")
    if not isinstance(model.adapter, CTCAdapter):
        raise FobenchError(f"The adapter of {checkpoint} is not a CTC adapter.")
    if second_pass and model.rereader is None:
        raise FobenchError(f"{checkpoint} has no second pass. Omit --second-pass.")
    if tune and lm is None and not second_pass:
        raise FobenchError("--tune saves the weights in the file of the language model: give --lm.")
    greedy, beam = DecodingMethod(model.adapter.units), beam_method(model.adapter, lm)
    entries = validation_sets(valid)
    sets = {name: score_clips(model, found, max_clips, second_pass=second_pass) for name, found in entries.items()}
    if tune:
        beam = replace(beam, search=tune_search(beam, [clip for clips in sets.values() for clip in clips[::2]]))
        assert beam.search is not None
        if second_pass:
            save_search_weights(model, beam.search, checkpoint)
        elif lm:
            _, grams, scores = ngram_lm_training.load(lm, greedy.units)
            ngram_lm_training.save(greedy.units, beam.search, (grams, scores), lm)
        sets = {f"{name}, every other clip": clips[1::2] for name, clips in sets.items()}
    if spoken_qa:
        entries["spoken-qa"] = asked = benchmark_questions()
        sets["spoken-qa"] = score_clips(model, asked, max_clips=len(asked), second_pass=second_pass)
    print(beam.search)
    for name, clips in sets.items():
        rates = f"WER {100 * greedy.wer(clips):.1f} % greedy, {100 * beam.wer(clips):.1f} % by beam"
        print(f"{name}: {len(clips)} clips, {rates}, {beam.chunk_ms(clips):.2f} ms a chunk")
    if second_pass and model.rereader is not None and model.rereader.config.attention:
        for name, found in entries.items():
            by_kind = second_pass_wer(model, found, len(found) if name == "spoken-qa" else max_clips)
            print(f"{name}: WER of the second pass, " + ", ".join(f"{100 * w:.1f} % {k}" for k, w in by_kind.items()))


if __name__ == "__main__":
    main()
