"""Writes docs/components/KIND.md: every component with its options, from the docstrings and signatures of the factories.

python docs/generate.py
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fobench.api import hookspecs, registry, typed

FOLDER = Path(__file__).parent / "components"


def page(kind: str) -> str:
    """The Markdown page of a kind of component."""
    hook = f"fobench_{kind}"
    summary = inspect.getdoc(getattr(hookspecs, hook))
    head = [f"# {kind.capitalize()}", "", f"Hook: `{hook}() -> {{name: factory}}`."]
    if summary:
        head[-1] += " " + " ".join(summary.split())
    head += [f"Check one: `fobench validate NAME --kind {kind}`.", ""]
    return "\n".join([*head, *_components(kind)])


def _components(kind: str) -> Iterator[str]:
    for name, factory in sorted(registry.factories(kind).items()):
        yield f"## `{name}{'...' if name.endswith(':') else ''}`\n"
        if summary := inspect.getdoc(factory):
            yield summary.replace("\n\n\n", "\n\n") + "\n"
        if options := list(_options(factory, skip=int(name.endswith(":")))):
            yield "| option | type | default |\n| --- | --- | --- |"
            yield "\n".join(options) + "\n"


def _options(factory: Callable[..., Any], skip: int) -> Iterator[str]:
    defaults = inspect.signature(factory).parameters
    for name, kind in registry.option_types(factory, skip=skip).items():
        default = defaults[name].default
        shown = "required" if default is inspect.Parameter.empty else f"`{default!r}`"
        plain, allowed = typed.without_range(kind)
        type_name = plain.__name__ if isinstance(plain, type) else str(plain).replace("typing.", "")
        yield f"| `{name}` | {type_name}{f', {allowed}' if allowed else ''} | {shown} |".replace(
            "int | None", "int or None"
        ).replace("str | None", "str or None")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for kind in registry.KINDS:
        (FOLDER / f"{kind}.md").write_text(page(kind), encoding="utf-8")
