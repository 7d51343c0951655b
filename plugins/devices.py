"""Devices by torch's names, for components that compute with torch."""

from __future__ import annotations

from fobench.errors import PrerequisiteError, first_line


def usable(device: str) -> str:
    """The device itself: "auto" is the first GPU if there is one, else the CPU. PrerequisiteError for one that is not here."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device it lacks
        raise PrerequisiteError(
            f"Device {device!r} cannot be used: {first_line(error)}. Use device auto, or cpu."
        ) from error
    return device
