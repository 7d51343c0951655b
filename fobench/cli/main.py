"""The command line: `fobench run | score | report | compare | baseline | codec | ls | validate | train | assets`.

Options of `run` can also be set as FOBENCH_<OPTION> or in a --config file (keys: their long names); the command line wins
over the environment, the environment over the file. Exit codes: 0 fine, 1 some scenario, check or gate failed, 2 wrong use or a
missing prerequisite, 3 a gate is inconclusive, 130 interrupted, 141 the reader of the output has gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fobench import __version__
from fobench.cli import assets, codec, compare, report, train
from fobench.cli.options import NewFolder, Positive, from_file, given, named_args, option, pairs
from fobench.cli.report import new_folder, scored, write_several
from fobench.console import counted, table
from fobench.errors import FobenchError, unknown

if TYPE_CHECKING:
    from fobench.execution.run import Run
    from fobench.matrix.plan import Plan
    from fobench.storage.run_config import Config

PROBE_LIMIT_S = 600.0


class Program(click.Group):
    """The command group: an error meant for the user is one message, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FobenchError as error:
            click.echo(f"fobench: {error}", err=True)
            ctx.exit(2)
        except BrokenPipeError:
            _drop_output()
            ctx.exit(141)  # as a shell says it: the reader of the output has gone
        except OSError as error:  # a folder that cannot be made, a disk that is full: the system's words
            click.echo(f"fobench: {_advice(error)}", err=True)
            if error.filename is None:
                _drop_output()
            ctx.exit(2)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


def _drop_output() -> None:
    """What could not be written still waits in a buffer; without this the interpreter tries once more as it exits."""
    with contextlib.suppress(OSError, ValueError):  # no file behind it, as in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _advice(error: OSError) -> str:
    """The error and the way out. A full disk without a file's name is where the output goes."""
    if error.filename is not None:
        return f"{error}. Set FOBENCH_HOME or --output to a place that can be written."
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    return f"the output cannot be written: {error.strerror}." if full else f"{error}."


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fobench")
def main() -> None:
    """Measure live spoken dialogue: intelligence parity, WER and latency of a speech-to-speech system."""


