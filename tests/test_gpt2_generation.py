"""`generate` writes what Hugging Face's does: token by token, in batches, cached, streamed."""

import inspect
import itertools

import numpy as np
import pytest
import torch
import transformers

from lmcourse.gpt2 import GPT2, GPT2Config, GPT2Tokenizer
from lmcourse.gpt2.decoder import Decoder
from lmcourse.gpt2.generation import generate, stream, window_begin
from lmcourse.gpt2.sampling import draw

CONFIGS = [
    GPT2Config(vocab_size=60, n_positions=40, n_embd=24, n_layer=2, n_head=4),
    GPT2Config(vocab_size=23, n_positions=32, n_embd=16, n_layer=3, n_head=1, n_inner=20),
    GPT2Config(vocab_size=301, n_positions=64, n_embd=32, n_layer=1, n_head=8),
]
PROMPT = [3, 5, 7, 9]
PROMPTS = [[3, 5, 7, 9], [11], [2, 4, 6, 8, 10, 12, 14]]
METHODS = {
    "greedy": {"greedy": True},
    "sampling": {"seed": 4, "temperature": 1.3, "top_k": 20},
    "beam": {"num_beams": 3},
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
    "penalty": {"greedy": True, "repetition_penalty": 1.5},
}
every_method = pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)


