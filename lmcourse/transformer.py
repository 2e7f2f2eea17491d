"""The Transformer in torch: multi-head attention, the block, and a language model of blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from lmcourse import _arguments
from lmcourse.attention import attention, attention_weights
from lmcourse.positional import alibi_slopes, rotary, sinusoidal

# Where the position comes in: nowhere, into the embeddings, or into attention itself.
POSITIONS = ("none", "sinusoidal", "learned", "rotary", "alibi")
NORMS = ("pre", "post")
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class MultiHeadAttention(nn.Module):
    """Attention by several heads, each with its own projections of queries, keys and values.

    Equation: eq-attention-multihead

    Source: Vaswani et al. (2017); sharing keys and values among heads: Ainslie et al. (2023).

    Args:
        d_model: width of the inputs and of the output.
        n_heads: number of heads; divides ``d_model``.
        n_kv_heads: number of heads that have keys and values of their own; divides ``n_heads``, and
            is ``n_heads`` if not given.
        positions: what the heads know of positions: ``"rotary"``, ``"alibi"`` or ``"none"``.
        bias: whether the four projections add a bias.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is below 1 or does not divide, or ``positions`` is unknown.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        positions: str = "none",
        bias: bool = True,
    ):
        super().__init__()
        self.d_model = _arguments.integer("d_model", d_model, at_least=1)
        self.n_heads = _arguments.integer("n_heads", n_heads, at_least=1)
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        self.n_kv_heads = _arguments.integer("n_kv_heads", n_kv_heads, at_least=1)
        self.positions = _arguments.one_of("positions", positions, ("none", "rotary", "alibi"))
        _check_divides("n_heads", n_heads, "d_model", d_model)
        _check_divides("n_kv_heads", n_kv_heads, "n_heads", n_heads)
        self.head_dim = d_model // n_heads
        if positions == "rotary" and self.head_dim % 2:
            raise ValueError(
                f"d_model / n_heads must be even for rotary positions, got {self.head_dim}"
            )
        self.query_projection = nn.Linear(d_model, n_heads * self.head_dim, bias)
        self.key_projection = nn.Linear(d_model, n_kv_heads * self.head_dim, bias)
        self.value_projection = nn.Linear(d_model, n_kv_heads * self.head_dim, bias)
        self.output_projection = nn.Linear(n_heads * self.head_dim, d_model, bias)
        slopes = alibi_slopes(n_heads) if positions == "alibi" else None
        self.register_buffer("alibi_slopes", slopes, persistent=False)

    def forward(
        self,
        x: Float[torch.Tensor, "batch n_query d_model"],
        memory: Float[torch.Tensor, "batch n_key d_model"] | None = None,
        *,
        causal: bool = False,
        key_mask: Bool[torch.Tensor, "batch n_key"] | None = None,
    ) -> Float[torch.Tensor, "batch n_query d_model"]:
        """Let every row of ``x`` look at ``memory``, or, if there is none, at ``x`` itself.

        Args:
            x: makes the queries.
            memory: makes keys and values.
            causal: whether each row sees only its own position and those before.
            key_mask: False at keys that nothing may look at, such as padding.

        Returns:
            The heads' outputs side by side, after the output projection.

        Raises:
            TypeError: ``key_mask`` is not boolean.
            ValueError: a shape does not fit.
        """
        query, key, value = self._project(x, memory)
        heads = attention(query, key, value, **self._mask(key, causal, key_mask))
        # (batch, n_heads, n_query, head_dim) -> (batch, n_query, n_heads * head_dim)
        return self.output_projection(heads.transpose(1, 2).flatten(start_dim=2))

    def weights(
        self,
        x: Float[torch.Tensor, "batch n_query d_model"],
        memory: Float[torch.Tensor, "batch n_key d_model"] | None = None,
        *,
        causal: bool = False,
        key_mask: Bool[torch.Tensor, "batch n_key"] | None = None,
    ) -> Float[torch.Tensor, "batch n_heads n_query n_key"]:
        """Return the attention weights that ``forward`` with the same arguments uses.

        Args:
            x, memory, causal, key_mask: as in ``forward``.

        Returns:
            Rows that sum to 1; the row of a query that sees no key is 0.

        Raises:
            TypeError: ``key_mask`` is not boolean.
            ValueError: a shape does not fit.
        """
        query, key, _ = self._project(x, memory)
        return attention_weights(query, key, **self._mask(key, causal, key_mask))

    def _project(self, x, memory):
        _check_width("x", x, self.d_model)
        memory = x if memory is None else memory
        _check_width("memory", memory, self.d_model)
        if len(memory) != len(x):
            raise ValueError(
                f"memory must have x's batch of {len(x)}, got shape {tuple(memory.shape)}"
            )
        query = self._split(self.query_projection(x))  # (batch, n_heads, n_query, head_dim)
        key = self._split(self.key_projection(memory))  # (batch, n_kv_heads, n_key, head_dim)
        value = self._split(self.value_projection(memory))  # (batch, n_kv_heads, n_key, head_dim)
        if self.positions == "rotary":
            n_query, n_key = query.shape[2], key.shape[2]
            # The last query stands at the last key, as in attention.
            positions = torch.arange(n_key - n_query, n_key, device=x.device)
            query, key = rotary(query, positions), rotary(key)
        return query, key, value

    def _split(self, x):
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def _mask(self, key, causal, key_mask):
        if key_mask is None:
            return {"causal": causal, "alibi_slopes": self.alibi_slopes}
        shape = key.shape[0], key.shape[2]
        if key_mask.dtype != torch.bool:
            raise TypeError(f"key_mask must be a tensor of bool, got one of {key_mask.dtype}")
        if key_mask.shape != shape:
            raise ValueError(
                f"key_mask must have shape {shape}, batch and keys, got {tuple(key_mask.shape)}"
            )
        bias = torch.zeros_like(key_mask, dtype=key.dtype).masked_fill(~key_mask, -torch.inf)
        bias = bias[:, None, None, :]  # (batch, 1, 1, n_key)
        return {"causal": causal, "alibi_slopes": self.alibi_slopes, "bias": bias}


