"""Renders the plan of a set into shards. Stop it as you like: the same command goes on where it was.

    python -m reference_model.train.synthesis.render --set input --out runs/data/input --texts DATA/qa_text --threads 1

Finished clips lie in a folder `work` of `<out>` until their shard is whole; then they are packed into `<out>/<shard>.tar`.
Several processes may work on one folder: each takes shards that nobody else has. What cannot be rendered is listed in
`<out>/<shard>.failed.jsonl`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import soxr

from fobench import audio
from fobench.api.types import AudioChunk
from fobench.errors import FobenchError
from reference_model.train.data import shards
from reference_model.train.data.shards import AUDIO, INFO, PackedClip
from reference_model.train.synthesis import render_plan, speakers
from reference_model.train.synthesis.render_plan import RenderItem
from reference_model.train.texts import sentence_set

log = logging.getLogger("render")
SECONDS = (0.15, 30.0)  # that a clip may last
SILENT = 0.01  # peak below which nothing was said
MOST_FAILED = 0.5  # share of a shard's clips: with more, it is not the clips that something is wrong with
LINE_S = 60.0  # between lines of the log
WORK, FAILED = "work", ".failed.jsonl"


@dataclass(slots=True)
class RenderTally:
    """What a run has done so far. `seconds`: of work, by voice."""

    stopped: bool = False
    clips: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    failed: int = 0

    def __str__(self) -> str:
        rates = (f"{name} {60 * n / max(self.seconds[name], 1e-9):.1f}/min" for name, n in sorted(self.clips.items()))
        return f"{self.clips.total()} clips, {self.failed} failed; {', '.join(rates)}"


Notice = Callable[[int], None]  # told how many items are behind us


def render(folder: Path, items: Sequence[RenderItem], *, threads: int, tally: RenderTally, notice: Notice) -> None:
    """Renders what is missing of `items`, shard by shard, until `tally.stopped`.

    Raises PrerequisiteError for a voice that is not installed, FobenchError where most clips fail, OSError for a disk that is full.
    """
    behind = 0
    for shard, members in render_plan.by_shard(items).items():
        if (folder / f"{shard}.tar").exists():
            shutil.rmtree(folder / WORK / shard, ignore_errors=True)  # of a run killed between packing and tidying
        else:
            with _claimed(folder / WORK / f"{shard}.lock") as ours:
                if ours and not (folder / f"{shard}.tar").exists():
                    _shard(folder, members, threads, tally, partial(_later, notice, behind))
        if tally.stopped:
            return
        behind += len(members)
        notice(behind)


def _later(notice: Notice, behind: int, done: int) -> None:
    notice(behind + done)


def speak(item: RenderItem, threads: int) -> tuple[AudioChunk, tuple[int, int]]:
    """The clip at its rate, and (start, end) of the speech in ns. Raises ValueError if it cannot be right."""
    voice = _voice(item, threads)
    said = voice.speak(item.text, item.seed, item.manner.speaker)
    samples = np.asarray(soxr.resample(said.samples, said.rate_hz * item.manner.pitch, item.rate_hz), dtype=np.float32)
    chunk = AudioChunk(samples / np.float32(max(1.0, np.abs(samples).max(initial=0.0))), item.rate_hz)
    seconds = len(samples) / item.rate_hz
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise ValueError(f"{seconds:.2f} s long")
    if not np.isfinite(samples).all() or np.abs(samples).max() < SILENT:
        raise ValueError("silent, or not a sound")
    return chunk, audio.speech_bounds(chunk)


def _voice(item: RenderItem, threads: int) -> Any:
    return speakers.load(item.manner.voice, tuple(sorted(item.manner.options(threads).items())))


def _shard(folder: Path, items: Sequence[RenderItem], threads: int, tally: RenderTally, notice: Notice) -> None:
    """Renders the missing clips of one shard, ordered by voice, and packs it when none is left."""
    shard = items[0].shard
    work = folder / WORK / shard
    work.mkdir(parents=True, exist_ok=True)
    ready = {path.stem for path in work.glob(f"*{AUDIO}") if _whole(work, path.stem)}
    failures = []
    todo = sorted(
        (i for i in items if i.id not in ready), key=lambda i: (i.manner.voice, str(i.manner.options(0)), i.id)
    )
    for done, item in enumerate(todo):
        if tally.stopped:
            return
        notice(len(items) - len(todo) + done)
        if reason := _clip(work, item, threads, tally):
            failures.append({"id": item.id, "shard": shard, "reason": reason, "text": item.text})
    if len(failures) > MOST_FAILED * len(items):
        told = f"{len(failures)} of {len(items)} clips of {shard} cannot be rendered, so it is not packed"
        raise FobenchError(f"{told}; the last: {failures[-1]['reason']}. Mend that; the same command then goes on.")
    _pack(folder, items, failures)
    shutil.rmtree(work, ignore_errors=True)


def _clip(work: Path, item: RenderItem, threads: int, tally: RenderTally) -> str:
    """Renders one clip into `work`; the reason if it cannot be done, else nothing."""
    _voice(item, threads)  # a voice that is missing stops the run: it is no fault of the clip
    start = time.perf_counter()
    try:
        chunk, speech_ns = speak(item, threads)
    except Exception as error:  # of whatever a model does with one text: recorded, and the next one is tried
        tally.failed += 1
        log.warning("%s: %s: %r", item.id, error, item.text)
        return f"{type(error).__name__}: {error}"
    info = {**asdict(item), "samples": len(chunk.samples), "speech_ns": speech_ns}
    (work / (item.id + INFO)).write_text(json.dumps(info), encoding="utf-8")
    _replace(work / (item.id + AUDIO), shards.encoded(chunk.samples, chunk.rate_hz))
    tally.clips[item.manner.voice] += 1
    tally.seconds[item.manner.voice] += time.perf_counter() - start
    return ""


def _pack(folder: Path, items: Sequence[RenderItem], failures: list[dict[str, Any]]) -> None:
    """Writes the list of failures, if any, and then the shard, whose presence says that both are complete."""
    shard = items[0].shard
    work = folder / WORK / shard
    for stale in folder.glob(f".{shard}.tar.*"):  # of killed runs: we hold the lock
        stale.unlink()
    if failures:
        _replace(folder / (shard + FAILED), "".join(json.dumps(failure) + "\n" for failure in failures).encode())
    found = (item.id for item in items if (work / (item.id + AUDIO)).exists())
    shards.write(folder / f"{shard}.tar", (_finished(work, name) for name in found))


def _whole(work: Path, name: str) -> bool:
    """Whether a clip that an earlier run left is all there; a machine that lost its power may have left half of it."""
    try:
        packed = _finished(work, name)
        return len(shards.decoded(packed.flac).samples) == packed.info["samples"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _finished(work: Path, name: str) -> PackedClip:
    info = json.loads((work / (name + INFO)).read_text(encoding="utf-8"))
    return PackedClip(name, (work / (name + AUDIO)).read_bytes(), info)


@contextlib.contextmanager
def _claimed(lock: Path) -> Iterator[bool]:
    """Whether nobody else has the lock; a process that is killed loses it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data)
    temporary.replace(path)


