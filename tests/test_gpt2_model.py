"""GPT-2 computes what Hugging Face's GPT2LMHeadModel does, with a cache or without."""

import math
import re

import pytest
import torch
import transformers

from lmcourse.gpt2 import GPT2, GPT2Config, KeyValueCache

CONFIG = GPT2Config(vocab_size=53, n_positions=19, n_embd=12, n_layer=3, n_head=3, n_inner=41)
CONFIGS = {
    "three layers": CONFIG,
    "one head": GPT2Config(vocab_size=7, n_positions=16, n_embd=5, n_layer=1, n_head=1),
    "heads of one": GPT2Config(vocab_size=30, n_positions=16, n_embd=8, n_layer=2, n_head=8),
    "epsilon": GPT2Config(
        vocab_size=41, n_positions=17, n_embd=16, n_layer=2, n_head=4, layer_norm_epsilon=0.1
    ),
    "GPT-2's width": GPT2Config(vocab_size=301, n_positions=64, n_layer=2),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def hugging_face(config, **options):
    """Hugging Face's model in float64, with no parameter at a start that could hide it, 0 or 1."""
    options = {"tie_word_embeddings": True, "dropout": 0.0} | options
    dropout = options.pop("dropout")
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.n_positions,
            n_embd=config.n_embd,
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_inner=config.n_inner,
            layer_norm_epsilon=config.layer_norm_epsilon,
            embd_pdrop=dropout,
            resid_pdrop=dropout,
            attn_pdrop=0.0,
            attn_implementation="eager",
            bos_token_id=0,
            eos_token_id=0,
            **options,
        )
    ).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale = 1 / math.sqrt(p.shape[0]) if p.ndim == 2 and "te." not in name else 0.3
            p += scale * torch.randn(p.shape, dtype=p.dtype, generator=generator)
    return model.eval()


def with_weights_of(theirs, config):
    """Our model with the weights of theirs."""
    ours = GPT2(config).double()
    ours.load_state_dict(
        {
            name.removeprefix("transformer."): tensor
            for name, tensor in theirs.state_dict().items()
            if name != "lm_head.weight"
        }
    )
    return ours


def pair(config=CONFIG, **options):
    theirs = hugging_face(config, **options)
    return with_weights_of(theirs, config), theirs


def texts(config=CONFIG, batch=2, length=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, length), generator=generator)


def assert_close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.fixture
def model():
    return pair()[0]


@every_config
def test_logits_equal_hugging_faces(config):
    ours, theirs = pair(config)
    ids = texts(config, length=16)
    assert_close(ours(ids), theirs(ids).logits)
    torch.testing.assert_close(ours.float()(ids), theirs.float()(ids).logits, rtol=0, atol=1e-4 / 2)


@every_config
def test_loss_and_gradients_equal_hugging_faces(config):
    ours, theirs = pair(config)
    ids = texts(config, batch=3, length=9)
    our_loss, their_loss = ours.loss(ids), theirs(ids, labels=ids).loss
    # Hugging Face computes the loss, though not the logits, in float32.
    torch.testing.assert_close(our_loss.float(), their_loss.float(), rtol=1e-6, atol=0)
    our_loss.backward()
    logits = theirs(ids).logits[:, :-1].flatten(end_dim=1)
    torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()).backward()
    gradients = {name: p.grad for name, p in theirs.transformer.named_parameters()}
    for name, p in ours.named_parameters():
        assert_close(p.grad, gradients.pop(name))
    assert not gradients


def test_loss_of_a_text_one_longer_than_the_context(model):
    ids = texts(length=CONFIG.n_positions + 1)
    expected = torch.nn.functional.cross_entropy(model(ids[:, :-1]).mT, ids[:, 1:])
    assert_close(model.loss(ids), expected)


