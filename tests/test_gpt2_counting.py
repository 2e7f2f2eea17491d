"""The counts of lmcourse.gpt2.counting are those of models that exist."""

import pytest
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lmcourse.gpt2 import GPT2, GPT2Config
from lmcourse.gpt2.counting import (
    cache_bytes,
    forward_flops,
    parameters,
    training_flops,
    weight_bytes,
)

SIZES = {  # Radford et al. (2019); the counts are those of the published checkpoints
    "gpt2": (GPT2Config(), 124_439_808),
    "gpt2-medium": (GPT2Config(n_embd=1024, n_layer=24, n_head=16), 354_823_168),
    "gpt2-large": (GPT2Config(n_embd=1280, n_layer=36, n_head=20), 774_030_080),
    "gpt2-xl": (GPT2Config(n_embd=1600, n_layer=48, n_head=25), 1_557_611_200),
}
# No two sizes are equal, nor is n_inner four times n_embd.
ODD = GPT2Config(vocab_size=53, n_positions=19, n_embd=12, n_layer=5, n_head=3, n_inner=41)


def hugging_face(config):
    theirs = transformers.GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.n_positions,
        n_embd=config.n_embd,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_inner=config.n_inner,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
        attn_implementation="eager",
    )
    with torch.device("meta"):
        return transformers.GPT2LMHeadModel(theirs)


def measured_flops(function):
    # torch counts products of matrices, but not those inside its fused attention on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", SIZES)
def test_parameters_of_the_published_sizes(name):
    config, expected = SIZES[name]
    assert sum(parameters(config).values()) == expected
    assert weight_bytes(config) == 4 * expected
    assert weight_bytes(config, bytes_per_number=2) == 2 * expected


def test_parameters_are_the_formula():
    d = 768
    assert sum(parameters(GPT2Config()).values()) == (
        50257 * d + 1024 * d + 12 * (12 * d**2 + 13 * d) + 2 * d
    )


def test_parameters_by_part_are_those_of_the_state_dict():
    found = dict.fromkeys(parameters(ODD), 0)
    for name, tensor in GPT2(ODD).state_dict().items():
        names = [part for part in name.split(".") if not part.isdigit()]
        found[".".join(names[:2] if names[0] == "h" else names[:1])] += tensor.numel()
    assert parameters(ODD) == found
    assert sum(found.values()) == sum(p.numel() for p in hugging_face(ODD).parameters())
    assert sum(found.values()) == GPT2(ODD).n_parameters


@pytest.mark.parametrize("config", [ODD, GPT2Config(n_layer=2)], ids=["odd", "wide"])
@pytest.mark.parametrize("length", [1, 7, 19])
def test_forward_flops_are_what_torch_counts_in_hugging_faces_model(config, length):
    ids = torch.zeros(3, length, dtype=torch.long, device="meta")
    expected = 3 * length * sum(forward_flops(config, length).values())
    model = hugging_face(config)
    assert measured_flops(lambda: model(ids)) == expected


def test_forward_and_training_flops_are_what_torch_counts_in_ours():
    model, ids = GPT2(ODD), torch.zeros(3, 11, dtype=torch.long)
    expected = 3 * 11 * sum(forward_flops(ODD, 11).values())
    assert measured_flops(lambda: model(ids)) == expected
    measured = measured_flops(lambda: model(ids).sum().backward())
    assert training_flops(ODD, length=11, n_tokens=3 * 11) == measured


def test_training_flops_are_what_torch_counts_in_hugging_faces_model():
    model = hugging_face(ODD)
    ids = torch.zeros(3, 11, dtype=torch.long, device="meta")
    measured = measured_flops(lambda: model(ids).logits.sum().backward())
    assert training_flops(ODD, length=11, n_tokens=3 * 11) == measured


def test_a_token_with_a_cache_looks_at_all_before_it():
    model = GPT2(ODD)
    cache = model.new_cache(1)
    model(torch.zeros(1, 8, dtype=torch.long), cache)
    one = torch.zeros(1, 1, dtype=torch.long)
    assert measured_flops(lambda: model(one, cache)) == sum(forward_flops(ODD, 9).values())


def test_flops_of_the_published_sizes():
    flops = forward_flops(GPT2Config(), 1024)
    d = 768
    assert flops["projections"] + flops["mlp"] == 24 * 12 * d**2
    assert flops["attention"] == 4 * 12 * d * 1024
    assert flops["logits"] == 2 * 50257 * d
    assert training_flops(GPT2Config(), 1024, 10) == 30 * sum(flops.values())


@pytest.mark.parametrize(("dtype", "n_bytes"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_cache_bytes_are_those_of_a_cache(dtype, n_bytes):
    cache = GPT2(ODD).to(dtype).new_cache(4, 13)
    assert cache_bytes(ODD, 13, batch=4, bytes_per_number=n_bytes) == cache.n_bytes


def test_cache_of_the_whole_context():
    assert cache_bytes(GPT2Config(), 1024) == 72 * 2**20


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: forward_flops(ODD, 0), "context must be an integer >= 1 and <= 19, got 0"),
        (lambda: forward_flops(ODD, 20), "context must be an integer >= 1 and <= 19, got 20"),
        (lambda: training_flops(ODD, 5, -1), "n_tokens must be an integer >= 0, got -1"),
        (lambda: cache_bytes(ODD, -1), "length must be an integer >= 0, got -1"),
        (lambda: cache_bytes(ODD, 1, batch=0), "batch must be an integer >= 1, got 0"),
        (
            lambda: weight_bytes(ODD, bytes_per_number=0),
            "bytes_per_number must be an integer >= 1, got 0",
        ),
    ],
)
def test_wrong_input(function, message):
    with pytest.raises(ValueError, match=message):
        function()
