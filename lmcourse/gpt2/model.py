"""GPT-2 in torch, by the names of Hugging Face's checkpoints, to be read from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import nn
from torch.nn import functional as F

from lmcourse import _arguments
from lmcourse.attention import attention, attention_weights
from lmcourse.gpt2.config import GPT2Config

INITIAL_STD = 0.02


class Conv1D(nn.Module):
    """A linear map whose weight is stored as (inputs, outputs), as in GPT-2's checkpoints.

    The name is theirs, too: it is a convolution over positions that sees one position at a time.

    Args:
        n_in: width of the input.
        n_out: width of the output.
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Float[torch.Tensor, "*batch n_in"]) -> Float[torch.Tensor, "*batch n_out"]:
        """Return ``x @ weight + bias``."""
        return F.linear(x, self.weight.T, self.bias)


class KeyValueCache:
    """The keys and values of the tokens read so far, so that none is computed twice.

    Equation: eq-gpt2-cache

    Args:
        config: that of the model.
        batch: number of texts.
        max_length: room for so many tokens of each.
        dtype: of the model.
        device: of the model.

    Attributes:
        keys, values: one tensor (batch, n_head, max_length, head_dim) for each layer.
        length: how many tokens are in it.

    Raises:
        TypeError: ``batch`` or ``max_length`` is not an integer.
        ValueError: one is below 1, or ``max_length`` is beyond the model's ``n_positions``.
    """

    def __init__(
        self,
        config: GPT2Config,
        batch: int,
        max_length: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        _arguments.integer("batch", batch, at_least=1)
        _arguments.integer("max_length", max_length, at_least=1)
        if max_length > config.n_positions:
            raise ValueError(
                f"max_length must be at most n_positions = {config.n_positions}, got {max_length}"
            )
        shape = batch, config.n_head, max_length, config.head_dim
        layers = range(config.n_layer)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.length = 0

    @property
    def batch(self) -> int:
        """Number of texts."""
        return len(self.keys[0])

    @property
    def max_length(self) -> int:
        """Number of tokens that there is room for."""
        return self.keys[0].shape[2]

    @property
    def n_bytes(self) -> int:
        """Size of all keys and values, used or not."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values))

    def append(
        self,
        layer: int,
        key: Float[torch.Tensor, "batch n_head new head_dim"],
        value: Float[torch.Tensor, "batch n_head new head_dim"],
    ) -> tuple[
        Float[torch.Tensor, "batch n_head n_key head_dim"],
        Float[torch.Tensor, "batch n_head n_key head_dim"],
    ]:
        """Store a layer's new keys and values, and return them behind those stored before.

        The model counts the tokens in ``length`` once all layers have stored theirs.

        Args:
            layer: index of the layer.
            key, value: those of the new tokens.
        """
        end = self.length + key.shape[2]
        self.keys[layer][:, :, self.length : end] = key
        self.values[layer][:, :, self.length : end] = value
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def select(self, rows: Int[torch.Tensor, " rows"] | Sequence[int]) -> None:
        """Keep the texts of these ``rows``, in this order; a row may come twice, as beams do."""
        rows = torch.as_tensor(rows, device=self.keys[0].device)
        self.keys = [key[rows] for key in self.keys]
        self.values = [value[rows] for value in self.values]

    def truncate(self, length: int) -> None:
        """Forget all tokens after the first ``length``.

        Args:
            length: at most the tokens that are there.

        Raises:
            ValueError: it is more, or negative.
        """
        _arguments.integer("length", length, at_least=0)
        if length > self.length:
            raise ValueError(f"length must be at most {self.length}, got {length}")
        self.length = length


class Attention(nn.Module):
    """Causal attention by several heads; one matrix makes queries, keys and values.

    Equation: eq-gpt2-cache

    Args:
        config: the model's sizes.
    """

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = Conv1D(config.n_embd, 3 * config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd)

    def forward(
        self,
        x: Float[torch.Tensor, "batch length n_embd"],
        *,
        cache: KeyValueCache | None = None,
        layer: int = 0,
        bias: Float[torch.Tensor, "batch 1 1 n_key"] | None = None,
    ) -> Float[torch.Tensor, "batch length n_embd"]:
        """Let every position look at itself and at those before it.

        Args:
            x: one vector for each new position.
            cache: keys and values of the positions before; those of ``x`` are appended.
            layer: where this layer's keys and values are in ``cache``.
            bias: 0, or -inf where a key is padding.

        Returns:
            What the heads found, side by side, after the projection ``c_proj``.
        """
        query, key, value = self.heads(x)
        if cache is not None:
            key, value = cache.append(layer, key, value)  # (batch, n_head, n_key, head_dim)
        # The last query stands at the last key, so the causal mask holds with a cache as well.
        mixed = attention(query, key, value, causal=True, bias=bias)
        # (batch, n_head, length, head_dim) -> (batch, length, n_embd)
        return self.c_proj(mixed.transpose(1, 2).flatten(start_dim=2))

    def heads(
        self, x: Float[torch.Tensor, "batch length n_embd"]
    ) -> tuple[Float[torch.Tensor, "batch n_head length head_dim"], ...]:
        """Return the queries, keys and values of all heads for the vectors ``x``."""
        qkv = self.c_attn(x).unflatten(-1, (3, self.n_head, -1))
        return qkv.permute(2, 0, 3, 1, 4).unbind()  # 3 x (batch, n_head, length, head_dim)


class MLP(nn.Module):
    """The network at each position: widen, GELU, narrow.

    Equation: eq-gpt2-gelu

    Args:
        config: the model's sizes.
    """

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.c_fc = Conv1D(config.n_embd, config.n_inner)
        self.c_proj = Conv1D(config.n_inner, config.n_embd)

    def forward(
        self, x: Float[torch.Tensor, "batch length n_embd"]
    ) -> Float[torch.Tensor, "batch length n_embd"]:
        """Return what the network makes of each vector of ``x``."""
        hidden = F.gelu(self.c_fc(x), approximate="tanh")  # (batch, length, n_inner)
        return self.c_proj(hidden)


class Block(nn.Module):
    """A Transformer block with its layer normalisations in front.

    Equation: eq-gpt2-block

    Args:
        config: the model's sizes.
    """

    def __init__(self, config: GPT2Config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Float[torch.Tensor, "batch length n_embd"],
        *,
        cache: KeyValueCache | None = None,
        layer: int = 0,
        bias: Float[torch.Tensor, "batch 1 1 n_key"] | None = None,
    ) -> Float[torch.Tensor, "batch length n_embd"]:
        """Return ``x`` with what attention and the network add to it.

        Args:
            x, cache, layer, bias: as in ``Attention``.
        """
        x = x + self.dropout(self.attn(self.ln_1(x), cache=cache, layer=layer, bias=bias))
        return x + self.dropout(self.mlp(self.ln_2(x)))


class GPT2(nn.Module):
    """GPT-2: embed tokens and positions, refine by blocks, score the next token.

    The names in ``state_dict()`` are those of the checkpoints of Hugging Face. There is no matrix
    for the output: the embeddings serve a second time.

    Equations: eq-gpt2-block, eq-gpt2-logits

    Source: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners"; tied
    embeddings: Press and Wolf (2017).

    Args:
        config: its sizes.
        seed: of the random initial weights.

    Raises:
        TypeError: ``seed`` is not an integer.
        ValueError: ``seed`` is negative.
    """

    def __init__(self, config: GPT2Config, *, seed: int = 0):
        super().__init__()
        self.config = config
        _arguments.integer("seed", seed, at_least=0)
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            torch.default_generator.manual_seed(seed)
            self.wte = nn.Embedding(config.vocab_size, config.n_embd)
            self.wpe = nn.Embedding(config.n_positions, config.n_embd)
            self.dropout = nn.Dropout(config.dropout)
            self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
            self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
            self._initialise()

    def _initialise(self) -> None:
        # What enters the sum along the blocks is kept small, so that its variance stays near 1
        # however many blocks there are.
        residual_std = INITIAL_STD / math.sqrt(2 * self.config.n_layer)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                std = residual_std if name.endswith("c_proj.weight") else INITIAL_STD
                nn.init.normal_(parameter, std=std)

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers; the embeddings, used twice, count once."""
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.wte.weight.device

    def new_cache(self, batch: int, max_length: int | None = None) -> KeyValueCache:
        """Return an empty cache for this model.

        Args:
            batch: number of texts.
            max_length: room for so many tokens of each; ``n_positions`` if not given.

        Raises:
            TypeError: a size is not an integer.
            ValueError: a size is below 1, or ``max_length`` is beyond ``n_positions``.
        """
        max_length = self.config.n_positions if max_length is None else max_length
        dtype = self.wte.weight.dtype
        return KeyValueCache(self.config, batch, max_length, dtype=dtype, device=self.device)

    def forward(
        self,
        ids: Int[torch.Tensor, "batch length"],
        cache: KeyValueCache | None = None,
        *,
        mask: Bool[torch.Tensor, "batch n_key"] | None = None,
        last_only: bool = False,
    ) -> Float[torch.Tensor, "batch scored vocab_size"]:
        """Score the token after each token.

        Args:
            ids: token ids; with a cache, those that it does not hold yet.
            cache: keys and values of the tokens before ``ids``; those of ``ids`` are appended.
            mask: False at padding, which stands to the left of a text, for all the keys: those in
                the cache, then those of ``ids``. Positions count from the first True.
            last_only: score the last token's successor alone; ``scored`` is then 1.

        Returns:
            Logits in nats, ``[b, t]`` for the token that follows ``ids[b, t]``.

        Raises:
            TypeError: ``ids`` are not integers or ``mask`` not bool.
            ValueError: ``ids`` is not two-dimensional, is empty, or with the cache is longer than
                ``n_positions`` or than the cache; an id is outside ``[0, vocab_size)``; ``mask`` or
                ``cache`` does not fit ``ids``, or a text is padded to its right.
        """
        x = self._embed(ids, cache, mask)  # (batch, length, n_embd)
        bias = None if mask is None else _bias(mask, x.dtype)
        for layer, block in enumerate(self.h):
            x = block(x, cache=cache, layer=layer, bias=bias)
        if cache is not None:
            cache.length += ids.shape[1]
        return self._score(x[:, -1:] if last_only else x)

    def loss(self, ids: Int[torch.Tensor, "batch length"]) -> Float[torch.Tensor, ""]:
        """Return the mean cross-entropy of each token after the first, in nats a token.

        Args:
            ids: token ids, at least 2 and at most ``n_positions + 1`` in a row.

        Raises:
            TypeError: as ``forward``.
            ValueError: as ``forward``, or the rows are of one token.
        """
        self._check_ids(ids)
        if ids.shape[1] < 2:
            raise ValueError(f"ids must have at least 2 tokens a row, got shape {tuple(ids.shape)}")
        logits = self(ids[:, :-1])  # (batch, length - 1, vocab_size)
        return F.cross_entropy(logits.flatten(end_dim=1), ids[:, 1:].flatten())

    def hidden_states(
        self, ids: Int[torch.Tensor, "batch length"]
    ) -> tuple[Float[torch.Tensor, "batch length n_embd"], ...]:
        """Return what enters the first block, then what leaves each block.

        Args:
            ids: token ids.

        Raises:
            TypeError: as ``forward``.
            ValueError: as ``forward``.
        """
        states = [self._embed(ids)]
        for block in self.h:
            states.append(block(states[-1]))
        return tuple(states)

    def logit_lens(
        self, ids: Int[torch.Tensor, "batch length"]
    ) -> Float[torch.Tensor, "states batch length vocab_size"]:
        """Score the next token from every layer's vectors, as if the blocks after it were not.

        Equation: eq-gpt2-logit-lens

        Source: nostalgebraist (2020), "interpreting GPT: the logit lens".

        Args:
            ids: token ids.

        Returns:
            Logits in nats for each of the ``n_layer + 1`` hidden states; the last are those of
            ``forward``.

        Raises:
            TypeError: as ``forward``.
            ValueError: as ``forward``.
        """
        return torch.stack([self._score(state) for state in self.hidden_states(ids)])

    def attentions(
        self, ids: Int[torch.Tensor, "batch length"]
    ) -> tuple[Float[torch.Tensor, "batch n_head length length"], ...]:
        """Return the attention weights of each block.

        Args:
            ids: token ids.

        Raises:
            TypeError: as ``forward``.
            ValueError: as ``forward``.
        """
        weights = []
        for block, state in zip(self.h, self.hidden_states(ids), strict=False):
            query, key, _ = block.attn.heads(block.ln_1(state))
            weights.append(attention_weights(query, key, causal=True))
        return tuple(weights)

    def _embed(self, ids, cache=None, mask=None):
        self._check_ids(ids)
        start = 0 if cache is None else cache.length
        self._check_room(ids, cache, start)
        length = ids.shape[1]
        if mask is None:
            positions = torch.arange(start, start + length, device=ids.device)  # (length,)
        else:
            _check_mask(mask, (len(ids), start + length))
            # Padding has no position; it takes that of the first token, and nothing looks at it.
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, start:]  # (batch, length)
        return self.dropout(self.wte(ids) + self.wpe(positions))

    def _score(self, x):
        return F.linear(self.ln_f(x), self.wte.weight)  # (batch, length, vocab_size)

    def _check_ids(self, ids):
        if ids.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"ids must be a tensor of int32 or int64, got one of {ids.dtype}")
        if ids.ndim != 2 or ids.numel() == 0:
            raise ValueError(
                f"ids must have a row for each text and a token, got shape {tuple(ids.shape)}"
            )
        if torch.compiler.is_compiling():  # looking at the ids would break the compiled graph
            return
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.config.vocab_size:
            raise ValueError(
                f"ids must lie in [0, {self.config.vocab_size}), got {low if low < 0 else high}"
            )

    def _check_room(self, ids, cache, start):
        end = start + ids.shape[1]
        if end > self.config.n_positions:
            raise ValueError(
                f"ids must fit into n_positions = {self.config.n_positions} tokens, got {end}"
            )
        if cache is not None and (len(ids) != cache.batch or end > cache.max_length):
            raise ValueError(
                f"ids must fit a cache for {cache.batch} texts of {cache.max_length} tokens, "
                f"got {len(ids)} of {end}"
            )


def _bias(mask: Bool[torch.Tensor, "batch n_key"], dtype: torch.dtype):
    zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return zeros.masked_fill(~mask, -torch.inf)[:, None, None, :]  # (batch, 1, 1, n_key)


def _check_mask(mask: torch.Tensor, shape: tuple[int, int]) -> None:
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be a tensor of bool, got one of {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"mask must have shape {shape}, texts and keys, got {tuple(mask.shape)}")
    if (mask[:, :-1] & ~mask[:, 1:]).any():
        raise ValueError("mask must be False at the left of a text only, got False after True")
