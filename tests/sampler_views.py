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


class Words:
    """A tokenizer of 300 tokens, the first ones hostile; a prompt is their numbers."""

    vocab_size = 300
    texts = HOSTILE + [f" w{i}" for i in range(len(HOSTILE), 300)]

    def encode(self, text: str) -> list[int]:
        return [int(number) for number in text.split()]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.texts[i] for i in ids)


def random_model(ids: np.ndarray) -> np.ndarray:
    """Logits that depend on every token so far; some tokens are impossible."""
    logits = np.random.default_rng(ids).normal(0, 2.5, 300)
    logits[[3, 50, 51]] = -np.inf
    return logits


def flat_model(ids: np.ndarray) -> np.ndarray:
    """Logits of which no token stands out."""
    return np.random.default_rng(ids).normal(0, 0.1, 300)


def growing_view(prompt: str = "20 7 8", **options) -> SamplerView:
    return SamplerView.from_model(random_model, Words(), prompt, **options)
