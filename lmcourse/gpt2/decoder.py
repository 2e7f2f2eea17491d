"""GPT-2 for one text on a CPU, as fast as the weights can be read from memory.

To write a token, every weight is read and used in one multiplication. A processor multiplies much
faster than its memory delivers, so the time of a token is that of reading the weights, and what
helps is to read them in the order in which they lie there, on all cores, and to store them in fewer
bytes.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Shaped

from lmcourse import _arguments
from lmcourse._backends import BACKENDS
from lmcourse.gpt2.config import GPT2Config
from lmcourse.gpt2.model import GPT2, KeyValueCache

STORED_AS = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}
WEIGHTS = tuple(STORED_AS)
MATRICES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
INT8_MAX = 127
TILE = 256
"""Rows of a matrix that numpy expands to float32 at a time, few enough to stay in the caches."""


class Matrix(NamedTuple):
    """A linear map, ``scale * (stored @ x) + bias``; what makes one output lies in one row.

    Attributes:
        stored: the weights as float32, int8, or bfloat16's bits in uint16.
        scale: what each row is multiplied by.
        bias: what is added to each output.
    """

    stored: Shaped[np.ndarray, "n_out n_in"]
    scale: Float32[np.ndarray, " n_out"]
    bias: Float32[np.ndarray, " n_out"]


class LayerNorm(NamedTuple):
    """The trained part of a layer normalisation.

    Attributes:
        gain: what each normalised number is multiplied by.
        bias: what is added to it.
    """

    gain: Float32[np.ndarray, " n_embd"]
    bias: Float32[np.ndarray, " n_embd"]


class BlockWeights(NamedTuple):
    """The weights of a block in the order of their use, by their names in the model.

    Attributes:
        ln_1, c_attn, attn_c_proj: of attention.
        ln_2, c_fc, mlp_c_proj: of the network.
    """

    ln_1: LayerNorm
    c_attn: Matrix
    attn_c_proj: Matrix
    ln_2: LayerNorm
    c_fc: Matrix
    mlp_c_proj: Matrix


class Buffers(NamedTuple):
    """Where the compiled step puts what it computes on the way.

    Attributes:
        normed: what a layer normalisation gives.
        qkv: query, key and value of the new token.
        scores: of each head, for every token in the cache.
        mixed: the heads' outputs side by side.
        hidden: of the network.
    """

    normed: Float32[np.ndarray, " n_embd"]
    qkv: Float32[np.ndarray, " three_n_embd"]
    scores: Float32[np.ndarray, "n_head n_positions"]
    mixed: Float32[np.ndarray, " n_embd"]
    hidden: Float32[np.ndarray, " n_inner"]


class Decoder:
    """A copy of a GPT-2's weights, laid out and rounded for writing one text token by token.

    It is called as the model is, with a cache, and ``generate`` and ``stream`` take it in the
    model's place. It computes in float32 whatever the weights are stored in:

    - ``"float32"``: as they are.
    - ``"bfloat16"``: rounded to the nearest number with 8 significant bits (a tie to the even one);
      half the bytes, relative error at most 2⁻⁸.
    - ``"int8"``: each row, which makes one output (in the embeddings: one token), has a ``scale``,
      its largest magnitude divided by 127; a weight ``w`` is stored as ``round(w / scale)``. A
      quarter of the bytes, error at most ``scale / 2``.

    Biases, layer normalisations and the embeddings of positions stay in float32.

    Args:
        model: whose weights are copied; later changes of it are not seen.
        weights: how they are stored.
        backend: of the steps of one token. ``"numba"`` compiles them, which takes some seconds the
            first time on a machine; ``numba.set_num_threads`` has its threads. ``"numpy"`` is about
            as fast in float32, but expands the other two before it multiplies, which saves memory
            and no time. If not given, numba where it is installed. Longer inputs, as prompts are,
            go through numpy in either case.

    Attributes:
        config: that of the model.
        device: ``cpu``.

    Raises:
        TypeError: ``model`` is not a ``GPT2``.
        ValueError: there are no such ``weights`` or ``backend``, or a weight is not finite.
        ImportError: numba is asked for and not installed.
    """

    def __init__(self, model: GPT2, *, weights: str = "float32", backend: str | None = None):
        if not isinstance(model, GPT2):
            raise TypeError(f"model must be a GPT2, got {type(model).__name__}")
        _arguments.one_of("weights", weights, WEIGHTS)
        if backend is None:
            backend = "numba" if importlib.util.find_spec("numba") else "numpy"
        self._compiled = None
        if _arguments.one_of("backend", backend, BACKENDS) == "numba":
            from lmcourse.gpt2 import _decoder_numba

            self._compiled = _decoder_numba
        self.config: GPT2Config = model.config
        self.device = torch.device("cpu")

        arrays = {
            name: _arguments.finite_array(name, tensor.detach().float().cpu().numpy())
            for name, tensor in model.state_dict().items()
        }

        def layer_norm(name):
            return LayerNorm(arrays[f"{name}.weight"].copy(), arrays[f"{name}.bias"].copy())

        names = [f"h.{i}.{part}" for i in range(self.config.n_layer) for part in MATRICES]
        # Conv1D has (inputs, outputs), and the embeddings have no bias.
        maps = [(arrays[f"{name}.weight"].T, arrays[f"{name}.bias"]) for name in names]
        maps.append((arrays["wte.weight"], np.zeros(self.config.vocab_size, np.float32)))
        *matrices, self._tokens = _matrices(maps, weights)
        self._positions = arrays["wpe.weight"].copy()
        self._blocks = []
        for i in range(self.config.n_layer):
            c_attn, attn_c_proj, c_fc, mlp_c_proj = matrices[len(MATRICES) * i :][: len(MATRICES)]
            ln_1, ln_2 = layer_norm(f"h.{i}.ln_1"), layer_norm(f"h.{i}.ln_2")
            block = BlockWeights(ln_1, c_attn, attn_c_proj, ln_2, c_fc, mlp_c_proj)
            self._blocks.append(block)
        self._ln_f = layer_norm("ln_f")
        self._buffers = _buffers(self.config)

    @property
    def n_bytes(self) -> int:
        """Bytes of the weights that a step reads, which bound how many steps a second there can be.

        With a long text, the keys and values in the cache come on top of them.

        Equation: eq-gpt2-bandwidth
        """
        parts = [*self._tokens, *self._ln_f]
        for block in self._blocks:
            parts += [array for part in block for array in part]
        return sum(array.nbytes for array in parts)

    def new_cache(self, batch: int = 1, max_length: int | None = None) -> KeyValueCache:
        """Return an empty cache.

        Args:
            batch: 1.
            max_length: room for so many tokens; ``n_positions`` if not given.

        Raises:
            TypeError: a size is not an integer.
            ValueError: ``batch`` is not 1, or ``max_length`` below 1 or beyond ``n_positions``.
        """
        if _arguments.integer("batch", batch) != 1:
            raise ValueError(f"batch must be 1 for a Decoder, which reads one text, got {batch}")
        max_length = self.config.n_positions if max_length is None else max_length
        return KeyValueCache(self.config, 1, max_length)

    def __call__(
        self,
        ids: Int[torch.Tensor, "batch length"] | Int[np.ndarray, "batch length"],
        cache: KeyValueCache | None = None,
        *,
        last_only: bool = False,
    ) -> Float[torch.Tensor, "batch scored vocab_size"]:
        """Score the token after each token.

        Args:
            ids: token ids of one text, (1, length); with a cache, those that it does not hold yet.
            cache: keys and values of the tokens before ``ids``; those of ``ids`` are appended.
            last_only: score the last token's successor alone; ``scored`` is then 1.

        Returns:
            Logits in nats, ``[0, t]`` for the token that follows ``ids[0, t]``, as ``GPT2`` does.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: ``ids`` is not one row of tokens, or with the cache is longer than
                ``n_positions`` or than the cache; an id is outside ``[0, vocab_size)``; or the
                cache is not one of ``new_cache``.
        """
        tokens = self._checked(ids, cache)
        if cache is None:
            cache = self.new_cache(max_length=len(tokens))
        if len(tokens) == 1 and self._compiled:
            logits = self._step(tokens, cache)
        else:
            logits = self._read(tokens, cache, last_only)
        cache.length += len(tokens)
        return torch.from_numpy(logits)[None]

    def _step(self, tokens, cache) -> Float32[np.ndarray, "1 vocab_size"]:
        x = self._embed(tokens, cache.length)[0]
        epsilon, buffers = self.config.layer_norm_epsilon, self._buffers
        for layer, weights in enumerate(self._blocks):
            key, value = _layer_of(cache, layer)
            self._compiled.block(x, weights, key, value, cache.length, epsilon, buffers)
        return self._compiled.logits(x, self._ln_f, self._tokens, epsilon, buffers)[None]

    def _read(self, tokens, cache, last_only) -> Float32[np.ndarray, "scored vocab_size"]:
        x = self._embed(tokens, cache.length)  # (length, n_embd)
        epsilon = self.config.layer_norm_epsilon
        for layer, weights in enumerate(self._blocks):
            _block(x, weights, *_layer_of(cache, layer), cache.length, epsilon)
        if last_only:
            x = x[-1:]
        return _linear(_layer_norm(x, self._ln_f, epsilon), self._tokens)

    def _embed(self, tokens, start) -> Float32[np.ndarray, "length n_embd"]:
        rows = _expand(self._tokens.stored[tokens]) * self._tokens.scale[tokens, None]
        return rows + self._positions[start : start + len(tokens)]

    def _checked(self, ids, cache) -> Int[np.ndarray, " length"]:
        tokens = _arguments.token_ids("ids", ids, self.config.vocab_size, ndim=2)
        if len(tokens) != 1:
            raise ValueError(f"ids must be one text for a Decoder, (1, length), got {tokens.shape}")
        end = tokens.shape[1] + (0 if cache is None else cache.length)
        if end > self.config.n_positions:
            raise ValueError(
                f"ids must fit into n_positions = {self.config.n_positions} tokens, got {end}"
            )
        if cache is not None:
            wanted = self.config.n_layer, 1, self.config.n_head, self.config.head_dim
            batch, n_head, max_length, head_dim = cache.keys[0].shape
            if (len(cache.keys), batch, n_head, head_dim) != wanted or (
                cache.keys[0].dtype != torch.float32 or cache.keys[0].device != self.device
            ):
                raise ValueError(
                    "cache must be one of new_cache(), with layers, texts, heads and widths "
                    f"{wanted} of float32, got {(len(cache.keys), batch, n_head, head_dim)} of "
                    f"{cache.keys[0].dtype}"
                )
            if end > max_length:
                raise ValueError(f"ids must fit a cache for {max_length} tokens, got {end}")
        return tokens[0]


def _matrices(maps: Sequence[tuple[np.ndarray, np.ndarray]], weights: str) -> Iterator[Matrix]:
    """Store linear maps, each a weight (n_out, n_in) and a bias, in the order of their use.

    They lie in one block of memory, because the system maps large blocks in large pages, and those
    are read faster.
    """
    block = np.empty(sum(weight.size for weight, _ in maps), STORED_AS[weights])
    begin = 0
    for weight, bias in maps:
        end = begin + weight.size
        stored = block[begin:end].reshape(weight.shape)
        stored[:], scale = _rounded(weight, weights)
        yield Matrix(stored, scale, bias.copy())
        begin = end


def _rounded(
    weight: Float32[np.ndarray, "n_out n_in"], weights: str
) -> tuple[Shaped[np.ndarray, "n_out n_in"], Float32[np.ndarray, " n_out"]]:
    """Return what is stored of a weight, and the scale of each row."""
    scale = np.ones(len(weight), np.float32)
    if weights == "bfloat16":
        weight = torch.from_numpy(weight).bfloat16().view(torch.uint16).numpy()
    elif weights == "int8":
        largest = np.abs(weight).max(axis=1)
        scale = np.where(largest > 0, largest / np.float32(INT8_MAX), np.float32(1))
        weight = np.rint(weight / scale[:, None]).astype(np.int8)
    return weight, scale


def _expand(stored: Shaped[np.ndarray, "rows n_in"]) -> Float32[np.ndarray, "rows n_in"]:
    """Return stored weights as float32, without their scale."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)


