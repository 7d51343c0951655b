"""The command line: `fobench run | score | report | ls | validate | assets`.

Options of `run` can also be set as FOBENCH_<OPTION> or in a --config file (keys as in run.json's config); the command line wins over the environment,
the environment over the file. Exit codes: 0 fine, 1 some scenario or check failed, 2 wrong use or a missing prerequisite,
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fobench import __version__
from fobench.errors import FobenchError, unknown

if TYPE_CHECKING:
    from fobench.config import Config
    from fobench.run import Run

REPORTERS = ("markdown", "html", "junit")
SECONDS = click.FloatRange(min=0, min_open=True)


class Program(click.Group):
    """The command group: an error meant for the user is one message, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FobenchError as error:
            click.echo(f"fobench: {error}", err=True)
            ctx.exit(2)
        except BrokenPipeError:
            ctx.exit(141)  # as a shell says it: the reader of the output has gone
        except OSError as error:  # a folder that cannot be made, a disk that is full: the system's words name the file
            click.echo(f"fobench: {error}. Set FOBENCH_HOME or --output to a place that can be written.", err=True)
            ctx.exit(2)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(ctx, args)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fobench")
def main() -> None:
    """Measure live spoken dialogue: intelligence parity, WER and latency of a speech-to-speech system."""


def pairs(_: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """("k=v", ...) as a dict."""
    broken = [value for value in values if "=" not in value]
    if broken:
        raise FobenchError(f"{option.opts[0]} {broken[0]!r}: write it as name=value.")
    return dict(value.split("=", 1) for value in values)


def from_file(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Takes the options of a TOML file as defaults; its keys are those of `config` in run.json."""
    import tomllib

    if path is None:
        return None
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise FobenchError(f"--config {path} cannot be read: {error}") from error
    options = {key.replace("-", "_"): value for key, value in data.items()}
    known = {name for p in ctx.command.params if (name := p.name)}
    for key in options:
        if key not in known:
            raise unknown(f"option in {path}", key, known)
    ctx.default_map = {key: _as_given(value) for key, value in options.items()}
    return path


def _as_given(value: Any) -> Any:
    """A TOML table as the command line's k=v pairs; anything else as it is."""
    return [f"{k}={v}" for k, v in value.items()] if isinstance(value, dict) else value


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """A click option that can also be set as FOBENCH_<NAME>."""
    long = next(name for name in names if name.startswith("--"))
    variable = "FOBENCH_" + long.split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_default=settings.pop("show_default", True), **settings)


def named_args(flag: str, what: str) -> Callable[[Any], Any]:
    return option(
        flag, multiple=True, callback=pairs, metavar="NAME=VALUE", show_default=False, help=f"An option of the {what}."
    )


@main.command()
@option("--system", default="cascade", help="System under test (fobench ls systems).")
@named_args("--system-args", "system")
@option("--backbone", help="Frozen LLM inside the system; default: the system's own.")
@named_args("--backbone-args", "backbone")
@option("--codec", help="Codec inside the system.")
@named_args("--codec-args", "codec")
@option("--suite", "-s", "suites", multiple=True, default=["spoken-qa"], help="Suite of scenarios; repeatable.")
@named_args("--suite-args", "suites")
@option("--limit", "-L", type=click.IntRange(min=1), help="At most this many scenarios of each suite.")
@option("--sample-id", "sample_ids", multiple=True, help="Only this scenario; repeatable.")
@option("--judge", default="whisper", help="Recogniser that judges the spoken replies, or none.")
@named_args("--judge-args", "judge")
@option("--margin", type=float, default=3.0, help="Non-inferiority margin, points of accuracy.")
@option("--clock", type=click.Choice(["virtual", "wall"]), default="virtual", help="Simulated or real time.")
@option("--costs", default="measured", help="measured | declared (free) | declared:FILE")
@option("--device", help="cpu, cuda, cuda:1, ...; default: the best there is.")
@option("--dtype", help="float32, bfloat16, ...; default: the backbone's own.")
@option("--seed", type=int, default=0)
@option("--workers", type=click.IntRange(min=1), default=1, help="Systems at work side by side, a process each.")
@option("--time-limit", "time_limit_s", type=SECONDS, default=120.0, help="Seconds one step of the system may take.")
@option(
    "--playback-delay", "playback_delay_ms", type=click.IntRange(min=0), default=0, help="The listener's buffer, ms."
)
@option("--text-routes/--no-text-routes", default=True, help="Also ask each question by text (for parity).")
@option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="Run folder; default: runs/<time>-<system>.",
)
@click.option(
    "--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Complete the run in a folder."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=from_file,
    help="TOML file of options.",
)
def run(output: Path | None, resume: Path | None, **options: Any) -> None:
    """Run a system on suites and report.

    The default asks the built-in questions of the cascade with a small frozen LLM. `fobench run --backbone qwen2-7b` asks
    the same of a bigger one.
    """
    from fobench.run import Run

    started = Run.resume(resume) if resume else Run.begin(_config(options), output or _new_folder(options["system"]))
    try:
        _watched(started, resume is not None)
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted. Nothing is lost: fobench run --resume {started.folder.path}", err=True)
        sys.exit(130)
    _report(started.folder.path, started.config.margin, REPORTERS)
    failed = sum(trace.failure is not None for trace in started.folder.traces())
    if failed:
        click.echo(f"{failed} of {len(started.scenarios)} scenarios failed: see the report and run.log.", err=True)
        sys.exit(1)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--margin", type=float, help="Non-inferiority margin, points of accuracy; default: the run's own.")
