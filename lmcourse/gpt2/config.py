"""The sizes of a GPT-2, by the names of Hugging Face's ``config.json``."""

from __future__ import annotations

from dataclasses import dataclass

from lmcourse import _arguments


@dataclass(frozen=True)
class GPT2Config:
    """The sizes of a GPT-2; the defaults are those of the model with 124 million parameters.

    Source: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners".

    Args:
        vocab_size: number of token ids.
        n_positions: longest text that the model can read, in tokens.
        n_embd: width of the vectors between the blocks.
        n_layer: number of blocks.
        n_head: attention heads in a block; divides ``n_embd``.
        n_inner: hidden units of a block's feed-forward network; ``4 * n_embd`` if not given.
        layer_norm_epsilon: added to the variance in layer normalisation.
        dropout: chance that training drops a number of the embeddings, or of what a block adds.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is below 1, ``n_head`` does not divide ``n_embd``,
            ``layer_norm_epsilon`` is not above 0, or ``dropout`` is outside [0, 1).
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    layer_norm_epsilon: float = 1e-5
    dropout: float = 0.0

    def __post_init__(self):
        for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head"):
            _arguments.integer(name, getattr(self, name), at_least=1)
        if self.n_inner is None:
            object.__setattr__(self, "n_inner", 4 * self.n_embd)  # frozen: not set the plain way
        _arguments.integer("n_inner", self.n_inner, at_least=1)
        _arguments.number("layer_norm_epsilon", self.layer_norm_epsilon, above=0)
        _arguments.number("dropout", self.dropout, at_least=0, below=1)
        if self.n_embd % self.n_head:
            raise ValueError(f"n_head must divide n_embd, got {self.n_head} and {self.n_embd}")

    @property
    def head_dim(self) -> int:
        """Width of one head's queries, keys and values."""
        return self.n_embd // self.n_head
