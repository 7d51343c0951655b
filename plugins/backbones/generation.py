"""The rule by which replies are decoded, besides the temperature."""

from __future__ import annotations

from typing import Literal

Generation = Literal["no-repeat-4", "greedy"]
NO_REPEAT: dict[Generation, int] = {
    "no-repeat-4": 4,
    "greedy": 0,
}  # so many tokens in a row occur once at most; 0: no limit
