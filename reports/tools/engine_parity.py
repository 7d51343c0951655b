"""What the engine of a GGUF file changes: hidden states, replies and right answers by llama.cpp against torch in float32.

python reports/tools/engine_parity.py smollm2-135m qwen2.5-coder-0.5b --work FOLDER -o reports/performance

The 240 shipped questions are answered in text, greedily, by each form. Replies are kept in FOLDER as they are made, and the command
ends after `--minutes`; the same command continues, and writes engine-parity.json and engine-parity.md when all replies are there.
Replies by another form, in a file replies-BACKBONE-FORM.jsonl of the same folder, are compared as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch

from fobench.api import registry
from fobench.api.scenario import Scenario
from fobench.api.types import Message
from fobench.console import markdown_table
from fobench.formatting import percent, percentage_points
from fobench.statistics.proportions import paired_shares
from fobench.storage import environment
from fobench_plugins.metrics.correctness import match_answer
from fobench_plugins.systems.cascade.system import SYSTEM_PROMPT

FORMS: dict[str, dict[str, str]] = {"torch float32": {"dtype": "float32"}, "llama.cpp": {"engine": "llamacpp"}}
REFERENCE = "torch float32"
PROMPTS, MOST_TOKENS = 24, 64
NAME = "engine-parity"


def questions() -> list[Scenario]:
    return list(registry.create("suites", "spoken-qa").scenarios(0))


def messages(scenario: Scenario) -> list[Message]:
    assert scenario.question is not None
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": scenario.question.text}]


def made(name: str, form: str) -> Any:
    return registry.create("backbones", name, {"device": "cpu", "threads": "1", **FORMS[form]})


def replies_file(work: Path, name: str, form: str) -> Path:
    return work / f"replies-{name}-{form.replace(' ', '-')}.jsonl"


def read_replies(path: Path) -> dict[str, list[str]]:
    """{question: pieces of the reply, a token each}"""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {line["id"]: line["pieces"] for line in map(json.loads, lines)}


def answer(work: Path, name: str, form: str, asked: Sequence[Scenario], end: float) -> bool:
    """Answers the questions without a reply, until `end` by the clock. True if all have one."""
    path = replies_file(work, name, form)
    todo = [scenario for scenario in asked if scenario.id not in read_replies(path)]
    backbone = made(name, form) if todo and time.monotonic() < end else None
    with path.open("a", encoding="utf-8") as file:
        for scenario in todo:
            if backbone is None or time.monotonic() > end:
                return False
            pieces = list(backbone.stream(messages(scenario), max_tokens=MOST_TOKENS, seed=0))
            file.write(json.dumps({"id": scenario.id, "pieces": pieces}) + "\n")
            file.flush()
    return True


@torch.no_grad()
def numbers(name: str, asked: Sequence[Scenario]) -> dict[str, Any]:
    """Hidden states and logits of prompts by llama.cpp against torch in float32, over all positions."""
    ours, exact = made(name, "llama.cpp"), made(name, REFERENCE)
    found: dict[str, list[torch.Tensor]] = {}
    last = 0
    for scenario in asked[:PROMPTS]:
        x = exact.embed(torch.tensor([exact.chat(messages(scenario))]))
        (hidden, logits, _), (expected, scores, _) = ours.step(x), exact.step(x)
        pairs = {"hidden": (hidden[0], expected[0]), "logits": (logits[0], scores[0])}
        for part, (a, b) in pairs.items():
            found.setdefault(f"{part}_cosine", []).append(torch.cosine_similarity(a, b, dim=-1))
            found.setdefault(f"{part}_difference", []).append((a - b).abs().amax(-1))
        found.setdefault("hidden_magnitude", []).append(expected[0].abs().amax(-1))
        found.setdefault("same_token", []).append((logits[0].argmax(-1) == scores[0].argmax(-1)).float())
        last += int(logits[0, -1].argmax() == scores[0, -1].argmax())
    joined = {key: torch.cat(values) for key, values in found.items()}
    return {
        "prompts": len(asked[:PROMPTS]),
        "positions": len(joined["same_token"]),
        **{f"{part}_cosine_median": float(joined[f"{part}_cosine"].median()) for part in ("hidden", "logits")},
        **{f"{part}_cosine_worst": float(joined[f"{part}_cosine"].min()) for part in ("hidden", "logits")},
        **{f"{part}_difference_largest": float(joined[f"{part}_difference"].max()) for part in ("hidden", "logits")},
        "hidden_magnitude_median": float(joined["hidden_magnitude"].median()),
        "same_token": float(joined["same_token"].mean()),
        "same_first_token_of_reply": last,
    }


def compared(work: Path, name: str, asked: Sequence[Scenario]) -> Iterator[dict[str, Any]]:
    """A row for each form with replies: how many are the reference's, how long the others begin alike, how many are right."""
    paths = {path.stem.removeprefix(f"replies-{name}-"): path for path in sorted(work.glob(f"replies-{name}-*.jsonl"))}
    reference = read_replies(replies_file(work, name, REFERENCE))
    for form, path in paths.items():
        replies = read_replies(path)
        if any(scenario.id not in replies for scenario in asked):
            continue
        pairs = [(replies[scenario.id], reference[scenario.id]) for scenario in asked]
        alike = [sum(1 for _ in takewhile(lambda p: p[0] == p[1], zip(*pair, strict=False))) for pair in pairs]
        differing = [(n, max(map(len, pair))) for n, pair in zip(alike, pairs, strict=True) if pair[0] != pair[1]]
        right = {s.id for s in asked if match_answer("".join(replies[s.id]), s.expect).right}
        also = {s.id for s in asked if match_answer("".join(reference[s.id]), s.expect).right}
        gained, lost = len(right - also), len(also - right)
        yield {
            "form": form,
            "replies": len(asked),
            "identical": len(asked) - len(differing),
            "tokens": sum(len(reply) for reply, _ in pairs),
            "common_prefix_mean": statistics.fmean(alike),
            "common_prefix_of_differing_mean": statistics.fmean([n for n, _ in differing]) if differing else None,
            "right": len(right),
            "right_only_here": gained,
            "right_only_by_reference": lost,
            "right_difference": (gained - lost) / len(asked),
            "right_difference_interval": paired_shares(lost, gained, len(asked)),
        }


