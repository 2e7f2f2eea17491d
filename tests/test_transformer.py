"""Multi-head attention, the block and the model against torch's, and what a model may not know."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from lmcourse.positional import alibi_slopes, rotary, sinusoidal
from lmcourse.transformer import POSITIONS, MultiHeadAttention, TransformerBlock, TransformerModel

VOCAB = 11
every_position = pytest.mark.parametrize("positions", POSITIONS)


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def randomised(module, seed=0):
    """Return the module in float64 with no parameter at a start that could hide it, 0 or 1."""
    module = module.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.3 * torch.randn(p.shape, dtype=p.dtype, generator=generator)
    return module


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def torch_attention(ours):
    """Return torch's layer with the same weights."""
    has_bias = ours.query_projection.bias is not None
    theirs = nn.MultiheadAttention(
        ours.d_model, ours.n_heads, bias=has_bias, batch_first=True, dtype=torch.float64
    )
    projections = [ours.query_projection, ours.key_projection, ours.value_projection]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.out_proj.weight.copy_(ours.output_projection.weight)
        if has_bias:
            theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
            theirs.out_proj.bias.copy_(ours.output_projection.bias)
    return theirs


def attention_gradients(ours):
    """Return the gradients of our layer in the order of ``nn.MultiheadAttention.parameters()``."""
    projections = [ours.query_projection, ours.key_projection, ours.value_projection]
    gradients = [torch.cat([p.weight.grad for p in projections])]
    if ours.query_projection.bias is not None:
        gradients.append(torch.cat([p.bias.grad for p in projections]))
    return gradients + [p.grad for p in ours.output_projection.parameters()]


def hidden_after(n_query, n_key):
    """torch's causal mask: True where a key is hidden, the last query at the last key."""
    return torch.ones(n_query, n_key, dtype=torch.bool).triu(n_key - n_query + 1)


