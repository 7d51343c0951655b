"""Trains the n-gram language model over BPE tokens for CTC beam search, on the texts of the training split.

    fobench train unit-lm --units runs/train/input-1 --plan runs/data/input --out runs/train/unit_lm.safetensors

Interpolated absolute discounting (Ney, Essen and Kneser 1994), pruned by weighted difference (Seymore and Rosenfeld 1996).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fobench.errors import FobenchError
from fobench.scoring.text_normalization import normalize_as_whisper
from reference_model.checkpoint import safetensors_io
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_beam_search import BeamSearch
from reference_model.speech_input.ngram_lm import BITS, LARGEST, ORDER, START, NGramLM, shorter, unpacked
from reference_model.train.data.data_options import PATH
from reference_model.train.engine.command import StageCommand
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.synthesis import render_plan
from reference_model.train.texts import sentence_set

ENTRIES = 200_000  # n-grams in the table: 2.8 MB
DISCOUNT = 0.75  # absolute discount where too few n-grams occur once or twice to estimate it
MIN_MASS = 1e-6  # lower bound of a backoff mass, against rounding

Keys = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def learn(texts: Iterable[Sequence[int]], size: int, entries: int) -> tuple[Tensor, Tensor]:
    """Trains an `NGramLM` over tokens 1 to `size` - 1 on texts as token ids: returns its table (keys, scores), at most `entries` n-grams.

    Raises FobenchError where the table cannot hold all unigrams, or where there are too many tokens.
    """
    if size - 1 > LARGEST or entries < size:
        raise FobenchError(
            f"A table of {entries:,} n-grams is too small for {size:,} tokens, or these are more than {LARGEST:,}."
        )
    orders = _orders(texts, size)
    probabilities: dict[int, float] = {}
    lm = NGramLM(probabilities, {})
    for order, keys in zip(orders, _prune(orders, entries), strict=True):
        log_p = np.log(order.probability(keys)).astype(np.float16)  # in the stored precision
        entries_log_p = dict(zip(keys.tolist(), log_p.astype(np.float64).tolist(), strict=True))
        lm.weights.update(_weights(entries_log_p, lm))
        probabilities.update(entries_log_p)
    probabilities[START + 1] = -math.inf  # START is never predicted; its backoff weight applies to the first token
    scores = [(probability, lm.weights.get(key, 0.0)) for key, probability in probabilities.items()]
    return unpacked(torch.tensor(list(probabilities))), torch.tensor(scores, dtype=torch.float16)


class _Order:
    """The n-grams of one order: sorted keys, interpolated probabilities, and the gain of each (weighted difference)."""

    def __init__(self, keys: Keys, counts: Floats, lower: Floats) -> None:
        """`lower`: the probability of each n-gram's last token after the shorter context."""
        _, context = np.unique(keys >> BITS, return_inverse=True)
        total, kinds = np.bincount(context, counts)[context], np.bincount(context, counts > 0)[context]
        discount = _discount(counts)
        backed_off = discount * kinds / total * lower
        self.keys, self.probabilities = keys, np.maximum(counts - discount, 0.0) / total + backed_off
        self.gain = counts * (np.log(self.probabilities) - np.log(backed_off))

    def probability(self, keys: Keys) -> Floats:
        return self.probabilities[np.searchsorted(self.keys, keys)]


def _orders(texts: Iterable[Sequence[int]], size: int) -> list[_Order]:
    grams = _grams(texts)
    counts = np.bincount(grams[0], minlength=size + 1)[START + 2 :].astype(np.float64)
    orders = [
        _Order(np.arange(START + 2, size + 1), counts, np.full(size - 1, 1 / (size - 1)))
    ]  # uniform backoff: every token has a probability
    for n in range(1, ORDER):
        keys, occurrences = np.unique(grams[n], return_counts=True)
        suffixes = keys & (1 << BITS * n) - 1
        orders.append(_Order(keys, occurrences.astype(np.float64), orders[-1].probability(suffixes)))
    return orders


def _grams(texts: Iterable[Sequence[int]]) -> list[Keys]:
    """Returns the keys of all n-grams of each order; `START` occurs as a context."""
    grams: list[list[Keys]] = [[np.zeros(0, np.int64)] for _ in range(ORDER)]
    for text in texts:
        padded = keys = np.array([START, *text], np.int64) + 1
        grams[0].append(padded[1:])
        for n in range(1, ORDER):
            keys = keys[:-1] << BITS | padded[n:]
            grams[n].append(keys)
    return [np.concatenate(column) for column in grams]


