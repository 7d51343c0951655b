"""Writes the results section of a model card from measurements.

    python -m reference_model.train.release.model_card reference_model/shipped/any --run runs/ours --run runs/ours-real \\
        --run runs/cascade --run runs/cascade-real --states runs/train/input-3/states.json \\
        --training runs/train/input-1 --training runs/train/input-3 --training runs/train/output-1 --training runs/train/output-2

The role of a run follows from its system and suite. Learning curves are written to the card's folder. Only the section
between the two marks is replaced; the other text of the card is kept.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from fobench.api.results import Results
from fobench.atomic_files import write_text
from fobench.errors import FobenchError
from fobench.scoring.scorer import load_results
from reference_model.checkpoint import sharded
from reference_model.train.engine import training_log
from reference_model.train.engine.command import StageCommand
from reference_model.train.release import learning_curves, sample_transcripts
from reference_model.train.release.targets import Evidence, rows

CARD = "MODEL_CARD.md"
BEGIN, END = "<!-- results: written by reference_model.train.release.model_card -->", "<!-- end of results -->"
END_STEPS = 100  # steps at either end of a training run whose median loss is given
ROUTES = ("t2t", "a2t2t", "s2t", "s2s")
SHARES = {  # by key in states.json
    "takeovers_in_pauses": "Premature end of turn (reply in a pause within the turn)",
    "answers_to_unfinished": "Replies to unfinished turns",
}
MARKDOWN_ESCAPES = str.maketrans(
    {sign: f"\\{sign}" for sign in "\\`*_[]#|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)


def insert_results(card: str, results: str) -> str:
    """Returns the card with `results` between the marks, or at its end if it has none.

    Raises FobenchError for a single mark.
    """
    block = f"{BEGIN}\n\n{results.strip()}\n\n{END}"
    if (BEGIN in card) != (END in card) or card.find(END) < card.find(BEGIN):
        raise FobenchError(f"The card has only one of its two marks, or has them in the wrong order: {BEGIN} ... {END}")
    if BEGIN not in card:
        return f"{card.rstrip()}\n\n{block}\n"
    before, _, rest = card.partition(BEGIN)
    return f"{before}{block}{rest.partition(END)[2]}"


def results(folder: Path, evidence: Evidence, trainings: Sequence[Path]) -> str:
    """Returns the results section as Markdown."""
    sections = (
        _quality(evidence),
        _recordings(evidence),
        _trainings(trainings),
        _weights(folder),
        _runs(evidence),
    )
    return "\n\n".join("\n".join(section) for lines in sections if (section := list(lines)))


def cell(text: str) -> str:
    """Returns `text` as a table cell, with Markdown characters escaped."""
    return " ".join(text.split()).translate(MARKDOWN_ESCAPES)


def table(*lines: Sequence[str]) -> Iterator[str]:
    """Yields the lines of a Markdown table; the first row is the header, cells are Markdown."""
    head, *body = lines
    yield from (f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body))


# ---- sections ----------------------------------------------------------------------------------------------------------


def _quality(evidence: Evidence) -> Iterator[str]:
    yield from (
        "## Quality",
        "",
        "In parentheses: 95 % confidence interval. n: number of utterances, questions or turn-taking examples.",
        "",
    )
    lines = [
        (row.metric, row.target, row.stretch, cell(row.value.text), row.value.n, cell(row.cascade.text), row.reached)
        for row in rows(evidence)
    ]
    yield from table(("metric", "target", "stretch goal", "value", "n", "cascade", "reached"), *lines)
    if evidence.freeze_omni:
        scores = [(route, evidence.freeze_omni.total(f"accuracy_{route}")) for route in ROUTES]
        accuracies = [
            f"`{route}` {100 * s.value:.1f} % (n = {s.n:,})" for route, s in scores if s and s.value is not None
        ]
        yield from ("", f"Accuracy by route: {', '.join(accuracies)}.")
    if evidence.states:
        yield from ("", *_states(evidence.states))


def _states(states: Mapping[str, Any]) -> Iterator[str]:
    """Yields the confusion matrix of the turn states and the main error rates, from the evaluation of input stage 3."""
    confusion: Mapping[str, Mapping[str, int]] = states.get("confusion") or {}
    predicted = list(dict.fromkeys(name for line in confusion.values() for name in line))
    lines = [(actual, *(f"{line.get(name, 0):,}" for name in predicted)) for actual, line in confusion.items()]
    yield from table(("true / predicted", *predicted), *lines)
    for key, label in SHARES.items():
        share = states.get(key) or {}
        if share.get("n"):
            yield from ("", f"{label}: {100 * share['share']:.1f} % (n = {share['n']:,}).")


def _recordings(evidence: Evidence) -> Iterator[str]:
    """Yields the transcripts of the first recordings of human speakers."""
    run = evidence.freeze_omni_real
    if run is None:
        return
    name, license_text = sample_transcripts.source(run)
    clips = sample_transcripts.first_recordings(run)
    yield from (f"## The first {len(clips)} recordings of `{name}`", "")
    yield f"In the order of the manifest, without selection. License of the texts of {name}: {cell(license_text)}"
    yield ""
    lines = ((c.id, c.question, c.asr_transcript, c.reply, c.reply_transcript) for c in clips)
    head = ("clip", "question", "ASR transcript", "reply", "reply, by the reference ASR")
    yield from table(head, *([f"`{line[0]}`", *(cell(text) or "(none)" for text in line[1:])] for line in lines))


@dataclass(frozen=True, slots=True)
class StageSummary:
    """Summary of the training log of one stage."""

    name: str
    steps: int
    hours: float
    loss: tuple[float, float]  # median over the first and over the last steps
    valid: dict[str, float]  # last validation scores
    skipped: tuple[int, int]  # steps, clips

    @classmethod
    def read(cls, folder: Path) -> StageSummary:
        """Returns the summary of a folder's log. Raises FobenchError if the log has no losses or times."""
        log = training_log.read(folder)
        if missing := [name for name in ("loss", "seconds") if name not in log]:
            raise FobenchError(f"{folder / training_log.LOG} has no {' and no '.join(missing)}.")
        losses = [value for _, value in log["loss"] if math.isfinite(value)]
        ends = (statistics.median(losses[:END_STEPS]), statistics.median(losses[-END_STEPS:]))
        valid = {
            name.removeprefix(learning_curves.VALID): points[-1][1]
            for name, points in log.items()
            if name.startswith(learning_curves.VALID)
        }
        path = folder / training_log.SKIPPED
        clips = len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0
        steps = round(sum(value for _, value in log.get("skipped", ())))
        seconds = sum(value for _, value in log["seconds"])
        return cls(folder.name, log["loss"][-1][0], seconds / 3600, ends, valid, (steps, clips))