@every_config
def test_hidden_states_and_attentions_equal_hugging_faces(config):
    ours, theirs = pair(config)
    ids = texts(config)
    expected = theirs(ids, output_hidden_states=True, output_attentions=True)
    states = ours.hidden_states(ids)
    assert len(states) == config.n_layer + 1
    for our_state, their_state in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        assert_close(our_state, their_state)
    assert_close(ours.ln_f(states[-1]), expected.hidden_states[-1])  # theirs is normalised
    for our_weights, their_weights in zip(ours.attentions(ids), expected.attentions, strict=True):
        assert_close(our_weights, their_weights)


def test_logit_lens_reads_every_state_as_hugging_faces_head_does():
    ours, theirs = pair()
    ids = texts()
    lens = ours.logit_lens(ids)
    hidden_states = theirs(ids, output_hidden_states=True).hidden_states
    for logits, state in zip(lens, hidden_states[:-1], strict=False):
        assert_close(logits, theirs.lm_head(theirs.transformer.ln_f(state)))
    assert lens.shape == (CONFIG.n_layer + 1, *ids.shape, CONFIG.vocab_size)
    assert_close(lens[-1], ours(ids))


def test_dropout_falls_where_hugging_faces_does():
    config = GPT2Config(vocab_size=53, n_positions=19, n_embd=12, n_layer=3, n_head=3, dropout=0.4)
    ours, theirs = pair(config, dropout=0.4)
    ids = texts()
    results = []
    for run in (lambda: ours.train()(ids), lambda: theirs.train()(ids).logits):
        torch.manual_seed(5)
        results.append(run())
    assert_close(*results)
    assert not torch.allclose(results[0], ours.eval()(ids))
    assert_close(ours(ids), theirs.eval()(ids).logits)


def test_state_dict_has_hugging_faces_names_and_shapes():
    theirs = {
        name.removeprefix("transformer."): tensor.shape
        for name, tensor in hugging_face(CONFIG).state_dict().items()
        if name != "lm_head.weight"  # the same tensor as wte.weight
    }
    assert {name: tensor.shape for name, tensor in GPT2(CONFIG).state_dict().items()} == theirs


def test_the_embeddings_are_the_output_too():
    """With two separate matrices in their model, ours gets the sum of both gradients."""
    theirs = hugging_face(CONFIG, tie_word_embeddings=False)
    embedding, output = theirs.transformer.wte.weight, theirs.lm_head.weight
    assert embedding.data_ptr() != output.data_ptr()
    with torch.no_grad():
        output.copy_(embedding)
    ours, ids = with_weights_of(theirs, CONFIG), texts()
    assert ours.n_parameters == sum(p.numel() for p in theirs.parameters()) - output.numel()
    assert_close(ours(ids), theirs(ids).logits)
    direction = torch.randn(ours(ids).shape, generator=torch.Generator().manual_seed(3)).double()
    (ours(ids) * direction).sum().backward()
    (theirs(ids).logits * direction).sum().backward()
    assert embedding.grad.abs().sum() > 1
    assert output.grad.abs().sum() > 1
    assert_close(ours.wte.weight.grad, embedding.grad + output.grad)


def test_a_later_token_changes_nothing_before_it(model):
    ids = texts()
    before = model(ids)
    for place in range(ids.shape[1]):
        other = ids.clone()
        other[:, place] = (ids[:, place] + 1) % CONFIG.vocab_size
        after = model(other)
        assert_close(after[:, :place], before[:, :place])
        assert ((after - before).abs().amax(dim=2)[:, place:] > 1e-6).all()


def in_chunks(model, ids, lengths, mask=None):
    """Read a text piece by piece; return the cache and the logits of all pieces."""
    cache, start, logits = model.new_cache(len(ids), ids.shape[1]), 0, []
    for length in lengths:
        end = start + length
        seen = None if mask is None else mask[:, :end]
        logits.append(model(ids[:, start:end], cache, mask=seen))
        start = end
        assert cache.length == end
    return cache, torch.cat(logits, dim=1)


PIECES = [[11], [1] * 11, [4, 1, 6], [1, 10], [10, 1]]