PADDING = torch.tensor([[True] * 5 + [False] * 2, [True] * 7])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_heads", [1, 3, 12])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("key_mask", [None, PADDING])
def test_multi_head_attention_equals_torch(n_heads, causal, cross, key_mask, bias):
    ours = randomised(MultiHeadAttention(12, n_heads, bias=bias))
    theirs = torch_attention(ours)
    x = normal(2, 4 if cross else 7, 12, seed=1)
    memory = normal(2, 7, 12, seed=2) if cross else None
    our_x, their_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    our_memory = None if memory is None else memory.clone().requires_grad_()
    their_memory = their_x if memory is None else memory.clone().requires_grad_()

    output = ours(our_x, our_memory, causal=causal, key_mask=key_mask)
    expected, weights = theirs(
        their_x,
        their_memory,
        their_memory,
        key_padding_mask=None if key_mask is None else ~key_mask,
        attn_mask=hidden_after(x.shape[1], 7) if causal else None,
        average_attn_weights=False,
    )
    assert_close(output, expected)
    assert_close(ours.weights(our_x, our_memory, causal=causal, key_mask=key_mask), weights)

    direction = normal(*output.shape, seed=3)
    (output * direction).sum().backward()
    (expected * direction).sum().backward()
    assert_close(our_x.grad, their_x.grad)
    if cross:
        assert_close(our_memory.grad, their_memory.grad)
    their_gradients = [p.grad for p in theirs.parameters()]
    for our_gradient, their_gradient in zip(
        attention_gradients(ours), their_gradients, strict=True
    ):
        assert_close(our_gradient, their_gradient)


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
@pytest.mark.parametrize("n_kv_heads", [1, 2])
def test_shared_heads_equal_repeated_ones(n_kv_heads, positions):
    shared = randomised(MultiHeadAttention(16, 4, n_kv_heads=n_kv_heads, positions=positions))
    full = MultiHeadAttention(16, 4, positions=positions).double()
    full.query_projection = copy.deepcopy(shared.query_projection)
    full.output_projection = copy.deepcopy(shared.output_projection)
    of_head = [head // (4 // n_kv_heads) for head in range(4)]
    with torch.no_grad():
        for name in ("key_projection", "value_projection"):
            few, many = getattr(shared, name), getattr(full, name)
            many.weight.copy_(few.weight.unflatten(0, (n_kv_heads, 4))[of_head].flatten(0, 1))
            many.bias.copy_(few.bias.unflatten(0, (n_kv_heads, 4))[of_head].flatten())
    x = normal(2, 5, 16)
    assert shared.key_projection.out_features == 4 * n_kv_heads
    assert_close(shared(x, causal=True), full(x, causal=True))
    assert_close(shared.weights(x, causal=True), full.weights(x, causal=True))


def by_hand(layer, x, causal):
    """Attention head by head with plain sums: the test's own reading of the formula."""
    outputs = []
    for head in range(layer.n_heads):
        rows = slice(head * layer.head_dim, (head + 1) * layer.head_dim)
        query, key, value = (
            x @ p.weight[rows].T + p.bias[rows]
            for p in (layer.query_projection, layer.key_projection, layer.value_projection)
        )
        if layer.positions == "rotary":
            query, key = rotary(query), rotary(key)
        scores = query @ key.mT / layer.head_dim**0.5
        place = torch.arange(x.shape[1])
        if layer.positions == "alibi":
            distance = (place[:, None] - place).abs()
            scores = scores - alibi_slopes(layer.n_heads)[head].double() * distance
        if causal:
            scores = scores.masked_fill(place > place[:, None], -torch.inf)
        outputs.append(scores.softmax(-1) @ value)
    return layer.output_projection(torch.cat(outputs, dim=-1))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_multi_head_attention_with_positions_equals_its_formula(positions, causal):
    layer = randomised(MultiHeadAttention(12, 3, positions=positions))
    x = normal(2, 6, 12)
    assert_close(layer(x, causal=causal), by_hand(layer, x, causal))


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_the_last_rows_alone_get_what_they_got_among_all(positions):
    """So a text can be read in pieces: the last query stands at the last key."""
    layer = randomised(MultiHeadAttention(12, 3, positions=positions))
    x = normal(2, 8, 12)
    whole = layer(x, causal=True)
    for n in (1, 3):
        assert_close(layer(x[:, -n:], x, causal=True), whole[:, -n:])
        part = layer.weights(x[:, -n:], x, causal=True)
        assert_close(part, layer.weights(x, causal=True)[:, :, -n:])


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_what_stands_at_masked_keys_changes_nothing(positions):
    layer = randomised(MultiHeadAttention(12, 3, positions=positions))
    x = normal(2, 7, 12)
    other = torch.where(PADDING[..., None], x, 100.0)
    before = layer(x, key_mask=PADDING)
    after = layer(other, key_mask=PADDING)
    assert_close(before[PADDING], after[PADDING])
    assert (layer.weights(x, key_mask=PADDING)[0, :, :, 5:] == 0).all()


def test_queries_that_see_no_key_get_the_output_bias():
    layer = randomised(MultiHeadAttention(12, 3))
    x = normal(2, 4, 12)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    assert_close(layer(x, key_mask=nothing), layer.output_projection.bias.expand(2, 4, 12))
    assert (layer.weights(x, key_mask=nothing) == 0).all()


def test_alibi_slopes_move_with_the_layer_but_are_not_saved():
    layer = MultiHeadAttention(12, 3, positions="alibi")
    assert not any("alibi" in name for name in layer.state_dict())
    assert layer.to("meta").alibi_slopes.device.type == "meta"


def torch_block(ours, norm, activation, d_feedforward):
    attention = torch_attention(ours.attention)
    theirs = nn.TransformerEncoderLayer(
        ours.attention.d_model,
        ours.attention.n_heads,
        d_feedforward,
        dropout=0.0,
        activation=activation,
        batch_first=True,
        norm_first=norm == "pre",
        dtype=torch.float64,
    )
    theirs.self_attn = attention
    theirs.linear1, theirs.linear2 = ours.feedforward[0], ours.feedforward[2]
    theirs.norm1, theirs.norm2 = ours.attention_norm, ours.feedforward_norm
    return copy.deepcopy(theirs)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("key_mask", [None, PADDING])
def test_block_equals_torch(norm, activation, causal, key_mask):
    ours = randomised(TransformerBlock(12, 3, 20, norm=norm, activation=activation))
    theirs = torch_block(ours, norm, activation, 20)  # in training mode: no fast path
    x = normal(2, 7, 12, seed=1)
    our_x, their_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    output = ours(our_x, causal=causal, key_mask=key_mask)
    expected = theirs(
        their_x,
        src_mask=hidden_after(7, 7) if causal else None,
        src_key_padding_mask=None if key_mask is None else ~key_mask,
    )
    assert_close(output, expected)
    direction = normal(2, 7, 12, seed=3)
    (output * direction).sum().backward()
    (expected * direction).sum().backward()
    assert_close(our_x.grad, their_x.grad)
    pairs = [
        *zip(attention_gradients(ours.attention), theirs.self_attn.parameters(), strict=True),
        (ours.feedforward[0].weight.grad, theirs.linear1.weight),
        (ours.feedforward[0].bias.grad, theirs.linear1.bias),
        (ours.feedforward[2].weight.grad, theirs.linear2.weight),
        (ours.feedforward[2].bias.grad, theirs.linear2.bias),
        (ours.attention_norm.weight.grad, theirs.norm1.weight),
        (ours.attention_norm.bias.grad, theirs.norm1.bias),
        (ours.feedforward_norm.weight.grad, theirs.norm2.weight),
        (ours.feedforward_norm.bias.grad, theirs.norm2.bias),
    ]
    for gradient, parameter in pairs:
        assert_close(gradient, parameter.grad)


def test_block_hands_its_options_to_attention():
    block = TransformerBlock(16, 4, positions="alibi", n_kv_heads=2)
    assert (block.attention.positions, block.attention.n_kv_heads) == ("alibi", 2)
    assert block.feedforward[0].out_features == 64


def model(positions="rotary", *, causal=True, seed=0, n_layers=2, **options):
    max_length = 64 if positions == "learned" else None
    return randomised(
        TransformerModel(
            VOCAB,
            16,
            4,
            n_layers,
            24,
            positions=positions,
            max_length=max_length,
            causal=causal,
            seed=seed,
            **options,
        ),
        seed,
    )


def tokens(batch=2, length=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB, (batch, length), generator=generator)


@every_position
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_later_tokens_change_nothing_before_them(positions, norm):
    network = model(positions, norm=norm)
    ids = tokens()
    logits = network(ids)
    for t in (1, 5, 8):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % VOCAB
        after = network(changed)
        assert_close(after[:, :t], logits[:, :t])
        assert ((after[:, t:] - logits[:, t:]).abs().amax(dim=-1) > 1e-6).all()
        assert_close(network(ids[:, :t]), logits[:, :t])


@every_position
def test_without_the_causal_mask_every_token_sees_every_other(positions):
    network = model(positions, causal=False)
    ids = tokens()
    changed = ids.clone()
    changed[:, -1] = (ids[:, -1] + 1) % VOCAB
    assert ((network(changed) - network(ids)).abs().amax(dim=-1) > 1e-9).all()


@every_position
def test_permuted_tokens_permute_the_logits_only_without_positions(positions):
    network = model(positions, causal=False)
    ids = tokens(length=7)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    permuted, expected = network(ids[:, order]), network(ids)[:, order]
    if positions == "none":
        assert_close(permuted, expected)
    else:
        assert (permuted - expected).abs().max() > 1e-3


@every_position
def test_order_matters_under_the_causal_mask_if_there_are_positions(positions):
    """The last token sees the same bag of tokens either way, and one block reads no more of it."""
    network = model(positions, n_layers=1)
    ids = tokens(length=7)
    swapped = ids[:, [1, 0, 2, 3, 4, 5, 6]]
    assert (ids[:, 0] != ids[:, 1]).all()
    difference = (network(swapped) - network(ids))[:, -1].abs().amax(dim=-1)
    assert (difference < 1e-10).all() if positions == "none" else (difference > 1e-6).all()


@every_position
def test_only_relative_positions_are_the_same_everywhere(positions):
    """The same text at other places: all heads but those that read absolute positions agree."""
    network = model(positions)
    x = network.embedding(tokens(length=6))
    start = normal(2, 5, 16, seed=4)
    embed = {"sinusoidal": lambda n: sinusoidal(n, 16, dtype=torch.float64)}.get(positions)
    if positions == "learned":
        embed = lambda n: network.position_embedding.weight[:n]  # noqa: E731

    def read(offset):
        text = torch.cat([start[:, :offset], x], dim=1)
        if embed is not None:
            text = text + embed(text.shape[1])
        hidden = torch.ones(text.shape[:2], dtype=torch.bool)
        hidden[:, :offset] = False
        for block in network.blocks:
            text = block(text, causal=True, key_mask=hidden)
        return text[:, offset:]

    moved = (read(5) - read(0)).abs().max()
    assert moved > 1e-3 if positions in ("sinusoidal", "learned") else moved < 1e-10


def by_the_pieces(network, ids):
    """The forward pass of the model in torch's own layers, for positions that are added."""
    x = network.embedding.weight[ids]
    if network.positions == "sinusoidal":
        x = x + sinusoidal(ids.shape[1], 16, dtype=torch.float64)
    if network.positions == "learned":
        x = x + network.position_embedding.weight[: ids.shape[1]]
    for block in network.blocks:
        theirs = torch_block(block, block.norm, "gelu", 24)
        x = theirs(x, src_mask=hidden_after(ids.shape[1], ids.shape[1]))
    if network.blocks[0].norm == "pre":
        x = nn.functional.layer_norm(x, (16,), network.final_norm.weight, network.final_norm.bias)
    return x @ network.output.weight.T + network.output.bias


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["none", "sinusoidal", "learned"])
def test_model_equals_torchs_pieces(positions, norm):
    network = model(positions, norm=norm)
    assert_close(network(tokens()), by_the_pieces(network, tokens()))