def _trainings(folders: Sequence[Path]) -> Iterator[str]:
    if not folders:
        return
    stages = [StageSummary.read(folder) for folder in folders]
    yield from (
        "## Training",
        "",
        "Hours: training steps only, without data loading and validation. "
        f"Loss: median over the first and the last {END_STEPS} steps.",
        "",
    )
    head = ("stage", "steps", "hours", "loss", "final validation scores", "skipped (steps, clips)")
    yield from table(head, *(_training(stage) for stage in stages))
    yield from ("", *(f"![Learning curves of {stage.name}](curves-{stage.name}.svg)" for stage in stages))


def _training(stage: StageSummary) -> tuple[str, ...]:
    first, last = (f"{value:.3g}" for value in stage.loss)
    valid = ", ".join(f"{cell(name)} {value:.3g}" for name, value in stage.valid.items())
    steps, clips = stage.skipped
    return (
        f"`{stage.name}`",
        f"{stage.steps:,}",
        f"{stage.hours:.1f}",
        f"{first} → {last}",
        valid,
        f"{steps:,}, {clips:,}",
    )


def _weights(folder: Path) -> Iterator[str]:
    if not sharded.is_folder(folder):
        return
    _, tensors = sharded.load(folder)
    counts: dict[str, int] = {}
    for key, value in tensors.items():
        network = key.partition(".")[0]
        counts[network] = counts.get(network, 0) + value.numel()
    size = sum(pin["size"] for pin in sharded.read(folder)["parts"])
    yield from ("## Weights", "", f"{size / 1e6:.1f} MB; SHA-256 of the index: `{sharded.digest(folder)}`.", "")
    yield from table(
        ("network", "parameters"),
        *((name, f"{count:,}") for name, count in counts.items()),
        ("total", f"{sum(counts.values()):,}"),
    )


def _runs(evidence: Evidence) -> Iterator[str]:
    """Yields the provenance of each run: system, suite, machine, commit and weights."""
    if not evidence.runs:
        return
    yield from ("## Runs", "")
    head = ("system", "suite", "scenarios", "machine", "commit", "weights")
    yield from table(head, *(_run(run) for run in evidence.runs))


def _run(run: Results) -> tuple[str, ...]:
    config, machine, git = (run.run.get(key) or {} for key in ("config", "machine", "git"))
    suite = ", ".join(Path(name).name if "/" in name else name for name in config.get("suites") or ())
    changed = " (modified)" if git.get("dirty") else ""
    system = (run.run.get("components") or {}).get("system") or {}
    environment = f"{machine.get('cpu', '')}, {machine.get('cores', '')} cores, {run.run.get('clock', '')} clock"
    return (
        *(cell(str(config.get("system"))), cell(suite), f"{len(run.traces):,}", cell(environment)),
        *(f"`{str(git.get('commit') or '')[:12]}`{changed}", f"`{str(system.get('checkpoint_sha256') or '–')[:12]}`"),
    )


# ---- the command ---------------------------------------------------------------------------------------------------------


@click.command(cls=StageCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path), help="A scored run; repeatable.")
@click.option("--states", type=click.Path(path_type=Path), help="states.json of input stage 3.")
@click.option(
    "--training",
    "trainings",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of a training run; repeatable.",
)
def main(folder: Path, runs: Sequence[Path], states: Path | None, trainings: Sequence[Path]) -> None:
    """Writes the results into FOLDER/MODEL_CARD.md."""
    evidence = Evidence.of([load_results(run) for run in runs], _read(states) if states else None)
    text = results(folder, evidence, trainings)
    card = folder / CARD
    new = insert_results(card.read_text(encoding="utf-8") if card.is_file() else f"# {folder.name}", text)
    folder.mkdir(parents=True, exist_ok=True)
    for training in trainings:
        panels = learning_curves.panels([training_log.read(training)])
        (folder / f"curves-{training.name}.svg").write_text(
            learning_curves.svg(panels, [training.name]), encoding="utf-8"
        )
    write_text(card, new)
    print(f"{card}: {len(evidence.runs)} runs, {len(trainings)} trainings{'' if states else ', no states.json'}")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        states = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(states, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise FobenchError(f"{path} is not a states.json of input stage 3 ({error}).") from error
    return states


if __name__ == "__main__":
    main()
