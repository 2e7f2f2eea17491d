"""Train a GPT-2 from the command line, on one machine or on many.

    python -m lmcourse.gpt2.train --data austen shakespeare moby-dick --out model
    torchrun --nproc-per-node 2 -m lmcourse.gpt2.train --data novel.txt --out model

The folder `--out` holds the tokenizer from the start; `training.csv`, a row for each update;
`checkpoint.safetensors`, from which the same command with `--resume` goes on as if nothing had
happened; and at the end the model in Hugging Face's layout. Under torchrun, `--batch-size` is that
of all processes together, and all of them must see the folder.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import functools
import hashlib
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Int
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from lmcourse import _files
from lmcourse.data import CORPORA, load_corpus
from lmcourse.gpt2 import training
from lmcourse.gpt2.config import GPT2Config
from lmcourse.gpt2.model import GPT2
from lmcourse.gpt2.tokenizer import END_OF_TEXT, GPT2Tokenizer

CHECKPOINT = "checkpoint.safetensors"
CSV = "training.csv"
SETTINGS = (
    "batch_size",
    "learning_rate",
    "warmup_steps",
    "floor",
    "weight_decay",
    "clip",
    "optimizer",
    "precision",
    "seed",
)
COLUMNS = (*training.Metrics._fields, "held_out_bits_per_byte", "seconds")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a GPT-2 on texts.

    Args:
        arguments: those of the command line if not given.
    """
    options = parse(arguments)
    try:
        with _processes(options), _fast_attention(options):
            run(options)
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        sys.exit(f"error: {error}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lmcourse.gpt2.train",
        description=main.__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--data",
        nargs="+",
        required=True,
        metavar="NAME_OR_FILE",
        help=f"corpora ({', '.join(CORPORA)}: all but the held-out part) or text files",
    )
    add(
        "--held-out",
        nargs="+",
        metavar="NAME_OR_FILE",
        help="texts to evaluate on; if not given, the held-out parts of the corpora in --data",
    )
    add("--out", type=Path, required=True, metavar="FOLDER", help="where everything is written")
    add("--n-layer", type=int, default=6, help="number of blocks")
    add("--n-head", type=int, default=6, help="attention heads in a block")
    add("--n-embd", type=int, default=192, help="width of the vectors between blocks")
    add("--n-positions", type=int, default=256, help="longest text the model reads, in tokens")
    add("--dropout", type=float, default=0.0, help="chance to drop a number while training")
    add("--vocab-size", type=int, default=4096, help="of the tokenizer trained on the data")
    add("--tokenizer", metavar="NAME_OR_FOLDER", help="take this tokenizer instead")
    add("--init-from", metavar="NAME_OR_FOLDER", help="go on from this model, with its tokenizer")
    add("--length", type=int, help="tokens in a window; if not given, as many as the model reads")
    add("--batch-size", type=int, default=32, help="windows in a batch, over all processes")
    add("--accumulate", type=int, default=1, help="parts in which a process takes its share")
    steps = parser.add_mutually_exclusive_group(required=True)
    steps.add_argument("--max-steps", type=int, help="number of updates")
    steps.add_argument("--tokens", type=int, help="number of tokens to train on")
    add("--learning-rate", type=float, default=1e-3, help="highest learning rate")
    add("--warmup-steps", type=int, default=100, help="updates in which it is reached")
    add("--floor", type=float, default=0.1, help="last learning rate, as a share of the highest")
    add("--weight-decay", type=float, default=0.1, help="of matrices")
    add("--clip", type=float, default=1.0, help="norm to which a longer gradient is cut")
    add("--optimizer", choices=training.OPTIMIZERS, default="adamw")
    add("--precision", choices=training.PRECISIONS, default="float32")
    add("--compile", action="store_true", help="compile the model: slow to start, then faster")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, help="threads of each process on the CPU")
    add("--seed", type=int, default=0, help="of weights, order of the data, and dropout")
    add("--eval-every", type=int, default=500, help="updates between two evaluations")
    add("--save-every", type=int, default=500, help="updates between two checkpoints")
    add("--log-every", type=int, default=10, help="updates between two lines of progress")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Train as the options say, in this process, which may be one of many."""
    _check(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    documents, held_out = read_documents(options.data), _read_held_out(options)
    tokenizer = _tokenizer(options, documents)
    model = _model(options, tokenizer)
    ids = encode(tokenizer, documents)
    length = options.length or model.config.n_positions
    max_steps = options.max_steps or options.tokens // (options.batch_size * length)
    batches = training.Batches(
        ids, length, options.batch_size, seed=options.seed, rank=_rank(), n_processes=_world_size()
    )
    optimizers = training.make_optimizers(
        model, options.optimizer, weight_decay=options.weight_decay
    )
    settings = {
        **dataclasses.asdict(model.config),
        **{name: getattr(options, name) for name in SETTINGS},
        "length": length,
        "max_steps": max_steps,
        "data": hashlib.sha256(ids.tobytes()).hexdigest(),
    }
    done = {"step": 0, "seconds": 0.0}
    if options.resume:
        done = training.load_checkpoint(
            options.out / CHECKPOINT,
            model,
            optimizers,
            check=functools.partial(_check_settings, settings),
        )
    steps = training.training_steps(
        model,
        optimizers,
        batches,
        functools.partial(
            training.learning_rate,
            peak=options.learning_rate,
            warmup_steps=options.warmup_steps,
            max_steps=max_steps,
            floor=options.floor,
        ),
        max_steps=max_steps,
        first_step=done["step"] + 1,
        accumulate=options.accumulate,
        clip=options.clip,
        precision=options.precision,
        loss=_loss(options, model),
    )
    if _rank() > 0:
        with _stop_signals() as stopped:
            for _ in steps:
                if _any_process(stopped):
                    return
        return

    print(
        f"{model.n_parameters:,} parameters, {len(ids):,} tokens of text, {max_steps:,} updates of "
        f"{options.batch_size * length:,} tokens on {_world_size()} x {options.device}",
        flush=True,
    )
    held_out_ids = encode(tokenizer, held_out) if held_out else None
    bits_per_nat = (
        len(held_out_ids) / sum(len(d.encode()) for d in held_out) / math.log(2)
        if held_out
        else None
    )
    log = _Log(options, after=done["step"], max_steps=max_steps)
    step, seconds = done["step"], done["seconds"]
    with _stop_signals() as stopped:
        for metrics in steps:
            step = metrics.step
            seconds += options.batch_size * length / metrics.tokens_per_second
            stop = _any_process(stopped)
            bits = None
            if held_out and (step % options.eval_every == 0 or step == max_steps):
                loss = training.evaluate(
                    model, held_out_ids, length=length, precision=options.precision
                )
                metrics = metrics._replace(held_out_loss=loss)
                bits = loss * bits_per_nat
            log.add(metrics, bits, seconds)
            if step % options.save_every == 0 or step == max_steps or stop:
                training.save_checkpoint(
                    options.out / CHECKPOINT,
                    model,
                    optimizers,
                    {"step": step, "seconds": seconds, "settings": settings},
                )
            if stop and step < max_steps:
                print(f"stopped after update {step}; --resume goes on from there", flush=True)
                return
    _save_model(model, options.out, tokenizer)
    print(f"{options.out}: the trained model", flush=True)


def read_documents(sources: Sequence[str], *, held_out: bool = False) -> list[str]:
    """Return the texts that ``sources`` name.

    Args:
        sources: names of corpora, whose chapters are a text each, or paths of text files.
        held_out: take the held-out part of a corpus; otherwise train and validation parts.

    Returns:
        The texts, none of them empty.

    Raises:
        ValueError: a source is neither, or a file is empty or not UTF-8.
    """
    documents = []
    for source in sources:
        if source in CORPORA:
            split = load_corpus(source).split()
            parts = [split.held_out] if held_out else [split.train, split.validation]
            documents += [chapter.text for part in parts for chapter in part.chapters]
            continue
        if not Path(source).is_file():
            raise ValueError(
                f"data must be files or of {', '.join(map(repr, CORPORA))}, got {source!r}"
            )
        try:
            documents.append(Path(source).read_text("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{source} must be a text in UTF-8: {error}") from None
        if not documents[-1].strip():
            raise ValueError(f"{source} must not be empty")
    return documents


def encode(tokenizer: GPT2Tokenizer, documents: Sequence[str]) -> Int[np.ndarray, " tokens"]:
    """Return the ids of all texts, ``<|endoftext|>`` behind each."""
    end = np.array([tokenizer.eos_token_id])
    return np.concatenate([part for text in documents for part in (tokenizer.encode(text), end)])


class _Log:
    """Progress: rows of the CSV, lines on the terminal, and TensorBoard where it is installed."""

    def __init__(self, options: argparse.Namespace, *, after: int, max_steps: int):
        self.max_steps, self.every = max_steps, options.log_every
        path = options.out / CSV
        rows = [",".join(COLUMNS)]
        if after:  # rows that the lost updates wrote are written again
            written = path.read_text("utf-8").splitlines()[1:]
            rows += [row for row in written if int(row.partition(",")[0]) <= after]
        _files.write_text(path, "\n".join(rows) + "\n")
        self.file = path.open("a", encoding="utf-8", newline="")
        self.rows = csv.writer(self.file, lineterminator="\n")
        self.start, self.first = time.perf_counter(), after
        self.tensorboard = _tensorboard(options.out, after)

    def add(self, metrics: training.Metrics, bits: float | None, seconds: float) -> None:
        self.rows.writerow((*metrics, bits, seconds))
        self.file.flush()
        if self.tensorboard:
            for name, value in zip(COLUMNS[1:], (*metrics[1:], bits, seconds), strict=True):
                if value is not None:
                    self.tensorboard.add_scalar(name, value, metrics.step)
        if bits is None and metrics.step % self.every and metrics.step != self.max_steps:
            return
        rate = (time.perf_counter() - self.start) / (metrics.step - self.first)
        left = timedelta(seconds=round(rate * (self.max_steps - metrics.step)))
        line = (
            f"step {metrics.step:,}/{self.max_steps:,}  loss {metrics.train_loss:.4f}  "
            f"learning rate {metrics.learning_rate:.2e}  gradient {metrics.gradient_norm:.2f}  "
            f"{metrics.tokens_per_second:,.0f} tokens/s  left {left}"
        )
        if bits is not None:
            line += f"  held out {metrics.held_out_loss:.4f} = {bits:.4f} bits per byte"
        print(line, flush=True)


def _tensorboard(folder: Path, after: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=after + 1)


def _check(options: argparse.Namespace) -> None:
    checkpoint = options.out / CHECKPOINT
    if options.resume and not checkpoint.exists():
        raise ValueError(f"--resume needs {checkpoint}, which does not exist")
    if not options.resume and checkpoint.exists():
        raise ValueError(f"{checkpoint} exists: give --resume to go on from it, or another --out")
    if options.batch_size % (_world_size() * options.accumulate):
        raise ValueError(
            f"--batch-size must be a multiple of {_world_size()} processes x --accumulate "
            f"{options.accumulate}, got {options.batch_size}"
        )
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out must be a folder, got the file {options.out}")
    _barrier()
    options.out.mkdir(parents=True, exist_ok=True)


def _check_settings(settings: dict[str, Any], state: dict[str, Any]) -> None:
    for name, value in settings.items():
        before = state["settings"].get(name)
        if before != value:
            raise ValueError(
                f"--resume needs the settings of before: {name} was {before}, got {value}"
            )


def _read_held_out(options: argparse.Namespace) -> list[str]:
    sources = options.held_out or [name for name in options.data if name in CORPORA]
    return read_documents(sources, held_out=True)


def _tokenizer(options: argparse.Namespace, documents: Sequence[str]) -> GPT2Tokenizer:
    """Return the tokenizer; a new one lies in the folder from the start."""
    if options.resume:
        return GPT2Tokenizer.from_pretrained(options.out)
    source = options.tokenizer or options.init_from
    if source:
        tokenizer = GPT2Tokenizer.from_pretrained(source)
    else:
        tokenizer = GPT2Tokenizer.train(END_OF_TEXT.join(documents), options.vocab_size)
    if _rank() == 0:
        tokenizer.save(options.out)
    return tokenizer


def _model(options: argparse.Namespace, tokenizer: GPT2Tokenizer) -> GPT2:
    if options.init_from:
        from lmcourse.gpt2.pretrained import from_pretrained

        return from_pretrained(options.init_from, device=options.device)
    config = GPT2Config(
        vocab_size=tokenizer.vocab_size,
        n_positions=options.n_positions,
        n_embd=options.n_embd,
        n_layer=options.n_layer,
        n_head=options.n_head,
        dropout=options.dropout,
    )
    return GPT2(config, seed=options.seed).to(options.device)


def _loss(options: argparse.Namespace, model: GPT2) -> torch.nn.Module:
    loss = training.NextTokenLoss(model)
    if _world_size() > 1:
        loss = DistributedDataParallel(loss)
    return torch.compile(loss) if options.compile else loss


def _save_model(model: GPT2, folder: Path, tokenizer: GPT2Tokenizer) -> None:
    from lmcourse.gpt2.pretrained import save_pretrained

    save_pretrained(model, folder, tokenizer=tokenizer)


@contextlib.contextmanager
def _processes(options: argparse.Namespace) -> Iterator[None]:
    """Join the processes that torchrun started, if it did."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    if options.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if options.device == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _fast_attention(options: argparse.Namespace) -> Iterator[None]:
    """Let torch.compile generate attention in bfloat16 on the CPU.

    What it makes of the plain formula trains faster than torch's own fused kernel, whose backward
    pass in bfloat16 is slow.
    """
    if not (options.device == "cpu" and options.compile and options.precision == "bfloat16"):
        yield
        return
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()  # of the CPU, too
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, which let the update end and its checkpoint be written."""
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(s, lambda number, _: received.append(number)) for s in signals]
    try:
        yield received
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)


def _any_process(received: list[int]) -> bool:
    """Return whether a signal came to any process, so that all stop after the same update."""
    count = torch.tensor(float(len(received)))
    if dist.is_initialized():
        dist.all_reduce(count)
    return count.item() > 0


def _barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


if __name__ == "__main__":
    main()
