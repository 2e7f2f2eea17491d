"""The CPU decoder against the model in torch, with the same weights and with rounded ones."""

import copy
import sys

import numpy as np
import pytest
import torch

from lmcourse.gpt2 import GPT2, GPT2Config
from lmcourse.gpt2.decoder import WEIGHTS, Decoder
from lmcourse.gpt2.generation import generate, stream

SMALL = GPT2Config(vocab_size=301, n_positions=40, n_embd=48, n_layer=2, n_head=3)
CONFIGS = {
    "small": SMALL,
    "one head, one layer": GPT2Config(
        vocab_size=17, n_positions=16, n_embd=8, n_layer=1, n_head=1, n_inner=20
    ),
    # More rows than numpy expands at a time, a width that no vector length divides.
    "odd": GPT2Config(
        vocab_size=700, n_positions=12, n_embd=35, n_layer=3, n_head=5, layer_norm_epsilon=1e-3
    ),
}
both_backends = pytest.mark.parametrize("backend", ["numpy", "numba"])


@pytest.fixture(autouse=True)
def _numba_on_one_thread(request):
    """Threads wait for each other many times a token, which takes long where others want cores."""
    parameters = getattr(request.node, "callspec", None)
    if parameters is None or parameters.params.get("backend") != "numba":
        yield
        return
    numba = pytest.importorskip("numba")
    n_threads = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(n_threads)