@pytest.mark.parametrize("lengths", PIECES, ids=str)
def test_reading_with_a_cache_changes_nothing(model, lengths):
    ids = texts()
    _, logits = in_chunks(model, ids, lengths)
    assert_close(logits, model(ids))


def test_the_cache_holds_what_hugging_faces_holds():
    ours, theirs = pair()
    ids = texts()
    cache, _ = in_chunks(ours, ids, [4, 7])
    expected = theirs(ids, use_cache=True).past_key_values
    for layer in range(CONFIG.n_layer):
        assert_close(cache.keys[layer], expected.layers[layer].keys)
        assert_close(cache.values[layer], expected.layers[layer].values)


N_PADDING = (0, 3, 10)
PADDED = torch.arange(11) >= torch.tensor(N_PADDING)[:, None]  # False at the left


@pytest.mark.parametrize("lengths", [None, *PIECES], ids=str)
@pytest.mark.parametrize("padding_id", [0, 52])
def test_each_padded_text_is_read_as_if_alone(model, lengths, padding_id):
    ids = texts(batch=3).masked_fill(~PADDED, padding_id)
    if lengths is None:
        logits = model(ids, mask=PADDED)
    else:
        _, logits = in_chunks(model, ids, lengths, PADDED)
    for row, n_padding in enumerate(N_PADDING):
        alone = model(ids[row : row + 1, n_padding:])
        assert_close(logits[row : row + 1, n_padding:], alone)
    assert logits.isfinite().all()


def test_padding_equals_hugging_faces():
    ours, theirs = pair()
    ids = texts(batch=3)
    positions = (PADDED.cumsum(1) - 1).clamp(min=0)
    expected = theirs(ids, attention_mask=PADDED.long(), position_ids=positions).logits
    assert_close(ours(ids, mask=PADDED)[PADDED], expected[PADDED])


def test_padding_gets_no_gradient_and_spoils_none(model):
    padding = 7
    ids = texts(batch=3)
    ids = torch.where(ids == padding, 8, ids).masked_fill(~PADDED, padding)
    states = model.wte(ids).detach().requires_grad_()
    model.wte.register_forward_hook(lambda *_: states)
    model(ids, mask=PADDED)[PADDED].square().sum().backward()
    assert (states.grad[~PADDED] == 0).all()
    assert (states.grad[PADDED] != 0).any(dim=1).all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_mask_without_padding_changes_nothing(model):
    ids = texts()
    assert_close(model(ids, mask=torch.ones_like(ids, dtype=torch.bool)), model(ids))


def test_last_only_gives_the_last_logits(model):
    ids, cache = texts(), model.new_cache(2)
    assert_close(model(ids, last_only=True), model(ids)[:, -1:])
    model(ids[:, :5], cache, last_only=True)
    assert_close(model(ids[:, 5:], cache, last_only=True), model(ids)[:, -1:])


@pytest.mark.parametrize("rows", [[1, 1, 0], torch.tensor([2, 0]), [1], [2, 1, 0]])
def test_selected_rows_are_read_on_by_themselves(model, rows):
    ids = texts(batch=3, length=6)
    cache, _ = in_chunks(model, ids, [6])
    cache = model.new_cache(3, 10)
    model(ids, cache)
    cache.select(rows)
    assert (cache.batch, cache.length, cache.max_length) == (len(rows), 6, 10)
    new = texts(batch=len(rows), length=4, seed=1)
    whole = torch.cat([ids[rows], new], dim=1)
    continued = torch.cat([model(new[:, :1], cache), model(new[:, 1:], cache)], dim=1)
    assert_close(continued, model(whole)[:, 6:])


def test_a_truncated_cache_is_read_on_from_there(model):
    ids, other = texts(), texts(seed=1)
    cache, _ = in_chunks(model, ids, [11])
    cache.truncate(4)
    assert cache.length == 4
    assert_close(model(other[:, 4:], cache), model(torch.cat([ids[:, :4], other[:, 4:]], 1))[:, 4:])
    cache.truncate(0)
    assert_close(model(other, cache), model(other))