class TransformerBlock(nn.Module):
    """Attention, which moves information between positions, then a network at each position.

    Both are added to what came in. Layer normalisation stands before each of them (``"pre"``), so
    that the sum itself passes through untouched, or after each sum (``"post"``).

    Equations: eq-attention-layer-norm, eq-attention-pre-norm, eq-attention-post-norm

    Source: Vaswani et al. (2017) for ``"post"``; Xiong et al. (2020) for the comparison.

    Args:
        d_model: width of input and output.
        n_heads: number of heads; divides ``d_model``.
        d_feedforward: width of the hidden layer; ``4 * d_model`` if not given.
        norm: ``"pre"`` or ``"post"``.
        activation: ``"gelu"`` or ``"relu"``.
        positions: what the heads know of positions: ``"rotary"``, ``"alibi"`` or ``"none"``.
        n_kv_heads: as in ``MultiHeadAttention``.

    Raises:
        TypeError: a size is not an integer.
        ValueError: a size is below 1 or does not divide, or an option is unknown.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_feedforward: int | None = None,
        *,
        norm: str = "pre",
        activation: str = "gelu",
        positions: str = "none",
        n_kv_heads: int | None = None,
    ):
        super().__init__()
        self.attention = MultiHeadAttention(
            d_model, n_heads, n_kv_heads=n_kv_heads, positions=positions
        )
        d_feedforward = 4 * d_model if d_feedforward is None else d_feedforward
        d_feedforward = _arguments.integer("d_feedforward", d_feedforward, at_least=1)
        self.norm = _arguments.one_of("norm", norm, NORMS)
        activation = _arguments.one_of("activation", activation, tuple(ACTIVATIONS))
        self.feedforward = nn.Sequential(
            nn.Linear(d_model, d_feedforward),
            ACTIVATIONS[activation](),
            nn.Linear(d_feedforward, d_model),
        )
        self.attention_norm = nn.LayerNorm(d_model)
        self.feedforward_norm = nn.LayerNorm(d_model)

    def forward(
        self,
        x: Float[torch.Tensor, "batch length d_model"],
        *,
        causal: bool = False,
        key_mask: Bool[torch.Tensor, "batch length"] | None = None,
    ) -> Float[torch.Tensor, "batch length d_model"]:
        """Return ``x`` with what attention and the network add to it.

        Args:
            x: one vector for each position.
            causal: whether a position sees only itself and those before.
            key_mask: False at positions that nothing may look at, such as padding.

        Raises:
            TypeError: ``key_mask`` is not boolean.
            ValueError: a shape does not fit.
        """
        if self.norm == "pre":
            x = x + self.attention(self.attention_norm(x), causal=causal, key_mask=key_mask)
            return x + self.feedforward(self.feedforward_norm(x))
        x = self.attention_norm(x + self.attention(x, causal=causal, key_mask=key_mask))
        return self.feedforward_norm(x + self.feedforward(x))


class TransformerModel(nn.Module):
    """A language model of Transformer blocks: embed each token, refine, score the next one.

    Source: Vaswani et al. (2017), the decoder without its encoder; Radford et al. (2018).

    Args:
        vocab_size: number of token ids.
        d_model: width of the vectors between the blocks.
        n_heads: heads in each block; divides ``d_model``.
        n_layers: number of blocks, at least 1.
        d_feedforward: width of the hidden layers; ``4 * d_model`` if not given.
        positions: ``"sinusoidal"`` or ``"learned"``, added to the embeddings; ``"rotary"`` or
            ``"alibi"``, inside attention; or ``"none"``.
        max_length: longest text, which the table of ``"learned"`` positions needs; the others know
            no bound.
        norm: ``"pre"`` or ``"post"``, as in ``TransformerBlock``.
        causal: whether a position sees only itself and those before.
        seed: of the random initial weights.

    Raises:
        TypeError: a size or ``seed`` is not an integer.
        ValueError: a size is below 1 or does not divide, an option is unknown, or ``max_length`` is
            missing for learned positions or given for others.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        n_heads: int,
        n_layers: int,
        d_feedforward: int | None = None,
        *,
        positions: str = "rotary",
        max_length: int | None = None,
        norm: str = "pre",
        causal: bool = True,
        seed: int = 0,
    ):
        super().__init__()
        self.vocab_size = _arguments.integer("vocab_size", vocab_size, at_least=1)
        d_model = _arguments.integer("d_model", d_model, at_least=1)
        n_layers = _arguments.integer("n_layers", n_layers, at_least=1)
        self.positions = _arguments.one_of("positions", positions, POSITIONS)
        seed = _arguments.integer("seed", seed, at_least=0)
        if (max_length is not None) != (positions == "learned"):
            raise ValueError(
                "max_length is for learned positions, which need it; "
                f"got max_length={max_length} with positions={positions!r}"
            )
        self.causal = causal
        inside = positions if positions in ("rotary", "alibi") else "none"
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            torch.default_generator.manual_seed(seed)
            self.embedding = nn.Embedding(vocab_size, d_model)
            if positions == "learned":
                max_length = _arguments.integer("max_length", max_length, at_least=1)
                self.position_embedding = nn.Embedding(max_length, d_model)
            self.blocks = nn.ModuleList(
                TransformerBlock(d_model, n_heads, d_feedforward, norm=norm, positions=inside)
                for _ in range(n_layers)
            )
            # Behind post-norm blocks the vectors are normalised already.
            self.final_norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()
            self.output = nn.Linear(d_model, vocab_size)
            self.apply(_initialise)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())

    def forward(
        self, ids: Int[torch.Tensor, "batch length"]
    ) -> Float[torch.Tensor, "batch length vocab_size"]:
        """Score the token after each token.

        Args:
            ids: token ids.

        Returns:
            Logits in nats, ``[b, t]`` for the token that follows ``ids[b, t]``.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: ``ids`` is not two-dimensional, is empty, is longer than ``max_length``, or
                an id is outside ``[0, vocab_size)``.
        """
        x = self.embed(ids)  # (batch, length, d_model)
        for block in self.blocks:
            x = block(x, causal=self.causal)
        return self.output(self.final_norm(x))

    def attentions(
        self, ids: Int[torch.Tensor, "batch length"]
    ) -> tuple[Float[torch.Tensor, "batch n_heads length length"], ...]:
        """Return the attention weights of each block, as Hugging Face's models do.

        Args:
            ids: token ids.

        Raises:
            TypeError: as ``forward``.
            ValueError: as ``forward``.
        """
        x = self.embed(ids)
        weights = []
        for block in self.blocks:
            seen = block.attention_norm(x) if block.norm == "pre" else x
            weights.append(block.attention.weights(seen, causal=self.causal))
            x = block(x, causal=self.causal)
        return tuple(weights)

    def embed(
        self, ids: Int[torch.Tensor, "batch length"]
    ) -> Float[torch.Tensor, "batch length d_model"]:
        """Return what enters the first block: embeddings, with positions if those are added.

        Args:
            ids: token ids.

        Raises:
            TypeError: as ``forward``.
            ValueError: as ``forward``.
        """
        self._check(ids)
        x = self.embedding(ids)  # (batch, length, d_model)
        length, d_model = x.shape[1:]
        if self.positions == "sinusoidal":
            x = x + sinusoidal(length, d_model, dtype=x.dtype).to(x.device)
        if self.positions == "learned":
            x = x + self.position_embedding.weight[:length]
        return x

    def _check(self, ids):
        if ids.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"ids must be a tensor of int32 or int64, got one of {ids.dtype}")
        if ids.ndim != 2 or ids.numel() == 0:
            raise ValueError(
                f"ids must have a row for each text and a token, got shape {tuple(ids.shape)}"
            )
        if self.positions == "learned":
            longest = self.position_embedding.num_embeddings
            if ids.shape[1] > longest:
                raise ValueError(
                    f"ids must be at most max_length = {longest} tokens long, got {ids.shape[1]}"
                )
        if torch.compiler.is_compiling():  # looking at the ids would break the compiled graph
            return
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.vocab_size:
            raise ValueError(
                f"ids must lie in [0, {self.vocab_size}), got {low if low < 0 else high}"
            )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_divides(name: str, value: int, whole_name: str, whole: int) -> None:
    if whole % value:
        raise ValueError(f"{name} must divide {whole_name}, got {value} and {whole}")


def _check_width(name: str, x: torch.Tensor, d_model: int) -> None:
    if x.ndim != 3 or x.shape[-1] != d_model:
        raise ValueError(f"{name} must have shape (batch, length, {d_model}), got {tuple(x.shape)}")
