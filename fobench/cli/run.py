"""`fobench run`: one run, or a matrix of backbones and codecs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fobench.api.option_ranges import DECIBELS, MARGIN, MILLISECONDS, SCENARIOS, SEED, STEP_S, WORKERS
from fobench.cli import compare, stop_signals
from fobench.cli.options import (
    ExistingPath,
    NewFolder,
    NumberIn,
    asserted,
    explicit_options,
    from_file,
    named_args,
    option,
    whole_number,
)
from fobench.cli.report import broken_limits, new_folder, open_report, remove_if_empty, score_and_report, write_several
from fobench.console import counted
from fobench.errors import FobenchError

if TYPE_CHECKING:
    from fobench.execution.run import Run
    from fobench.matrix.plan import MatrixPlan

NOT_OF_RUN = (*compare.OPTIONS, "opens")  # options that --resume may be given anew


@click.command()
@option("--system", help="System under test; default: Freeze-Omni, with a checkpoint for the backbone or for any.")
@named_args("--system-args", "system")
@option("--backbone", help="Frozen LLM inside the system; default: the system's own. Several, a,b: a matrix.")
@named_args("--backbone-args", "backbone")
@option("--checkpoint", help="Weights of the system: a name (fobench ls checkpoints) or a path.")
@option("--codec", help="Codec inside the system. Several, a,b: a matrix, in which each codec is also measured alone.")
@named_args("--codec-args", "codec")
@option("--suite", "-s", "suites", multiple=True, default=["spoken-qa"], help="Suite of scenarios; repeatable.")
@named_args("--suite-args", "suites; SUITE:NAME=VALUE for one of several")
@option("--limit", "-L", type=whole_number(SCENARIOS), help="At most this many scenarios of each suite.")
@option(
    "--sample-id",
    "sample_ids",
    multiple=True,
    help="Only the scenario with this id (fobench ls scenarios); repeatable.",
)
@option("--judge", default="whisper", help="Reference ASR that transcribes the spoken replies, or none.")
@named_args("--judge-args", "reference ASR")
@option("--margin", type=NumberIn(MARGIN), default=3.0, help="Non-inferiority margin, percentage points of accuracy.")
@option(
    "--clock",
    type=click.Choice(["auto", "virtual", "wall"]),
    default="auto",
    help="Simulated time (virtual) or real time (wall); auto: as the system needs it.",
)
@option(
    "--costs", default="measured", help="Latency profile: measured | declared (all free) | declared:FILE (replayed)."
)
@option("--device", help="cpu, cuda, cuda:1, ...; default: the best available.")
@option("--dtype", help="float32, bfloat16, ...; default: the backbone's own.")
@option("--seed", type=whole_number(SEED), default=0, help="Seed of the suites and of the system.")
@option(
    "--workers",
    type=whole_number(WORKERS),
    default=1,
    help="Systems in parallel, one process each; of a live server: conversations at a time.",
)
@option(
    "--time-limit",
    "time_limit_s",
    type=NumberIn(STEP_S),
    default=120.0,
    help="Time limit of one step of the system, seconds.",
)
@option(
    "--playback-delay",
    "playback_delay_ms",
    type=whole_number(MILLISECONDS),
    default=0,
    help="Length of the listener's playback buffer, ms.",
)
@option(
    "--echo",
    "echo_db",
    type=NumberIn(DECIBELS),
    help="Leak the playback into the user's channel: level in dB, e.g. -30.",
)
@option("--echo-delay", "echo_delay_ms", type=whole_number(MILLISECONDS), default=80, help="Delay of the echo, ms.")
@option("--text-routes/--no-text-routes", default=True, help="Also ask each question by text (for parity).")
@asserted("An absolute limit: exit 1 unless it is kept, e.g. response_ms.p90<=1200 or yield_rate>=95%; repeatable.")
@option("--baseline", metavar="RUN|STORE[#NAME]", help="Compare with this run or baseline when done (fobench compare).")
@compare.fail_on
@compare.allow_mismatch
@option("--output", "-o", type=NewFolder(), help="Run folder; default: runs/<time>-<system>.")
@option("--open/--no-open", "opens", default=False, help="Open the report in a browser, where there is a display.")
@option("--resume", type=ExistingPath(file_okay=False), help="Complete the interrupted run in this folder.")
@option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=from_file,
    help="TOML file of options.",
)
@click.pass_context
def run(
    ctx: click.Context,
    /,
    output: Path | None,
    resume: Path | None,
    baseline: str | None,
    gates: tuple[str, ...],
    allow_mismatch: bool,
    opens: bool,
    **options: Any,
) -> None:
    """Run a system on suites, score it and write the reports.

    The default is our Freeze-Omni around a small frozen LLM, on the built-in spoken questions. `--backbone NAME` takes any
    other LLM, `--system cascade` the baseline: ASR, the same LLM, TTS.
    """
    from fobench.execution.run import Run
    from fobench.matrix import plan
    from fobench.storage.run_config import RunConfig, default_system
    from fobench.storage.run_lock import locked

    base = compare.load_base(baseline, gates)
    if resume:
        started = Run.resume(resume, {k: v for k, v in explicit_options(ctx).items() if k not in NOT_OF_RUN})
        for sentence in started.healed:
            click.echo(f"fobench: {sentence}", err=True)
    else:
        if options["system"] is None:
            options["system"] = default_system(options["backbone"], options["checkpoint"])
        if planned := plan.plan(RunConfig.from_json(options)):
            remove_if_empty(folder := output or new_folder("matrix"))
            code = _matrix(planned, folder, base is not None, allow_mismatch)
            if opens:
                open_report(folder)
            sys.exit(code)
        started = Run.begin(RunConfig.from_json(options), output or new_folder(options["system"]))
        remove_if_empty(started.folder.path)
    with locked(started.folder.path):
        try:
            _execute(started, resume is not None)
        except KeyboardInterrupt as stop:
            again = f"fobench run --resume {started.folder.path}"
            click.echo(f"\n{stop_signals.told(stop)}. Nothing is lost: {again}", err=True)
            sys.exit(stop_signals.exit_code(stop))
        complete = score_and_report(started.folder.path, started.config.margin, times=started.times)
        started.record_times()
        click.echo(started.times.sentence(), err=True)
        code = compare.apply_gates(base, started.folder.path, gates, allow_mismatch) if base else 0
    failed = sum(trace.failure is not None for trace in started.folder.traces())
    if failed:
        click.echo(
            f"{failed} of {counted(len(started.scenarios), 'scenario')} failed: see the report and run.log.", err=True
        )
    if opens:
        open_report(started.folder.path)
    if failed or code or not complete:
        sys.exit(1 if failed or not complete else code)


def _execute(started: Run, resumed: bool) -> None:
    """Executes a run with a progress bar; a new run that fails before its first scenario leaves no files."""
    from fobench.cli.progress_bar import watching

    path = started.folder.path
    try:
        with watching(len(started.scenarios), path) as watch:
            started.execute(watch)
    except FobenchError:
        if not resumed and not started.folder.traces_path.exists():
            started.folder.discard()
        raise


def _matrix(planned: MatrixPlan, output: Path, has_baseline: bool, allow_mismatch: bool = False) -> int:
    """Executes the unfinished runs of a matrix, writes the reports, and returns the exit code."""
    from fobench.storage.run_lock import locked

    if has_baseline:
        raise FobenchError(
            "--baseline compares one run: leave it out of a matrix, and compare the runs by fobench compare."
        )
    if (output / "run.json").exists():
        raise FobenchError(f"{output} holds a run: choose another --output for the matrix.")
    with locked(output):
        return _execute_matrix(planned, output, allow_mismatch)


def _execute_matrix(planned: MatrixPlan, output: Path, allow_mismatch: bool) -> int:
    from fobench.matrix import plan

    runs = {cell.name: plan.begin_or_resume(cell, output / cell.folder) for cell in planned.cells}
    missing: dict[str, str] = {}
    failed = False
    try:
        for name, started in runs.items():
            try:
                _execute(started, resumed=True)
                failed |= not score_and_report(started.folder.path, started.config.margin, times=started.times)
                started.record_times()
            except FobenchError as error:  # the other runs continue
                missing[name] = str(error)
                click.echo(f"fobench: {name}: {error}", err=True)
        done = {name: started.folder.path for name, started in runs.items() if name not in missing}
        return max(int(failed), _report_matrix(planned, done, missing, output, allow_mismatch))
    except KeyboardInterrupt as stop:
        told = f"{stop_signals.told(stop)}. Nothing is lost: repeat the command with --output {output}"
        click.echo(f"\n{told}", err=True)
        return stop_signals.exit_code(stop)


def _report_matrix(
    planned: MatrixPlan, done: Mapping[str, Path], missing: Mapping[str, str], output: Path, allow_mismatch: bool
) -> int:
    """Writes the reports of the finished runs and the codec controls, and returns the exit code."""
    from fobench.matrix import codec_report
    from fobench.matrix.pairwise_tests import PairwiseTests

    if not done:
        raise FobenchError(f"No run of the matrix was completed; {output} keeps the finished scenarios.")
    tests = PairwiseTests.of(done, missing, allow_mismatch=allow_mismatch)
    written = tests.write(output)
    if len(done) > 1:
        write_several(list(done.values()), output)
    for control in planned.controls(lambda name, error: tests.missing.update({f"codec {name}": str(error)})):
        tests.controls.append(control)
        tests.write(output)
    tests.write(output)
    if tests.controls:
        codec_report.show(tests.controls)
    click.echo(f"Tests and controls: {', '.join(map(str, written))}")
    if tests.no_plot:
        click.echo(f"fobench: {tests.no_plot}", err=True)
    for name, results in tests.results.items():
        if broken := broken_limits(results):
            click.echo(f"fobench: {name}: {broken}", err=True)
    for what, why in tests.missing.items():
        click.echo(f"fobench: missing: {what}: {why}", err=True)
    return int(bool(tests.missing) or any(t.failure for run in tests.results.values() for t in run.traces))
