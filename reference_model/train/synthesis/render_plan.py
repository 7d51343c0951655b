"""The plan of a set: which text is spoken how, in which shard. Made once, before anything is rendered, and then kept."""

from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fobench.errors import FobenchError, unknown
from reference_model.train.synthesis import speakers
from reference_model.train.synthesis.speakers import SpeakingStyle
from reference_model.train.texts.sentence_set import SHORT, WRITTEN, Sentence

SHARD = 500  # items
PLAN, ABOUT = "plan.jsonl", "plan.json"


@dataclass(frozen=True, slots=True)
class RenderRecipe:
    """What a set is made of.

    `weights`: how likely a text of a kind is taken, "made", "sum" and "llm" where it is such a one. `beside`: a set whose texts
    are not taken again. `freely`: voices are mixed in every way.
    """

    items: int
    rate_hz: int
    weights: dict[str, float]
    takes: int  # of each backchannel and interruption, by different speakers
    shares: Mapping[str, float] = field(default_factory=lambda: speakers.SHARES)
    beside: str = ""
    freely: bool = False


RECIPES = {
    "input": RenderRecipe(
        24000, 16000, {"question": 1, "command": 1, "talk": 1, "statement": 0.35, "made": 0.6, "sum": 0.5}, 8
    ),
    "output": RenderRecipe(
        8000, 22050, {"question": 0.3, "command": 0.1, "talk": 0.6, "statement": 1, "made": 1, "sum": 0.4}, 0
    ),
    "more": RenderRecipe(
        40000,
        16000,
        {"question": 1, "command": 1, "talk": 1, "statement": 1, "made": 0, "sum": 0.3, "llm": 4},
        0,
        speakers.FAST_SHARES,
        beside="input",
    ),
    "natural": RenderRecipe(
        20000,
        16000,
        {"question": 1, "command": 1, "talk": 1, "statement": 1, "made": 1, "sum": 1, "llm": 0, "prose": 1},
        0,
        speakers.NATURAL_SHARES,
        freely=True,
    ),
}


@dataclass(frozen=True, slots=True)
class RenderItem:
    """One clip to render. `shard`: the name of its file without .tar; `rate_hz`: of the clip."""

    id: str
    shard: str
    text: str
    kind: str
    source: str
    split: str
    manner: SpeakingStyle
    rate_hz: int
    seed: int


def make(name: str, texts: Sequence[Sentence], *, items: int | None = None, seed: int = 0) -> list[RenderItem]:
    """The plan of the set `name`, at most `items` (default: the recipe's), in the order of rendering."""
    if name not in RECIPES:
        raise unknown("set", name, RECIPES)
    recipe, voices = RECIPES[name], speakers.available(RECIPES[name].shares)
    used = {text.id for text, _ in _takes(RECIPES[recipe.beside], texts, None, seed)} if recipe.beside else ()
    takes = _takes(recipe, [text for text in texts if text.id not in used], items, seed)
    return _sharded([_item(name, recipe, text, take, seed, voices) for text, take in takes])


def _takes(recipe: RenderRecipe, texts: Iterable[Sentence], items: int | None, seed: int) -> list[tuple[Sentence, int]]:
    """The texts drawn for a set, each with the number of its take."""
    takes = [(text, take) for text in texts for take in range(recipe.takes if text.kind in SHORT else 1)]
    ranks = {(text.id, take): _rank(recipe, text, take, seed) for text, take in takes}
    takes = [(text, take) for text, take in takes if ranks[text.id, take] <= 0]
    return sorted(takes, key=lambda pair: ranks[pair[0].id, pair[1]])[: items or recipe.items]


