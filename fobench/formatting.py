"""Values as text: the only functions that write numbers, percentages, intervals, p-values and times for tables and reports."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

DASH = "\u2013"  # the range dash; alone, it stands for a missing value
MINUS = "\u2212"
TIMES = "\u00d7"
NOT_IN_XML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
NS_PER_S = 1_000_000_000


def printable(text: object) -> str:
    """`text` with control characters and lone surrogates replaced: XML 1.0 refuses them, and a terminal acts on them."""
    return NOT_IN_XML.sub("\ufffd", str(text))


def is_encodable(text: str) -> bool:
    """Whether the text can be encoded as UTF-8: it holds no lone surrogates."""
    return re.search("[\ud800-\udfff]", text) is None


def one_line(text: object) -> str:
    """`text` as printable text on one line."""
    return " ".join(printable(text).split())


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """`value` with thousands separators and a true minus sign, never "-0"; an en dash for None and for what is not finite.

    `signed`: a plus sign stands before positive values.
    """
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{abs(value):,.{decimals}f}"
    if not float(text.replace(",", "")):
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def compact(value: float) -> str:
    """A number of unknown kind: an integer without decimals, anything else with four significant digits."""
    integer = float(value).is_integer() and abs(value) < 1e9
    text = f"{abs(value):,.0f}" if integer else f"{abs(value):.4g}"
    return MINUS + text if value < 0 else text


def percent(share: float | None, decimals: int = 1) -> str:
    """A share of 1 as a percentage, e.g. "91.7 %"."""
    return with_unit(None if share is None else 100 * share, decimals, "%")


def percentage_points(difference: float | None, decimals: int = 1) -> str:
    """A difference of two shares of 1 in percentage points, with its sign, e.g. "+1.2 pp"."""
    return with_unit(None if difference is None else 100 * difference, decimals, "pp", signed=True)


def with_unit(value: float | None, decimals: int, unit: str, *, signed: bool = False) -> str:
    """A number and its unit, e.g. "1,280 ms"; an en dash alone for a missing value."""
    text = number(value, decimals, signed=signed)
    return text if text == DASH else f"{text} {unit}".rstrip()


def interval(
    ends: tuple[float, float] | None, decimals: int, unit: str = "", *, scale: float = 1.0, signed: bool = False
) -> str:
    """An interval, e.g. "84.6–97.9 %", or "−4.1 to 25.0 pp" where an end has a sign; empty where there is none.

    `scale` is the factor from the ends to `unit`.
    """
    if ends is None or not all(math.isfinite(end) for end in ends):
        return ""
    low, high = (number(end * scale, decimals, signed=signed) for end in ends)
    text = f"{low} to {high}" if signed or MINUS in low + high else f"{low}{DASH}{high}"
    return f"{text} {unit}".rstrip()


def p_value(p: float) -> str:
    """A p-value, e.g. "0.031", "< 0.001"."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.995 else "1"


def seconds(ns: float) -> str:
    """Nanoseconds as seconds, e.g. "1.28 s"."""
    return with_unit(ns / NS_PER_S, 2, "s")


def duration(ms: float) -> str:
    """A latency for a sentence, e.g. "840 ms", "1.3 s"."""
    return with_unit(ms, 0, "ms") if abs(ms) < 1000 else with_unit(ms / 1000, 1, "s")


def any_value(value: Any) -> str:
    """A value of run.json on one line: mappings as `key=value`, lists with commas, booleans as yes and no."""
    if isinstance(value, Mapping):
        items = ((one_line(key), item) for key, item in value.items() if item not in (None, "", {}, []))
        return ", ".join(f"{key}={any_value(item)}" for key, item in items)
    if isinstance(value, list | tuple):
        return ", ".join(map(any_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return compact(value) if isinstance(value, float) else one_line(value)