@every_position
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("causal", [False, True])
def test_attentions_are_those_that_forward_uses(positions, norm, causal):
    """Hooks give what enters and leaves each layer: the weights must turn one into the other."""
    network = model(positions, norm=norm, causal=causal)
    ids = tokens()
    passed = []
    for block in network.blocks:
        block.attention.register_forward_hook(
            lambda layer, inputs, output: passed.append((layer, inputs[0], output))
        )
    network(ids)
    seen = list(passed)
    attentions = network.attentions(ids)
    assert isinstance(attentions, tuple)
    assert len(attentions) == len(seen) == 2
    for weights, (layer, x, output) in zip(attentions, seen, strict=True):
        assert weights.shape == (2, 4, 9, 9)
        assert_close(weights.sum(dim=-1), torch.ones(2, 4, 9, dtype=torch.float64))
        value = layer.value_projection(x).unflatten(-1, (4, 4)).transpose(1, 2)
        heads = (weights @ value).transpose(1, 2).flatten(start_dim=2)
        assert_close(layer.output_projection(heads), output)


@every_position
def test_same_seed_same_weights_and_another_seed_others(positions):
    options = {"positions": positions, "max_length": 8 if positions == "learned" else None}
    first, again, other = (TransformerModel(VOCAB, 8, 2, 1, seed=s, **options) for s in (3, 3, 4))
    ids = tokens(length=5)
    torch.testing.assert_close(first(ids), again(ids), rtol=0, atol=0)
    assert (first(ids) - other(ids)).abs().max() > 1e-2
    for (name, p), q in zip(first.named_parameters(), other.parameters(), strict=True):
        if p.ndim == 2:
            assert not torch.equal(p, q), name