def score(folder: Path, margin: float | None) -> None:
    """Score a run again from its traces alone (no model is needed) and write its reports anew."""
    from fobench.folder import RunFolder

    configured = RunFolder(folder).read_run().get("config", {}).get("margin", 3.0)
    _report(folder, configured if margin is None else margin, REPORTERS)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--reporter", "-r", "reporters", multiple=True, default=REPORTERS, help="fobench ls reporters")
def report(folder: Path, reporters: tuple[str, ...]) -> None:
    """Write a scored run's reports again and show its tables."""
    from fobench.score import load_results

    _write(load_results(folder), folder, reporters)


@main.command()
@click.argument("kind", required=False)
def ls(kind: str | None) -> None:
    """List components: systems, backbones, codecs, recognizers, voices, suites, metrics, reporters."""
    from fobench import plugins

    if kind is not None and kind not in plugins.KINDS:
        raise unknown("kind of component", kind, plugins.KINDS)
    for each in [kind] if kind else plugins.KINDS:
        rows = [(name, _summary(factory)) for name, factory in sorted(plugins.factories(each).items())]
        _table(each, ("name", "what"), rows)


@main.command()
@click.argument("name")
@click.option("--kind", help="Kind of component, where a name alone is ambiguous.")
@click.option(
    "--args", "options", multiple=True, callback=pairs, metavar="NAME=VALUE", help="An option of the component."
)
def validate(name: str, kind: str | None, options: Mapping[str, str]) -> None:
    """Check that a component keeps its contract (the conformance suite)."""
    from fobench import conformance

    kind = kind or conformance.find_kind(name)
    checks = conformance.check(kind, name, options)
    _table(f"{kind} {name}", ("", "check", "finding"), [("ok" if c.ok else "FAIL", c.name, c.message) for c in checks])
    if not all(check.ok for check in checks):
        sys.exit(1)


@main.group()
def assets() -> None:
    """Model files: pinned by hash, hub first, package-index mirror second."""


@assets.command("ls")
def assets_ls() -> None:
    """Show every asset, its size, licence and whether it is here."""
    from fobench import assets as store

    columns = ("name", "MB", "licence", "state", "what")
    rows = [(r["name"], f"{r['size'] / 1e6:.1f}", r["licence"], r["state"], r["what"]) for r in store.ls_rows()]
    _table(f"assets in {store.home()}", columns, rows)


@assets.command("pull")
@click.argument("names", nargs=-1)
def assets_pull(names: tuple[str, ...]) -> None:
    """Fetch assets (default: those of the default run)."""
    from fobench import assets as store

    with store.RichProgress() as progress:
        store.pull(names, progress=progress)


@assets.command("verify")
@click.argument("names", nargs=-1)
def assets_verify(names: tuple[str, ...]) -> None:
    """Hash the files that are here again and name those that differ."""
    from fobench import assets as store

    here = [name for name in names or store.table() if not store.missing(name)]
    problems = [problem for name in here for problem in store.verify(name)]
    for problem in problems:
        click.echo(str(problem), err=True)
    click.echo(f"{len(here)} assets verified, {len(problems)} problems.")
    if problems:
        sys.exit(1)


def _config(options: Mapping[str, Any]) -> Config:
    from fobench.config import Config

    return Config.from_json(options)


def _new_folder(system: str) -> Path:
    from datetime import datetime

    return Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{system.replace(':', '-')}"


def _watched(started: Run, resumed: bool) -> None:
    """Executes a run behind a progress bar; a new run that never got anywhere leaves no folder behind."""
    import shutil
    import signal

    from fobench.progress import watching

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


def _report(folder: Path, margin: float, reporters: tuple[str, ...]) -> None:
    from fobench.score import score_run

    _write(score_run(folder, {"parity": {"margin": margin}}), folder, reporters)


def _write(results: Any, folder: Path, reporters: tuple[str, ...]) -> None:
    from fobench import plugins

    for name in (*reporters, "terminal"):  # the terminal's last: it names what the others wrote
        plugins.create("reporters", name).write(results, folder)


def _summary(factory: Callable[..., Any]) -> str:
    import inspect

    return (inspect.getdoc(factory) or "").split("\n\n")[0].replace("\n", " ")


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table, "")
