"""The one figure style of the book."""

from __future__ import annotations

from pathlib import Path

STYLE = Path(__file__).with_name("lmcourse.mplstyle")
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)


def use_style() -> None:
    """Make every matplotlib figure from here on look like the book's.

    Returns:
        Nothing; matplotlib's settings change for the whole process.
    """
    import matplotlib.pyplot as plt

    plt.style.use(STYLE)
