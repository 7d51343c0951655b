"""Results of a run by the voice of the questions, and its TTS WER with and without the worst reply.

python reports/tools/by_voice.py reports/spoken-qa-freeze-omni-smollm2-135m
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fobench.formatting import percent

EDITS = ("substitutions", "deletions", "insertions")


def scores(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields all scores with a value, of all scenarios."""
    scenarios = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["scenarios"]
    return (score for row in scenarios.values() for score in row if score["value"] is not None)


def main(folder: Path) -> None:
    """Prints the table of voices and the TTS WER."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    replies = []
    for score in scores(folder):
        detail = score["detail"]
        if score["metric"] == "understanding_wer":
            counts[detail["group"]].update(questions=1, words=detail["ref_words"], errors=sum(map(detail.get, EDITS)))
        elif score["metric"] in ("accuracy_t2t", "accuracy_s2t"):
            counts[detail["group"]][score["metric"]] += int(score["value"])
        elif score["metric"] == "speech_text_wer":
            replies.append((sum(map(detail.get, EDITS)), detail["ref_words"]))
    print("| voice | questions | ASR WER | correct, text-in | correct, speech-in |\n| --- | --: | --: | --: | --: |")
    for voice, n in sorted(counts.items()):
        wer = percent(n["errors"] / n["words"])
        print(f"| {voice} | {n['questions']} | {wer} | {n['accuracy_t2t']} | {n['accuracy_s2t']} |")
    for name, counted in (("", replies), (" without the worst reply", sorted(replies)[:-1])):
        errors, words = map(sum, zip(*counted, strict=True))
        print(f"\nTTS WER{name}: {percent(errors / words)} ({errors:,} errors, {words:,} words)")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
