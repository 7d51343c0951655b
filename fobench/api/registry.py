"""The registry: finds plugins by entry points, and creates components by name with checked options."""

from __future__ import annotations

import contextlib
import inspect
import io
import signal
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import pluggy

from fobench import compute_threads
from fobench.api import hookspecs, typed
from fobench.console import visible
from fobench.errors import FobenchError, Stopped, describe_error, unknown

GROUP = "fobench"
BUILT_IN = "builtin"  # the entry point of fobench's own components
LOAD_LIMIT_S = 60  # for the import of a plugin; heavy imports belong inside the factories
PRINTED = 2_000  # characters that are shown of what a plugin prints at its import
KINDS = (
    *("systems", "backbones", "codecs", "checkpoints", "trainers"),
    *("recognizers", "voices", "suites", "metrics", "reporters"),
)
WITHOUT_MODELS = ("checkpoints", "trainers", "suites", "reporters")


@cache
def manager() -> pluggy.PluginManager:
    """The plugin manager with every installed plugin registered. Raises `FobenchError` naming a plugin that cannot load."""
    found = pluggy.PluginManager("fobench")
    found.add_hookspecs(hookspecs)
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        with _plugin_code(f"Plugin {point.name!r} ({point.value}) cannot be loaded"):
            found.register(point.load(), name=point.name)
    try:
        found.check_pending()
    except pluggy.PluginValidationError as error:
        raise FobenchError(f"{error}. The hooks are fobench_{', fobench_'.join(KINDS)}.") from error
    return found


@cache
def factories(kind: str) -> dict[str, Callable[..., Any]]:
    """All factories of a kind (one of `KINDS`). Raises `FobenchError` naming two plugins with the same name."""
    return {name: factory for name, (factory, _) in _provided(kind).items()}


def is_third_party(kind: str, name: str) -> bool:
    """Whether the component `name` is of an installed package other than fobench; a process of its own finds it again."""
    find(kind, name)
    provided = _provided(kind)
    family = name.partition(":")[0] + ":"
    _, owner = provided.get(name) or provided.get(family) or (None, BUILT_IN)
    return owner != BUILT_IN and owner in entry_points(group=GROUP).names


def _provided(kind: str) -> dict[str, tuple[Callable[..., Any], str]]:
    """{name: (factory, name of the plugin)} of a kind."""
    if kind not in KINDS:
        raise unknown("kind of component", kind, KINDS)
    found: dict[str, tuple[Callable[..., Any], str]] = {}
    for impl in getattr(manager().hook, f"fobench_{kind}").get_hookimpls():
        owner = impl.plugin_name
        with _plugin_code(f"Plugin {owner!r} cannot list its {kind}"):
            provided = dict(impl.function())
            for name, factory in provided.items():
                if not isinstance(name, str) or not name or not callable(factory):
                    raise TypeError(f"fobench_{kind}() must return {{name: factory}}; {typed.shown(name)} is not one")
        for name, factory in provided.items():
            if name in found:
                raise FobenchError(
                    f"Two plugins claim the {kind[:-1]} {name!r}: {found[name][1]!r} and {owner!r}. Uninstall one."
                )
            found[name] = (factory, owner)
    return found


@contextlib.contextmanager
def _plugin_code(what: str) -> Iterator[None]:
    """Runs code of a plugin while plugins are searched: raises `FobenchError`, beginning with `what`, however it ends.

    What it prints is shown on standard error, with control characters escaped; it may take `LOAD_LIMIT_S` seconds.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), _time_limit() as interrupted:
            yield
    except BaseException as error:  # an import may raise anything, and exit
        if isinstance(error, FobenchError | Stopped) or interrupted:
            raise
        raise FobenchError(f"{what}: {describe_error(error)}. Fix or uninstall it.") from error
    finally:
        if text := printed.getvalue().strip():
            print(visible(f"fobench: a plugin printed: {text[:PRINTED]}"), file=sys.stderr)


@contextlib.contextmanager
def _time_limit() -> Iterator[list[int]]:
    """Raises TimeoutError in the main thread after `LOAD_LIMIT_S`; yields a list that is not empty after the user's Ctrl-C."""
    interrupted: list[int] = []
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield interrupted
        return

    def interrupt(number: int, frame: object) -> None:
        interrupted.append(number)
        raise KeyboardInterrupt

    def expire(number: int, frame: object) -> None:
        raise TimeoutError(f"not done within {LOAD_LIMIT_S} s")

    before = [(signal.SIGALRM, signal.signal(signal.SIGALRM, expire))]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before.append((signal.SIGINT, signal.signal(signal.SIGINT, interrupt)))
    signal.setitimer(signal.ITIMER_REAL, LOAD_LIMIT_S)
    try:
        yield interrupted
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


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
            converted[key] = typed.convert(typed.usable(value), taken[key], text=True)
        except ValueError as error:
            raise FobenchError(f"Option {key}={typed.shown(value)} of {kind[:-1]} {name!r}: {error}.") from error
    return ComponentSpec(kind, name, converted)


def create(kind: str | ComponentSpec, name: str = "", options: Mapping[str, Any] | None = None) -> Any:
    """The component of a checked spec, or of a kind, name and options that are checked here.

    Before a component that may load a model, idle threads of OpenMP are told to sleep (`compute_threads`).
    """
    checked = kind if isinstance(kind, ComponentSpec) else spec(kind, name, options)
    factory, leading = find(checked.kind, checked.name)
    if checked.kind not in WITHOUT_MODELS:
        compute_threads.sleep_when_idle()
    try:
        return factory(*leading, **checked.options)
    except (FobenchError, OSError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a plugin may raise anything; the message names the component
        what = f"The {checked.kind[:-1]} {checked.name!r} cannot be created"
        raise FobenchError(f"{what}: {describe_error(error)}.") from error


def option_types(factory: Callable[..., Any], skip: int = 0) -> dict[str, Any]:
    """{option: annotated type, with its range} of a factory's keyword arguments, after the first `skip`."""
    target = factory.__init__ if inspect.isclass(factory) else factory
    try:
        hints = typing.get_type_hints(target, include_extras=True)
        parameters = list(inspect.signature(factory).parameters.values())[skip:]
    except (NameError, TypeError, ValueError, AttributeError) as error:
        raise FobenchError(f"The options of a plugin's factory cannot be read: {describe_error(error)}.") from error
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {p.name: hints.get(p.name, str) for p in named}