def test_making_a_model_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    TransformerModel(VOCAB, 8, 2, 1, seed=1)
    torch.testing.assert_close(torch.rand(3), expected[0], rtol=0, atol=0)
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_the_callers_random_numbers_do_not_reach_the_weights():
    torch.manual_seed(1)
    first = TransformerModel(VOCAB, 8, 2, 1)
    torch.manual_seed(2)
    again = TransformerModel(VOCAB, 8, 2, 1)
    ids = tokens(length=5)
    torch.testing.assert_close(first(ids), again(ids), rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_new_models_scores_are_of_the_size_of_one(norm):
    network = TransformerModel(64, 64, 4, 6, norm=norm)
    logits = network(torch.arange(64).reshape(2, 32))
    assert 0.5 < logits.std() < 2.0


def test_number_of_parameters():
    network = TransformerModel(VOCAB, 8, 2, 3, 20, positions="learned", max_length=7)
    attention = 4 * (8 * 8 + 8)
    feedforward = (8 * 20 + 20) + (20 * 8 + 8)
    norms = 2 * 2 * 8
    ends = VOCAB * 8 + 7 * 8 + 2 * 8 + (8 * VOCAB + VOCAB)
    assert network.n_parameters == 3 * (attention + feedforward + norms) + ends


def test_ids_may_be_of_32_bits():
    network = model()
    torch.testing.assert_close(network(tokens().int()), network(tokens()), rtol=0, atol=0)


X = torch.ones(2, 3, 8)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: MultiHeadAttention(8, 3), ValueError, "n_heads must divide d_model, got 3 and 8"),
        (
            lambda: MultiHeadAttention(8, 4, n_kv_heads=3),
            ValueError,
            "n_kv_heads must divide n_heads, got 3 and 4",
        ),
        (
            lambda: MultiHeadAttention(8, 2, n_kv_heads=4),
            ValueError,
            "n_kv_heads must divide n_heads, got 4 and 2",
        ),
        (
            lambda: MultiHeadAttention(8, 4, n_kv_heads=0),
            ValueError,
            "n_kv_heads must be an integer >= 1, got 0",
        ),
        (lambda: MultiHeadAttention(0, 1), ValueError, "d_model must be an integer >= 1, got 0"),
        (
            lambda: MultiHeadAttention(8, 2.0),
            TypeError,
            "n_heads must be an integer, got float 2.0",
        ),
        (
            lambda: MultiHeadAttention(8, 2, positions="learned"),
            ValueError,
            "positions must be one of 'none', 'rotary', 'alibi', got 'learned'",
        ),
        (
            lambda: MultiHeadAttention(6, 2, positions="rotary"),
            ValueError,
            "d_model / n_heads must be even for rotary positions, got 3",
        ),
        (
            lambda: TransformerBlock(8, 2, 0),
            ValueError,
            "d_feedforward must be an integer >= 1, got 0",
        ),
        (
            lambda: TransformerBlock(8, 2, norm="rms"),
            ValueError,
            "norm must be one of 'pre', 'post', got 'rms'",
        ),
        (
            lambda: TransformerBlock(8, 2, activation="tanh"),
            ValueError,
            "activation must be one of 'gelu', 'relu', got 'tanh'",
        ),
        (
            lambda: TransformerBlock(8, 2, positions="learned"),
            ValueError,
            "positions must be one of 'none', 'rotary', 'alibi', got 'learned'",
        ),
    ],
)
def test_wrong_options_of_layers(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.wrong_input
@pytest.mark.parametrize("method", ["forward", "weights"])
@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((X[0],), {}, ValueError, "x must have shape (batch, length, 8), got (3, 8)"),
        ((X[..., :6],), {}, ValueError, "x must have shape (batch, length, 8), got (2, 3, 6)"),
        (
            (X, X[..., :6]),
            {},
            ValueError,
            "memory must have shape (batch, length, 8), got (2, 3, 6)",
        ),
        ((X, X[:1]), {}, ValueError, "memory must have x's batch of 2, got shape (1, 3, 8)"),
        (
            (X,),
            {"key_mask": torch.ones(2, 3)},
            TypeError,
            "key_mask must be a tensor of bool, got one of torch.float32",
        ),
        (
            (X, X[:, :2]),
            {"key_mask": torch.ones(2, 3, dtype=torch.bool)},
            ValueError,
            "key_mask must have shape (2, 2), batch and keys, got (2, 3)",
        ),
    ],
)
def test_wrong_input_of_attention(method, arguments, options, error, words):
    layer = MultiHeadAttention(8, 2)
    with pytest.raises(error) as caught:
        getattr(layer, method)(*arguments, **options)
    assert words in str(caught.value)


