"""The render plan of a set: text, speaking style and shard of every clip.

It is made once, before rendering, and stored.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fobench.atomic_files import is_file_name, write_text
from fobench.errors import FobenchError, unknown
from fobench.outside_files import read_json_lines
from reference_model.train.synthesis import speakers
from reference_model.train.synthesis.speakers import SpeakingStyle
from reference_model.train.texts.sentence_set import SHORT, WRITTEN, Sentence

SHARD = 500  # items per shard
PLAN, METADATA = "plan.jsonl", "plan.json"


@dataclass(frozen=True, slots=True)
class RenderRecipe:
    """Composition of a set.

    `weights`: relative sampling weight of a text by its kind, multiplied by "made", "sum" or "llm" for texts of these
    sources. `excluded_set`: a set whose texts are not used again. `free_mixing`: Kokoro's speakers are mixed in random
    proportions.
    """

    items: int
    rate_hz: int
    weights: dict[str, float]
    takes: int  # clips of each backchannel and interruption, by different speakers
    shares: Mapping[str, float] = field(default_factory=lambda: speakers.SHARES)
    excluded_set: str = ""
    free_mixing: bool = False


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
        excluded_set="input",
    ),
    "natural": RenderRecipe(
        20000,
        16000,
        {"question": 1, "command": 1, "talk": 1, "statement": 1, "made": 1, "sum": 1, "llm": 0, "prose": 1},
        0,
        speakers.NATURAL_SHARES,
        free_mixing=True,
    ),
}


@dataclass(frozen=True, slots=True)
class RenderItem:
    """One clip to render.

    `shard`: file name without .tar; `rate_hz`: sampling rate of the clip; `manner`: speaking style.
    """

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
    """Returns the plan of the set `name` in rendering order, with at most `items` items (default: the recipe's number).

    Raises FobenchError for an unknown set.
    """
    if name not in RECIPES:
        raise unknown("set", name, RECIPES)
    recipe, voices = RECIPES[name], speakers.available(RECIPES[name].shares)
    used = (
        {text.id for text, _ in _takes(RECIPES[recipe.excluded_set], texts, None, seed)} if recipe.excluded_set else ()
    )
    takes = _takes(recipe, [text for text in texts if text.id not in used], items, seed)
    return _assign_shards([_item(name, recipe, text, take, seed, voices) for text, take in takes])


def _takes(recipe: RenderRecipe, texts: Iterable[Sentence], items: int | None, seed: int) -> list[tuple[Sentence, int]]:
    """Returns the texts sampled for a set, each with the number of its take."""
    takes = [(text, take) for text in texts for take in range(recipe.takes if text.kind in SHORT else 1)]
    ranks = {(text.id, take): _rank(recipe, text, take, seed) for text, take in takes}
    takes = [(text, take) for text, take in takes if ranks[text.id, take] <= 0]
    return sorted(takes, key=lambda pair: ranks[pair[0].id, pair[1]])[: items or recipe.items]


def write(folder: Path, items: Iterable[RenderItem], metadata: dict[str, Any]) -> None:
    """Writes the plan into `folder`: its items, then its metadata, whose file marks a complete plan."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PLAN, "".join(json.dumps(asdict(item)) + "\n" for item in items))
    write_text(folder / METADATA, json.dumps(metadata, indent=1) + "\n")


def read(folder: Path) -> tuple[list[RenderItem], dict[str, Any]] | None:
    """Returns (items, metadata) of the plan in `folder`, or None if there is none.

    Raises FobenchError if it is damaged.
    """
    if not (folder / METADATA).is_file():
        return None
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        found = [_item_from_json(record) for _, record in read_json_lines(folder / PLAN)]
        if not {"set", "seed"} <= metadata.keys() or len(found) != metadata["items"]:
            raise ValueError(f"{len(found)} lines, and {METADATA} says {metadata!r:.80}")
        return found, metadata
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FobenchError(
            f"The plan in {folder} is damaged ({error}). Remove {PLAN} and {METADATA} to make a new one."
        ) from error


def metadata(name: str, items: Sequence[RenderItem], seed: int) -> dict[str, Any]:
    """Returns the set, the seed and the counts of a plan, as plain data."""
    voices = Counter(f"{item.manner.voice}{' held out' if item.manner.held_out else ''}" for item in items)
    held_out = sorted({f"{item.manner.voice} {item.manner.speaker}" for item in items if item.manner.held_out})
    counts = {"splits": Counter(i.split for i in items), "kinds": Counter(i.kind for i in items), "voices": voices}
    return {"set": name, "seed": seed, "items": len(items), "speakers_held_out": held_out, **counts}


def by_shard(items: Iterable[RenderItem]) -> dict[str, list[RenderItem]]:
    """Returns {shard: its items} in the plan's order."""
    shards: defaultdict[str, list[RenderItem]] = defaultdict(list)
    for item in items:
        shards[item.shard].append(item)
    return dict(shards)


def _rank(recipe: RenderRecipe, text: Sentence, take: int, seed: int) -> float:
    """Returns the sorting key of weighted sampling without replacement (Efraimidis and Spirakis 2006); above 0:
    excluded.
    """
    weight = recipe.weights.get(text.kind, 1.0 if recipe.takes else 0.0)
    weight *= recipe.weights["made"] if text.source == "made" and text.kind not in SHORT else 1
    weight *= recipe.weights["sum"] if (text.source, text.kind) == ("gsm8k", "statement") else 1
    weight *= recipe.weights.get("llm", 0.0) if text.source == WRITTEN else 1
    draw = random.Random(f"{seed} {text.id} {take}").random()
    return -(draw ** (1 / weight)) if weight else 1.0


def _item(
    name: str, recipe: RenderRecipe, text: Sentence, take: int, seed: int, voices: Mapping[str, float]
) -> RenderItem:
    rng = random.Random(f"{seed} {name} {text.id} {take}")
    if name == "output":
        manner = speakers.OUTPUT
    elif text.split == "valid" and rng.random() < 0.5:
        manner = speakers.draw_held_out(rng, voices)
    else:
        manner = speakers.draw(rng, voices, RECIPES[name].free_mixing)
    label = f"{name}-{text.id}-{take}"
    return RenderItem(
        label, "", text.text, text.kind, text.source, text.split, manner, recipe.rate_hz, rng.randrange(2**31)
    )


def _assign_shards(items: Sequence[RenderItem]) -> list[RenderItem]:
    """Returns the items with shard names: one split per shard, the shards of all splits evenly interleaved."""
    splits: defaultdict[str, list[RenderItem]] = defaultdict(list)
    for item in items:
        splits[item.split].append(item)
    placed: list[tuple[float, RenderItem]] = []
    for split, members in splits.items():
        shards = -(-len(members) // SHARD)
        for i, item in enumerate(members):
            number = i // SHARD
            placed.append(((number + 0.5) / shards, replace(item, shard=f"{split}-{number:05d}")))
    return [item for _, item in sorted(placed, key=lambda pair: (pair[0], pair[1].shard))]


def _item_from_json(record: dict[str, Any]) -> RenderItem:
    manner = record.pop("manner")
    if bad := [record[key] for key in ("id", "shard") if not is_file_name(record[key])]:
        raise ValueError(f"{bad[0]!r} is not the name of a file")
    return RenderItem(**record, manner=SpeakingStyle(**{**manner, "noise": tuple(manner["noise"])}))