@pytest.mark.parametrize(("dtype", "n_bytes"), [(torch.float64, 8), (torch.bfloat16, 2)])
def test_a_new_cache_fits_the_model(model, dtype, n_bytes):
    cache = model.to(dtype).new_cache(2, 7)
    numbers = 2 * CONFIG.n_layer * 2 * CONFIG.n_head * 7 * CONFIG.head_dim
    assert cache.n_bytes == n_bytes * numbers
    assert {t.dtype for t in (*cache.keys, *cache.values)} == {dtype}
    assert (cache.length, cache.batch, cache.max_length) == (0, 2, 7)
    assert model.new_cache(1).max_length == CONFIG.n_positions
    assert model(texts(length=7), cache).dtype == dtype


def test_a_refused_text_leaves_the_cache_as_it_was(model):
    ids = texts()
    cache = model.new_cache(2, 11)
    model(ids[:, :9], cache)
    with pytest.raises(ValueError, match="fit a cache"):
        model(ids[:, :3], cache)
    assert cache.length == 9
    assert_close(model(ids[:, 9:], cache), model(ids)[:, 9:])


def test_the_first_loss_is_that_of_a_guess():
    config = GPT2Config(vocab_size=1000, n_positions=64, n_embd=128, n_layer=4, n_head=4)
    loss = GPT2(config).loss(texts(config, batch=4, length=64)).item()
    assert loss == pytest.approx(math.log(1000), abs=0.1)


def test_weights_start_as_spread_as_hugging_faces():
    config = GPT2Config(vocab_size=200, n_positions=100, n_embd=64, n_layer=8, n_head=4)
    theirs = transformers.GPT2Model(
        transformers.GPT2Config(vocab_size=200, n_positions=100, n_embd=64, n_layer=8, n_head=4)
    ).state_dict()
    for name, p in GPT2(config).named_parameters():
        if p.ndim == 2:
            assert p.std().item() == pytest.approx(theirs[name].std().item(), rel=0.06), name
            assert p.mean().abs() < 0.002, name
        else:
            assert torch.equal(p, theirs[name]), name