@pytest.mark.wrong_input
def test_wrong_input_of_a_block():
    with pytest.raises(ValueError, match=r"key_mask must have shape \(2, 3\)"):
        TransformerBlock(8, 2)(X, key_mask=torch.ones(2, 4, dtype=torch.bool))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((0, 8, 2, 1), {}, ValueError, "vocab_size must be an integer >= 1, got 0"),
        ((5, -8, 2, 1), {}, ValueError, "d_model must be an integer >= 1, got -8"),
        ((5, "8", 2, 1), {}, TypeError, "d_model must be an integer, got str '8'"),
        ((5, 8, 3, 1), {}, ValueError, "n_heads must divide d_model, got 3 and 8"),
        ((5, 8, 0, 1), {}, ValueError, "n_heads must be an integer >= 1, got 0"),
        ((5, 8, 2, 0), {}, ValueError, "n_layers must be an integer >= 1, got 0"),
        ((5, 8, 2, 1, 0), {}, ValueError, "d_feedforward must be an integer >= 1, got 0"),
        (
            (5, 8, 2, 1),
            {"positions": "absolute"},
            ValueError,
            "positions must be one of 'none', 'sinusoidal', 'learned', 'rotary', 'alibi', got 'abs",
        ),
        (
            (5, 8, 2, 1),
            {"positions": "learned"},
            ValueError,
            "max_length is for learned positions, which need it; "
            "got max_length=None with positions='learned'",
        ),
        (
            (5, 8, 2, 1),
            {"max_length": 9},
            ValueError,
            "got max_length=9 with positions='rotary'",
        ),
        (
            (5, 8, 2, 1),
            {"positions": "learned", "max_length": 0},
            ValueError,
            "max_length must be an integer >= 1, got 0",
        ),
        ((5, 8, 2, 1), {"norm": "rms"}, ValueError, "norm must be one of 'pre', 'post', got 'rms'"),
        ((5, 8, 2, 1), {"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
        ((5, 8, 2, 1), {"seed": None}, TypeError, "seed must be an integer, got NoneType None"),
    ],
)
def test_wrong_options_of_a_model(arguments, options, error, words):
    with pytest.raises(error) as caught:
        TransformerModel(*arguments, **options)
    assert words in str(caught.value)


