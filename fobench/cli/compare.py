"""`fobench compare`, and the gates of `fobench run`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fobench.atomic_files import file_names, write_text
from fobench.cli.options import NewFolder, from_file, option
from fobench.errors import FobenchError

if TYPE_CHECKING:
    from fobench.comparison import Comparison
    from fobench.comparison.snapshot import Snapshot

REPORTERS = ("markdown", "html", "junit")
ALPHA = 0.05
OPTIONS = ("baseline", "gates", "allow_mismatch")  # of `fobench run`, not part of its configuration
EXITS = """Exit codes: 0 no gate has a regression, 1 a regression, 2 wrong usage or runs that are not comparable, 3 no regression,
but a gate is inconclusive: too few scenarios."""


class Fraction(click.types.FloatParamType):
    """A number between 0 and 1."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not 0 < number < 1:
            self.fail(f"{value} is not between 0 and 1.", param, ctx)
        return number


fail_on = option(
    "--fail-on",
    "gates",
    multiple=True,
    metavar="METRIC:LIMIT",
    show_default=False,
    help="A gate: fail if the metric is worse by more than this, e.g. response_ms.p90:10% or parity:-2pp; repeatable.",
)
allow_mismatch = option(
    "--allow-mismatch",
    is_flag=True,
    help="Also compare runs that differ in what makes them comparable; the report lists it.",
)


@click.command(epilog=EXITS)
@click.argument("base")
@click.argument("new", nargs=-1, required=True)
@fail_on
@allow_mismatch
@click.option(
    "--alpha",
    type=Fraction(),
    default=ALPHA,
    show_default=True,
    help="Significance level of the tests, over all gates together.",
)
@click.option("--output", "-o", type=NewFolder(), help="Folder for comparison.html, .md, .xml (JUnit) and .json.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, own, path: from_file(ctx, own, path, shared=_run(ctx)),
    help="TOML file of options, e.g. that of the run.",
)
def compare(
    base: str, new: tuple[str, ...], gates: tuple[str, ...], allow_mismatch: bool, alpha: float, output: Path | None
) -> None:
    """Compare runs by scenario, and fail on regressions.

    BASE is what NEW is compared with. Each is a run's folder or a baseline: a file, FOLDER[#NUMBER | #NAME] or git:BRANCH[#NUMBER | #NAME].
    """
    from fobench.comparison import baseline_store
    from fobench.comparison.snapshot import with_unique_names

    first, *others = with_unique_names([baseline_store.load(place) for place in (base, *new)])
    codes, names = [], file_names(run.name for run in others)
    for run in others:
        folder = output / names[run.name] if output and len(others) > 1 else output
        codes.append(compare_and_report(first, run, gates, alpha=alpha, allow_mismatch=allow_mismatch, folder=folder))
    sys.exit(worst_code(codes))


def load_base(place: str | None, gates: Sequence[str]) -> Snapshot | None:
    """The base of a run's comparison, loaded before the run. Raises `FobenchError` for gates on metrics not in the base."""
    from fobench.comparison import baseline_store
    from fobench.comparison.comparison import check_values
    from fobench.comparison.gates import Gate
    from fobench.comparison.metric_delta import metric_units

    parsed = [Gate.parse(gate) for gate in gates]
    if not place:
        if gates:
            raise FobenchError("--fail-on needs a base to compare with: add --baseline.")
        return None
    base = baseline_store.load(place)
    for gate in parsed:
        check_values(gate, [base])
        gate.resolve(metric_units(base))
    return base


def apply_gates(base: Snapshot, run: Path, gates: Iterable[str], allow_mismatch: bool) -> int:
    """Compares a finished run with `base`, writes the reports into its folder, and returns the exit code."""
    from fobench.comparison.snapshot import Snapshot, with_unique_names

    first, new = with_unique_names([base, Snapshot.of_run(run)])
    return compare_and_report(first, new, gates, alpha=ALPHA, allow_mismatch=allow_mismatch, folder=run)


def compare_and_report(
    base: Snapshot, new: Snapshot, gates: Iterable[str], *, alpha: float, allow_mismatch: bool, folder: Path | None
) -> int:
    """Compares two runs, writes the reports, and returns the exit code."""
    from fobench.comparison import compare as compare_snapshots
    from fobench.comparison.gates import Gate

    comparison = compare_snapshots(base, new, map(Gate.parse, gates), allow_mismatch=allow_mismatch, alpha=alpha)
    _write(comparison, folder)
    return comparison.exit_code


def worst_code(codes: Sequence[int]) -> int:
    """The exit code of several comparisons: 1 (regression), else 3 (inconclusive), else 0."""
    return next((code for code in (1, 3) if code in codes), 0)


def _write(comparison: Comparison, folder: Path | None) -> None:
    from fobench.api import registry

    if folder:
        write_text(folder / "comparison.json", comparison.dumps(), parents=True)
    for name in (*(REPORTERS if folder else ()), "terminal"):  # the terminal last: it lists the files of the others
        registry.create("reporters", name).write_comparison(comparison, folder)


def _run(ctx: click.Context) -> click.Command | None:
    """The command `fobench run`, whose configuration file may hold gates."""
    group = ctx.parent.command if ctx.parent else None
    return group.commands.get("run") if isinstance(group, click.Group) else None
