"""Options of the command line: their types, and where else they can be set (a variable each, a TOML file)."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fobench.errors import FobenchError, unknown

Scalar = (str, int, float, bool)


class PositiveNumber(click.types.FloatParamType):
    """A finite number above 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not 0 < number < math.inf:  # which no NaN is
            self.fail(f"{value} is not a finite number above 0.", param, ctx)
        return number


class NewFolder(click.Path):
    """A folder's path, which need not exist."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty: name a folder.", param, ctx)
        return super().convert(value, param, ctx)


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """A click option that can also be set as FOBENCH_<NAME>."""
    long = next(name for name in names if name.startswith("--"))
    variable = "FOBENCH_" + long.split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_default=settings.pop("show_default", True), **settings)


def named_args(flag: str, what: str) -> Callable[[Any], Any]:
    """An option that takes NAME=VALUE, repeatedly."""
    told = f"An option of the {what}."
    return option(flag, multiple=True, callback=pairs, metavar="NAME=VALUE", show_default=False, help=told)


def pairs(_: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """("k=v", ...) as a dict."""
    broken = [value for value in values if "=" not in value]
    if broken:
        raise FobenchError(f"{option.opts[0]} {broken[0]!r}: write it as name=value.")
    return dict(value.split("=", 1) for value in values)


def from_file(
    ctx: click.Context, own: click.Parameter, path: Path | None, shared: click.Command | None = None
) -> Path | None:
    """Takes the options of a TOML file as defaults; its keys are the options' long names, with `-` or `_`.

    `shared`: a command whose options may stand in the same file; they are let be.
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
        defaults[str(known[name].name)] = _default(ctx, known[name], value, f"{path}: {key} = {value!r}")
    ctx.default_map = defaults
    return path


def given(ctx: click.Context) -> dict[str, Any]:
    """The options that the command line, a variable or a file sets, by the command's names for them."""
    default = (None, ParameterSource.DEFAULT)
    return {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) not in default}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise FobenchError(f"--config {path} is no TOML: not UTF-8 ({error.reason} at byte {error.start}).") from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise FobenchError(f"--config {path} cannot be read as TOML: {error}.") from error


def _long(param: click.Option) -> str:
    return next(name for name in param.opts if name.startswith("--"))[2:]


def _default(ctx: click.Context, param: click.Option, value: Any, where: str) -> Any:
    """The value as a click default. Raises `FobenchError`, beginning with `where`, for what the option cannot take."""
    expected, fits = _expected(param)
    if not fits(value):
        raise FobenchError(f"{where}: must be {expected}.")
    if isinstance(value, dict):
        return [f"{k}={v}" for k, v in value.items()]
    if param.multiple:
        return [value] if isinstance(value, str) else value
    try:
        param.type.convert(value, param, ctx)
    except click.BadParameter as error:
        raise FobenchError(f"{where}: {error.message}") from error
    return value


def _expected(param: click.Option) -> tuple[str, Callable[[Any], bool]]:
    """(what a file's value must be, in words, and whether one is)."""
    if param.callback is pairs:
        return "a table of texts, numbers, true or false", lambda v: isinstance(v, dict) and _all(v.values(), Scalar)
    if param.multiple:
        return "a text or a list of texts", lambda v: isinstance(v, str) or (isinstance(v, list) and _all(v, (str,)))
    if param.is_flag:
        return "true or false", lambda v: isinstance(v, bool)
    if isinstance(param.type, click.IntRange | click.types.IntParamType):
        return "a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)
    if isinstance(param.type, PositiveNumber):
        return "a number above 0", lambda v: isinstance(v, int | float) and not isinstance(v, bool)
    return "a text", lambda v: isinstance(v, str)


def _all(values: Any, kinds: tuple[type, ...]) -> bool:
    return all(isinstance(value, kinds) for value in values)