def planned(
    name: str,
    folder: Path,
    source: Path | None,
    written: Path | None,
    items: int | None,
    seed: int,
    books: Path | None = None,
) -> list[RenderItem]:
    """The plan in `folder`; if there is none yet, made of the texts in `source`, `written` and `books`.

    Raises FobenchError for a plan of another set or seed, and where texts are missing.
    """
    if kept := render_plan.read(folder):
        found, about = kept
        asked = {"set": name, "seed": seed, "items": items or about["items"]}
        if wrong := {key: about[key] for key, value in asked.items() if about[key] != value}:
            raise FobenchError(f"{folder} holds a plan with {wrong}, not {asked}. Give its options, or another folder.")
        return found
    if not source:
        raise FobenchError(f"{folder} holds no plan yet: give --texts, the folder of the question sets.")
    if name == "more" and not written:
        raise FobenchError("The set more is made of written sentences: give --written, the file of llm_texts.")
    found = render_plan.make(
        name, sentence_set.collect(source, seed=seed, file=written, books=books), items=items, seed=seed
    )
    render_plan.write(folder, found, render_plan.about(name, found, seed))
    return found


def step(asked: str) -> tuple[str, int | None]:
    """ "output:2000" -> ("output", 2000): the set, and the number of items after which to stop."""
    name, _, number = asked.partition(":")
    if number and not number.isdigit():
        raise FobenchError(f"--set {asked}: {number!r} is no number; write e.g. output:2000.")
    return name, int(number) if number else None


