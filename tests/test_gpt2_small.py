"""The GPT-2 that ships: what it says, and what its card says about it."""

import csv
import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open

from lmcourse.data import load_corpus
from lmcourse.gpt2 import GPT2Tokenizer, from_pretrained, generate
from lmcourse.gpt2.evaluation import sliding_window
from lmcourse.gpt2.pretrained import SMALL
from lmcourse.gpt2.train import encode, read_documents

CARD = (SMALL / "README.md").read_text("utf-8")
WEIGHTS = SMALL / "model.safetensors"
EXCERPT = load_corpus("austen").work("Pride and Prejudice").split().held_out.text[:2000]

CONTINUATION = [319, 293, 264, 1453, 473, 491, 367, 380, 766, 495, 1905, 279, 727, 279, 327, 13]
BITS_PER_BYTE = 1.1299
HELD_OUT_TOKENS = 324007


@pytest.fixture(scope="module")
def model():
    return from_pretrained("lmcourse-small")


@pytest.fixture(scope="module")
def tokenizer():
    return GPT2Tokenizer.from_pretrained("lmcourse-small")


def stated(pattern):
    """The number in the model card that the pattern's group matches."""
    return float(re.search(pattern, CARD).group(1).replace(",", ""))


def test_greedy_continuation_stays_as_it_was(model, tokenizer):
    made = generate(model, "Elizabeth was", tokenizer=tokenizer, greedy=True, max_new_tokens=16)
    assert made.ids.tolist() == CONTINUATION
    assert made.text == tokenizer.decode(CONTINUATION)


def test_bits_per_byte_of_an_excerpt_stay_as_they_were(model, tokenizer):
    score = sliding_window(model, tokenizer.encode(EXCERPT), start=tokenizer.eos_token_id)
    assert score.bits_per_byte(len(EXCERPT.encode())) == pytest.approx(BITS_PER_BYTE, abs=1e-3)


def test_card_states_the_bits_per_byte_that_the_model_needs(model, tokenizer):
    held_out = read_documents(["moby-dick"], held_out=True)
    ids = encode(tokenizer, held_out)
    score = sliding_window(model, ids, stride=256, start=tokenizer.eos_token_id)
    bits = score.bits_per_byte(sum(len(text.encode()) for text in held_out))
    row = next(line for line in CARD.splitlines() if line.startswith("| **this model**, windows"))
    assert row.split("|")[5].strip() == f"{bits:.3f}"  # after the name, parameters, two authors


def test_card_and_files_agree(model):
    assert model.n_parameters == stated(r"([\d,]+) parameters")
    size = WEIGHTS.stat().st_size
    assert size == stated(r"has ([\d,]+) bytes")
    assert size < 15_000_000
    with safe_open(WEIGHTS, framework="numpy") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_card_and_training_agree():
    rows = list(csv.DictReader((SMALL / "training.csv").read_text("utf-8").splitlines()))
    assert 100 <= len(rows) <= 300
    assert np.all(np.diff([int(row["step"]) for row in rows]) > 0)
    last = rows[-1]
    assert int(last["step"]) == stated(r"--max-steps (\d+)")
    assert int(last["tokens"]) == stated(r"([\d,]+) tokens seen")
    assert float(last["seconds"]) / 3600 == pytest.approx(stated(r"([\d.]+) core-hours"), abs=0.006)
    measured = [row for row in rows if row["held_out_loss"]]
    assert measured[-1] is last
    n_bytes = sum(
        len(text.encode())
        for text in read_documents(["austen", "shakespeare", "moby-dick"], held_out=True)
    )
    for row in measured:  # bits = nats * tokens / bytes / ln 2, of the same held-out tokens
        ratio = float(row["held_out_bits_per_byte"]) / float(row["held_out_loss"])
        assert ratio * n_bytes * math.log(2) == pytest.approx(HELD_OUT_TOKENS, rel=1e-6)


def test_card_shows_what_the_model_writes(model, tokenizer):
    samples = re.findall(r"`(\{.*?\})`\n\n```text\n(.*?)\n```\n", CARD, flags=re.DOTALL)
    assert len(samples) == 3
    for options, text in samples:
        options = json.loads(options)
        prompt = options.pop("prompt")
        made = generate(model, prompt, tokenizer=tokenizer, **options)
        assert prompt + made.text == text


def test_transformers_reads_the_same_model(model, tokenizer):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(SMALL, dtype=torch.float32).eval()
    ids = tokenizer.encode(EXCERPT)[:256]
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)[None]).logits
        actual = model(torch.from_numpy(ids)[None])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)
    fast = transformers.GPT2TokenizerFast.from_pretrained(SMALL)
    assert fast(EXCERPT)["input_ids"] == tokenizer.encode(EXCERPT).tolist()
