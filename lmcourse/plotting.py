"""The one figure style of the book."""

from __future__ import annotations

from pathlib import Path

STYLE = Path(__file__).with_name("lmcourse.mplstyle")


def use_style() -> None:
    """Make every matplotlib figure from here on look like the book's.

    Returns:
        Nothing; matplotlib's settings change for the whole process.
    """
    import matplotlib.pyplot as plt

    plt.style.use(STYLE)