def _buffers(config: GPT2Config) -> Buffers:
    shapes = (
        config.n_embd,
        3 * config.n_embd,
        (config.n_head, config.n_positions),
        config.n_embd,
        config.n_inner,
    )
    return Buffers(*(np.empty(shape, np.float32) for shape in shapes))


def _layer_of(
    cache: KeyValueCache, layer: int
) -> tuple[Float32[np.ndarray, "n_head max_length head_dim"], ...]:
    """Return a layer's keys and values as numpy sees them, in the same memory."""
    return cache.keys[layer][0].numpy(), cache.values[layer][0].numpy()


def _block(x, weights: BlockWeights, key, value, start: int, epsilon: float) -> None:
    """Add to ``x``, (length, n_embd), what a block makes of it; store its keys and values."""
    n_head, _, head_dim = key.shape
    end = start + len(x)
    qkv = _linear(_layer_norm(x, weights.ln_1, epsilon), weights.c_attn)
    # (length, 3 * n_embd) -> 3 x (n_head, length, head_dim)
    query, new_key, new_value = qkv.reshape(-1, 3, n_head, head_dim).transpose(1, 2, 0, 3)
    key[:, start:end], value[:, start:end] = new_key, new_value
    x += _linear(_attend(query, key[:, :end], value[:, :end]), weights.attn_c_proj)
    hidden = _gelu(_linear(_layer_norm(x, weights.ln_2, epsilon), weights.c_fc))
    x += _linear(hidden, weights.mlp_c_proj)


def _layer_norm(x, norm: LayerNorm, epsilon: float):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + np.float32(epsilon)) * norm.gain + norm.bias


def _linear(x: Float32[np.ndarray, "length n_in"], matrix: Matrix):
    stored = matrix.stored
    if stored.dtype == np.float32:
        return x @ stored.T + matrix.bias
    out = np.empty((len(x), len(stored)), np.float32)
    for begin in range(0, len(stored), TILE):
        tile = _expand(stored[begin : begin + TILE])
        np.matmul(x, tile.T, out=out[:, begin : begin + TILE])
    out *= matrix.scale
    out += matrix.bias
    return out


def _attend(query, key, value) -> Float32[np.ndarray, "length n_embd"]:
    n_head, length, head_dim = query.shape
    scores = query @ key.transpose(0, 2, 1)  # (n_head, length, n_key)
    scores *= np.float32(1 / math.sqrt(head_dim))
    if length > 1:
        # The last query stands at the last key.
        future = np.triu(np.ones(scores.shape[1:], bool), scores.shape[2] - length + 1)
        scores[:, future] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return (scores @ value).transpose(1, 0, 2).reshape(length, n_head * head_dim)


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
