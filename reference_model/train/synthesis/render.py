"""Renders the plan of a set into shards. A stopped run resumes with the same command.

    fobench train render --set input --out runs/data/input \\
        --texts DATA/qa_text --threads 1

Rendered clips are stored in the folder `work` of `<out>` until their shard is complete; then they are packed into
`<out>/<shard>.tar`. Several processes may share a folder: each locks the shards that it renders. Clips that fail are
listed in `<out>/<shard>.failed.jsonl`.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import soxr

from fobench import audio
from fobench.api.types import AudioChunk
from fobench.assets.files import locked
from fobench.atomic_files import write_bytes
from fobench.errors import FobenchError
from fobench.progress_bars import ProgressBars
from reference_model.train.data import shards
from reference_model.train.data.shards import AUDIO, INFO, PackedClip
from reference_model.train.engine.command import StageCommand
from reference_model.train.engine.signals import on_stop_signal
from reference_model.train.synthesis import render_plan, speakers
from reference_model.train.synthesis.render_plan import RenderItem
from reference_model.train.texts import sentence_set

log = logging.getLogger("render")
DURATION_S = (0.15, 30.0)  # shortest and longest valid clip
MIN_PEAK = 0.01  # a clip with a lower peak is silent
MAX_FAILED_SHARE = 0.5  # of a shard's clips; with more, the cause is not the clips and the run stops
LINE_S = 60.0  # interval of log lines
WORK, FAILED = "work", ".failed.jsonl"


@dataclass(slots=True)
class RenderTally:
    """Counts of a run. `clips` and `seconds` of computation by voice; `stopped`: a stop was requested."""

    stopped: bool = False
    clips: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    failed: int = 0

    def __str__(self) -> str:
        rates = (f"{name} {60 * n / max(self.seconds[name], 1e-9):.1f}/min" for name, n in sorted(self.clips.items()))
        return f"{self.clips.total()} clips, {self.failed} failed; {', '.join(rates)}"


ProgressCallback = Callable[[int], None]  # is called with the number of completed items


def render(
    folder: Path, items: Sequence[RenderItem], *, threads: int, tally: RenderTally, on_progress: ProgressCallback
) -> None:
    """Renders the missing clips of `items`, shard by shard, until `tally.stopped`.

    Raises PrerequisiteError for a voice that is not installed, FobenchError if most clips fail, OSError for a full
    disk.
    """
    completed = 0

    def report_clips(done: int) -> None:
        on_progress(completed + done)

    for shard, members in render_plan.by_shard(items).items():
        if (folder / f"{shard}.tar").exists():
            shutil.rmtree(folder / WORK / shard, ignore_errors=True)  # left by a run killed between packing and removal
        else:
            with locked(folder / WORK / f"{shard}.lock", wait=False) as acquired:
                if acquired and not (folder / f"{shard}.tar").exists():
                    _render_shard(folder, members, threads, tally, report_clips)
        if tally.stopped:
            return
        completed += len(members)
        on_progress(completed)


def synthesize(item: RenderItem, threads: int) -> tuple[AudioChunk, tuple[int, int]]:
    """Returns the clip at its rate and (start, end) of the speech in ns.

    Raises ValueError for a silent or too long clip.
    """
    voice = _voice(item, threads)
    speech = voice.speak(item.text, item.seed, item.manner.speaker)
    samples = np.asarray(
        soxr.resample(speech.samples, speech.rate_hz * item.manner.pitch, item.rate_hz), dtype=np.float32
    )
    chunk = AudioChunk(samples / np.float32(max(1.0, np.abs(samples).max(initial=0.0))), item.rate_hz)
    seconds = len(samples) / item.rate_hz
    if not DURATION_S[0] <= seconds <= DURATION_S[1]:
        raise ValueError(f"{seconds:.2f} s long")
    if not np.isfinite(samples).all() or np.abs(samples).max() < MIN_PEAK:
        raise ValueError("silent or not finite")
    return chunk, audio.speech_bounds(chunk)


def _voice(item: RenderItem, threads: int) -> Any:
    """Returns the voice plugin of an item."""
    return speakers.load(item.manner.voice, tuple(sorted(item.manner.options(threads).items())))


def _render_shard(
    folder: Path, items: Sequence[RenderItem], threads: int, tally: RenderTally, on_progress: ProgressCallback
) -> None:
    """Renders the missing clips of one shard, ordered by voice, and packs the shard."""
    shard = items[0].shard
    work = folder / WORK / shard
    work.mkdir(parents=True, exist_ok=True)
    rendered = {path.stem for path in work.glob(f"*{AUDIO}") if _is_complete(work, path.stem)}
    failures = []
    missing = sorted(
        (i for i in items if i.id not in rendered), key=lambda i: (i.manner.voice, str(i.manner.options(0)), i.id)
    )
    for done, item in enumerate(missing):
        if tally.stopped:
            return
        on_progress(len(items) - len(missing) + done)
        if reason := _render_clip(work, item, threads, tally):
            failures.append({"id": item.id, "shard": shard, "reason": reason, "text": item.text})
    if len(failures) > MAX_FAILED_SHARE * len(items):
        summary = f"{len(failures)} of {len(items)} clips of {shard} cannot be rendered, so it is not packed"
        raise FobenchError(f"{summary}; the last: {failures[-1]['reason']}. Fix this; the same command then resumes.")
    _pack(folder, items, failures)
    shutil.rmtree(work, ignore_errors=True)


def _render_clip(work: Path, item: RenderItem, threads: int, tally: RenderTally) -> str:
    """Renders one clip into `work`. Returns the reason of a failure, or an empty string."""
    _voice(item, threads)  # a missing voice stops the run: it is not a failure of the clip
    start = time.perf_counter()
    try:
        chunk, speech_ns = synthesize(item, threads)
    except Exception as error:  # any failure of a model on one text is recorded; the run continues
        tally.failed += 1
        log.warning("%s: %s: %r", item.id, error, item.text)
        return f"{type(error).__name__}: {error}"
    info = {**asdict(item), "samples": len(chunk.samples), "speech_ns": speech_ns}
    (work / (item.id + INFO)).write_text(json.dumps(info), encoding="utf-8")
    write_bytes(work / (item.id + AUDIO), shards.encode_flac(chunk.samples, chunk.rate_hz))
    tally.clips[item.manner.voice] += 1
    tally.seconds[item.manner.voice] += time.perf_counter() - start
    return ""


def _pack(folder: Path, items: Sequence[RenderItem], failures: list[dict[str, Any]]) -> None:
    """Writes the list of failures, if any, and then the shard, whose presence marks both as complete."""
    shard = items[0].shard
    work = folder / WORK / shard
    for stale in folder.glob(f".{shard}.tar.*"):  # left by killed runs; this process holds the lock
        stale.unlink()
    if failures:
        write_bytes(folder / (shard + FAILED), "".join(json.dumps(failure) + "\n" for failure in failures).encode())
    rendered = (item.id for item in items if (work / (item.id + AUDIO)).exists())
    shards.write(folder / f"{shard}.tar", (_load_clip(work, name) for name in rendered))


def _is_complete(work: Path, name: str) -> bool:
    """Returns whether a clip of an earlier run is complete; after a power failure its files may be truncated."""
    try:
        packed = _load_clip(work, name)
        return len(shards.decode_flac(packed.flac).samples) == packed.info["samples"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _load_clip(work: Path, name: str) -> PackedClip:
    info = json.loads((work / (name + INFO)).read_text(encoding="utf-8"))
    return PackedClip(name, (work / (name + AUDIO)).read_bytes(), info)


def load_or_make_plan(
    name: str,
    folder: Path,
    source: Path | None,
    written: Path | None,
    items: int | None,
    seed: int,
    books: Path | None = None,
) -> list[RenderItem]:
    """Returns the plan in `folder`; a new one is made from the texts in `source`, `written` and `books`.

    Raises FobenchError for a plan of another set or seed, and for missing texts.
    """
    if stored := render_plan.read(folder):
        plan, metadata = stored
        requested = {"set": name, "seed": seed, "items": items or metadata["items"]}
        if differing := {key: metadata[key] for key, value in requested.items() if metadata[key] != value}:
            raise FobenchError(
                f"{folder} holds a plan with {differing}, not {requested}. Give its options, or another folder."
            )
        return plan
    if not source:
        raise FobenchError(f"{folder} holds no plan yet: give --texts, the folder of the question sets.")
    if name == "more" and not written:
        raise FobenchError("The set `more` needs sentences of the LLM: give --written, the file of llm_sentences.")
    plan = render_plan.make(
        name, sentence_set.collect(source, seed=seed, file=written, books=books), items=items, seed=seed
    )
    render_plan.write(folder, plan, render_plan.metadata(name, plan, seed))
    return plan


def parse_set_option(option: str) -> tuple[str, int | None]:
    """Parses "output:2000" as ("output", 2000): the set, and the number of items after which to stop, or None."""
    name, _, number = option.partition(":")
    if number and not number.isdigit():
        raise FobenchError(f"--set {option}: {number!r} is not a number; write e.g. output:2000.")
    return name, int(number) if number else None


def first_shards(items: Sequence[RenderItem], count: int | None) -> list[RenderItem]:
    """Returns the items of the first shards that hold at least `count` items; all items for None."""
    chosen: list[RenderItem] = []
    for members in render_plan.by_shard(items).values():
        if count is not None and len(chosen) >= count:
            break
        chosen += members
    return chosen


@click.command(cls=StageCommand, help=__doc__)
@click.option(
    "--set",
    "sets",
    multiple=True,
    required=True,
    help="input, output, more, natural, or e.g. output:2000 for its first 2,000 items; repeatable.",
)
@click.option("--out", required=True, help="Folder of the shards; {set} in it stands for the set's name.")
@click.option("--texts", "source", type=click.Path(path_type=Path), help="Folder of question sets, for a new plan.")
@click.option(
    "--written", type=click.Path(path_type=Path), help="File of sentences written by the LLM, for the set more."
)
@click.option(
    "--books",
    type=click.Path(path_type=Path),
    help="Folder of books (.txt) whose sentences are added to the set natural.",
)
@click.option(
    "--items", type=int, help="Size of a new plan; default: 24000 input, 8000 output, 40000 more, 20000 natural."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads of each voice's model."
)
def main(
    sets: tuple[str, ...],
    out: str,
    source: Path | None,
    written: Path | None,
    books: Path | None,
    items: int | None,
    seed: int,
    threads: int,
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%d %H:%M:%S")
    tally = RenderTally()
    try:
        with on_stop_signal(lambda number: setattr(tally, "stopped", True)):
            for name, count in map(parse_set_option, sets):
                folder = Path(out.replace("{set}", name))
                if not tally.stopped:
                    plan = load_or_make_plan(name, folder, source, written, items, seed, books)
                    _run(name, folder, first_shards(plan, count), threads, tally)
    except FobenchError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:  # e.g. a full disk
        problem = f"{error.filename or out}: {error.strerror}. {tally}."
        raise click.ClickException(f"{problem} Fix this; the same command then resumes.") from error
    log.info("%s: %s", "stopped; the same command resumes" if tally.stopped else "complete", tally)


def _run(name: str, folder: Path, items: Sequence[RenderItem], threads: int, tally: RenderTally) -> None:
    total = len(items)
    with ProgressBars(interval_s=LINE_S, emit=log.info) as bars:

        def on_progress(done: int) -> None:
            bars.update(name, done, total, line=f"{name}: {done} of {total}; this run: {tally}")

        render(folder, items, threads=threads, tally=tally, on_progress=on_progress)


if __name__ == "__main__":
    main()
