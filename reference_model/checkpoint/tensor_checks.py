"""Checks of loaded tensors, with messages that name the first few tensors and count the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NAMED = 4  # tensors that a message names; the others are counted


def named(what: str, names: Sequence[str]) -> str:
    """`what` with the first names and the number of the others; "" without names."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{what} {', '.join(names[:NAMED])}{more}" if names else ""


def misfit(
    missing: Iterable[str] = (),
    unexpected: Iterable[str] = (),
    shapes: Mapping[str, tuple[Sequence[int], Sequence[int]]] | None = None,
    other: Iterable[str] = (),
) -> str:
    """In what tensors differ from those a model needs, after "it"; "" if they fit.

    `shapes`: (found, needed) by name, of those with a wrong shape; `other`: further clauses.
    """
    wrong = [f"{name} ({list(found)}, not {list(needed)})" for name, (found, needed) in sorted((shapes or {}).items())]
    clauses = (
        named("lacks", sorted(missing)),
        named("has unexpected", sorted(unexpected)),
        named("has wrong shapes in", wrong),
        *other,
    )
    return "; ".join(filter(None, clauses))


def not_finite(tensors: Iterable[tuple[str, Tensor]], *, infinity: bool = True) -> str:
    """A clause that names the floating-point tensors with a NaN (or, with `infinity`, an infinite value); "" if none."""
    floats = ((n, value) for n, value in tensors if value.is_floating_point() and value.numel() and not value.is_meta)
    extremes = ((name, _extremes(value)) for name, value in floats)
    found = [name for name, value in extremes if bool(value.isnan() | (value.isinf() & infinity))]
    return named(f"has NaN{' or infinity' if infinity else ''} in", sorted(found))


def not_numbers(tensors: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> str:
    """A clause that names the tensors that are integers where the model needs floating point, or the reverse; "" if none."""
    kinds = {
        name: (value.dtype, needed[name].dtype)
        for name, value in sorted(tensors.items())
        if name in needed and value.is_floating_point() != needed[name].is_floating_point()
    }
    text = [
        f"{name} ({str(a).removeprefix('torch.')}, not {str(b).removeprefix('torch.')})"
        for name, (a, b) in kinds.items()
    ]
    return named("has wrong types in", text)


def _extremes(value: Tensor) -> Tensor:
    """A scalar that is NaN or infinite if one of the values is."""
    low, high = value.detach().aminmax()
    return low.float().abs() + high.float().abs()