def _discount(counts: Floats) -> float:
    """Returns the absolute discount, estimated by leaving one out (Ney, Essen and Kneser 1994)."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else DISCOUNT


def _prune(orders: Sequence[_Order], entries: int) -> list[Keys]:
    """Returns the keys of each order with the largest gain, including all their prefixes: at most `entries`, with
    `START`."""
    gain = [order.gain.copy() for order in orders]
    for n in range(ORDER - 1, 1, -1):
        begins = np.searchsorted(orders[n - 1].keys, orders[n].keys >> BITS)
        np.maximum.at(gain[n - 1], begins, gain[n])
    lengths = np.repeat(np.arange(1, ORDER), [len(one) for one in gain[1:]])
    keys = np.concatenate([order.keys for order in orders[1:]])
    best = np.argsort(-np.concatenate(gain[1:]), kind="stable")[: entries - len(orders[0].keys) - 1]
    return [orders[0].keys, *(np.sort(keys[best][lengths[best] == n]) for n in range(1, ORDER))]


def _weights(log_p: Mapping[int, float], lm: NGramLM) -> dict[int, float]:
    """Returns the log backoff weight of each context: the mass that its n-grams leave, over the mass that the
    lower-order `lm` leaves."""
    left: defaultdict[int, float] = defaultdict(lambda: 1.0)
    lower_left: defaultdict[int, float] = defaultdict(lambda: 1.0)
    for key, probability in log_p.items():
        if context := key >> BITS:
            left[context] -= math.exp(probability)
            lower_left[context] -= math.exp(lm.score(shorter(context), (key & LARGEST + 1) - 1))
    return {key: float(np.float16(math.log(max(left[key], MIN_MASS) / max(lower_left[key], MIN_MASS)))) for key in left}


# ---- command -----------------------------------------------------------------------------------------------------------


def training_texts(plans: Iterable[Path], sets: Path | None, written: Path | None) -> list[str]:
    """Returns the distinct training texts of plans, question sets and LLM-written sentences, without the benchmark's
    questions."""
    found = {item.text for folder in plans for item in _plan_items(folder) if item.split == "train"}
    if sets:
        found |= {text.text for text in sentence_set.collect(sets, file=written) if text.split == "train"}
    kept = sorted(text for text in found if normalize_as_whisper(text) not in sentence_set.benchmark())
    if not kept:
        raise FobenchError("There are no training texts: give --plan or --texts.")
    return kept


def _plan_items(folder: Path) -> list[render_plan.RenderItem]:
    found = render_plan.read(folder)
    if found is None:
        raise FobenchError(
            f"There is no plan in {folder}: give the --out folder of reference_model.train.synthesis.render."
        )
    return found[0]


def load_units(path: Path) -> BPEUnits:
    """Reads the BPE vocabulary of a CTC adapter from a stage's folder or a checkpoint.

    FobenchError where there is none.
    """
    earlier = PretrainedWeights.read(path)
    known = (earlier.part_config("adapter") or {}).get("units")
    if not known:
        raise FobenchError(f"{earlier.path} has no CTC adapter with a BPE vocabulary.")
    return BPEUnits(known)


def save(units: BPEUnits, beam: BeamSearch, table: tuple[Tensor, Tensor], path: Path) -> None:
    """Writes a table with its BPE vocabulary and search weights."""
    grams, scores = table
    safetensors_io.save_tensors({"grams": grams, "scores": scores}, {"units": units.merges, "beam": asdict(beam)}, path)


def load(path: Path, units: BPEUnits) -> tuple[BeamSearch, Tensor, Tensor]:
    """Reads (search weights, keys, scores) from a file of `save`.

    FobenchError for another file or another vocabulary.
    """
    about, tensors = safetensors_io.load(path)
    if not {"units", "beam"} <= about.keys() or tensors.keys() != {"grams", "scores"}:
        raise FobenchError(f"{path} is not an n-gram language model. Make one: fobench train unit-lm --help")
    if about["units"] != units.merges:
        raise FobenchError(
            f"The language model in {path} has another BPE vocabulary than the adapter. Train it again with --units of this adapter."
        )
    return BeamSearch(**about["beam"]), tensors["grams"], tensors["scores"]


@click.command(cls=StageCommand)
@click.option(
    "--units", type=PATH, required=True, help="Folder of input stage 1, or a checkpoint, with the BPE vocabulary."
)
@click.option("--plan", "plans", type=PATH, multiple=True, help="Folder with a plan of texts to render; repeatable.")
@click.option("--texts", "sets", type=PATH, help="Folder of question sets; all their texts are used.")
@click.option("--written", type=PATH, help="File of LLM-written sentences, in addition to --texts.")
@click.option("--entries", default=ENTRIES, show_default=True, help="Maximum number of n-grams.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
def main(
    units: Path, plans: tuple[Path, ...], sets: Path | None, written: Path | None, entries: int, out: Path
) -> None:
    """Trains the n-gram language model over BPE tokens for CTC beam search."""
    vocabulary, found = load_units(units), training_texts(plans, sets, written)
    grams, scores = learn((vocabulary.encode(text) for text in found), len(vocabulary), entries)
    save(vocabulary, BeamSearch(len(grams)), (grams, scores), out)
    print(f"{len(found):,} texts, {len(grams):,} n-grams; {out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
