"""Command-line options: their types, and their values from environment variables and TOML files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fobench import outside_files
from fobench.api import typed
from fobench.api.option_ranges import Between
from fobench.errors import FobenchError, unknown
from fobench.formatting import is_encodable

MOST_BYTES = 1 << 20  # of a file of options


class NumberIn(click.FloatRange):
    """A number in a range."""

    def __init__(self, allowed: Between) -> None:
        super().__init__(min=allowed.low, max=allowed.high)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number != number:  # NaN is in any range
            self.fail(f"{value} is not a number.", param, ctx)
        return number


def whole_number(allowed: Between) -> click.IntRange:
    """The type of a whole number in a range."""
    return click.IntRange(min=int(allowed.low), max=int(allowed.high))


class NewFolder(click.Path):
    """The path of a folder, which need not exist."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty: name a folder.", param, ctx)
        if not is_encodable(str(value)):  # reports name files in UTF-8
            self.fail(f"{str(value)!a} is not UTF-8: choose another name.", param, ctx)
        if "\0" in str(value):
            self.fail("it holds a null character.", param, ctx)
        return super().convert(value, param, ctx)


class ExistingPath(click.Path):
    """A path that exists. `file_okay`, `dir_okay`: whether it may be a file, or a folder."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, exists=True, file_okay=file_okay, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            usable = b"\0" not in os.fsencode(value)
        except UnicodeEncodeError:
            usable = False
        if not usable:  # which click does not expect: from a TOML file
            self.fail(f"{str(value)!a} cannot be the name of a file.", param, ctx)
        return super().convert(value, param, ctx)


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """A click option that can also be set as FOBENCH_<NAME>."""
    long = next(name for name in names if name.startswith("--"))
    variable = "FOBENCH_" + long.split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_default=settings.pop("show_default", True), **settings)


def asserted(help_text: str) -> Callable[[Any], Any]:
    """The option --assert: absolute limits on a run's metrics."""
    return option("--assert", "asserts", multiple=True, metavar="LIMIT", show_default=False, help=help_text)


def named_args(flag: str, what: str) -> Callable[[Any], Any]:
    """An option that takes NAME=VALUE, repeatedly."""
    help_text = f"An option of the {what}."
    return option(flag, multiple=True, callback=pairs, metavar="NAME=VALUE", show_default=False, help=help_text)


def pairs(_: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """The dict of ("k=v", ...). Raises `FobenchError` for a value without "="."""
    broken = [value for value in values if "=" not in value]
    if broken:
        raise FobenchError(f"{option.opts[0]} {broken[0]!r}: write it as name=value.")
    if nameless := [value for value in values if value.startswith("=")]:
        raise FobenchError(f"{option.opts[0]} {nameless[0]!r}: it has no name before the equals sign.")
    return dict(value.split("=", 1) for value in values)


def from_file(
    ctx: click.Context, own: click.Parameter, path: Path | None, shared: click.Command | None = None
) -> Path | None:
    """Sets the options of a TOML file as defaults; its keys are the options' long names, with `-` or `_`.

    `shared`: a command whose options may stand in the same file; they are ignored.
    """
    if path is None:
        return None
    known = {_long(p): p for p in ctx.command.params if isinstance(p, click.Option) and p is not own}
    others = {_long(p) for p in shared.params if isinstance(p, click.Option)} - known.keys() if shared else set()
    defaults: dict[str, Any] = {}
    for key, value in _read(path).items():
        name = key.replace("_", "-")
        if name in others:
            continue
        if name not in known:
            raise unknown(f"option in {path}", key, known)
        defaults[str(known[name].name)] = _default(ctx, known[name], value, f"{path}: {key} = {typed.shown(value)}")
    ctx.default_map = defaults
    return path


def explicit_options(ctx: click.Context) -> dict[str, Any]:
    """The options set by the command line, an environment variable or a file, by parameter name."""
    default = (None, ParameterSource.DEFAULT)
    return {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) not in default}


def _read(path: Path) -> dict[str, Any]:
    try:
        return outside_files.read_toml(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise FobenchError(f"--config {path} cannot be read as TOML: {error}.") from error


def _long(param: click.Option) -> str:
    return next(name for name in param.opts if name.startswith("--"))[2:]


def _default(ctx: click.Context, param: click.Option, value: Any, where: str) -> Any:
    """The value as a click default. Raises `FobenchError`, beginning with `where`, for an invalid value."""
    try:
        typed.convert(value, _kind(param))
        if not isinstance(value, list | dict):
            param.type.convert(value, param, ctx)
    except click.BadParameter as error:
        raise FobenchError(f"{where}: {error.message}") from error
    except ValueError as error:
        raise FobenchError(f"{where}: {error}.") from error
    if isinstance(value, dict):
        return [f"{k}={v}" for k, v in value.items()]
    return [value] if param.multiple and isinstance(value, str) else value


def _kind(param: click.Option) -> Any:
    """The type of an option's value in a TOML file."""
    if param.callback is pairs:
        return dict[str, str | float | bool]
    if param.multiple:
        return str | list[str]
    if param.is_flag:
        return bool
    if isinstance(param.type, click.types.IntParamType):
        return int
    return float if isinstance(param.type, click.types.FloatParamType) else str
