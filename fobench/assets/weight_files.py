"""Files of weights: why a file cannot be one, and which tensors a safetensors file holds. No tensor is read."""

from __future__ import annotations

from pathlib import Path

from fobench.errors import FobenchError
from fobench.outside_files import lfs_pointer

START = 64  # bytes that `defect` looks at
REFETCH = "Fetch or train it again."

Header = dict[str, tuple[str, tuple[int, ...]]]  # {tensor: (dtype, e.g. "F32"; shape)}


def defect(path: Path) -> str | None:
    """Why the first bytes of the file `path` cannot begin a file of weights, as "it is ..."; None if they can."""
    with path.open("rb") as file:
        start = file.read(START)
    if not start:
        return "it is empty"
    if lfs_pointer(start):
        return "it is a Git LFS pointer, not the file itself: get that by `git lfs pull`"
    return None if start.strip(b"\0") else "it begins with zeros only"


def safetensors_header(path: Path) -> Header:
    """The tensors of a safetensors file. Raises FobenchError if it is not one, or truncated."""
    from safetensors import SafetensorError, safe_open

    try:
        reason = defect(path)
        if not reason:
            with safe_open(path, "np") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                return {name: (found.get_dtype(), tuple(found.get_shape())) for name, found in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error)
    raise FobenchError(f"{path} is not a complete safetensors file: {reason}. {REFETCH}")
