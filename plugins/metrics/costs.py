"""What conversations cost: `tokens_input`, `tokens_output`, and by a price table `cost_per_minute`.

A system reports its usage by events of the kind `busy` with data {"work": "usage", "usage": {...}, "model": name}, in the form of
the Realtime protocol: tokens with their division by kind, or {"type": "duration", "seconds"} of a transcription.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from fobench import outside_files
from fobench.api.scenario import Scenario
from fobench.api.trace import Trace
from fobench.api.types import NS_PER_S, EventKind, Score
from fobench.errors import FobenchError
from fobench_plugins.metrics.aggregation import (
    failed_score,
    missing_score,
    missing_total,
    pooled_interval,
    scenario_score,
    scores_with_value,
    total,
)

Side = Literal["input", "output"]
NO_USAGE = "the system reports no usage"
NO_PRICES = "no price table: fobench score RUN --metric cost_per_minute --metric-args prices=FILE (docs/prices.toml)"
NAMES = {"input": ("input_tokens", "prompt_tokens"), "output": ("output_tokens", "completion_tokens")}
KINDS = ("text", "audio", "image")
MILLION = 1_000_000
MOST = 10**15  # tokens


@dataclass(frozen=True, slots=True)
class Usage:
    """One report of a system: tokens by kind, e.g. {"audio_input": 40}, and the seconds of what is charged by duration."""

    model: str
    tokens: Mapping[str, int]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """Prices of a model: of a million tokens by kind, and of minutes. None: it has no such price."""

    text_input: float | None = None
    audio_input: float | None = None
    image_input: float | None = None
    cached_text_input: float | None = None
    cached_audio_input: float | None = None
    cached_image_input: float | None = None
    input: float | None = None  # where the server does not divide its tokens
    text_output: float | None = None
    audio_output: float | None = None
    output: float | None = None
    minute: float | None = None  # of audio that the server charges by duration (transcription)
    minute_in: float | None = None  # of the user's audio
    minute_out: float | None = None  # of the replies' audio
    session_minute: float | None = None  # of the conversation


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The content of a price file."""

    currency: str
    models: dict[str, ModelPrices] = field(default_factory=dict)


def load_prices(path: Path) -> PriceTable:
    """The price table in a TOML file. Raises FobenchError for one that cannot be read, or with a price below zero."""
    try:
        table = outside_files.record(PriceTable, outside_files.read_toml(path))
    except (OSError, ValueError) as error:
        raise FobenchError(
            f"The price table {path} cannot be read: {error}. Its format is that of docs/prices.toml."
        ) from error
    for name, prices in table.models.items():
        if wrong := [key for key, price in asdict(prices).items() if price is not None and not 0 <= price < MOST]:
            raise FobenchError(f"The price table {path}: {wrong[0]} of {name!r} must be a price, from 0.")
    if not table.models:
        raise FobenchError(f"The price table {path} has no [models.NAME]. Its format is that of docs/prices.toml.")
    return table


def usages(trace: Trace) -> Iterator[Usage]:
    """What the system has reported in a conversation."""
    for event in trace.of(EventKind.BUSY):
        reported = event.data.get("usage")
        if event.data.get("work") != "usage" or not isinstance(reported, Mapping):
            continue
        seconds = reported.get("seconds") if reported.get("type") == "duration" else None
        charged = float(seconds) if isinstance(seconds, int | float) and 0 < seconds < MOST else 0.0
        tokens = {**_tokens(reported, "input"), **_tokens(reported, "output")}
        yield Usage(str(event.data.get("model") or ""), tokens, charged)


def _tokens(reported: Mapping[str, Any], side: Side) -> dict[str, int]:
    """{kind: tokens} of one side of a report; what a server does not divide is of the kind `input` or `output`."""
    sum_ = next(filter(None, (_count(reported, name) for name in NAMES[side])), 0)
    details = _table(reported, f"{side}_token_details") or _table(reported, f"{side}_tokens_details")
    cached = _table(details, "cached_tokens_details")
    found = {}
    for kind in KINDS:
        of_kind, of_cache = _count(details, f"{kind}_tokens"), _count(cached, f"{kind}_tokens")
        found[f"{kind}_{side}"] = max(0, of_kind - of_cache)
        found[f"cached_{kind}_{side}"] = of_cache
    found[side] = max(0, sum_ - sum(found.values()))
    return {kind: number for kind, number in found.items() if number}


def _count(reported: Mapping[str, Any], key: str) -> int:
    value = reported.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST else 0


