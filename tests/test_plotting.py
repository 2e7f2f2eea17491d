"""The figure style is legible, and tells its lines apart without colour."""

import matplotlib
import matplotlib.colors
import numpy as np

from lmcourse.plotting import use_style


def luminance(colour):
    """Relative luminance as WCAG 2 defines it."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_text_stands_out_from_the_card_that_every_figure_brings():
    with matplotlib.rc_context():
        use_style()
        settings = matplotlib.rcParams
        for card in ("figure.facecolor", "axes.facecolor", "savefig.facecolor"):
            for text in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"):
                assert contrast(settings[text], settings[card]) >= 7


def test_the_first_four_lines_differ_in_their_dashes_and_stand_out():
    with matplotlib.rc_context():
        use_style()
        lines = list(matplotlib.rcParams["axes.prop_cycle"])[:4]
        assert len({line["linestyle"] for line in lines}) == 4
        for line in lines[:3]:
            assert contrast(line["color"], matplotlib.rcParams["axes.facecolor"]) >= 3
