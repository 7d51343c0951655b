"""Unusable samples: skipped, counted and listed."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_LISTED = 10  # samples that an error message lists; further ones are only counted


@dataclass(slots=True)
class SkippedSamples:
    """Skipped samples as [(shard or shard/clip, reason)]."""

    entries: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, reason: str) -> None:
        """Adds a skipped sample; a clip that is tried in every epoch is listed once."""
        if (where, reason) not in self.entries:
            self.entries.append((where, reason))

    def describe(self, limit: int = MAX_LISTED) -> str:
        """Returns the first `limit` samples, one per line, and the number of further ones."""
        lines = [f"{where}: {reason}" for where, reason in self.entries]
        return "\n".join([*lines[:limit], *([f"... and {len(lines) - limit} more"] if len(lines) > limit else [])])

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        return "\n".join(f"{where}: {reason}" for where, reason in self.entries)