@main.command()
@option("--system", help="System under test; default: the one with a checkpoint for the backbone, else the cascade.")
@named_args("--system-args", "system")
@option("--backbone", help="Frozen LLM inside the system; default: the system's own. Several, a,b: a matrix.")
@named_args("--backbone-args", "backbone")
@option("--checkpoint", help="Weights of the system: a name (fobench ls checkpoints) or a path.")
@option("--codec", help="Codec inside the system; several, a,b: a matrix, each also on its own as the control.")
@named_args("--codec-args", "codec")
@option("--suite", "-s", "suites", multiple=True, default=["spoken-qa"], help="Suite of scenarios; repeatable.")
@named_args("--suite-args", "suites; SUITE:NAME=VALUE for one of several")
@option("--limit", "-L", type=click.IntRange(min=1), help="At most this many scenarios of each suite.")
@option("--sample-id", "sample_ids", multiple=True, help="Only this scenario; repeatable.")
@option("--judge", default="whisper", help="Recogniser that judges the spoken replies, or none.")
@named_args("--judge-args", "judge")
@option("--margin", type=Positive(), default=3.0, help="Non-inferiority margin, points of accuracy.")
@option("--clock", type=click.Choice(["virtual", "wall"]), default="virtual", help="Simulated or real time.")
@option("--costs", default="measured", help="measured | declared (free) | declared:FILE")
@option("--device", help="cpu, cuda, cuda:1, ...; default: the best there is.")
@option("--dtype", help="float32, bfloat16, ...; default: the backbone's own.")
@option("--seed", type=int, default=0)
@option("--workers", type=click.IntRange(min=1), default=1, help="Systems at work side by side, a process each.")
@option("--time-limit", "time_limit_s", type=Positive(), default=120.0, help="Seconds one step of the system may take.")
@option(
    "--playback-delay", "playback_delay_ms", type=click.IntRange(min=0), default=0, help="The listener's buffer, ms."
)
@option("--echo", "echo_db", type=float, help="Leak the playback into the user's channel: level in dB, e.g. -30.")
@option("--echo-delay", "echo_delay_ms", type=click.IntRange(min=0), default=80, help="How late the echo comes, ms.")
@option("--text-routes/--no-text-routes", default=True, help="Also ask each question by text (for parity).")
@option("--baseline", metavar="RUN|STORE[#NAME]", help="Compare with this run or baseline when done (fobench compare).")
@compare.fail_on
@compare.allow_mismatch
@option("--output", "-o", type=NewFolder(), help="Run folder; default: runs/<time>-<system>.")
@option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Complete the run in a folder.")
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
    **options: Any,
) -> None:
    """Run a system on suites and report.

    The default asks the built-in questions of Freeze-Omni, as trained here around a small frozen LLM. `--system cascade` asks
    them of the baseline around the same LLM, `--backbone qwen2-7b` of Freeze-Omni with that backbone.
    """
    from fobench.execution.run import Run
    from fobench.matrix import plan
    from fobench.storage.run_config import default_system

    base = compare.base_of(baseline, gates)
    if resume:
        started = Run.resume(resume, {k: v for k, v in given(ctx).items() if k not in compare.OPTIONS})
    else:
        options["system"] = options["system"] or default_system(options["backbone"], options["checkpoint"])
        if planned := plan.plan(_config(options)):
            sys.exit(_matrix(planned, output or new_folder("matrix"), base is not None, allow_mismatch))
        started = Run.begin(_config(options), output or new_folder(options["system"]))
    try:
        _watched(started, resume is not None)
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted. Nothing is lost: fobench run --resume {started.folder.path}", err=True)
        sys.exit(130)
    scored(started.folder.path, started.config.margin)
    code = compare.gate(base, started.folder.path, gates, allow_mismatch) if base else 0
    failed = sum(trace.failure is not None for trace in started.folder.traces())
    if failed:
        click.echo(
            f"{failed} of {counted(len(started.scenarios), 'scenario')} failed: see the report and run.log.", err=True
        )
    if failed or code:
        sys.exit(1 if failed else code)


@main.command()
@click.argument("kind", required=False)
@click.option(
    "--suite", "-s", "suites", multiple=True, default=["duplex"], help="Of `ls scenarios`: which suites' they are."
)
@named_args("--suite-args", "suites")
@click.option("--limit", "-L", type=click.IntRange(min=1), help="Of `ls scenarios`: at most this many of each suite.")
def ls(kind: str | None, suites: tuple[str, ...], suite_args: Mapping[str, str], limit: int | None) -> None:
    """List components: systems, backbones, codecs, checkpoints, trainers, voices, suites, metrics, ...

    `fobench ls scenarios --suite NAME` lists a suite's scenarios: who says what when, and what is expected.
    """
    from fobench.api import registry

    if kind == "scenarios":
        _list_scenarios(_config({"suites": suites, "suite_args": suite_args, "limit": limit}))
        return
    if kind is not None and kind not in registry.KINDS:
        raise unknown("kind of component", kind, (*registry.KINDS, "scenarios"))
    for each in [kind] if kind else registry.KINDS:
        rows = [(name, _summary(factory)) for name, factory in sorted(registry.factories(each).items())]
        table(each, ("name", "what"), rows)


@main.command()
@click.argument("name")
@click.option("--kind", help="Kind of component, where a name alone is ambiguous.")
@click.option(
    "--args", "options", multiple=True, callback=pairs, metavar="NAME=VALUE", help="An option of the component."
)
@click.option(
    "--time-limit",
    type=Positive(),
    default=PROBE_LIMIT_S,
    show_default=True,
    help="Seconds that making the component, or one check of it, may take.",
)
def validate(name: str, kind: str | None, options: Mapping[str, str], time_limit: float) -> None:
    """Check that a component keeps its contract (the conformance suite); or a scenario file or manifest, by its path."""
    from fobench import conformance

    if kind is None and Path(name).suffix in (".toml", ".jsonl") and Path(name).is_file():
        kind, name = "suites", f"manifest:{name}"
    kind = kind or conformance.find_kind(name)
    checks = conformance.check_apart(kind, name, options, time_limit_s=time_limit)
    table(f"{kind} {name}", ("", "check", "finding"), [("ok" if c.ok else "FAIL", c.name, c.message) for c in checks])
    if not all(check.ok for check in checks):
        sys.exit(1)


