"""What a report says of each voice that asks, and of its spoken replies without the one that is heard worst.

python reports/tools/by_voice.py reports/spoken-qa-freeze-omni-smollm2-135m
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WRONG = ("substitutions", "deletions", "insertions")


def scores(folder: Path) -> Iterator[dict[str, Any]]:
    """Every score of a scenario that has a value."""
    found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["scenarios"]
    return (one for of_one in found.values() for one in of_one if one["value"] is not None)


def main(folder: Path) -> None:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    spoken = []
    for one in scores(folder):
        detail = one["detail"]
        if one["metric"] == "understanding_wer":
            counts[detail["group"]].update(asked=1, words=detail["ref_words"], wrong=sum(map(detail.get, WRONG)))
        elif one["metric"] in ("accuracy_t2t", "accuracy_s2t"):
            counts[detail["group"]][one["metric"]] += int(one["value"])
        elif one["metric"] == "speech_text_wer":
            spoken.append((sum(map(detail.get, WRONG)), detail["ref_words"]))
    print("| voice | questions | words misheard | right by text | right by ear |\n| --- | --: | --: | --: | --: |")
    for voice, n in sorted(counts.items()):
        wer = 100 * n["wrong"] / n["words"]
        print(f"| {voice} | {n['asked']} | {wer:.1f} % | {n['accuracy_t2t']} | {n['accuracy_s2t']} |")
    for name, some in (("", spoken), (", without the one heard worst", sorted(spoken)[:-1])):
        wrong, words = map(sum, zip(*some, strict=True))
        print(f"\nSpoken replies{name}: {wrong:,} of {words:,} words mistaken, {100 * wrong / words:.1f} %")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
