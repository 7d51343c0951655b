"""Samples that cannot be used: left out, counted and named."""

from __future__ import annotations

from dataclasses import dataclass, field

TOLD = 10  # faults that an error names before it only counts


@dataclass(slots=True)
class SkippedSamples:
    """What was skipped: [(shard or shard/clip, reason)]."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, reason: str) -> None:
        """Takes a fault in, once: a clip that is tried in every epoch is still one."""
        if (where, reason) not in self.found:
            self.found.append((where, reason))

    def told(self, most: int = TOLD) -> str:
        """The first of them, and how many more there are."""
        lines = str(self).splitlines()
        return "\n".join([*lines[:most], *([f"... and {len(lines) - most} more"] if len(lines) > most else [])])

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        return "\n".join(f"{where}: {reason}" for where, reason in self.found)
