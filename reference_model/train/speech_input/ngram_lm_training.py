"""Learns the language model of units that an adapter which spells is read with, from the texts of the training split.

    python -m reference_model.train.speech_input.ngram_lm_training --units runs/train/input-1 --plan runs/data/input --out runs/train/unit_lm.safetensors

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
from fobench.scoring.text_normalization import normalise
from reference_model.checkpoint import safetensors_io
from reference_model.speech_input.bpe_units import BPEUnits
from reference_model.speech_input.ctc_beam_search import BeamSearch
from reference_model.speech_input.ngram_lm import BITS, LARGEST, ORDER, START, NGramLM, shorter, unpacked
from reference_model.train.data.data_options import PATH
from reference_model.train.engine.command import StageCommand
from reference_model.train.engine.pretrained import PretrainedWeights
from reference_model.train.synthesis import render_plan
from reference_model.train.texts import sentence_set

ENTRIES = 200_000  # of the table: 2.8 MB
DISCOUNT = 0.75  # where too few n-grams occur once or twice to tell
LEAST = 1e-6  # of a share that is left, which rounding may have eaten up

Keys = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def learn(found: Iterable[Sequence[int]], size: int, entries: int) -> tuple[Tensor, Tensor]:
    """The table of a `NGramLM` over units 1 to `size` - 1, from texts as units; of at most `entries` n-grams.

    Raises FobenchError where that is too few for the units alone, or where there are too many units.
    """
    if size - 1 > LARGEST or entries < size:
        raise FobenchError(
            f"A table of {entries:,} n-grams does not fit {size:,} units: at most {LARGEST:,}, all in it."
        )
    orders = _orders(found, size)
    chances: dict[int, float] = {}
    lm = NGramLM(chances, {})
    for order, keys in zip(orders, _kept(orders, entries), strict=True):
        logs = np.log(order.chance(keys)).astype(np.float16)  # as they will be stored
        made = dict(zip(keys.tolist(), logs.astype(np.float64).tolist(), strict=True))
        lm.weights.update(_weights(made, lm))
        chances.update(made)
    chances[START + 1] = -math.inf  # never said; its weight is for what follows it
    scores = [(chance, lm.weights.get(key, 0.0)) for key, chance in chances.items()]
    return unpacked(torch.tensor(list(chances))), torch.tensor(scores, dtype=torch.float16)


class _Order:
    """The n-grams of one length: as sorted numbers, with their chances, and what each is worth to the table."""

    def __init__(self, keys: Keys, counts: Floats, lower: Floats) -> None:
        """`lower`: the chance of each one's last unit after the shorter context."""
        _, context = np.unique(keys >> BITS, return_inverse=True)
        total, kinds = np.bincount(context, counts)[context], np.bincount(context, counts > 0)[context]
        discount = _discount(counts)
        backed_off = discount * kinds / total * lower
        self.keys, self.chances = keys, np.maximum(counts - discount, 0.0) / total + backed_off
        self.worth = counts * (np.log(self.chances) - np.log(backed_off))

    def chance(self, keys: Keys) -> Floats:
        return self.chances[np.searchsorted(self.keys, keys)]


def _orders(found: Iterable[Sequence[int]], size: int) -> list[_Order]:
    grams = _grams(found)
    counts = np.bincount(grams[0], minlength=size + 1)[START + 2 :].astype(np.float64)
    orders = [
        _Order(np.arange(START + 2, size + 1), counts, np.full(size - 1, 1 / (size - 1)))
    ]  # every unit has a chance
    for n in range(1, ORDER):
        keys, counts = np.unique(grams[n], return_counts=True)
        suffixes = keys & (1 << BITS * n) - 1
        orders.append(_Order(keys, counts.astype(np.float64), orders[-1].chance(suffixes)))
    return orders


def _grams(found: Iterable[Sequence[int]]) -> list[Keys]:
    """Of each length all n-grams, as numbers: `START` is in them as a context."""
    grams: list[list[Keys]] = [[np.zeros(0, np.int64)] for _ in range(ORDER)]
    for text in found:
        padded = keys = np.array([START, *text], np.int64) + 1
        grams[0].append(padded[1:])
        for n in range(1, ORDER):
            keys = keys[:-1] << BITS | padded[n:]
            grams[n].append(keys)
    return [np.concatenate(column) for column in grams]


