"""Four models of different sizes, trained on the same tokens: the points of chapter 6's law.

Each is trained by ``python -m lmcourse.gpt2.train`` on Austen, Shakespeare and Melville, with the
same tokenizer, batches and schedule, and measured on the held-out chapters, in windows side by
side. The sizes keep the ratio of depth to width near 1 to 24 and heads 48 wide. Run as ``python -m
benchmarks.gpt2_scaling`` from the repository's root; it takes about half an hour on one core, and
writes ``lmcourse/gpt2/scaling.json``. ``--work FOLDER`` keeps the runs, and takes those that are
there already as they are.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from lmcourse import _files
from lmcourse.gpt2.counting import parameters
from lmcourse.gpt2.pretrained import from_pretrained
from lmcourse.gpt2.scaling import RUNS
from lmcourse.gpt2.train import read_documents

DATA = ("austen", "shakespeare", "moby-dick")
SIZES = ((2, 48, 1), (3, 96, 2), (4, 144, 3), (6, 192, 4))  # layers, width, heads
TOKENS = 3_000_000
RECIPE = (
    *("--n-positions", "256", "--vocab-size", "4096", "--batch-size", "16"),
    *("--optimizer", "muon", "--learning-rate", "5e-3", "--warmup-steps", "70", "--floor", "0"),
    *("--weight-decay", "0.1", "--precision", "bfloat16", "--compile", "--threads", "1"),
)
POINTS = 60  # of each curve


def train(n_layer: int, n_embd: int, n_head: int, folder: Path) -> None:
    """Train one model, unless its weights are in ``folder`` already."""
    if (folder / "model.safetensors").exists():
        return
    sizes = ("--n-layer", n_layer, "--n-embd", n_embd, "--n-head", n_head)
    never = ("--eval-every", TOKENS, "--save-every", TOKENS)  # but after the last update
    command = (*sizes, "--tokens", TOKENS, *never, *RECIPE, "--data", *DATA, "--out", folder)
    program = (sys.executable, "-m", "lmcourse.gpt2.train")
    subprocess.run([*program, *map(str, command)], check=True)


def curve(rows: list[dict[str, str]]) -> list[tuple[int, float]]:
    """Return tokens and the loss of training, averaged over the updates between two points."""
    size = -(-len(rows) // POINTS)
    points = []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        loss = sum(float(row["train_loss"]) for row in part) / len(part)
        points.append((int(part[-1]["tokens"]), round(loss, 4)))
    return points


def result(folder: Path) -> dict:
    """Return what `lmcourse.gpt2.scaling.Run` holds of the model in ``folder``."""
    config = from_pretrained(folder).config
    rows = list(csv.DictReader((folder / "training.csv").read_text("utf-8").splitlines()))
    counts = parameters(config)
    total = sum(counts.values())
    return {
        "n_layer": config.n_layer,
        "n_embd": config.n_embd,
        "n_head": config.n_head,
        "parameters": total,
        "non_embedding_parameters": total - counts["wte"] - counts["wpe"],
        "tokens": int(rows[-1]["tokens"]),
        "held_out_loss": round(float(rows[-1]["held_out_loss"]), 4),
        "bits_per_byte": round(float(rows[-1]["held_out_bits_per_byte"]), 4),
        "curve": curve(rows),
    }


def main() -> None:
    """Train the models and write the file that the chapter reads."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, help="folder for the runs")
    work = parser.parse_args().work
    with tempfile.TemporaryDirectory() as temporary:
        models = []
        for size in SIZES:
            folder = (work or Path(temporary)) / "x".join(map(str, size))
            train(*size, folder)
            models.append(result(folder))
    held_out = sum(len(text.encode()) for text in read_documents(DATA, held_out=True))
    content = {"tokens": models[0]["tokens"], "held_out_bytes": held_out, "models": models}
    _files.write_text(RUNS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
