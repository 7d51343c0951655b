"""The registry: finds plugins by entry points, and creates components by name with checked options."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import pluggy

from fobench.api import hookspecs, typed
from fobench.errors import FobenchError, unknown

GROUP = "fobench"
KINDS = (
    *("systems", "backbones", "codecs", "checkpoints", "trainers"),
    *("recognizers", "voices", "suites", "metrics", "reporters"),
)


@cache
def manager() -> pluggy.PluginManager:
    """The plugin manager with every installed plugin registered. Raises `FobenchError` naming a plugin that cannot load."""
    found = pluggy.PluginManager("fobench")
    found.add_hookspecs(hookspecs)
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            found.register(point.load(), name=point.name)
        except Exception as error:  # a plugin's import may raise anything; the message names the plugin
            raise FobenchError(
                f"Plugin {point.name!r} ({point.value}) cannot be loaded: {error!r}. Fix or uninstall it."
            ) from error
    try:
        found.check_pending()
    except pluggy.PluginValidationError as error:
        raise FobenchError(f"{error}. The hooks are fobench_{', fobench_'.join(KINDS)}.") from error
    return found


@cache
def factories(kind: str) -> dict[str, Callable[..., Any]]:
    """All factories of a kind (one of `KINDS`). Raises `FobenchError` naming two plugins with the same name."""
    if kind not in KINDS:
        raise unknown("kind of component", kind, KINDS)
    hook = getattr(manager().hook, f"fobench_{kind}")
    found: dict[str, Callable[..., Any]] = {}
    owners: dict[str, str] = {}
    for impl in hook.get_hookimpls():
        for name, factory in impl.function().items():
            if name in owners:
                raise FobenchError(
                    f"Two plugins claim the {kind[:-1]} {name!r}: {owners[name]!r} and {impl.plugin_name!r}. Uninstall one."
                )
            found[name], owners[name] = factory, impl.plugin_name
    return found


def find(kind: str, name: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """The factory for `name` and its leading arguments: those of the family `hf:` for `hf:some/model`."""
    known = factories(kind)
    if name in known and not name.endswith(":"):
        return known[name], ()
    family, colon, target = name.partition(":")
    if colon and target and family + ":" in known:
        return known[family + ":"], (target,)
    raise unknown(kind[:-1], name, [n + "..." if n.endswith(":") else n for n in known])


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A component that can be created: its kind, its name and options that its factory takes. `spec` makes checked ones."""

    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


def spec(kind: str, name: str, options: Mapping[str, Any] | None = None) -> ComponentSpec:
    """The component `name` of `kind` with `options`, whose text values are converted to the factory's annotated types.

    Raises `FobenchError` for an unknown name or a value of the wrong type.
    """
    factory, leading = find(kind, name)
    taken = option_types(factory, skip=len(leading))
    converted = {}
    for key, value in (options or {}).items():
        if key not in taken:
            raise unknown(f"option of {kind[:-1]} {name!r}", key, taken)
        try:
            converted[key] = typed.convert(value, taken[key], text=True)
        except ValueError as error:
            raise FobenchError(f"Option {key}={typed.shown(value)} of {kind[:-1]} {name!r}: {error}.") from error
    return ComponentSpec(kind, name, converted)


def create(kind: str | ComponentSpec, name: str = "", options: Mapping[str, Any] | None = None) -> Any:
    """The component of a checked spec, or of a kind, name and options that are checked here."""
    checked = kind if isinstance(kind, ComponentSpec) else spec(kind, name, options)
    factory, leading = find(checked.kind, checked.name)
    return factory(*leading, **checked.options)


def option_types(factory: Callable[..., Any], skip: int = 0) -> dict[str, Any]:
    """{option: annotated type} of a factory's keyword arguments, after the first `skip`."""
    target = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(target)
    parameters = list(inspect.signature(factory).parameters.values())[skip:]
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {p.name: hints.get(p.name, str) for p in named}