def upto(items: Sequence[RenderItem], count: int | None) -> list[RenderItem]:
    """Whole shards, until there are `count` items."""
    chosen: list[RenderItem] = []
    for members in render_plan.by_shard(items).values():
        if count is not None and len(chosen) >= count:
            break
        chosen += members
    return chosen


@contextlib.contextmanager
def _watching(total: int, name: str, tally: RenderTally) -> Iterator[Notice]:
    """A bar with an ETA on a terminal; else a line a minute in the log."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if sys.stderr.isatty():
        with Progress(
            TextColumn(name), BarColumn(), MofNCompleteColumn(), TextColumn("eta"), TimeRemainingColumn()
        ) as bar:
            task = bar.add_task(name, total=total)
            yield lambda done: bar.update(task, completed=done)
        return
    last = [time.monotonic()]

    def line(done: int) -> None:
        if time.monotonic() - last[0] >= LINE_S or done == total:
            last[0] = time.monotonic()
            log.info("%s: %d of %d; this run: %s", name, done, total, tally)

    yield line


@contextlib.contextmanager
def _stopping_on_signals(tally: RenderTally) -> Iterator[None]:
    """SIGTERM and SIGINT end the run after the clip in hand."""

    def stop(number: int, frame: object) -> None:
        tally.stopped = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command(help=__doc__)
@click.option(
    "--set",
    "steps",
    multiple=True,
    required=True,
    help="input, output, more, natural, or e.g. output:2000; again for another.",
)
@click.option("--out", required=True, help="Folder of the shards; {set} in it stands for the set's name.")
@click.option("--texts", "source", type=click.Path(path_type=Path), help="Folder of question sets; for a new plan.")
@click.option("--written", type=click.Path(path_type=Path), help="Sentences that llm_texts wrote; for the set more.")
@click.option(
    "--books", type=click.Path(path_type=Path), help="Folder of books, .txt, whose sentences the set natural has too."
)
@click.option(
    "--items", type=int, help="Size of a new plan; default: 24000 input, 8000 output, 40000 more, 20000 natural."
)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True, help="Of each voice's model.")
def main(
    steps: tuple[str, ...],
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
        with _stopping_on_signals(tally):
            for name, count in map(step, steps):
                folder = Path(out.replace("{set}", name))
                if not tally.stopped:
                    found = planned(name, folder, source, written, items, seed, books)
                    _run(name, folder, upto(found, count), threads, tally)
    except FobenchError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:  # a full disk, say
        problem = f"{error.filename or out}: {error.strerror}. {tally}."
        raise click.ClickException(f"{problem} Mend that; the same command then goes on.") from error
    log.info("%s: %s", "stopped; the same command goes on" if tally.stopped else "complete", tally)


def _run(name: str, folder: Path, items: Sequence[RenderItem], threads: int, tally: RenderTally) -> None:
    with _watching(len(items), name, tally) as notice:
        render(folder, items, threads=threads, tally=tally, notice=notice)


if __name__ == "__main__":
    main()
