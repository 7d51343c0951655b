"""How well what an adapter spells is read: greedily, and by beam search with a language model of units, which can be tuned.

    python -m reference_model.train.speech_input.decoding_eval --checkpoint reference_model/shipped/smollm2-135m --spoken-qa --second-pass
    python -m reference_model.train.speech_input.decoding_eval --checkpoint runs/train/small.safetensors --lm runs/train/unit_lm.safetensors \\
        --valid runs/data/input --tune

The language model is the checkpoint's own, or that of --lm. Tuning keeps the best weights in the file of --lm, for
`reference_model.train.release.assemble --lm`. It takes every other clip of each set; those between them are judged. The benchmark's
questions can be judged (--spoken-qa), but nothing is tuned on them. With --second-pass it is what both passes make of a turn that is
read (greedily the second pass alone), and tuning keeps its weights in the checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import click
import jiwer
import torch
from torch import Tensor

from fobench.api import registry
from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalise
from reference_model.checkpoint import loading
from reference_model.model import FreezeOmni
from reference_model.speech_input.bpe_units import BPEUnits, collapsed
from reference_model.speech_input.ctc_adapter import CTCAdapter
from reference_model.speech_input.ctc_beam_search import BeamSearch, CTCPrefixBeam, rescore_jointly
from reference_model.speech_input.log_mel import RATE_HZ
from reference_model.speech_input.ngram_lm import NGramLM
from reference_model.speech_input.whisper_weights import ranged
from reference_model.train.data.asr_batches import PLAIN, AsrBatch, AsrBatcher
from reference_model.train.data.asr_validation import batches
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
    """What was said, and what was heard: natural logs of the units' chances [n, U], `chunk` outputs to a step of the model.

    `also`: of a second pass what the adapter heard [n, U], and the `weights` of both.
    """

    text: str
    log_p: Tensor
    chunk: int
    also: Tensor | None = None
    weights: tuple[float, float] = (1.0, 0.0)


@dataclass(frozen=True, slots=True)
class DecodingMethod:
    """A way of reading: with a language model of the units, or greedily where there is none."""

    units: BPEUnits
    search: BeamSearch | None = None
    lm: NGramLM | None = None

    def __call__(self, clip: ScoredClip) -> str:
        if self.search is None or self.lm is None:
            return self.units.decode(collapsed(clip.log_p.argmax(-1).tolist()))
        if clip.also is not None:
            return self.units.decode(rescore_jointly((clip.log_p, clip.also), clip.weights, self.search, self.lm))
        beam = CTCPrefixBeam(self.search, self.lm)
        for part in clip.log_p.split(clip.chunk):
            beam.push(part)
        return self.units.decode(beam.best)

    def wer(self, clips: Sequence[ScoredClip]) -> float:
        """The share of words read wrongly, after Whisper's normaliser."""
        pairs = [(said, normalise(self(clip))) for clip in clips if (said := normalise(clip.text))]
        return float(jiwer.wer(*map(list, zip(*pairs, strict=True))))

    def chunk_ms(self, clips: Sequence[ScoredClip]) -> float:
        """Time of this process that a step of the model takes to be read."""
        begin = time.process_time()
        for clip in clips:
            self(clip)
        return 1000 * (time.process_time() - begin) / sum(-(-len(clip.log_p) // clip.chunk) for clip in clips)


def reading(adapter: CTCAdapter, lm: Path | None) -> DecodingMethod:
    """With the language model in a file, or the adapter's own. FobenchError where there is neither."""
    if lm:
        search, grams, scores = ngram_lm_training.load(lm, adapter.units)
        return DecodingMethod(adapter.units, search, NGramLM.of(grams, scores))
    if adapter.config.beam is None:
        raise FobenchError("The checkpoint has no language model of its units: give --lm.")
    return DecodingMethod(adapter.units, adapter.config.beam, adapter.lm)


@torch.inference_mode()
def heard(model: FreezeOmni, entries: Sequence[ClipEntry], most: int, *, again: bool = False) -> list[ScoredClip]:
    """Of at most `most` clips as they are, the same ones each time; `again`: by the second pass."""
    encoder = model.encoder
    corpus = Corpus(list(entries), RATE_HZ)
    listening = AsrBatcher(corpus, Sounds.read([], [], RATE_HZ), PLAIN, encoder.front, encoder.chunk, clean=False)
    clips = []
    for batch in batches(entries, listening, most):
        logits, own, valid = _streamed(model, batch)
        size = len(logits[0]) // (batch.features.shape[1] // encoder.chunk)
        if not again:
            rows = zip(batch.texts, logits.log_softmax(-1), valid, strict=True)
            clips += [ScoredClip(text, log_p[inside], size) for text, log_p, inside in rows]
            continue
        second, first = _again(model, batch, logits, own).log_softmax(-1), logits.log_softmax(-1)
        assert model.rereader is not None
        weights = model.rereader.config.weights
        pairs = zip(batch.texts, second, first, valid, strict=True)
        clips += [ScoredClip(text, one[inside], size, other[inside], weights) for text, one, other, inside in pairs]
    return clips


def _streamed(model: FreezeOmni, batch: AsrBatch) -> tuple[Tensor, Tensor, Tensor]:
    """The adapter's logits [B, n, U], features [B, n, F] and mask [B, n], chunk by chunk."""
    config = model.encoder.config
    frames = model.encoder(batch.features, batch.lengths, config.chunk, config.left_chunks)
    found: tuple[Tensor, Tensor, Tensor] = model.adapter(*frames)
    return found


def _again(model: FreezeOmni, batch: AsrBatch, logits: Tensor, own: Tensor) -> Tensor:
    """The second pass's logits [B, n, U]; those of one that corrects are added to the adapter's."""
    assert model.rereader is not None
    frames, mask = model.rereader.encoder()(ranged(batch.features), batch.lengths)
    if model.rereader.config.features:
        return logits + model.rereader(frames, mask, own)[0]
    found: Tensor = model.rereader(frames, mask)[0]
    return found


def tuned(reading: DecodingMethod, clips: Sequence[ScoredClip]) -> BeamSearch:
    """The weights of the search that the fewest words are wrong with."""
    assert reading.search is not None
    tried = [
        replace(reading.search, lm_weight=weight, unit_bonus=bonus)
        for weight, bonus in product(LM_WEIGHTS, UNIT_BONUSES)
    ]
    return min(tried, key=lambda search: replace(reading, search=search).wer(clips))


def questions() -> list[ClipEntry]:
    """The benchmark's, as they are shipped."""
    asked = [(one.id, one.turns[0]) for one in registry.create("suites", "spoken-qa").scenarios(seed=0)]
    return [ClipEntry(name, turn.text, _seconds(Path(turn.audio)), Path(turn.audio)) for name, turn in asked]


def _seconds(path: Path) -> float:
    import soundfile

    return float(soundfile.info(path).duration)


def sets_of(sources: Sequence[Path]) -> dict[str, list[ClipEntry]]:
    """Of each folder of shards the validation split, the clips by voices that are trained on, and by others, apart; of each
    manifest that split, or all of it where it has none."""
    found: dict[str, list[ClipEntry]] = {}
    for source in sources:
        for entry in _judged(source):
            unseen = (entry.info or {}).get("manner", {}).get("held_out")
            kind = "" if unseen is None else " unseen voice" if unseen else " seen voice"
            found.setdefault(f"{source.parent.name if source.is_file() else source.stem}{kind}", []).append(entry)
    return found


def _judged(source: Path) -> list[ClipEntry]:
    try:
        return Corpus.open([source], RATE_HZ, "valid").entries
    except FobenchError:
        if not source.is_file():
            raise
        return Corpus.open([source], RATE_HZ).entries


def read_second(model: FreezeOmni, search: BeamSearch, checkpoint: Path) -> None:
    """Has the second pass of the checkpoint read in this way from now on."""
    assert model.rereader is not None
    config = replace(model.rereader.config, beam=search)
    model.config = replace(model.config, rereader=config)
    loading.save(model, checkpoint)


@click.command(cls=StageCommand)
@click.option("--checkpoint", type=PATH, required=True, help="A model whose adapter spells.")
@click.option(
    "--lm",
    type=PATH,
    help="Language model of its units, of reference_model.train.speech_input.ngram_lm_training.  [default: its own]",
)
@click.option("--valid", type=PATH, multiple=True, help="Folder of shards, or manifest; repeatable.")
@click.option("--spoken-qa", is_flag=True, help="Judge the benchmark's own questions as well.")
@click.option("--second-pass", "again", is_flag=True, help="Of the second pass.")
@click.option("--tune", is_flag=True, help="Find the best weights, and keep them: see above.")
@click.option("--most", default=200, show_default=True, help="Clips of each set.")
def main(
    checkpoint: Path, lm: Path | None, valid: tuple[Path, ...], spoken_qa: bool, again: bool, tune: bool, most: int
) -> None:
    """How well what an adapter spells is read: greedily, and by beam search with a language model of units."""
    model = loading.load(checkpoint, device="cpu")
    if not isinstance(model.adapter, CTCAdapter):
        raise FobenchError(f"The adapter of {checkpoint} does not spell.")
    if again and model.rereader is None:
        raise FobenchError(f"{checkpoint} has no second pass: leave --second-pass out.")
    if tune and lm is None and not again:
        raise FobenchError("--tune keeps what it finds in the file of the language model: give --lm.")
    greedy, beam = DecodingMethod(model.adapter.units), reading(model.adapter, lm)
    sets = {name: heard(model, entries, most, again=again) for name, entries in sets_of(valid).items()}
    if tune:
        beam = replace(beam, search=tuned(beam, [clip for clips in sets.values() for clip in clips[::2]]))
        assert beam.search is not None
        if again:
            read_second(model, beam.search, checkpoint)
        elif lm:
            _, grams, scores = ngram_lm_training.load(lm, greedy.units)
            ngram_lm_training.save(greedy.units, beam.search, (grams, scores), lm)
        sets = {f"{name}, every other clip": clips[1::2] for name, clips in sets.items()}
    if spoken_qa:
        asked = questions()
        sets["spoken-qa"] = heard(model, asked, most=len(asked), again=again)
    print(beam.search)
    for name, clips in sets.items():
        figures = f"WER {100 * greedy.wer(clips):.1f} % greedy, {100 * beam.wer(clips):.1f} % by beam"
        print(f"{name}: {len(clips)} clips, {figures}, {beam.chunk_ms(clips):.2f} ms a chunk")


if __name__ == "__main__":
    main()