def _discount(counts: Floats) -> float:
    """What is taken from every count (Ney, Essen and Kneser 1994, by leaving one out)."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else DISCOUNT


def _kept(orders: Sequence[_Order], entries: int) -> list[Keys]:
    """Of each length the n-grams that are worth most, with all that they begin with: at most `entries`, with `START`."""
    worth = [order.worth.copy() for order in orders]
    for n in range(ORDER - 1, 1, -1):
        begins = np.searchsorted(orders[n - 1].keys, orders[n].keys >> BITS)
        np.maximum.at(worth[n - 1], begins, worth[n])
    lengths = np.repeat(np.arange(1, ORDER), [len(one) for one in worth[1:]])
    keys = np.concatenate([order.keys for order in orders[1:]])
    best = np.argsort(-np.concatenate(worth[1:]), kind="stable")[: entries - len(orders[0].keys) - 1]
    return [orders[0].keys, *(np.sort(keys[best][lengths[best] == n]) for n in range(1, ORDER))]


def _weights(made: Mapping[int, float], lm: NGramLM) -> dict[int, float]:
    """Of the contexts of n-grams with these chances: what they leave to other units, as a share of what `lm`, of shorter ones, does."""
    left: defaultdict[int, float] = defaultdict(lambda: 1.0)
    free: defaultdict[int, float] = defaultdict(lambda: 1.0)
    for key, chance in made.items():
        if context := key >> BITS:
            left[context] -= math.exp(chance)
            free[context] -= math.exp(lm.score(shorter(context), (key & LARGEST + 1) - 1))
    return {key: float(np.float16(math.log(max(left[key], LEAST) / max(free[key], LEAST)))) for key in left}


# ---- command -----------------------------------------------------------------------------------------------------------


def sentences(plans: Iterable[Path], sets: Path | None, written: Path | None) -> list[str]:
    """Different ones of the training split, from plans, question sets and what the LLM wrote; none that the benchmark asks."""
    found = {item.text for folder in plans for item in _items(folder) if item.split == "train"}
    if sets:
        found |= {text.text for text in sentence_set.collect(sets, file=written) if text.split == "train"}
    kept = sorted(text for text in found if normalise(text) not in sentence_set.benchmark())
    if not kept:
        raise FobenchError("There are no texts to learn from: give --plan or --texts.")
    return kept


def _items(folder: Path) -> list[render_plan.RenderItem]:
    found = render_plan.read(folder)
    if found is None:
        raise FobenchError(
            f"There is no plan in {folder}: give the --out folder of reference_model.train.synthesis.render."
        )
    return found[0]


def units_of(path: Path) -> BPEUnits:
    """Those of an adapter that spells, in a stage's folder or in a checkpoint."""
    earlier = PretrainedWeights.read(path)
    known = (earlier.about("adapter") or {}).get("units")
    if not known:
        raise FobenchError(f"{earlier.path} holds no adapter that has learnt units of writing.")
    return BPEUnits(known)


def save(units: BPEUnits, beam: BeamSearch, table: tuple[Tensor, Tensor], path: Path) -> None:
    """Writes a table with what it is for."""
    grams, scores = table
    safetensors_io.save_tensors({"grams": grams, "scores": scores}, {"units": units.merges, "beam": asdict(beam)}, path)


def load(path: Path, units: BPEUnits) -> tuple[BeamSearch, Tensor, Tensor]:
    """(how to search, the table) of a file that `save` wrote. FobenchError where it is another file, or of other units."""
    about, tensors = safetensors_io.load(path)
    if not {"units", "beam"} <= about.keys() or tensors.keys() != {"grams", "scores"}:
        raise FobenchError(
            f"{path} holds no language model of units: make it with reference_model.train.speech_input.ngram_lm_training."
        )
    if about["units"] != units.merges:
        raise FobenchError(
            f"The language model in {path} is of other units than the adapter: make it anew, from these."
        )
    return BeamSearch(**about["beam"]), tensors["grams"], tensors["scores"]


@click.command(cls=StageCommand)
@click.option("--units", type=PATH, required=True, help="Folder of input stage 1, or a checkpoint: whose units.")
@click.option("--plan", "plans", type=PATH, multiple=True, help="Folder of a plan of texts to render; repeatable.")
@click.option("--texts", "sets", type=PATH, help="Folder of question sets: all their texts, rendered or not.")
@click.option("--written", type=PATH, help="Sentences that llm_texts wrote; beside --texts.")
@click.option("--entries", default=ENTRIES, show_default=True, help="N-grams of the table, at most.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
def main(
    units: Path, plans: tuple[Path, ...], sets: Path | None, written: Path | None, entries: int, out: Path
) -> None:
    """Learns the language model of units that an adapter which spells is read with."""
    own, found = units_of(units), sentences(plans, sets, written)
    grams, scores = learn((own.encode(text) for text in found), len(own), entries)
    save(own, BeamSearch(len(grams)), (grams, scores), out)
    print(f"{len(found):,} texts, {len(grams):,} n-grams; {out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