def interval(difference: float, bounds: Sequence[float]) -> str:
    low, value, high = (percentage_points(number) for number in (bounds[0], difference, bounds[1]))
    return f"{value} [{low}, {high}]"


def page(record: dict[str, Any]) -> str:
    """engine-parity.md"""
    lines = ["# Engines compared: llama.cpp against torch in float32", ""]
    columns = ("backbone", "prompts (positions)", "hidden: cosine, median / worst", "logits: cosine, median / worst")
    columns = (*columns, "largest difference: hidden / logits", "same next token", "same first token of the reply")
    rows = []
    for name, llm in record["backbones"].items():
        n = llm["numbers"]
        cosines = [f"{n[f'{p}_cosine_median']:.5f} / {n[f'{p}_cosine_worst']:.4f}" for p in ("hidden", "logits")]
        largest = f"{n['hidden_difference_largest']:.2f} / {n['logits_difference_largest']:.2f}"
        first = f"{n['same_first_token_of_reply']} of {n['prompts']}"
        rows.append((name, f"{n['prompts']} ({n['positions']})", *cosines, largest, percent(n["same_token"]), first))
    lines += [*markdown_table(columns, rows), ""]
    columns = (
        "backbone",
        "form",
        "identical replies",
        "common beginning, tokens",
        "right",
        "gained / lost",
        "difference, pp",
    )
    rows = [
        (
            name,
            row["form"],
            f"{row['identical']} of {row['replies']}",
            f"{row['common_prefix_mean']:.1f} of {row['tokens'] / row['replies']:.1f}",
            str(row["right"]),
            *(
                ("", "")
                if row["form"] == REFERENCE.replace(" ", "-")
                else (
                    f"{row['right_only_here']} / {row['right_only_by_reference']}",
                    interval(row["right_difference"], row["right_difference_interval"]),
                )
            ),
        )
        for name, llm in record["backbones"].items()
        for row in llm["replies"]
    ]
    about = (
        f"Replies in text to the 240 shipped questions, greedy, at most {MOST_TOKENS} tokens; `torch-float32` is what they are compared",
        "with: tokens in common at the beginning, answers that only this form has right, and that only float32 has, and the difference",
        "with its 95 % interval for paired replies. Right: an accepted answer is in the reply. The file's weights are the same in all",
        "forms; llama.cpp rounds activations to 8 bits, and keys and values to 16.",
        "",
        f"Machine: {record['machine'].get('cpu', '?')}. Command: "
        "`python reports/tools/engine_parity.py smollm2-135m qwen2.5-coder-0.5b --work FOLDER -o reports/performance`",
    )
    return "\n".join([*lines, *markdown_table(columns, rows), "", *about, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--limit", type=int, help="Of the questions, for a try.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    end, asked = time.monotonic() + 60 * given.minutes, questions()[: given.limit]
    if not all(answer(given.work, name, form, asked, end) for name in given.backbones for form in FORMS):
        done = {path.stem: len(read_replies(path)) for path in sorted(given.work.glob("replies-*.jsonl"))}
        print(f"Not yet complete; run it again to continue: {done}")
        return
    llms = {
        name: {"numbers": numbers(name, asked), "replies": [*compared(given.work, name, asked)]}
        for name in given.backbones
    }
    record = {"version": 1, "backbones": llms, "machine": environment.about(), "packages": environment.packages()}
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / f"{NAME}.json").write_text(json.dumps({**record, "git": environment.git()}, indent=1) + "\n")
    (given.output / f"{NAME}.md").write_text(page(record))
    print(page(record))


if __name__ == "__main__":
    main()