def random_model(config=CONFIGS[0], seed=1):
    """A model in float64 that does not say the same all the time."""
    model = GPT2(config, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            std = {"wte.weight": 0.4, "wpe.weight": 1.0}.get(name, 0.15)
            p += std * torch.randn(p.shape, dtype=p.dtype, generator=generator)
    return model


def hugging_face(model):
    c = model.config
    config = transformers.GPT2Config(
        vocab_size=c.vocab_size,
        n_positions=c.n_positions,
        n_embd=c.n_embd,
        n_layer=c.n_layer,
        n_head=c.n_head,
        n_inner=c.n_inner,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    theirs = transformers.GPT2LMHeadModel(config).double().eval()
    theirs.transformer.load_state_dict(model.state_dict())
    return theirs


MODEL = random_model()
HUGGING_FACE = hugging_face(MODEL)


def by_transformers(model, prompts, *, stop=(), **options):
    """Return the new tokens of each row, without what comes after the first end token."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    options = {"do_sample": False, "eos_token_id": list(stop) or None, "pad_token_id": 0} | options
    rows = model.generate(ids, attention_mask=mask, **options)[:, width:].tolist()
    ends = [next((i + 1 for i, t in enumerate(row) if t in stop), len(row)) for row in rows]
    return [row[:end] for row, end in zip(rows, ends, strict=True)]


def new_ids(generations):
    return [generation.ids.tolist() for generation in generations]


@pytest.mark.parametrize("penalty", [1.0, 1.4])
@pytest.mark.parametrize("config", CONFIGS)
def test_greedy_equals_transformers(config, penalty):
    ours = random_model(config, seed=1)
    theirs = by_transformers(
        hugging_face(ours), [PROMPT], max_new_tokens=25, repetition_penalty=penalty
    )
    got = generate(ours, PROMPT, greedy=True, max_new_tokens=25, repetition_penalty=penalty)
    assert [got.ids.tolist()] == theirs


def test_a_left_padded_batch_equals_transformers_and_rows_end_on_their_own():
    stop = by_transformers(HUGGING_FACE, PROMPTS, max_new_tokens=20)[2][4:5]
    theirs = by_transformers(HUGGING_FACE, PROMPTS, max_new_tokens=20, stop=stop)
    ours = generate(MODEL, PROMPTS, greedy=True, max_new_tokens=20, stop=stop)
    assert new_ids(ours) == theirs
    assert len({len(ids) for ids in theirs}) > 1  # they do not end together


BEAM_OPTIONS = [
    dict(zip(("num_beams", "length_penalty", "early_stopping"), values, strict=True))
    for values in itertools.product((2, 4), (0.0, 1.0, 2.0), (False, True))
]


@pytest.mark.parametrize(("prompt", "stop"), [(PROMPT, [45]), ([6, 3], [*range(10, 50)])], ids=str)
def test_beam_search_equals_transformers(prompt, stop):
    found = []
    for options in BEAM_OPTIONS:
        theirs = by_transformers(HUGGING_FACE, [prompt], max_new_tokens=10, stop=stop, **options)
        ours = generate(MODEL, prompt, max_new_tokens=10, stop=stop, **options)
        assert [ours.ids.tolist()] == theirs, options
        found += theirs
    assert len({tuple(ids) for ids in found}) >= 3  # the options matter


def test_beam_search_without_an_end_equals_transformers():
    options = {"num_beams": 3, "max_new_tokens": 20}
    ours = generate(MODEL, PROMPT, **options).ids.tolist()
    assert [ours] == by_transformers(HUGGING_FACE, [PROMPT], **options)
    assert ours != generate(MODEL, PROMPT, greedy=True, max_new_tokens=20).ids.tolist()


def test_beam_search_in_a_batch_with_a_penalty_equals_transformers():
    options = {"num_beams": 3, "max_new_tokens": 10}
    ours = generate(MODEL, PROMPTS, stop=[45], **options)
    assert new_ids(ours) == by_transformers(HUGGING_FACE, PROMPTS, stop=[45], **options)
    options["repetition_penalty"] = 1.3
    prompt = generate(MODEL, PROMPT, **options).ids.tolist()  # tokens that it likes to write
    ours = generate(MODEL, prompt, **options)
    assert [ours.ids.tolist()] == by_transformers(HUGGING_FACE, [prompt], **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.6, "top_k": 8},
        {"top_p": 0.8},
        {"temperature": 1.5, "min_p": 0.05},
        {"typical_p": 0.7},
        {"temperature": 2.0, "top_k": 40, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.9},
        {"repetition_penalty": 1.3, "top_p": 0.9},
    ],
    ids=str,
)
def test_sampling_equals_transformers_given_the_same_random_numbers(options, monkeypatch):
    # A penalty would hit the padding, too, in their batches.
    prompts = [PROMPT] if "repetition_penalty" in options else PROMPTS
    children = np.random.SeedSequence(7).spawn(len(prompts))
    generators = [np.random.default_rng(child) for child in children]

    def multinomial(p, num_samples):
        numbers = np.array([generator.random() for generator in generators])
        return torch.from_numpy(draw(p.double().numpy(), numbers))[:, None]

    monkeypatch.setattr(torch, "multinomial", multinomial)
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 20, "stop": [45]} | options
    theirs = by_transformers(HUGGING_FACE, prompts, **settings)
    ours = generate(MODEL, prompts, seed=7, max_new_tokens=20, stop=[45], **options)
    assert new_ids(ours) == theirs


def contrastive_by_definition(model, ids, n_new, *, top_k, alpha):
    """Su et al. (2022) with everything computed anew for every candidate."""
    ids = list(ids)
    for _ in range(n_new):
        p = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
        scores = {}
        for candidate in p.topk(top_k).indices.tolist():
            longer = torch.tensor([[*ids, candidate]])
            *context, last = model(longer, output_hidden_states=True).hidden_states[-1][0]
            cosines = [torch.cosine_similarity(last, h, dim=0) for h in context]
            scores[candidate] = (1 - alpha) * p[candidate] - alpha * max(cosines)
        ids.append(max(scores, key=scores.get))
    return ids


@pytest.mark.parametrize(("top_k", "alpha"), [(4, 0.6), (6, 0.1), (1, 0.9), (3, 0.0)])
@torch.no_grad()
def test_contrastive_search_equals_its_definition(top_k, alpha):
    expected = contrastive_by_definition(HUGGING_FACE, PROMPT, 15, top_k=top_k, alpha=alpha)
    ours = generate(MODEL, PROMPT, top_k=top_k, penalty_alpha=alpha, max_new_tokens=15)
    assert PROMPT + ours.ids.tolist() == expected


# A cache, a batch and a window change nothing.


@every_method
def test_without_a_cache_the_text_is_the_same_beyond_the_context_too(options):
    n_new = MODEL.config.n_positions + 25  # the window slides twice
    cached = generate(MODEL, PROMPT, max_new_tokens=n_new, return_scores=True, **options)
    plain = generate(
        MODEL, PROMPT, max_new_tokens=n_new, return_scores=True, use_cache=False, **options
    )
    assert cached.ids.tolist() == plain.ids.tolist()
    np.testing.assert_allclose(cached.scores, plain.scores, rtol=1e-9)


@every_method
def test_in_a_batch_the_text_is_that_written_alone(options):
    """Prompts of lengths 4, 1 and 39: each window slides at another time."""
    long = np.random.default_rng(0).integers(60, size=39).tolist()
    prompts = [PROMPT, [11], long]
    seeds = [4, 5, 6] if options is METHODS["sampling"] else [None] * 3
    batch = generate(
        MODEL,
        prompts,
        max_new_tokens=45,
        stop=[45],
        **(options | {"seed": None if None in seeds else seeds}),
    )
    alone = [
        generate(MODEL, prompt, max_new_tokens=45, stop=[45], **(options | {"seed": seed}))
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    assert new_ids(batch) == new_ids(alone)
    assert [b.finished for b in batch] == [a.finished for a in alone]


def test_a_row_does_not_depend_on_how_many_there_are():
    three = generate(MODEL, PROMPTS, seed=3, max_new_tokens=15)
    two = generate(MODEL, PROMPTS[:2], seed=3, max_new_tokens=15)
    one = generate(MODEL, PROMPTS[0], seed=3, max_new_tokens=15)
    assert new_ids(three)[:2] == new_ids(two)
    assert new_ids(three)[0] == one.ids.tolist()


def test_the_same_prompt_twice_gives_two_texts():
    a, b = generate(MODEL, [PROMPT, PROMPT], seed=0, max_new_tokens=20)
    assert a.ids.tolist() != b.ids.tolist()


def test_the_window_drops_half_a_context_at_a_time():
    begins = [window_begin(n, 8) for n in range(1, 18)]
    assert begins == [0] * 8 + [4] * 4 + [8] * 4 + [12]
    assert [window_begin(n, 7) for n in (7, 8, 10, 11)] == [0, 3, 3, 6]
    assert window_begin(5, 1) == 4


@torch.no_grad()
def test_beyond_the_context_the_model_sees_the_window():
    ids = list(PROMPT)
    for _ in range(90):
        begin = window_begin(len(ids), MODEL.config.n_positions)
        ids.append(int(MODEL(torch.tensor([ids[begin:]]))[0, -1].argmax()))
    assert ids[4:] == generate(MODEL, PROMPT, greedy=True, max_new_tokens=90).ids.tolist()


def shapes_read(**options):
    """Return the shapes of what the model is given to read."""
    shapes = []
    hook = MODEL.wte.register_forward_hook(lambda module, x, out: shapes.append(tuple(x[0].shape)))
    try:
        generate(MODEL, greedy=True, **options)
    finally:
        hook.remove()
    return shapes


def test_the_cache_spares_reading_again():
    assert shapes_read(prompt=PROMPT, max_new_tokens=5) == [(1, 4), *[(1, 1)] * 4]
    expected = [(1, 4), (1, 5), (1, 6)]
    assert shapes_read(prompt=PROMPT, max_new_tokens=3, use_cache=False) == expected


def test_a_row_that_has_ended_is_read_no_more():
    first = generate(MODEL, PROMPTS[0], greedy=True, max_new_tokens=1).ids[0]
    shapes = shapes_read(prompt=PROMPTS, max_new_tokens=3, stop=int(first))
    assert shapes[0] == (3, 7)
    assert max(rows for rows, _ in shapes[1:]) < 3


# What ends a text, and what is shown of it.

TOKENIZER = GPT2Tokenizer.train("the cat sat on the mat, the café ☃ " * 3, 270)


class Scripted:
    """Writes given tokens after a prompt of one token: a model that a test can foresee."""

    config = GPT2Config(vocab_size=TOKENIZER.vocab_size, n_positions=200)
    device = torch.device("cpu")

    def __init__(self, text):
        self.script = TOKENIZER.encode(text, allowed_special="all").tolist()
        self.before_reading = lambda length: None

    def __call__(self, ids, cache, *, last_only):
        self.before_reading(ids.shape[1])
        logits = torch.zeros(len(ids), 1, self.config.vocab_size)
        n_read = min(ids.shape[1], len(self.script))  # the last token over and over
        logits[:, :, self.script[n_read - 1]] = 50.0
        return logits


def script(text, **options):
    options = {"greedy": True, "max_new_tokens": 60} | options
    return Scripted(text), [0], {"tokenizer": TOKENIZER, "use_cache": False, **options}


def written(text, **options):
    model, prompt, options = script(text, **options)
    return generate(model, prompt, **options)


def streamed(text, **options):
    model, prompt, options = script(text, **options)
    return list(stream(model, prompt, **options))


def test_the_end_token_ends_a_text_and_is_not_in_it():
    result = written("the cat<|endoftext|> sat on the mat")
    assert (result.text, result.finished) == ("the cat", "end")
    assert result.ids[-1] == TOKENIZER.eos_token_id
    assert TOKENIZER.decode(result.ids, skip_special_tokens=True) == "the cat"


def test_a_text_ends_after_max_new_tokens():
    n = len(TOKENIZER.encode("the cat"))
    result = written("the cat sat on the mat", max_new_tokens=n)
    assert (result.text, result.finished) == ("the cat", "length")
    assert len(result.ids) == n


def test_a_stop_sequence_may_straddle_tokens_and_is_cut_off():
    stop = "t on t"
    assert stop not in TOKENIZER.tokens and len(TOKENIZER.encode(stop)) > 1
    result = written("the cat sat on the mat", stop=stop)
    assert (result.text, result.finished) == ("the cat sa", "stop")
    # Written up to the token that completed it, and no further.
    assert TOKENIZER.decode(result.ids).startswith("the cat sat on t")
    assert stop not in TOKENIZER.decode(result.ids[:-1])


@pytest.mark.parametrize("stop", [["sat", "cat"], ["cat", "sat"], ["mat", "t sat"]], ids=str)
def test_the_first_stop_sequence_counts(stop):
    expected = {"sat": "the ", "cat": "the ", "mat": "the ca"}[stop[0]]
    assert written("the cat sat on the mat", stop=stop).text == expected


def test_the_first_stop_sequence_within_a_token_counts():
    assert len(TOKENIZER.encode("the")) == 1
    assert written("cat, the", stop=["e", "h"]).text == "cat, t"


def test_a_stop_sequence_in_the_prompt_stops_nothing():
    model, _, options = script("at the cat", max_new_tokens=3, stop="the")
    assert generate(model, TOKENIZER.encode("h")[:1], **options).finished == "stop"
    model, _, options = script("cat sat", max_new_tokens=3, stop="the")
    assert generate(model, TOKENIZER.encode("the")[:1], **options).finished == "length"


def test_a_stop_token_ends_a_text():
    comma = TOKENIZER.encode(",").item()
    result = written("the mat, the cat", stop=[comma])
    assert (result.text, result.finished, result.ids[-1]) == ("the mat", "stop", comma)


def test_a_character_cut_short_by_the_length_is_marked():
    whole = written("mat ☃", max_new_tokens=len(TOKENIZER.encode("mat ☃")))
    assert whole.text == "mat ☃"
    model, prompt, options = script("🙂", max_new_tokens=2)  # four tokens, one for each byte
    assert len(model.script) == 4
    assert generate(model, prompt, **options).text == "\ufffd"
    assert list(stream(model, prompt, **options)) == ["\ufffd"]


def test_streaming_gives_no_half_character():
    text = "caf\u00e9 🙂🙂 ☃ the \u4e2d\u6587<|endoftext|>"
    pieces = streamed(text)
    assert "".join(pieces) == text.removesuffix("<|endoftext|>") == written(text).text
    assert "\ufffd" not in "".join(pieces)
    assert all(pieces) and len(pieces) > 8


def test_streaming_holds_back_what_may_become_a_stop_sequence():
    text = "the cat sat on the mat, the end<|endoftext|>"
    pieces = streamed(text, stop=["mat, the cat", "zebra"])
    assert "".join(pieces) == text.removesuffix("<|endoftext|>")
    (held,) = [piece for piece in pieces if "mat," in piece]  # it comes at once, when it is safe
    assert held.startswith("mat, the ")
    pieces = streamed(text, stop=["mat, the end"])
    assert "".join(pieces) == "the cat sat on the "
    assert not any("m" in piece for piece in pieces)


@pytest.mark.parametrize("options", [{}, {"stop": ["e", "a b"]}, {"max_new_tokens": 0}], ids=str)
def test_pieces_joined_are_the_text_of_generate(options):
    config = GPT2Config(TOKENIZER.vocab_size, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    options = {"tokenizer": TOKENIZER, "max_new_tokens": 24, "temperature": 3.0} | options
    for seed in range(3):
        model = random_model(config, seed)
        pieces = list(stream(model, "the", seed=seed, **options))
        assert all(pieces)
        assert "".join(pieces) == generate(model, "the", seed=seed, **options).text


def test_without_a_tokenizer_ids_are_streamed_as_they_come():
    for options in (METHODS["greedy"], METHODS["sampling"], METHODS["contrastive"]):
        expected = generate(MODEL, PROMPT, max_new_tokens=8, **options)
        assert expected.text is None
        pieces = stream(MODEL, PROMPT, max_new_tokens=8, **options)
        assert next(pieces) == expected.ids[0]
        assert list(pieces) == expected.ids[1:].tolist()


def test_a_stream_reads_no_more_than_it_is_asked_for():
    lengths = []
    model = Scripted("the cat sat")
    model.before_reading = lengths.append
    pieces = stream(model, [0], greedy=True, use_cache=False)
    assert lengths == []
    assert next(pieces) == model.script[0]
    assert lengths == [1]


def test_beam_search_ends_by_stop_sequences_as_well():
    result = written("the cat sat on the mat", greedy=False, num_beams=2, stop=" on")
    assert (result.text, result.finished) == ("the cat sat", "stop")
    result = written("the cat<|endoftext|> sat", greedy=False, num_beams=3)
    assert (result.text, result.finished) == ("the cat", "end")


def test_end_of_text_in_a_prompt_is_one_token():
    lengths = []
    model, _, options = script("the", max_new_tokens=1)
    model.before_reading = lengths.append
    generate(model, "<|endoftext|>", **options)
    assert lengths == [1]


# Scores, seeds, progress.


@pytest.mark.parametrize("name", ["greedy", "sampling", "beam", "contrastive"])
def test_scores_are_log_probabilities_under_the_model(name):
    options = {"max_new_tokens": 12, "repetition_penalty": 1.2, **METHODS[name]}
    result = generate(MODEL, PROMPT, return_scores=True, **options)
    text = torch.tensor([PROMPT + result.ids.tolist()])
    with torch.no_grad():
        log_p = HUGGING_FACE(text).logits.log_softmax(-1)[0, len(PROMPT) - 1 : -1]
    expected = log_p.gather(1, torch.from_numpy(result.ids)[:, None])[:, 0]
    np.testing.assert_allclose(result.scores, expected, rtol=1e-9)
    assert generate(MODEL, PROMPT, **options).scores is None


def test_seeds():
    def text(seed):
        return tuple(generate(MODEL, PROMPT, max_new_tokens=20, seed=seed).ids.tolist())

    assert text(1) == text(1) == text([1])
    assert text(1) != text(2)
    assert text(None) != text(None)


def test_progress_is_reported_after_each_step():
    calls = []
    generate(MODEL, PROMPT, max_new_tokens=3, on_token=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    calls.clear()
    generate(
        MODEL, PROMPT, num_beams=2, max_new_tokens=3, on_token=lambda *call: calls.append(call)
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


@every_method
def test_no_new_tokens(options):
    result = generate(MODEL, PROMPT, max_new_tokens=0, return_scores=True, **options)
    assert (len(result.ids), result.finished, len(result.scores)) == (0, "length", 0)


def test_a_prompt_may_fill_the_context():
    prompt = [1] * MODEL.config.n_positions
    assert len(generate(MODEL, prompt, greedy=True, max_new_tokens=3).ids) == 3


def test_prompts_may_be_arrays_and_tensors():
    expected = generate(MODEL, PROMPT, greedy=True, max_new_tokens=5).ids.tolist()
    for prompt in (np.array(PROMPT), torch.tensor(PROMPT), tuple(PROMPT), np.int32(PROMPT)):
        result = generate(MODEL, prompt, greedy=True, max_new_tokens=5)
        assert result.ids.tolist() == expected
    for prompts in (np.array([PROMPT]), torch.tensor([PROMPT]), [PROMPT], (np.array(PROMPT),)):
        (result,) = generate(MODEL, prompts, greedy=True, max_new_tokens=5)
        assert result.ids.tolist() == expected


def test_dropout_is_off_while_a_model_in_training_writes():
    config = GPT2Config(vocab_size=60, n_positions=40, n_embd=24, n_layer=2, n_head=4, dropout=0.5)
    model = GPT2(config).double()
    model.load_state_dict(MODEL.state_dict())
    model.train()
    expected = generate(MODEL, PROMPT, greedy=True, max_new_tokens=15).ids.tolist()
    assert generate(model, PROMPT, greedy=True, max_new_tokens=15).ids.tolist() == expected
    assert model.training
    assert model(torch.tensor([PROMPT])).requires_grad


@every_method
def test_a_decoder_writes_in_the_place_of_its_model(options):
    model = random_model().float()
    expected = generate(model, PROMPT, max_new_tokens=60, **options)
    decoder = Decoder(model, backend="numpy")
    if {"num_beams", "penalty_alpha"} & options.keys():  # which read several texts at once
        with pytest.raises((TypeError, ValueError), match=r"one text for a Decoder|must be a GPT2"):
            generate(decoder, PROMPT, **options)
    else:
        assert (
            generate(decoder, PROMPT, max_new_tokens=60, **options).ids.tolist()
            == expected.ids.tolist()
        )


def test_half_precision():
    model = random_model().bfloat16()
    for options in METHODS.values():
        assert len(generate(model, PROMPT, max_new_tokens=4, **options).ids) == 4


def test_stream_has_the_options_and_defaults_of_generate():
    ours, theirs = (inspect.signature(f).parameters for f in (stream, generate))
    assert {name: p.default for name, p in ours.items()} == {
        name: theirs[name].default for name in ours
    }
    beam_search = {"num_beams", "length_penalty", "early_stopping"}
    assert theirs.keys() - ours.keys() == {"return_scores", "on_token"} | beam_search


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": ""}, r"prompt must hold at least one token.*give '<\|endoftext\|>' or its id"),
        ({"prompt": []}, "prompt must hold at least one token"),
        ({"prompt": ["the", ""]}, r"prompt\[1\] must hold at least one token"),
        ({"prompt": [[1], [270]]}, r"prompt\[1\] must lie in \[0, 270\), got 270 at"),
        ({"prompt": [-1]}, r"prompt must lie in \[0, 270\), got -1"),
        ({"prompt": [1.5]}, r"must hold integer token ids, got float 1.5"),
        ({"prompt": None}, "prompt must hold integer token ids, got NoneType"),
        ({"prompt": [1] * 17}, "at most n_positions = 16 tokens.*got 17; give its last 16"),
        ({"tokenizer": None}, "prompt is a text, which needs a tokenizer; or give its token ids"),
        ({"tokenizer": GPT2Tokenizer([])}, "model's vocabulary of 270 tokens, got one of 257"),
        ({"max_new_tokens": -1}, "max_new_tokens must be an integer >= 0, got -1"),
        ({"max_new_tokens": 2.0}, "max_new_tokens must be an integer, got float 2.0"),
        ({"max_length": 50}, "unexpected keyword argument 'max_length'"),
        ({"temperature": 0}, "temperature must be above 0, got 0.*say greedy=True"),
        ({"temperature": -1}, "temperature must be a finite number > 0, got -1"),
        ({"top_k": 0}, "top_k must be an integer >= 1, got 0"),
        ({"top_p": 0}, "top_p must be a finite number > 0 and <= 1, got 0"),
        ({"top_p": 1.2}, "top_p must be a finite number > 0 and <= 1, got 1.2"),
        ({"min_p": -0.1}, "min_p must be a finite number >= 0 and <= 1, got -0.1"),
        ({"typical_p": 2}, "typical_p must be a finite number > 0 and <= 1, got 2"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a finite number > 0, got 0"),
        ({"repetition_penalty": -1, "greedy": True}, "repetition_penalty must be .* got -1"),
        ({"stop": [270]}, "stop must be an integer >= 0 and <= 269, got 270"),
        ({"stop": ["a", ""]}, "stop must not be empty"),
        ({"stop": 1.5}, "stop must hold texts or token ids, got float 1.5"),
        ({"stop": [None]}, "stop must be an integer, got NoneType"),
        ({"stop": "a", "tokenizer": None, "prompt": [1]}, "stop holds the text 'a', which needs"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": [1, 2]}, "seed must be a number or one for each prompt, 1, got 2"),
        ({"seed": 0.5}, "seed must be an integer, got float 0.5"),
        ({"num_beams": 0}, "num_beams must be an integer >= 1, got 0"),
        ({"num_beams": 2, "top_p": 0.9}, "top_p has no effect in beam search, got top_p=0.9"),
        ({"num_beams": 2, "temperature": 0.5}, "temperature has no effect in beam search"),
        ({"num_beams": 2, "early_stopping": "never"}, "early_stopping must be True or False"),
        ({"num_beams": 2, "length_penalty": np.inf}, "length_penalty must be a finite number"),
        ({"greedy": True, "num_beams": 2}, "one of greedy, num_beams .* greedy search and beam"),
        ({"greedy": True, "top_k": 5}, "top_k has no effect in greedy search, got top_k=5"),
        ({"length_penalty": 2.0}, "length_penalty has no effect in sampling"),
        ({"penalty_alpha": 0.6}, "top_k must be given with penalty_alpha"),
        ({"penalty_alpha": 1.6, "top_k": 4}, "penalty_alpha must be .* <= 1, got 1.6"),
        ({"penalty_alpha": 0.6, "top_k": 0}, "top_k must be an integer >= 1, got 0"),
        ({"model": "gpt2"}, "model must be a GPT2, such as from_pretrained.*got str"),
        ({"model": HUGGING_FACE}, "model must be a GPT2.*got GPT2LMHeadModel"),
        (
            {"model": Scripted("the"), "penalty_alpha": 0.6, "top_k": 2},
            "model must be a GPT2 for contrastive search, got Scripted",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_wrong_input(options, message):
    config = GPT2Config(TOKENIZER.vocab_size, n_positions=16, n_embd=8, n_layer=1, n_head=1)
    arguments = {"model": GPT2(config), "prompt": "the", "tokenizer": TOKENIZER} | options
    with pytest.raises((TypeError, ValueError), match=message):
        generate(**arguments)
    if arguments.keys() <= inspect.signature(stream).parameters.keys():
        with pytest.raises((TypeError, ValueError), match=message):
            list(stream(**arguments))


@pytest.mark.wrong_input
def test_a_stream_complains_at_once_and_takes_one_prompt():
    with pytest.raises(ValueError, match="temperature must be above 0"):
        stream(MODEL, PROMPT, temperature=0)
    with pytest.raises(ValueError, match="prompt must be one text to stream it, got 2"):
        stream(MODEL, [[1], [2]])