@pytest.mark.wrong_input
@pytest.mark.parametrize("method", ["forward", "attentions", "embed"])
@pytest.mark.parametrize(
    ("ids", "error", "words"),
    [
        (
            torch.zeros(3, dtype=torch.int64),
            ValueError,
            "ids must have a row for each text and a token, got shape (3,)",
        ),
        (
            torch.zeros(2, 0, dtype=torch.int64),
            ValueError,
            "ids must have a row for each text and a token, got shape (2, 0)",
        ),
        (
            torch.zeros(2, 9, dtype=torch.int64),
            ValueError,
            "ids must be at most max_length = 8 tokens long, got 9",
        ),
        (torch.tensor([[1, 11]]), ValueError, "ids must lie in [0, 11), got 11"),
        (torch.tensor([[-1, 12]]), ValueError, "ids must lie in [0, 11), got -1"),
        (
            torch.zeros(2, 3),
            TypeError,
            "ids must be a tensor of int32 or int64, got one of torch.float32",
        ),
    ],
)
def test_wrong_ids(method, ids, error, words):
    network = TransformerModel(VOCAB, 8, 2, 1, positions="learned", max_length=8)
    with pytest.raises(error) as caught:
        getattr(network, method)(ids)
    assert words in str(caught.value)


@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_a_key_mask_takes_weight_away_and_leaves_positions_alone(positions):
    layer = randomised(MultiHeadAttention(12, 3, positions=positions))
    x = normal(2, 7, 12, seed=1)
    left = layer.weights(x) * PADDING[:, None, None, :]
    assert_close(layer.weights(x, key_mask=PADDING), left / left.sum(-1, keepdim=True))


def test_linear_layers_start_as_glorot_and_bengio_draw_them_and_without_a_bias():
    model = TransformerModel(11, 64, 4, 2, seed=3)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert len(linear) == 2 * 6 + 1
    for module in linear:
        bound = math.sqrt(6 / (module.in_features + module.out_features))
        assert 0.95 * bound < module.weight.abs().max() <= bound
        assert not module.bias.any()


def test_normalisation_guards_its_division_as_torchs_does():
    block = TransformerBlock(12, 3)
    for norm in (block.attention_norm, block.feedforward_norm):
        assert norm.eps == nn.LayerNorm(12).eps