def _table(reported: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = reported.get(key)
    return value if isinstance(value, Mapping) else {}


class Tokens:
    """Tokens per conversation, as the system reports them."""

    version = 1
    unit = "tokens"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, side: Side) -> None:
        self.name, self.side = f"tokens_{side}", side

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        kinds: Counter[str] = Counter()
        reports = list(usages(trace))
        for usage in reports:
            kinds.update({kind: number for kind, number in usage.tokens.items() if kind.endswith(self.side)})
        if not any(usage.tokens for usage in reports):
            return missing_score(self, NO_USAGE, scenario)
        return scenario_score(self, kinds.total(), scenario, kinds=dict(sorted(kinds.items())))

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        if not found:
            return [missing_total(self, scores)]
        values = [score.value or 0.0 for score in found]
        kinds: Counter[str] = Counter()
        for score in found:
            kinds.update(score.detail["kinds"])
        ci, blocked = pooled_interval(values, None, found)
        mean = sum(values) / len(found)
        return [
            total(self, mean, len(found), scores, ci, kinds=dict(sorted(kinds.items())), sum=sum(values), **blocked)
        ]


class CostPerMinute:
    """Money per minute of conversation, by a price table: the sum of the costs / the sum of the minutes."""

    name = "cost_per_minute"
    version = 1
    unit = "per minute"
    better: Literal["higher", "lower", "none"] = "lower"

    def __init__(self, prices: PriceTable | None = None) -> None:
        self._prices = prices

    def score(self, trace: Trace, scenario: Scenario) -> Score:
        if trace.failure:
            return failed_score(self, trace)
        reports = list(usages(trace))
        if self._prices is None:
            return missing_score(self, NO_PRICES if reports else NO_USAGE, scenario)
        heard_s, spoken_s = trace.duration_ns / NS_PER_S, sum(r.generated_ns for r in trace.replies) / NS_PER_S
        try:
            parts = self._parts(reports, heard_s, spoken_s)
        except LookupError as error:
            return missing_score(self, str(error.args[0]), scenario)
        if not parts or not heard_s:
            return missing_score(self, NO_USAGE, scenario)
        cost, minutes = sum(parts.values()), heard_s / 60
        detail = {"cost": cost, "minutes": minutes, "minutes_out": spoken_s / 60, "parts": parts}
        return scenario_score(self, cost / minutes, scenario, **detail)

    def _parts(self, reports: Sequence[Usage], heard_s: float, spoken_s: float) -> dict[str, float]:
        """{what: money}. Raises LookupError, with the reason, where the table lacks a price."""
        parts: Counter[str] = Counter()
        for usage in reports:
            name, prices = self._of(usage.model)
            charged = {kind: number / MILLION for kind, number in usage.tokens.items()}
            if usage.seconds:
                charged["minute"] = usage.seconds / 60
            for kind, amount in charged.items():
                if (price := getattr(prices, kind)) is None:
                    raise LookupError(f"the price table has no {kind} of {name!r}")
                parts[kind] += amount * price
        by_time = {"minute_in": heard_s, "minute_out": spoken_s, "session_minute": heard_s}
        for name in dict.fromkeys(usage.model for usage in reports) or [""]:
            _, prices = self._of(name)
            for kind, seconds in by_time.items():
                if (price := getattr(prices, kind)) is not None:
                    parts[kind] += seconds / 60 * price
        return dict(sorted(parts.items()))

    def _of(self, model: str) -> tuple[str, ModelPrices]:
        """The prices of a model; of the table's only one where the system does not name its model."""
        assert self._prices is not None
        models = self._prices.models
        name = next(iter(models)) if not model and len(models) == 1 else model
        if name not in models:
            what = f"has no model {model!r}" if model else "has several models, and the system does not name its own"
            raise LookupError(f"the price table {what}: it has {', '.join(map(repr, models))}")
        return name, models[name]

    def aggregate(self, scores: Sequence[Score]) -> list[Score]:
        found = scores_with_value(scores)
        if not found:
            return [missing_total(self, scores)]
        costs, minutes = ([score.detail[key] for score in found] for key in ("cost", "minutes"))
        parts: Counter[str] = Counter()
        for score in found:
            parts.update(score.detail["parts"])
        ci, blocked = pooled_interval(costs, minutes, found)
        spent = {
            "cost": sum(costs),
            "minutes": sum(minutes),
            "minutes_out": sum(s.detail["minutes_out"] for s in found),
        }
        prices = asdict(self._prices) if self._prices else {}
        detail = {"currency": prices.get("currency", ""), "parts": dict(sorted(parts.items())), **spent, **blocked}
        return [total(self, sum(costs) / sum(minutes), len(found), scores, ci, **detail, prices=_given(prices))]


def _given(prices: Mapping[str, Any]) -> dict[str, Any]:
    """The prices that a table gives, for the record."""
    names = [each.name for each in fields(ModelPrices)]
    models = prices.get("models", {})
    return {model: {key: row[key] for key in names if row[key] is not None} for model, row in models.items()}
