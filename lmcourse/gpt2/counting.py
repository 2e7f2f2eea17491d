"""How many numbers, operations and bytes a GPT-2 takes, by plain arithmetic on its sizes."""

from __future__ import annotations

from lmcourse import _arguments
from lmcourse.gpt2.config import GPT2Config

BACKWARD_PER_FORWARD = 2
"""Products of matrices that training adds for each of the forward pass: one gives the gradient of
its weight, one that of its input."""


def parameters(config: GPT2Config) -> dict[str, int]:
    """Count the trainable numbers, part by part.

    The names are those in the state dict, without the number of the block: ``"h.attn"`` counts the
    attention of all the blocks together. The output has no numbers of its own, because the token
    embedding serves a second time.

    Equation: eq-gpt2-parameters

    Args:
        config: the model's sizes.

    Returns:
        The number for each part; their sum is the model's ``n_parameters``, 124,439,808 for the
        default sizes.
    """
    d, n_inner = config.n_embd, config.n_inner
    layer_norm = 2 * d  # a gain and a bias for each number
    of_block = {
        "ln_1": layer_norm,
        "attn": (d * 3 * d + 3 * d) + (d * d + d),  # c_attn, c_proj
        "ln_2": layer_norm,
        "mlp": (d * n_inner + n_inner) + (n_inner * d + d),  # c_fc, c_proj
    }
    return {
        "wte": config.vocab_size * d,
        "wpe": config.n_positions * d,
        **{f"h.{part}": config.n_layer * count for part, count in of_block.items()},
        "ln_f": layer_norm,
    }


def forward_flops(config: GPT2Config, context: int) -> dict[str, int]:
    """Count the floating-point operations that the forward pass spends on one token.

    Products of matrices are counted exactly, a multiplication and an addition for each pair of
    factors: 2 for each weight, and 2 for each number of each key and of each value that the token
    looks at. Biases, layer normalisations, GELU, softmax and the additions along the blocks take
    less than a hundredth at the default sizes, and are left out, as usual.

    Equation: eq-gpt2-flops

    Source: Kaplan et al. (2020), table 1, where the scores of the output are left out as well.

    Args:
        config: the model's sizes.
        context: how many tokens the token looks at, itself included. With a cache that is the
            number of tokens so far. A text of ``t`` tokens read at once takes ``t`` times the count
            for ``context=t`` if the masked products are computed and thrown away, and, as the mean
            context is ``(t + 1) / 2``, about half as much attention if they are skipped.

    Returns:
        The count for each part: ``"projections"`` to queries, keys and values and back,
        ``"attention"`` itself, ``"mlp"``, ``"logits"``.

    Raises:
        TypeError: ``context`` is not an integer.
        ValueError: ``context`` is below 1 or above ``n_positions``.
    """
    context = _arguments.integer("context", context, at_least=1, at_most=config.n_positions)
    d, n_layer = config.n_embd, config.n_layer
    return {
        "projections": n_layer * 2 * (d * 3 * d + d * d),
        "attention": n_layer * 2 * (d * context + context * d),  # scores, then the mixed values
        "mlp": n_layer * 2 * (d * config.n_inner + config.n_inner * d),
        "logits": 2 * d * config.vocab_size,
    }


def training_flops(config: GPT2Config, length: int, n_tokens: int) -> int:
    """Count the floating-point operations of training: three times those of the forward pass.

    For every product of the forward pass the backward pass takes two, one for the gradient of
    each factor. What an implementation computes twice to save memory is not counted.

    Equation: eq-gpt2-flops

    Source: Kaplan et al. (2020), who round it to 6 for each parameter and token.

    Args:
        config: the model's sizes.
        length: of the training texts; all ``length`` keys count for every token, as in
            :func:`forward_flops`.
        n_tokens: how many tokens are read in all.

    Returns:
        The count.

    Raises:
        TypeError: ``length`` or ``n_tokens`` is not an integer.
        ValueError: ``n_tokens`` is negative, or ``length`` is below 1 or above ``n_positions``.
    """
    n_tokens = _arguments.integer("n_tokens", n_tokens, at_least=0)
    per_token = (1 + BACKWARD_PER_FORWARD) * sum(forward_flops(config, length).values())
    return per_token * n_tokens


def cache_bytes(
    config: GPT2Config, length: int, *, batch: int = 1, bytes_per_number: int = 4
) -> int:
    """Count the bytes of a key-value cache: a key and a value for each block and token.

    Equation: eq-gpt2-cache-bytes

    Args:
        config: the model's sizes.
        length: tokens of a text that there is room for.
        batch: how many texts.
        bytes_per_number: 4 for float32, 2 for float16 and bfloat16.

    Returns:
        The number of bytes.

    Raises:
        TypeError: a number is not an integer.
        ValueError: ``length`` is negative, ``batch`` or ``bytes_per_number`` below 1.
    """
    length = _arguments.integer("length", length, at_least=0)
    batch = _arguments.integer("batch", batch, at_least=1)
    bytes_per_number = _arguments.integer("bytes_per_number", bytes_per_number, at_least=1)
    return 2 * config.n_layer * config.n_embd * length * batch * bytes_per_number


def weight_bytes(config: GPT2Config, *, bytes_per_number: int = 4) -> int:
    """Count the bytes of the weights, the embeddings once.

    Args:
        config: the model's sizes.
        bytes_per_number: 4 for float32, 2 for float16 and bfloat16, 1 for int8.

    Returns:
        The number of bytes.

    Raises:
        TypeError: ``bytes_per_number`` is not an integer.
        ValueError: ``bytes_per_number`` is below 1.
    """
    bytes_per_number = _arguments.integer("bytes_per_number", bytes_per_number, at_least=1)
    return bytes_per_number * sum(parameters(config).values())
