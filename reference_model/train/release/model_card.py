"""Writes the results into a model card, so that no figure in it is typed by hand.

    python -m reference_model.train.release.model_card reference_model/shipped/smollm2-135m --run runs/ours --run runs/ours-real \\
        --run runs/cascade --run runs/cascade-real --states runs/train/input-3/states.json \\
        --training runs/train/input-1 --training runs/train/input-3 --training runs/train/output-1 --training runs/train/output-2

What each run shows is told by its system and its suite. Learning curves are drawn beside the card. The card's other text stays as
it is; what stands between the two marks is written anew.
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
from fobench.errors import FobenchError
from fobench.scoring.scorer import load_results
from reference_model.checkpoint import sharded
from reference_model.train.engine import training_log
from reference_model.train.engine.command import StageCommand
from reference_model.train.release import learning_curves, sample_transcripts, svg_plot
from reference_model.train.release.targets import Evidence, rows

CARD = "MODEL_CARD.md"
BEGIN, END = "<!-- results: written by reference_model.train.release.model_card -->", "<!-- end of results -->"
ENDS = 100  # steps at either end of a training whose median loss is told
ROUTES = ("t2t", "a2t2t", "s2t", "s2s")
SHARES = {  # of states.json
    "takeovers_in_pauses": "Answers in a pause inside the turn",
    "answers_to_unfinished": "Answers to a turn that was never finished",
}
SPECIAL = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]#|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def written(card: str, results: str) -> str:
    """The card with `results` between the marks; at its end, where it has no marks. Raises FobenchError for one mark alone."""
    block = f"{BEGIN}\n\n{results.strip()}\n\n{END}"
    if (BEGIN in card) != (END in card) or card.find(END) < card.find(BEGIN):
        raise FobenchError(f"The card has one of its marks without the other, or in the wrong order: {BEGIN} ... {END}")
    if BEGIN not in card:
        return f"{card.rstrip()}\n\n{block}\n"
    before, _, rest = card.partition(BEGIN)
    return f"{before}{block}{rest.partition(END)[2]}"


def results(folder: Path, found: Evidence, trainings: Sequence[Path]) -> str:
    """All that is measured, as Markdown."""
    sections = (_quality(found), _recordings(found), _trainings(trainings), _weights(folder), _runs(found))
    return "\n\n".join("\n".join(section) for lines in sections if (section := list(lines)))


def cell(text: str) -> str:
    """`text` as a cell of a table, with nothing in it that Markdown would act on."""
    return " ".join(text.split()).translate(SPECIAL)


def table(*lines: Sequence[str]) -> Iterator[str]:
    """The first line is the head. Cells are given as Markdown."""
    head, *body = lines
    yield from (f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body))


# ---- sections ----------------------------------------------------------------------------------------------------------


def _quality(found: Evidence) -> Iterator[str]:
    yield from ("## Quality", "", "In brackets: the 95 % interval. n: utterances, questions or situations.", "")
    lines = [
        (row.what, row.target, row.stretch, cell(row.found.text), row.found.n, cell(row.beside.text), row.reached)
        for row in rows(found)
    ]
    yield from table(("what", "target", "stretch", "figure", "n", "cascade", "reached"), *lines)
    if found.ours:
        scores = [(route, found.ours.total(f"accuracy_{route}")) for route in ROUTES]
        told = [f"`{route}` {100 * s.value:.1f} % (n = {s.n:,})" for route, s in scores if s and s.value is not None]
        yield from ("", f"Accuracy by route: {', '.join(told)}.")
    if found.states:
        yield from ("", *_states(found.states))


def _states(states: Mapping[str, Any]) -> Iterator[str]:
    """The confusion of the states, and the shares that matter most, as input stage 3 counted them."""
    confusion: Mapping[str, Mapping[str, int]] = states.get("confusion") or {}
    made = list(dict.fromkeys(name for line in confusion.values() for name in line))
    lines = [(wanted, *(f"{line.get(name, 0):,}" for name in made)) for wanted, line in confusion.items()]
    yield from table(("wanted / decided", *made), *lines)
    for key, told in SHARES.items():
        share = states.get(key) or {}
        if share.get("n"):
            yield from ("", f"{told}: {100 * share['share']:.1f} % (n = {share['n']:,}).")


def _recordings(found: Evidence) -> Iterator[str]:
    run = found.ours_real
    if run is None:
        return
    name, licence = sample_transcripts.source(run)
    clips = sample_transcripts.first(run)
    yield from (f"## The first {len(clips)} recordings of `{name}`", "")
    yield f"In the order of its manifest, none left out. Texts of {name}: {cell(licence)}"
    yield ""
    lines = ((c.id, c.asked, c.understood, c.answered, c.heard) for c in clips)
    head = ("clip", "asked", "understood", "answered", "heard in the answer")
    yield from table(head, *([f"`{line[0]}`", *(cell(text) or "(nothing)" for text in line[1:])] for line in lines))


@dataclass(frozen=True, slots=True)
class StageSummary:
    """What the log of one stage says."""

    name: str
    steps: int
    hours: float
    loss: tuple[float, float]  # the median of the first steps, and of the last
    valid: dict[str, float]  # the last ones
    left_out: tuple[int, int]  # steps, clips

    @classmethod
    def read(cls, folder: Path) -> StageSummary:
        log = training_log.read(folder)
        if missing := [name for name in ("loss", "seconds") if name not in log]:
            raise FobenchError(f"{folder / training_log.LOG} has no {' and no '.join(missing)}.")
        losses = [value for _, value in log["loss"] if math.isfinite(value)]
        ends = (statistics.median(losses[:ENDS]), statistics.median(losses[-ENDS:]))
        valid = {
            name.removeprefix(learning_curves.VALID): points[-1][1]
            for name, points in log.items()
            if name.startswith(learning_curves.VALID)
        }
        skipped = folder / training_log.SKIPPED
        clips = len(skipped.read_text(encoding="utf-8").splitlines()) if skipped.is_file() else 0
        bad = round(sum(value for _, value in log.get("skipped", ())))
        seconds = sum(value for _, value in log["seconds"])
        return cls(folder.name, log["loss"][-1][0], seconds / 3600, ends, valid, (bad, clips))


def _trainings(folders: Sequence[Path]) -> Iterator[str]:
    if not folders:
        return
    found = [StageSummary.read(folder) for folder in folders]
    yield from (
        "## Training",
        "",
        f"Hours: of steps, without loading and validation. Loss: median of the first and the last {ENDS} steps.",
        "",
    )
    head = ("stage", "steps", "hours", "loss", "validation at the end", "left out (steps, clips)")
    yield from table(head, *(_training(each) for each in found))
    yield from ("", *(f"![Learning curves of {each.name}](curves-{each.name}.svg)" for each in found))


def _training(found: StageSummary) -> tuple[str, ...]:
    first, last = (f"{value:.3g}" for value in found.loss)
    valid = ", ".join(f"{cell(name)} {value:.3g}" for name, value in found.valid.items())
    steps, clips = found.left_out
    return (
        f"`{found.name}`",
        f"{found.steps:,}",
        f"{found.hours:.1f}",
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
        net = key.partition(".")[0]
        counts[net] = counts.get(net, 0) + value.numel()
    size = sum(pin["size"] for pin in sharded.read(folder)["parts"])
    yield from ("## Weights", "", f"{size / 1e6:.1f} MB; SHA-256 of the index: `{sharded.digest(folder)}`.", "")
    yield from table(
        ("net", "numbers"),
        *((name, f"{count:,}") for name, count in counts.items()),
        ("all", f"{sum(counts.values()):,}"),
    )


def _runs(found: Evidence) -> Iterator[str]:
    """How each run was made, so that it can be made again."""
    if not found.runs:
        return
    yield from ("## Runs", "")
    head = ("system", "suite", "scenarios", "machine", "commit", "weights")
    yield from table(head, *(_run(run) for run in found.runs))


def _run(run: Results) -> tuple[str, ...]:
    config, machine, git = (run.run.get(key) or {} for key in ("config", "machine", "git"))
    suite = ", ".join(Path(name).name if "/" in name else name for name in config.get("suites") or ())
    changed = " with changes" if git.get("dirty") else ""
    system = (run.run.get("components") or {}).get("system") or {}
    told = f"{machine.get('cpu', '')}, {machine.get('cores', '')} cores, {run.run.get('clock', '')} clock"
    return (
        *(cell(str(config.get("system"))), cell(suite), f"{len(run.traces):,}", cell(told)),
        *(f"`{str(git.get('commit') or '')[:12]}`{changed}", f"`{str(system.get('checkpoint_sha256') or '–')[:12]}`"),
    )


# ---- the command ---------------------------------------------------------------------------------------------------------


@click.command(cls=StageCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path), help="A scored run; repeatable.")
@click.option("--states", type=click.Path(path_type=Path), help="states.json of input stage 3.")
@click.option(
    "--training", "trainings", multiple=True, type=click.Path(path_type=Path), help="Folder of a stage; repeatable."
)
def main(folder: Path, runs: Sequence[Path], states: Path | None, trainings: Sequence[Path]) -> None:
    """Writes the results into FOLDER/MODEL_CARD.md."""
    found = Evidence.of([load_results(run) for run in runs], _read(states) if states else None)
    text = results(folder, found, trainings)
    card = folder / CARD
    new = written(card.read_text(encoding="utf-8") if card.is_file() else f"# {folder.name}", text)
    folder.mkdir(parents=True, exist_ok=True)
    for training in trainings:
        drawn = learning_curves.panels([training_log.read(training)])
        (folder / f"curves-{training.name}.svg").write_text(svg_plot.svg(drawn, [training.name]), encoding="utf-8")
    card.write_text(new, encoding="utf-8")
    print(f"{card}: {len(found.runs)} runs, {len(trainings)} trainings{'' if states else ', no states.json'}")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise FobenchError(f"{path} is not what input stage 3 writes ({error}).") from error
    return found


if __name__ == "__main__":
    main()