def test_the_seed_decides_the_weights_and_nothing_else():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, again, other = GPT2(CONFIG, seed=3), GPT2(CONFIG, seed=3), GPT2(CONFIG, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    for name, p in first.named_parameters():
        assert torch.equal(p, again.get_parameter(name)), name
        if p.ndim == 2:
            assert not torch.equal(p, other.get_parameter(name)), name


def test_a_model_knows_its_sizes(model):
    assert model.config == CONFIG
    assert model.config.n_inner == 41
    assert model.config.head_dim == 4
    assert GPT2Config().n_inner == 3072
    assert model.device == torch.device("cpu")
    assert model.to("meta").device.type == "meta"


def cache_of(batch, max_length, length=0):
    cache = KeyValueCache(CONFIG, batch, max_length, dtype=torch.float64)
    cache.length = length
    return cache


ONES = torch.ones(2, 5, dtype=torch.bool)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("ids", "options", "error", "message"),
    [
        (texts() + 43, {}, ValueError, "ids must lie in [0, 53), got"),
        (texts() - 53, {}, ValueError, "ids must lie in [0, 53), got -"),
        (texts(length=20), {}, ValueError, "fit into n_positions = 19 tokens, got 20"),
        (texts()[0], {}, ValueError, "a row for each text and a token, got shape (11,)"),
        (texts()[:, :0], {}, ValueError, "a row for each text and a token, got shape (2, 0)"),
        (texts().float(), {}, TypeError, "ids must be a tensor of int32 or int64, got one of torc"),
        (texts() > 3, {}, TypeError, "ids must be a tensor of int32 or int64, got one of torch.b"),
        (texts(length=5), {"mask": ONES[:, :4]}, ValueError, "mask must have shape (2, 5)"),
        (texts(length=5), {"mask": ONES[:1]}, ValueError, "mask must have shape (2, 5)"),
        (texts(length=5), {"mask": ONES.long()}, TypeError, "mask must be a tensor of bool"),
        (texts(length=5), {"mask": ONES.tril(3)}, ValueError, "mask must be False at the left"),
        (
            texts(length=5),
            {"mask": ONES, "cache": cache_of(2, 19, 3)},
            ValueError,
            "mask must have shape (2, 8), texts and keys, got (2, 5)",
        ),
        (
            texts(length=5),
            {"cache": cache_of(2, 9, 5)},
            ValueError,
            "fit a cache for 2 texts of 9 tokens, got 2 of 10",
        ),
        (
            texts(length=5),
            {"cache": cache_of(3, 9)},
            ValueError,
            "fit a cache for 3 texts of 9 tokens, got 2 of 5",
        ),
        (
            texts(length=5),
            {"cache": cache_of(2, 19, 15)},
            ValueError,
            "fit into n_positions = 19 tokens, got 20",
        ),
    ],
)
def test_wrong_input(model, ids, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        model(ids, **options)


@pytest.mark.wrong_input
@pytest.mark.parametrize("function", ["hidden_states", "attentions", "logit_lens", "loss"])
@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (torch.tensor([[3, 53, 2]]), ValueError, "ids must lie in [0, 53), got 53"),
        (torch.tensor([[3, 2, 53]]), ValueError, "ids must lie in [0, 53), got 53"),
        (torch.tensor([[3, 2, -100]]), ValueError, "ids must lie in [0, 53), got -100"),
        (torch.tensor([[3.0, 2.0]]), TypeError, "ids must be a tensor of int32 or int64"),
        (torch.tensor([3, 2]), ValueError, "ids must have"),
        (texts(length=21), ValueError, "n_positions = 19"),
    ],
)
def test_wrong_input_to_other_methods(model, function, ids, error, message):
    with pytest.raises(error, match=re.escape(message)):
        getattr(model, function)(ids)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda m: m.loss(texts(length=1)), ValueError, "at least 2 tokens a row, got shape (2, 1"),
        (lambda m: m.new_cache(0), ValueError, "batch must be an integer >= 1, got 0"),
        (lambda m: m.new_cache(1, 0), ValueError, "max_length must be an integer >= 1, got 0"),
        (lambda m: m.new_cache(1, 20), ValueError, "at most n_positions = 19, got 20"),
        (lambda m: cache_of(1, 5, 3).truncate(4), ValueError, "length must be at most 3, got 4"),
        (lambda m: cache_of(1, 5, 3).truncate(-1), ValueError, "length must be an integer >= 0"),
        (lambda m: GPT2(CONFIG, seed=-1), ValueError, "seed must be an integer >= 0, got -1"),
        (lambda m: GPT2(CONFIG, seed=0.5), TypeError, "seed must be an integer, got float 0.5"),
    ],
)
def test_wrong_sizes(model, function, error, message):
    with pytest.raises(error, match=re.escape(message)):
        function(model)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ({"n_head": 5}, ValueError, "n_head must divide n_embd, got 5 and 768"),
        ({"vocab_size": 0}, ValueError, "vocab_size must be an integer >= 1, got 0"),
        ({"n_positions": 0}, ValueError, "n_positions must be an integer >= 1, got 0"),
        ({"n_layer": 2.0}, TypeError, "n_layer must be an integer, got float 2.0"),
        ({"n_inner": 0}, ValueError, "n_inner must be an integer >= 1, got 0"),
        ({"layer_norm_epsilon": 0}, ValueError, "layer_norm_epsilon must be a finite number > 0"),
        ({"dropout": 1.0}, ValueError, "dropout must be a finite number >= 0 and < 1, got 1.0"),
    ],
)
def test_wrong_config(sizes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        GPT2Config(**sizes)
