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
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Int
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from lmcourse import _arguments, _files
from lmcourse.data import CORPORA, load_corpus
from lmcourse.gpt2 import training
from lmcourse.gpt2.config import GPT2Config
from lmcourse.gpt2.model import GPT2
from lmcourse.gpt2.pretrained import from_pretrained, save_pretrained
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
MODEL = {
    "n_layer": (6, "number of blocks"),
    "n_head": (6, "attention heads in a block"),
    "n_embd": (192, "width of the vectors between blocks"),
    "n_positions": (256, "longest text that the model reads, in tokens"),
    "dropout": (0.0, "share of numbers dropped in training"),
}
COLUMNS = (*training.Metrics._fields, "held_out_bits_per_byte", "seconds")
HEADER = ",".join(COLUMNS)


class Run(NamedTuple):
    """Everything that training needs, made from the options of the command line.

    Attributes:
        options: the command line.
        tokenizer: of the model.
        model: with the weights of the checkpoint, if there is one.
        optimizers: with its state.
        batches: of this process.
        rate: maps the number of an update to its learning rate.
        max_steps: number of the last update.
        held_out: the ids to evaluate on, if any.
        bytes_per_token: how much text one of them stands for, on average.
        settings: what must not change when training is resumed.
        step: number of updates done.
        seconds: time that they took.
    """

    options: argparse.Namespace
    tokenizer: GPT2Tokenizer
    model: GPT2
    optimizers: list[torch.optim.Optimizer]
    batches: training.Batches
    rate: Callable[[int], float]
    max_steps: int
    held_out: Int[np.ndarray, " held_out"] | None
    bytes_per_token: float | None
    settings: dict[str, Any]
    step: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a GPT-2 on texts.

    Args:
        arguments: those of the command line if not given.
    """
    options = parse(arguments)
    with _processes(options), _fast_attention(options):
        try:
            run = prepare(options)
        except (ValueError, OSError, ImportError) as error:
            sys.exit(f"error: {error}")
        try:
            train(run)
        except FloatingPointError as error:
            sys.exit(f"error: {error}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options of a command line.

    Args:
        arguments: those of the command line if not given.

    Returns:
        A namespace with an attribute for each option.
    """
    parser = argparse.ArgumentParser(
        prog="python -m lmcourse.gpt2.train",
        description=main.__doc__.partition("\n")[0],
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
    for name, (default, meaning) in MODEL.items():
        add(_flag(name), type=type(default), metavar="N", help=f"{meaning} ({default})")
    add("--vocab-size", type=int, metavar="N", help="of the tokenizer trained on the data (4096)")
    add("--tokenizer", metavar="NAME_OR_FOLDER", help="take this tokenizer instead")
    add("--init-from", metavar="NAME_OR_FOLDER", help="go on from this model, with its tokenizer")
    add("--length", type=int, metavar="N", help="tokens in a window (as many as the model reads)")
    number = functools.partial(add, metavar="N")
    number("--batch-size", type=int, default=32, help="windows in a batch, of all processes (32)")
    number("--accumulate", type=int, default=1, help="parts in which each process takes its share")
    steps = parser.add_mutually_exclusive_group(required=True)
    steps.add_argument("--max-steps", type=int, metavar="N", help="number of updates")
    steps.add_argument("--tokens", type=int, metavar="N", help="number of tokens to train on")
    number("--learning-rate", type=float, default=1e-3, help="highest learning rate (0.001)")
    number("--warmup-steps", type=int, default=100, help="updates until it is reached (100)")
    number("--floor", type=float, default=0.1, help="last learning rate by the highest (0.1)")
    number("--weight-decay", type=float, default=0.1, help="of matrices (0.1)")
    number("--clip", type=float, default=1.0, help="norm to which a longer gradient is cut (1)")
    add("--optimizer", choices=training.OPTIMIZERS, default="adamw", help="(adamw)")
    add("--precision", choices=training.PRECISIONS, default="float32", help="(float32)")
    add("--compile", action="store_true", help="compile the model: slow to start, then faster")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    number("--threads", type=int, help="threads of each process on the CPU")
    number("--seed", type=int, default=0, help="of weights, order of the data, and dropout (0)")
    number("--eval-every", type=int, default=500, help="updates between evaluations (500)")
    number("--save-every", type=int, default=500, help="updates between checkpoints (500)")
    number("--log-every", type=int, default=10, help="updates between lines of progress (10)")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> Run:
    """Read texts, tokenizer and model, and with ``--resume`` the checkpoint.

    Args:
        options: from `parse`.

    Returns:
        What `train` needs.

    Raises:
        ValueError: an option is out of its range or at odds with another.
        OSError: a file or folder cannot be read or written.
        ImportError: an option needs a library that is not installed.
    """
    _check(options)
    documents, held_out = read_documents(options.data), _read_held_out(options)
    tokenizer = _tokenizer(options, documents)
    model = _model(options, tokenizer)
    ids = encode(tokenizer, documents)
    held_out_ids = encode(tokenizer, held_out) if held_out else None
    n_bytes = sum(len(document.encode()) for document in held_out)
    length = training.window_length(model, options.length)
    max_steps = options.max_steps
    if max_steps is None:
        max_steps = options.tokens // (options.batch_size * length)
    batches = training.Batches(
        ids, length, options.batch_size, seed=options.seed, rank=_rank(), n_processes=_world_size()
    )
    rate = training.schedule(
        options.learning_rate,
        warmup_steps=options.warmup_steps,
        max_steps=max_steps,
        floor=options.floor,
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
    state = {"step": 0, "seconds": 0.0}
    if options.resume:
        state = training.load_checkpoint(
            options.out / CHECKPOINT,
            model,
            optimizers,
            check=functools.partial(_check_settings, settings),
        )
    return Run(
        options=options,
        tokenizer=tokenizer,
        model=model,
        optimizers=optimizers,
        batches=batches,
        rate=rate,
        max_steps=max_steps,
        held_out=held_out_ids,
        bytes_per_token=n_bytes / (len(held_out_ids) - 1) if held_out else None,
        settings=settings,
        step=state["step"],
        seconds=state["seconds"],
    )


def train(run: Run) -> None:
    """Train in this process, which may be one of many; the first of them writes the files.

    SIGINT and SIGTERM let the update end, write a checkpoint and return.

    Args:
        run: from `prepare`.

    Raises:
        FloatingPointError: the loss or the gradient is not finite.
    """
    steps = training.training_steps(
        run.model,
        run.optimizers,
        run.batches,
        run.rate,
        max_steps=run.max_steps,
        first_step=run.step + 1,
        accumulate=run.options.accumulate,
        clip=run.options.clip,
        precision=run.options.precision,
        loss=_loss(run),
    )
    with _stop_signals() as stopped, _log(run) as log:
        for metrics in steps:
            stop = _any_process(stopped)
            if log:
                log.add(metrics)
                if stop or _is_due(metrics.step, run.options.save_every, run.max_steps):
                    save_checkpoint(run, metrics.step, log.seconds)
            if stop and metrics.step < run.max_steps:
                if log:
                    print(f"stopped after step {metrics.step}: --resume goes on", flush=True)
                return
    if log:
        save_pretrained(run.model, run.options.out, tokenizer=run.tokenizer)
        print(f"{run.options.out}: the trained model", flush=True)


def save_checkpoint(run: Run, step: int, seconds: float) -> None:
    """Write the state of ``run`` at update ``step``, after ``seconds`` of training."""
    training.save_checkpoint(
        run.options.out / CHECKPOINT,
        run.model,
        run.optimizers,
        {"step": step, "seconds": seconds, "settings": run.settings},
    )


def read_documents(sources: Sequence[str], *, held_out: bool = False) -> list[str]:
    """Return the texts that ``sources`` name.

    Args:
        sources: names of corpora, whose chapters are a text each, or paths of files, in which
            ``<|endoftext|>`` may divide texts.
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
            texts = Path(source).read_text("utf-8").split(END_OF_TEXT)
        except UnicodeDecodeError as error:
            raise ValueError(f"{source} must be a text in UTF-8: {error}") from None
        if not any(texts):
            raise ValueError(f"{source} must not be empty")
        documents += filter(None, texts)
    return documents


def encode(tokenizer: GPT2Tokenizer, documents: Sequence[str]) -> Int[np.ndarray, " tokens"]:
    """Return the ids of all ``documents`` by the ``tokenizer``, ``<|endoftext|>`` behind each."""
    end = np.array([tokenizer.eos_token_id])
    return np.concatenate([part for text in documents for part in (tokenizer.encode(text), end)])


class _Log:
    """Progress: rows of the CSV, lines on the terminal, and TensorBoard where it is installed."""

    def __init__(self, run: Run):
        self.run = run
        self.seconds = run.seconds
        path = run.options.out / CSV
        # What updates after the checkpoint wrote is written again.
        rows = path.read_text("utf-8").splitlines()[: run.step + 1] if run.step else [HEADER]
        _files.write_text(path, "\n".join([*rows, ""]))
        self.file = path.open("a", encoding="utf-8", newline="")
        self.rows = csv.writer(self.file, lineterminator="\n")
        self.tensorboard = _tensorboard(run)
        self.start = time.perf_counter()
        tokens_per_step = run.batches.batch_size * run.batches.length
        print(
            f"{run.model.n_parameters:,} parameters, {len(run.batches.ids):,} tokens of text, "
            f"{run.max_steps:,} steps of {tokens_per_step:,} tokens, "
            f"processes: {_world_size()} on {run.options.device}",
            flush=True,
        )

    def add(self, metrics: training.Metrics) -> None:
        """Record an update, with an evaluation if one is due."""
        run, options = self.run, self.run.options
        tokens_per_step = run.batches.batch_size * run.batches.length
        self.seconds += tokens_per_step / metrics.tokens_per_second
        bits = None
        if run.held_out is not None and _is_due(metrics.step, options.eval_every, run.max_steps):
            loss = training.evaluate(
                run.model, run.held_out, length=run.batches.length, precision=options.precision
            )
            metrics = metrics._replace(held_out_loss=loss)
            bits = loss / math.log(2) / run.bytes_per_token
        row = dict(zip(COLUMNS, (*metrics, bits, self.seconds), strict=True))
        self.rows.writerow(row.values())
        self.file.flush()  # a killed run leaves all its rows
        if self.tensorboard:
            for name, value in row.items():
                if name != "step" and value is not None:
                    self.tensorboard.add_scalar(name, value, metrics.step)
        if bits is not None or _is_due(metrics.step, options.log_every, run.max_steps):
            self._print(metrics, bits)

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.tensorboard:
            self.tensorboard.close()

    def _print(self, metrics: training.Metrics, bits: float | None) -> None:
        step, last = metrics.step, self.run.max_steps
        seconds_per_step = (time.perf_counter() - self.start) / (step - self.run.step)
        left = timedelta(seconds=round(seconds_per_step * (last - step)))
        line = (
            f"step {step:,}/{last:,}  loss {metrics.train_loss:.4f}  "
            f"learning rate {metrics.learning_rate:.2e}  gradient {metrics.gradient_norm:.2f}  "
            f"{metrics.tokens_per_second:,.0f} tokens/s  left {left}"
        )
        if bits is not None:
            line += f"  held out {metrics.held_out_loss:.4f}, {bits:.4f} bits per byte"
        print(line, flush=True)


@contextlib.contextmanager
def _log(run: Run) -> Iterator[_Log | None]:
    """Open the log in the first process; the others have none."""
    if _rank() > 0:
        yield None
        return
    with contextlib.closing(_Log(run)) as log:
        yield log


def _tensorboard(run: Run) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(run.options.out / "tensorboard", purge_step=run.step + 1)


def _check(options: argparse.Namespace) -> None:
    for name in ("batch_size", "accumulate", "eval_every", "save_every", "log_every"):
        _arguments.integer(_flag(name), getattr(options, name), at_least=1)
    if options.batch_size % (_world_size() * options.accumulate):
        raise ValueError(
            f"--batch-size must be a multiple of {_world_size()} processes x --accumulate "
            f"{options.accumulate}, got {options.batch_size}"
        )
    _arguments.number("--clip", options.clip, above=0, allow_inf=True)
    checkpoint = options.out / CHECKPOINT
    if options.resume and not checkpoint.exists():
        raise ValueError(f"--resume needs {checkpoint}, which does not exist")
    if not options.resume and checkpoint.exists():
        raise ValueError(f"{checkpoint} exists: give --resume to go on from it, or another --out")
    _barrier()  # every process has looked before one writes
    options.out.mkdir(parents=True, exist_ok=True)
    if options.threads is not None:
        torch.set_num_threads(_arguments.integer("--threads", options.threads, at_least=1))


def _check_settings(settings: dict[str, Any], state: dict[str, Any]) -> None:
    for name, value in settings.items():
        before = state["settings"][name]
        if before != value:
            raise ValueError(
                f"--resume needs the settings of before: {name} was {before}, got {value}"
            )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _read_held_out(options: argparse.Namespace) -> list[str]:
    sources = options.held_out or [name for name in options.data if name in CORPORA]
    return read_documents(sources, held_out=True)


def _tokenizer(options: argparse.Namespace, documents: Sequence[str]) -> GPT2Tokenizer:
    """Return the tokenizer; it lies in the folder from the start."""
    if options.resume:
        return GPT2Tokenizer.from_pretrained(options.out)
    source = options.tokenizer or options.init_from
    if not source:
        tokenizer = GPT2Tokenizer.train(END_OF_TEXT.join(documents), options.vocab_size or 4096)
    else:
        tokenizer = GPT2Tokenizer.from_pretrained(source)
        if options.vocab_size not in (None, tokenizer.vocab_size):
            raise ValueError(
                f"--vocab-size must be that of the tokenizer in {source}, {tokenizer.vocab_size}, "
                f"or left out, got {options.vocab_size}"
            )
    if _rank() == 0:
        tokenizer.save(options.out)
    return tokenizer


def _model(options: argparse.Namespace, tokenizer: GPT2Tokenizer) -> GPT2:
    given = {name: getattr(options, name) for name in MODEL if getattr(options, name) is not None}
    if not options.init_from:
        sizes = {name: default for name, (default, _) in MODEL.items()} | given
        config = GPT2Config(vocab_size=tokenizer.vocab_size, **sizes)
        return GPT2(config, seed=options.seed).to(options.device)
    trained = from_pretrained(options.init_from)
    if tokenizer.vocab_size > trained.config.vocab_size:
        raise ValueError(
            f"--tokenizer has {tokenizer.vocab_size} tokens, the model in {options.init_from} "
            f"{trained.config.vocab_size}"
        )
    config = dataclasses.replace(trained.config, dropout=given.get("dropout", 0.0))
    for name, value in given.items():
        if value != getattr(config, name):
            raise ValueError(
                f"{_flag(name)} must be that of the model in {options.init_from}, "
                f"{getattr(config, name)}, or left out, got {value}"
            )
    model = GPT2(config)
    model.load_state_dict(trained.state_dict())
    return model.to(options.device)


def _loss(run: Run) -> torch.nn.Module:
    loss = training.NextTokenLoss(run.model)
    if _world_size() > 1:
        loss = DistributedDataParallel(loss)
    if not run.options.compile:
        return loss
    # On a CPU torch draws dropout's noise faster than the loops that torch.compile makes for it.
    return torch.compile(loss, options={"fallback_random": run.options.device == "cpu"})


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