main.add_command(report.score)
main.add_command(report.report)
main.add_command(train.command())
main.add_command(compare.compare)
main.add_command(compare.baseline)
main.add_command(codec.codec)
main.add_command(assets.assets)


def _config(options: Mapping[str, Any]) -> Config:
    from fobench.storage.run_config import Config

    return Config.from_json(options)


def _list_scenarios(config: Config) -> None:
    """A row a turn; a scenario's id and family stand in its first."""
    from fobench.execution.run import select

    found = select(config)
    rows = [
        (s.id if i == 0 else "", s.expect.family if i == 0 else "", turn.told())
        for s in found
        for i, turn in enumerate(s.turns)
    ]
    table(counted(len(found), "scenario"), ("id", "family", "turns"), rows)


def _watched(started: Run, resumed: bool) -> None:
    """Executes a run behind a progress bar; a new run that never got anywhere leaves no folder behind."""
    import shutil
    import signal

    from fobench.cli.progress_bar import watching

    for stop in (signal.SIGINT, signal.SIGTERM):  # a scheduler's stop is an interruption, too, also in the background
        signal.signal(stop, signal.default_int_handler)
    path = started.folder.path
    try:
        with watching(len(started.scenarios), path) as watch:
            started.execute(watch)
    except FobenchError:
        if not resumed and not started.folder.traces_path.exists():
            shutil.rmtree(path)
        raise


def _matrix(planned: Plan, output: Path, compared: bool, allow_mismatch: bool = False) -> int:
    """Runs what is not done yet of a matrix, reports, and returns the exit code."""
    from fobench.matrix import plan

    if compared:
        raise FobenchError(
            "--baseline compares one run: leave it out of a matrix, and compare its runs by fobench compare."
        )
    if (output / "run.json").exists():
        raise FobenchError(f"{output} holds a run: choose another --output for the matrix.")
    begun = {cell.name: plan.begun(cell, output / cell.folder) for cell in planned.cells}
    missing: dict[str, str] = {}
    try:
        for name, started in begun.items():
            try:
                _watched(started, resumed=True)
                scored(started.folder.path, started.config.margin)
            except FobenchError as error:  # the other runs are made all the same
                missing[name] = str(error)
                click.echo(f"fobench: {name}: {error}", err=True)
        done = {name: started.folder.path for name, started in begun.items() if name not in missing}
        return _contrasted(planned, done, missing, output, allow_mismatch)
    except KeyboardInterrupt:
        click.echo("\nInterrupted. Nothing is lost: give the same command with --output", err=True)
        click.echo(str(output), err=True)
        return 130


def _contrasted(
    planned: Plan, done: Mapping[str, Path], missing: Mapping[str, str], output: Path, allow_mismatch: bool
) -> int:
    """Reports the runs that are done, then the codecs on their own. Returns the exit code."""
    from fobench.cli import codec
    from fobench.matrix.pairwise_tests import Contrasts

    if not done:
        raise FobenchError(f"No run of the matrix could be made; {output} keeps what there is of them.")
    contrasts = Contrasts.of(done, missing, allow_mismatch=allow_mismatch)
    written = contrasts.write(output)
    if len(done) > 1:
        write_several(list(done.values()), output)
    for control in planned.controls(lambda name, error: contrasts.missing.update({f"codec {name}": str(error)})):
        contrasts.controls.append(control)
        contrasts.write(output)
    contrasts.write(output)
    if contrasts.controls:
        codec.show(contrasts.controls)
    click.echo(f"Tests and controls: {', '.join(map(str, written))}")
    for what, why in contrasts.missing.items():
        click.echo(f"fobench: missing: {what}: {why}", err=True)
    return int(bool(contrasts.missing) or any(t.failure for run in contrasts.results.values() for t in run.traces))


def _summary(factory: Callable[..., Any]) -> str:
    import inspect

    return (inspect.getdoc(factory) or "").split("\n\n")[0].replace("\n", " ")
