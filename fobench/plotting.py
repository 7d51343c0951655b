"""Plots as SVG text, drawn by matplotlib. Equal input gives equal bytes: no date, no random ids, no user settings."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fobench.errors import PrerequisiteError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Distinguishable for color-blind readers and on white paper.
COLORS = ("#0b5fa5", "#b34700", "#00705a", "#9c2a78", "#6a5500", "#5b6675")
GRAY = "#566172"
PX_PER_INCH = 96  # CSS pixels
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, in the viewer's fonts
    "svg.hashsalt": "fobench",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 9,  # points: 12 px
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRAY,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e1e5ea",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def svg(draw: Callable[[Figure], None], width_px: float, height_px: float, title: str) -> str:
    """The SVG text of a figure that `draw` fills; `title` is its alternative text (accessibility).

    Raises PrerequisiteError where matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PrerequisiteError(f"Plots need matplotlib ({error}): pip install 'fobench[plots]'") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width_px / PX_PER_INCH, height_px / PX_PER_INCH))
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return out.getvalue()
