"""GPT-2 writing on a CPU, beside transformers and beside what the memory can deliver.

Run as ``python -m benchmarks.gpt2`` from the repository's root.
"""

from __future__ import annotations

import os

# As many threads as cores on all sides: the libraries look at these when they are loaded.
os.environ["OMP_NUM_THREADS"] = str(os.cpu_count())
os.environ["OPENBLAS_NUM_THREADS"] = str(os.cpu_count())
os.environ["MKL_NUM_THREADS"] = str(os.cpu_count())
os.environ["NUMBA_NUM_THREADS"] = str(os.cpu_count())

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numba
import numpy as np
import torch
import transformers

from benchmarks import _measure
from lmcourse.gpt2 import GPT2, GPT2Config, GPT2Tokenizer, from_pretrained, train
from lmcourse.gpt2.decoder import WEIGHTS, Decoder
from lmcourse.gpt2.evaluation import sliding_window
from lmcourse.gpt2.generation import generate

THREADS = os.cpu_count()
PROMPT = [464, 3290, 318, 257]
NEW_TOKENS = 32
ROUNDS = 9
BUFFER_ROWS = 4 * 50257  # of 768 numbers: 618 MB, more than any cache holds
CORPORA = ("austen", "shakespeare", "moby-dick")  # what the model that ships has read
PEER = "transformers"


def main() -> None:
    torch.set_num_threads(THREADS)
    model = GPT2(GPT2Config()).eval()
    writers = {
        f"{weights}, {backend}": Decoder(model, weights=weights, backend=backend)
        for weights, backend in [
            ("float32", "numba"),
            ("float32", "numpy"),
            ("bfloat16", "numba"),
            ("int8", "numba"),
        ]
    }
    peers = {
        PEER: peer(model),
        "the model in torch": lambda: write(model),
        **{name: lambda decoder=decoder: write(decoder) for name, decoder in writers.items()},
    }
    readers = readers_of_memory()
    same = {name: run() == peers[PEER]() for name, run in peers.items()}
    for name, is_same in same.items():
        assert is_same or not name.startswith("float32"), f"{name} writes other tokens"
    # Everything is compiled and in memory by now. Taking turns spreads what else the machine does.
    seconds = {name: [] for name in peers}
    bandwidths = {name: [] for name in readers}
    for _ in range(ROUNDS):
        for name, run in peers.items():
            seconds[name].append(time_of(run))
        for name, run in readers.items():
            bandwidths[name].append(BUFFER_ROWS * 768 * 4 / time_of(run))
    bandwidth = max(map(max, bandwidths.values()))
    n_bytes = {name: decoder.n_bytes for name, decoder in writers.items()}
    float32_bytes = n_bytes["float32, numba"]
    rows = [
        [
            *speed_row(name, times, seconds[PEER], n_bytes.get(name, float32_bytes), bandwidth),
            "yes" if same[name] else "no",
        ]
        for name, times in seconds.items()
    ]
    _measure.report(
        "gpt2",
        "GPT-2 writing on a CPU",
        f"{model.n_parameters:,} parameters with random weights, one text, greedy: {NEW_TOKENS} "
        f"tokens after a prompt of {len(PROMPT)}, {THREADS} threads for every peer. The peers take "
        f"turns for {ROUNDS} rounds. *tokens/s* is from each peer's best round, the prompt's pass "
        f"included. *ratio* divides transformers' time by the peer's, round by round: the median, "
        "and the least and the greatest. *of read bandwidth* is tokens/s times the bytes of the "
        f"weights, divided by the read bandwidth: {bandwidth / 1e9:.1f} GB/s, the most that any of "
        f"these reached with {BUFFER_ROWS * 768 * 4 / 1e6:.0f} MB in the same run: "
        + ", ".join(f"{name} {max(values) / 1e9:.1f}" for name, values in bandwidths.items())
        + ".",
        _measure.table(
            ["weights, backend", "tokens/s", "ratio", "MB", "of read bandwidth", "same tokens"],
            rows,
        ),
        "What rounding costs the model that ships, on the held-out text of its three authors "
        "(sliding windows of its context, half a context apart):",
        _measure.table(["weights", "MB", "bits per byte", "more than float32"], quality_rows()),
        packages=["numpy", "numba", "torch", "transformers"],
    )


def peer(model: GPT2) -> Callable[[], list[int]]:
    """Return what writes with transformers and the weights of ``model``."""
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
    missing, unknown = theirs.transformer.load_state_dict(model.state_dict(), strict=False)
    assert not unknown and not missing, (missing, unknown)
    ids = torch.tensor([PROMPT])
    options = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": NEW_TOKENS,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
    }

    def run():
        with torch.inference_mode():
            return theirs.generate(ids, **options)[0, len(PROMPT) :].tolist()

    return run


def write(model: Any) -> list[int]:
    return generate(model, PROMPT, greedy=True, max_new_tokens=NEW_TOKENS).ids.tolist()


def readers_of_memory() -> dict[str, Callable[[], Any]]:
    """Return ways to read a large buffer once, each as fast as its library can."""
    buffer = np.ones((BUFFER_ROWS, 768), np.float32)
    vector, out = np.ones(768, np.float32), np.empty(BUFFER_ROWS, np.float32)
    flat = buffer.reshape(-1)
    return {
        "numba's sum": lambda: total(flat),
        "OpenBLAS's matrix times vector": lambda: np.dot(buffer, vector, out=out),
    }


@numba.njit(parallel=True, fastmath=True)
def total(values):
    result = np.float32(0)
    for i in numba.prange(len(values)):
        result += values[i]
    return result


def time_of(run: Callable[[], Any]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def speed_row(
    name: str, times: list[float], peers_times: list[float], n_bytes: int, bandwidth: float
) -> list[str]:
    rate = NEW_TOKENS / min(times)
    ratios = [theirs / ours for ours, theirs in zip(times, peers_times, strict=True)]
    return [
        name,
        f"{rate:.1f}",
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{n_bytes / 1e6:.0f}",
        f"{rate * n_bytes / bandwidth:.0%}",
    ]


def quality_rows() -> list[list[str]]:
    model = from_pretrained("lmcourse-small")
    tokenizer = GPT2Tokenizer.from_pretrained("lmcourse-small")
    documents = train.read_documents(CORPORA, held_out=True)
    ids = train.encode(tokenizer, documents)
    n_bytes = sum(len(document.encode()) for document in documents)
    bits, sizes = {}, {}
    for weights in WEIGHTS:
        decoder = Decoder(model, weights=weights)
        score = sliding_window(decoder, ids, start=tokenizer.eos_token_id, batch_size=1)
        bits[weights], sizes[weights] = score.bits_per_byte(n_bytes), decoder.n_bytes
    return [
        [
            weights,
            f"{sizes[weights] / 1e6:.1f}",
            f"{bits[weights]:.5f}",
            f"{bits[weights] - bits['float32']:+.5f}",
        ]
        for weights in WEIGHTS
    ]


if __name__ == "__main__":
    main()