def random_model(config, *, seed=0):
    """A model whose weights, biases and gains all matter, with logits that vary by some nats."""
    model = GPT2(config, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.15 * noise if parameter.ndim == 2 else 0.3 * noise
    return model


def random_ids(config, length, *, seed=0):
    ids = np.random.default_rng(seed).integers(config.vocab_size, size=(1, length))
    return torch.from_numpy(ids)


def rounded(model, weights):
    """A model of torch's with weights that were rounded by torch, or by the formula for int8."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim != 2 or name == "wpe.weight":
                continue
            if weights == "bfloat16":
                parameter.copy_(parameter.bfloat16())
            elif weights == "int8":
                outputs = 1 if name == "wte.weight" else 0  # the axis along which a row lies
                scale = parameter.abs().amax(outputs, keepdim=True) / 127
                parameter.copy_((parameter / scale).round() * scale)
    return model


def step_by_step(decoder, ids, *, n_prompt):
    cache = decoder.new_cache(1, ids.shape[1])
    parts = [decoder(ids[:, :n_prompt], cache)]
    parts += [decoder(ids[:, i : i + 1], cache) for i in range(n_prompt, ids.shape[1])]
    assert cache.length == ids.shape[1]
    return torch.cat(parts, dim=1)


@torch.no_grad()
def greedy_without_cache(model, prompt, n_new):
    ids = prompt
    for _ in range(n_new):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    return ids[0, prompt.shape[1] :].tolist()


@both_backends
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("weights", WEIGHTS)
@torch.no_grad()
def test_logits_are_those_of_the_model_with_weights_rounded_alike(config, weights, backend):
    model = random_model(config)
    ids = random_ids(config, config.n_positions)
    # In float64, so that the difference is the decoder's own.
    wanted = rounded(model, weights).double()(ids).numpy()
    assert wanted.std() > 0.3
    decoder = Decoder(model, weights=weights, backend=backend)
    at_once = decoder(ids).numpy()
    assert at_once.shape == wanted.shape
    assert at_once.dtype == np.float32
    np.testing.assert_allclose(at_once, wanted, atol=1e-4)
    for n_prompt in (1, 5):
        np.testing.assert_allclose(
            step_by_step(decoder, ids, n_prompt=n_prompt).numpy(), wanted, atol=1e-4
        )


@torch.no_grad()
def test_several_threads_write_what_one_does():
    numba = pytest.importorskip("numba")
    decoder = Decoder(random_model(SMALL), backend="numba")
    ids = random_ids(SMALL, 5)
    several = step_by_step(decoder, ids, n_prompt=1)
    n_threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert torch.equal(step_by_step(decoder, ids, n_prompt=1), several)
    finally:
        numba.set_num_threads(n_threads)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
@torch.no_grad()
def test_rounding_changes_the_logits_more_than_the_arithmetic_does(weights):
    model = random_model(SMALL)
    ids = random_ids(SMALL, 9)
    exact = Decoder(model, backend="numpy")(ids)
    error = (Decoder(model, weights=weights, backend="numpy")(ids) - exact).abs().max().item()
    assert 1e-3 < error < 0.5


@both_backends
def test_greedy_tokens_are_those_of_the_model_without_a_cache(backend):
    model = random_model(SMALL)
    prompt = random_ids(SMALL, 4)
    wanted = greedy_without_cache(model, prompt, 30)
    assert len(set(wanted)) > 5
    decoder = Decoder(model, backend=backend)
    assert generate(decoder, prompt[0], greedy=True, max_new_tokens=30).ids.tolist() == wanted
    written = stream(decoder, prompt[0], greedy=True, max_new_tokens=30)
    assert list(written) == wanted


@both_backends
@pytest.mark.parametrize("options", [{}, {"use_cache": False}], ids=["cache", "no cache"])
def test_generate_takes_a_decoder_in_the_models_place(backend, options):
    model = random_model(SMALL)
    # Beyond the context, so that the window moves.
    options = {"max_new_tokens": 45, "seed": 3, "top_p": 0.9, "return_scores": True, **options}
    theirs = generate(model, [5, 6], **options)
    ours = generate(Decoder(model, backend=backend), [5, 6], **options)
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)


@both_backends
@torch.no_grad()
def test_a_cache_can_be_truncated_and_read_on(backend):
    model = random_model(SMALL)
    decoder = Decoder(model, backend=backend)
    ids = random_ids(SMALL, 12)
    cache = decoder.new_cache(1, 12)
    decoder(ids, cache)
    cache.truncate(7)
    for i in range(7, 12):
        logits = decoder(ids[:, i : i + 1], cache)
    np.testing.assert_allclose(logits[0, -1], model(ids)[0, -1], atol=1e-4)


@both_backends
@torch.no_grad()
def test_a_cache_filled_by_the_model_serves_the_decoder(backend):
    model = random_model(SMALL)
    ids = random_ids(SMALL, 9)
    cache = model.new_cache(1, 20)
    model(ids[:, :8], cache)
    logits = Decoder(model, backend=backend)(ids[:, 8:], cache)
    np.testing.assert_allclose(logits[0, -1], model(ids)[0, -1], atol=1e-4)


def test_last_only_gives_the_last_of_all():
    decoder = Decoder(random_model(SMALL), backend="numpy")
    ids = random_ids(SMALL, 6)
    logits = decoder(ids, last_only=True)
    assert logits.shape == (1, 1, SMALL.vocab_size)
    np.testing.assert_allclose(logits[0, 0], decoder(ids)[0, -1], rtol=1e-5, atol=1e-5)


@both_backends
def test_logits_are_the_callers_to_keep(backend):
    decoder = Decoder(random_model(SMALL), backend=backend)
    first = decoder(torch.tensor([[3]]))
    kept = first.clone()
    decoder(torch.tensor([[4]]))
    assert torch.equal(first, kept)


def test_the_decoder_keeps_its_own_weights():
    model = random_model(SMALL)
    decoder = Decoder(model, backend="numpy")
    before = decoder(torch.tensor([[3, 4]]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(decoder(torch.tensor([[3, 4]])), before)


@both_backends
@torch.no_grad()
def test_a_row_of_zeros_in_int8(backend):
    model = random_model(SMALL)
    model.wte.weight[7] = 0
    model.h[0].mlp.c_fc.weight[:, 5] = 0
    logits = Decoder(model, weights="int8", backend=backend)(torch.tensor([[7]]))
    assert torch.isfinite(logits).all()
    assert logits[0, 0, 7] == 0


@pytest.mark.parametrize("weights, wanted", [("float32", 4), ("bfloat16", 2), ("int8", 1)])
def test_bytes_that_a_step_reads(weights, wanted):
    config = GPT2Config(vocab_size=500, n_positions=8, n_embd=64, n_layer=3, n_head=2)
    decoder = Decoder(GPT2(config), weights=weights, backend="numpy")
    n_matrices = 500 * 64 + 3 * 12 * 64 * 64
    of_each_output = 2 * (500 + 3 * 9 * 64)  # scales and biases
    of_norms = 2 * 64 * 7
    assert decoder.n_bytes == wanted * n_matrices + 4 * (of_each_output + of_norms)


def test_ids_may_be_an_array():
    decoder = Decoder(random_model(SMALL), backend="numpy")
    assert torch.equal(decoder(np.array([[3, 4]])), decoder(torch.tensor([[3, 4]])))


def test_without_numba_numpy_steps_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "lmcourse.gpt2._decoder_numba", raising=False)
    model = random_model(SMALL)
    assert torch.equal(
        Decoder(model)(torch.tensor([[3]])), Decoder(model, backend="numpy")(torch.tensor([[3]]))
    )


@pytest.mark.wrong_input
def test_numba_that_is_missing_is_not_replaced_when_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "lmcourse.gpt2._decoder_numba", raising=False)
    monkeypatch.delattr("lmcourse.gpt2._decoder_numba", raising=False)
    with pytest.raises(ImportError, match="numba"):
        Decoder(random_model(SMALL), backend="numba")


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    "options, message",
    [
        ({"weights": "int4"}, "weights must be one of 'float32', 'bfloat16', 'int8', got 'int4'"),
        ({"backend": "cuda"}, "backend must be one of 'numpy', 'numba', got 'cuda'"),
    ],
)
def test_options_that_do_not_exist(options, message):
    with pytest.raises(ValueError, match=message):
        Decoder(random_model(SMALL), **options)


@pytest.mark.wrong_input
def test_a_model_that_is_none():
    with pytest.raises(TypeError, match="model must be a GPT2, got Linear"):
        Decoder(torch.nn.Linear(2, 2))


@pytest.mark.wrong_input
@torch.no_grad()
def test_a_weight_that_is_not_finite():
    model = random_model(SMALL)
    model.h[1].mlp.c_fc.weight[2, 3] = torch.nan
    with pytest.raises(
        ValueError, match=r"h\.1\.mlp\.c_fc\.weight must be finite, got nan at .*\[2, 3\]"
    ):
        Decoder(model, backend="numpy")


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    "ids, error, message",
    [
        ([[1], [2]], ValueError, r"ids must be one text for a Decoder, \(1, length\), got \(2, 1"),
        ([1, 2], ValueError, r"ids must have 2 axes, got shape \(2,\)"),
        ([[]], ValueError, "ids must hold at least one token id, got an empty array"),
        ([[0.5]], TypeError, "ids must hold integer token ids"),
        ([[301]], ValueError, r"ids must lie in \[0, 301\), got 301 at ids\[0, 0\]"),
        ([[1, -1]], ValueError, r"ids must lie in \[0, 301\), got -1 at ids\[0, 1\]"),
        ([[1] * 41], ValueError, "ids must fit into n_positions = 40 tokens, got 41"),
    ],
)
def test_ids_that_cannot_be_read(ids, error, message):
    decoder = Decoder(random_model(SMALL), backend="numpy")
    with pytest.raises(error, match=message):
        decoder(torch.tensor(ids))


@pytest.mark.wrong_input
def test_caches_that_do_not_fit():
    model = random_model(SMALL)
    decoder = Decoder(model, backend="numpy")
    one = torch.tensor([[1]])
    with pytest.raises(ValueError, match=r"batch must be 1 for a Decoder, .* got 2"):
        decoder.new_cache(2, 5)
    with pytest.raises(ValueError, match="max_length must be at most n_positions = 40, got 41"):
        decoder.new_cache(1, 41)
    cache = decoder.new_cache(1, 3)
    decoder(torch.tensor([[1, 2, 3]]), cache)
    with pytest.raises(ValueError, match="ids must fit a cache for 3 tokens, got 4"):
        decoder(one, cache)
    cache = decoder.new_cache()
    decoder(torch.tensor([[1] * 40]), cache)
    with pytest.raises(ValueError, match="ids must fit into n_positions = 40 tokens, got 41"):
        decoder(one, cache)
    for other in (
        model.new_cache(2, 5),
        GPT2(CONFIGS["odd"]).new_cache(1, 5),
        copy.deepcopy(model).double().new_cache(1, 5),
    ):
        with pytest.raises(ValueError, match=r"cache must be one of new_cache\(\)"):
            decoder(one, other)


@pytest.mark.wrong_input
def test_beams_need_the_model():
    with pytest.raises(ValueError, match="one text"):
        generate(Decoder(random_model(SMALL), backend="numpy"), [1, 2], num_beams=2)