def write(folder: Path, items: Iterable[RenderItem], about: dict[str, Any]) -> None:
    """Puts the plan into `folder`: its lines, then what it was made with (that file marks a complete plan)."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / PLAN, "".join(json.dumps(asdict(item)) + "\n" for item in items))
    _replace(folder / ABOUT, json.dumps(about, indent=1) + "\n")


def read(folder: Path) -> tuple[list[RenderItem], dict[str, Any]] | None:
    """The plan in `folder` and what it was made with; None if there is none. FobenchError if it is damaged."""
    if not (folder / ABOUT).is_file():
        return None
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        records = map(json.loads, (folder / PLAN).read_text(encoding="utf-8").splitlines())
        found = [_restored(record) for record in records]
        if not {"set", "seed"} <= about.keys() or len(found) != about["items"]:
            raise ValueError(f"{len(found)} lines, and {ABOUT} says {about!r:.80}")
        return found, about
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FobenchError(
            f"The plan in {folder} is damaged ({error}). Remove {PLAN} and {ABOUT} to make it anew."
        ) from error


def about(name: str, items: Sequence[RenderItem], seed: int) -> dict[str, Any]:
    """What a plan was made with, and its counts; plain data."""
    voices = Counter(f"{item.manner.voice}{' held out' if item.manner.held_out else ''}" for item in items)
    held_out = sorted({f"{item.manner.voice} {item.manner.speaker}" for item in items if item.manner.held_out})
    counts = {"splits": Counter(i.split for i in items), "kinds": Counter(i.kind for i in items), "voices": voices}
    return {"set": name, "seed": seed, "items": len(items), "speakers_held_out": held_out, **counts}


def by_shard(items: Iterable[RenderItem]) -> dict[str, list[RenderItem]]:
    """{shard: its items}, in the plan's order."""
    shards: defaultdict[str, list[RenderItem]] = defaultdict(list)
    for item in items:
        shards[item.shard].append(item)
    return dict(shards)


def _rank(recipe: RenderRecipe, text: Sentence, take: int, seed: int) -> float:
    """Sorting by it draws without replacement, by weight (Efraimidis and Spirakis 2006); above 0: never to be drawn."""
    weight = recipe.weights.get(text.kind, 1.0 if recipe.takes else 0.0)
    weight *= recipe.weights["made"] if text.source == "made" and text.kind not in SHORT else 1
    weight *= recipe.weights["sum"] if (text.source, text.kind) == ("gsm8k", "statement") else 1
    weight *= recipe.weights.get("llm", 0.0) if text.source == WRITTEN else 1
    chance = random.Random(f"{seed} {text.id} {take}").random()
    return -(chance ** (1 / weight)) if weight else 1.0


def _item(
    name: str, recipe: RenderRecipe, text: Sentence, take: int, seed: int, voices: Mapping[str, float]
) -> RenderItem:
    rng = random.Random(f"{seed} {name} {text.id} {take}")
    if name == "output":
        manner = speakers.OUTPUT
    elif text.split == "valid" and rng.random() < 0.5:
        manner = speakers.draw_held_out(rng, voices)
    else:
        manner = speakers.draw(rng, voices, RECIPES[name].freely)
    label = f"{name}-{text.id}-{take}"
    return RenderItem(
        label, "", text.text, text.kind, text.source, text.split, manner, recipe.rate_hz, rng.randrange(2**31)
    )


def _sharded(items: Sequence[RenderItem]) -> list[RenderItem]:
    """The items with their shards' names: a split a shard, the shards of the splits evenly mixed."""
    splits: defaultdict[str, list[RenderItem]] = defaultdict(list)
    for item in items:
        splits[item.split].append(item)
    placed: list[tuple[float, RenderItem]] = []
    for split, members in splits.items():
        shards = -(-len(members) // SHARD)
        for i, item in enumerate(members):
            number = i // SHARD
            placed.append(((number + 0.5) / shards, _with_shard(item, f"{split}-{number:05d}")))
    return [item for _, item in sorted(placed, key=lambda pair: (pair[0], pair[1].shard))]


def _with_shard(item: RenderItem, shard: str) -> RenderItem:
    return RenderItem(
        item.id, shard, item.text, item.kind, item.source, item.split, item.manner, item.rate_hz, item.seed
    )


def _restored(record: dict[str, Any]) -> RenderItem:
    manner = record.pop("manner")
    return RenderItem(**record, manner=SpeakingStyle(**{**manner, "noise": tuple(manner["noise"])}))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
