"""Views for the tests of SamplerView; importing them costs little."""

import numpy as np

from lmcourse.widgets import SamplerView

HOSTILE = [
    "</script><img src=x onerror=hacked=1>",
    "<!--<script>hacked=1</script>",
    '"><svg onload=hacked=1>',
    "&lt;b&gt;&amp;",
    "\\(x^2\\) $$y$$",
    "{{ hacked }}",
    "",
    " ",
    "\n",
    "\t",
    "\u202edesrever",
    "\u200b",
    "😀",
    "=1+1",
    'quote " and, comma\r\nline',
]


def hostile_view(**options) -> SamplerView:
    logits = np.linspace(3, 0, len(HOSTILE))
    return SamplerView(logits, HOSTILE, context="</script><b>context</b>", **options)


def large_view(**options) -> SamplerView:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2.5, 300).round(1)  # many ties
    logits[[3, 50, 51]] = -np.inf
    return SamplerView(logits, [f" w{i}" for i in range(300)], **options)
