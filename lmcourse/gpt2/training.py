"""Training a GPT-2 on a text: batches, schedule, accumulation, clipping, checkpoints.

>>> from lmcourse.gpt2 import GPT2, GPT2Config
>>> model = GPT2(GPT2Config(vocab_size=256, n_positions=16, n_embd=16, n_layer=1, n_head=2))
>>> history = fit(model, list(b"the cat sat on the mat. " * 20), max_steps=20, batch_size=4)
>>> history[-1].train_loss < history[0].train_loss
True

`fit` is the short way, in one process. `python -m lmcourse.gpt2.train` runs the same functions with
checkpoints and over many machines.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from lmcourse import _arguments, _files

OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("float32", "bfloat16")
OPTIMIZER_STATE = {torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq")}
"""What each optimizer remembers of a parameter."""
if hasattr(torch.optim, "Muon"):
    OPTIMIZER_STATE[torch.optim.Muon] = ("momentum_buffer",)


class Metrics(NamedTuple):
    """What is known about training after an update.

    Attributes:
        step: number of the update, from 1.
        tokens: targets seen so far.
        learning_rate: of this update.
        train_loss: mean cross-entropy of the batch before the update, in nats per token.
        held_out_loss: of the held-out ids after the update, in nats per token; None if the update
            was not followed by an evaluation.
        gradient_norm: Euclidean norm of the whole gradient before clipping.
        tokens_per_second: speed of this update, evaluation left out.
    """

    step: int
    tokens: int
    learning_rate: float
    train_loss: float
    held_out_loss: float | None
    gradient_norm: float
    tokens_per_second: float


def learning_rate(
    step: int, *, peak: float, warmup_steps: int, max_steps: int, floor: float = 0.1
) -> float:
    """Return the learning rate of an update: linear warmup, then half a cosine down to the floor.

    Args:
        step: number of the update, counted from 1.
        peak: the rate of update ``warmup_steps``.
        warmup_steps: updates over which the rate grows in proportion to ``step``.
        max_steps: the update at which the cosine ends; the rate stays there afterwards.
        floor: the final rate as a share of ``peak``.

    Returns:
        The learning rate, in [0, ``peak``].

    Raises:
        TypeError: an argument is not a number, or a count not an integer.
        ValueError: a count is negative, ``warmup_steps`` is above ``max_steps``, ``peak`` is not
            above 0, or ``floor`` not in [0, 1].

    Equation: eq-gpt2-schedule
    """
    _arguments.integer("step", step, at_least=0)
    _arguments.number("peak", peak, above=0)
    _arguments.integer("max_steps", max_steps, at_least=1)
    _arguments.integer("warmup_steps", warmup_steps, at_least=0, at_most=max_steps)
    _arguments.number("floor", floor, at_least=0, at_most=1)
    if step < warmup_steps:
        return peak * step / warmup_steps
    if step >= max_steps:
        return peak * floor
    progress = (step - warmup_steps) / (max_steps - warmup_steps)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)


def schedule(
    peak: float, *, warmup_steps: int, max_steps: int, floor: float = 0.1
) -> Callable[[int], float]:
    """Return `learning_rate` as a function of the step alone.

    Args:
        peak, warmup_steps, max_steps, floor: as in `learning_rate`.

    Returns:
        A function that maps ``step`` to the learning rate.

    Raises:
        TypeError: as `learning_rate`.
        ValueError: as `learning_rate`.
    """
    rate = functools.partial(
        learning_rate, peak=peak, warmup_steps=warmup_steps, max_steps=max_steps, floor=floor
    )
    rate(0)  # complains now if it must
    return rate


class Batches:
    """The batches of a text, each a function of its number and the seed alone.

    The ids are a ring: after the last comes the first. Every epoch cuts it, from a place drawn
    anew, into windows that hold each id once as a target (but for a rest shorter than a window) and
    deals them out in a shuffled order. An epoch's last windows share a batch with the next one's
    first, so that every batch is full.

    Args:
        ids: the text.
        length: targets in a window; it holds ``length + 1`` ids, and its last is the next one's
            first.
        batch_size: windows in a batch, over all processes.
        seed: of cuts and orders.
        rank: number of this process.
        n_processes: among how many processes the rows of each batch are shared out.

    Raises:
        TypeError: ``ids`` are not integers, or a size not an integer.
        ValueError: a size is below 1, there are fewer ids than ``length + 1``, or ``n_processes``
            does not divide ``batch_size``.
    """

    def __init__(
        self,
        ids: Int[np.ndarray, " tokens"] | Sequence[int],
        length: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        n_processes: int = 1,
    ):
        self.ids = _arguments.token_ids("ids", ids, None, ndim=1)
        self.length = _arguments.integer("length", length, at_least=1)
        self.batch_size = _arguments.integer("batch_size", batch_size, at_least=1)
        self.seed = _arguments.integer("seed", seed, at_least=0)
        self.rank = _arguments.integer("rank", rank, at_least=0, at_most=n_processes - 1)
        if len(self.ids) <= length:
            raise ValueError(
                f"ids must hold a window of length + 1 = {length + 1} ids, got {len(self.ids)}"
            )
        if batch_size % n_processes:
            raise ValueError(
                f"batch_size must be a multiple of the {n_processes} processes, got {batch_size}"
            )
        self._share = batch_size // n_processes
        self._starts = functools.lru_cache(maxsize=2)(self._shuffled_starts)

    @property
    def windows_per_epoch(self) -> int:
        """How many windows the text is cut into."""
        return len(self.ids) // self.length

    def __getitem__(self, step: int) -> Int[np.ndarray, "rows length_plus_1"]:
        """Return this process's rows of batch ``step``, counted from 0."""
        first = step * self.batch_size + self.rank * self._share
        places = (divmod(first + row, self.windows_per_epoch) for row in range(self._share))
        starts = np.array([self._starts(epoch)[place] for epoch, place in places])
        return self.ids[(starts[:, None] + np.arange(self.length + 1)) % len(self.ids)]

    def _shuffled_starts(self, epoch: int) -> Int[np.ndarray, " windows"]:
        rng = np.random.default_rng([self.seed, epoch])
        first = rng.integers(len(self.ids))
        return first + self.length * rng.permutation(self.windows_per_epoch)


def window_length(model: nn.Module, length: int | None) -> int:
    """Return ``length``, or as many tokens as ``model`` reads if it is None.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is below 1, or more than the model reads.
    """
    longest = model.config.n_positions
    if length is None:
        return longest
    return _arguments.integer("length", length, at_least=1, at_most=longest)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Group the parameters for an optimizer: matrices decay; biases and norms do not.

    Args:
        model: any module; a parameter of two axes or more counts as a matrix, embeddings too.
        weight_decay: of the matrices.

    Returns:
        Two groups, with ``weight_decay`` and with 0.

    Raises:
        TypeError: ``weight_decay`` is not a number.
        ValueError: it is negative.
    """
    weight_decay = _arguments.number("weight_decay", weight_decay, at_least=0)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def make_optimizers(
    model: nn.Module,
    name: str = "adamw",
    *,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
) -> list[torch.optim.Optimizer]:
    """Return the optimizers that train ``model``; their learning rate is set step by step.

    ``"adamw"`` is AdamW alone. ``"muon"`` gives the matrices inside the blocks to Muon, whose
    updates are scaled to the size of AdamW's so that one learning rate serves both, and leaves
    embeddings, biases and norms to AdamW.

    Args:
        model: a GPT-2.
        name: ``"adamw"`` or ``"muon"``.
        weight_decay: of matrices, embeddings included; biases and norms never decay.
        betas: AdamW's averaging rates.

    Returns:
        One optimizer, or two.

    Raises:
        ValueError: ``name`` is another, or ``weight_decay`` is negative.
        ImportError: torch is too old for Muon.

    Sources: Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization"; Jordan and
    others (2024), "Muon: An optimizer for hidden layers in neural networks".
    """
    _arguments.one_of("optimizer", name, OPTIMIZERS)
    groups = parameter_groups(model, weight_decay)
    if name == "adamw":
        return [torch.optim.AdamW(groups, betas=betas)]
    if not hasattr(torch.optim, "Muon"):
        raise ImportError(
            f"optimizer 'muon' needs torch.optim.Muon, which torch {torch.__version__} does not "
            "have: install torch 2.9 or later, or take 'adamw'"
        )
    hidden = [p for n, p in model.named_parameters() if n.startswith("h.") and p.ndim == 2]
    taken = {id(p) for p in hidden}
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in taken]
    muon = torch.optim.Muon(hidden, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(groups, betas=betas)]


class NextTokenLoss(nn.Module):
    """A model's loss as a module, which is what DistributedDataParallel and torch.compile take.

    Args:
        model: a GPT-2.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, ids: Int[torch.Tensor, "rows length_plus_1"]) -> Float[torch.Tensor, ""]:
        """Return the mean cross-entropy of the windows ``ids``, in nats per token."""
        return self.model.loss(ids)


def train_step(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    batch: Int[np.ndarray, "rows length_plus_1"],
    *,
    learning_rate: float,
    accumulate: int = 1,
    clip: float = 1.0,
    precision: str = "float32",
    loss: nn.Module | None = None,
) -> tuple[float, float]:
    """Update the model once.

    The batch goes through in ``accumulate`` equal parts, whose gradients are averaged: the same
    gradient as that of the whole batch, in a fraction of the memory. Under DistributedDataParallel
    gradients are averaged over the processes too, at the last part.

    Args:
        model: a GPT-2; left in training mode.
        optimizers: from `make_optimizers`.
        batch: windows of ids, (rows, length + 1).
        learning_rate: of this update.
        accumulate: number of parts.
        clip: norm to which a longer gradient is scaled down; ``math.inf`` for never.
        precision: ``"float32"``, or ``"bfloat16"`` for matrix products in bfloat16 (autocast).
        loss: maps ids to the loss; a compiled or distributed `NextTokenLoss`, if given.

    Returns:
        The loss before the update in nats per token, and the gradient's norm before clipping.

    Raises:
        ValueError: ``accumulate`` does not divide the rows.
        FloatingPointError: the loss or the gradient is not finite; the model is then unchanged.

    Equation: eq-gpt2-accumulation
    """
    if len(batch) % _arguments.integer("accumulate", accumulate, at_least=1):
        raise ValueError(
            f"accumulate must divide the {len(batch)} rows of a process, got {accumulate}"
        )
    _arguments.number("clip", clip, above=0, allow_inf=True)
    loss = NextTokenLoss(model) if loss is None else loss
    model.train()
    device = next(model.parameters()).device
    total = 0.0
    parts = torch.from_numpy(batch).to(device).chunk(accumulate)
    for i, part in enumerate(parts):
        last = i == accumulate - 1
        with contextlib.nullcontext() if last else _without_averaging(loss):
            with _autocast(device, precision):
                part_loss = loss(part) / accumulate
            part_loss.backward()
        total = total + part_loss.detach()
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
    value = _mean_over_processes(total)
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise FloatingPointError(
            f"training diverged: loss {value}, gradient norm {float(norm)}; "
            "lower the learning rate or clip"
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.step()
        optimizer.zero_grad()
    return value, float(norm)


def training_steps(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    batches: Batches,
    rate: Callable[[int], float],
    *,
    max_steps: int,
    first_step: int = 1,
    **options: Any,
) -> Iterator[Metrics]:
    """Train update by update, and yield after each what is known.

    Dropout's noise depends on the seed of ``batches`` and the step alone, as the batches do, so
    that training goes on after a break as if there had been none.

    Args:
        model: a GPT-2.
        optimizers: from `make_optimizers`.
        batches: the text; update ``step`` takes ``batches[step - 1]``.
        rate: maps the number of an update to its learning rate, as `schedule` makes it.
        max_steps: number of the last update.
        first_step: number of the first.
        **options: ``accumulate``, ``clip``, ``precision`` and ``loss`` of `train_step`.

    Yields:
        `Metrics` without a held-out loss.

    Raises:
        FloatingPointError: the loss or the gradient is not finite.
    """
    tokens_per_step = batches.batch_size * batches.length
    for step in range(first_step, max_steps + 1):
        start = time.perf_counter()
        with _noise(next(model.parameters()).device, batches.seed, step, batches.rank):
            loss, norm = train_step(
                model, optimizers, batches[step - 1], learning_rate=rate(step), **options
            )
        speed = tokens_per_step / (time.perf_counter() - start)
        yield Metrics(step, step * tokens_per_step, rate(step), loss, None, norm, speed)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    ids: Int[np.ndarray, " tokens"] | Sequence[int],
    *,
    length: int | None = None,
    batch_size: int = 4,
    precision: str = "float32",
) -> float:
    """Return the mean loss over a text, cut into windows side by side.

    Every id but the first is predicted once, from the ids of its own window alone; a sliding window
    (`lmcourse.gpt2.evaluation`) gives more context and a lower loss, more slowly.

    Args:
        model: a GPT-2; its mode is restored.
        ids: the text.
        length: targets in a window; the model's ``n_positions`` if not given.
        batch_size: windows at once.
        precision: as in `train_step`.

    Returns:
        Cross-entropy in nats per token.

    Raises:
        TypeError: ``ids`` are not integers.
        ValueError: there are fewer than two ids, one is not in the vocabulary, or ``length`` is
            more than the model reads.
    """
    ids = _arguments.token_ids("ids", ids, model.config.vocab_size, ndim=1)
    if len(ids) < 2:
        raise ValueError(f"ids must hold at least 2 ids, got {len(ids)}")
    length = window_length(model, length)
    device = next(model.parameters()).device
    loss_of, was_training = NextTokenLoss(model), model.training
    model.eval()
    total = 0.0
    for windows in _side_by_side(ids, length, batch_size):
        with _autocast(device, precision):
            loss = loss_of(torch.from_numpy(windows).to(device))
        total += loss.item() * (windows.size - len(windows))
    model.train(was_training)
    return total / (len(ids) - 1)


def fit(
    model: nn.Module,
    ids: Int[np.ndarray, " tokens"] | Sequence[int],
    *,
    max_steps: int,
    batch_size: int = 16,
    length: int | None = None,
    learning_rate: float = 1e-3,
    warmup_steps: int = 0,
    floor: float = 0.1,
    weight_decay: float = 0.1,
    optimizer: str = "adamw",
    accumulate: int = 1,
    clip: float = 1.0,
    precision: str = "float32",
    seed: int = 0,
    held_out: Int[np.ndarray, " held_out"] | Sequence[int] | None = None,
    eval_every: int = 100,
    on_step: Callable[[Metrics], object] | None = None,
) -> list[Metrics]:
    """Train a model in place, in this process.

    Args:
        model: a GPT-2, new or trained.
        ids: the text to train on.
        max_steps: number of updates.
        batch_size: windows in a batch.
        length: targets in a window; the model's ``n_positions`` if not given.
        learning_rate: the peak of `learning_rate`'s schedule.
        warmup_steps: of the schedule.
        floor: of the schedule.
        weight_decay: of matrices.
        optimizer: ``"adamw"`` or ``"muon"``.
        accumulate: parts in which a batch goes through the model.
        clip: norm to which a longer gradient is scaled down.
        precision: ``"float32"`` or ``"bfloat16"``.
        seed: of the order of the windows and of dropout.
        held_out: a text to evaluate on after every ``eval_every`` updates and the last.
        eval_every: updates between two evaluations.
        on_step: called with the `Metrics` after each update.

    Returns:
        The metrics of every update.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is out of its range; the message names it.
        FloatingPointError: training diverged.
    """
    _arguments.integer("eval_every", eval_every, at_least=1)
    ids = _arguments.token_ids("ids", ids, model.config.vocab_size, ndim=1)
    length = window_length(model, length)
    history = []
    for metrics in training_steps(
        model,
        make_optimizers(model, optimizer, weight_decay=weight_decay),
        Batches(ids, length, batch_size, seed=seed),
        schedule(learning_rate, warmup_steps=warmup_steps, max_steps=max_steps, floor=floor),
        max_steps=max_steps,
        accumulate=accumulate,
        clip=clip,
        precision=precision,
    ):
        if held_out is not None and (metrics.step % eval_every == 0 or metrics.step == max_steps):
            loss = evaluate(
                model, held_out, length=length, batch_size=batch_size, precision=precision
            )
            metrics = metrics._replace(held_out_loss=loss)
        history.append(metrics)
        if on_step:
            on_step(metrics)
    return history


def save_checkpoint(
    path: str | os.PathLike,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    state: Mapping[str, Any],
) -> None:
    """Write weights and optimizer state to one safetensors file, the rest as JSON in its header.

    Whoever reads the path meets the last checkpoint or this one, never half of one.

    Args:
        path: the file.
        model: its tensors are stored under ``model.``.
        optimizers: theirs under ``optimizer.``, by the parameter they belong to.
        state: what else goes with them, as JSON can hold it: the step, the settings.

    Raises:
        OSError: the folder is missing or not writable.
    """
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for name, values in _optimizer_state(model, optimizers).items():
        for key, value in values.items():
            tensors[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    _files.write_bytes(path, save(tensors, metadata={"training": json.dumps(dict(state))}))


def load_checkpoint(
    path: str | os.PathLike,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    *,
    check: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Put model and optimizers into the state that `save_checkpoint` wrote.

    Args:
        path: the file.
        model: of the architecture that was saved.
        optimizers: of the kind that was saved.
        check: called with the stored state before anything is changed; may raise.

    Returns:
        The ``state`` that was given to `save_checkpoint`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated or no checkpoint, or a tensor is missing, unknown or misshapen.
    """
    state, tensors = _read_checkpoint(path)
    if check:
        check(state)
    parameters = dict(model.named_parameters())
    owners = {id(p): o for o in optimizers for g in o.param_groups for p in g["params"]}
    updated = any(name.startswith("optimizer.") for name in tensors)
    entries = {
        name: OPTIMIZER_STATE[type(owners[id(parameter)])] if updated else ()
        for name, parameter in parameters.items()
    }
    _check_names(path, set(tensors), entries)
    for name, parameter in parameters.items():
        for key in (f"model.{name}", *(f"optimizer.{name}.{entry}" for entry in entries[name])):
            wanted = () if key.endswith(".step") else tuple(parameter.shape)
            if tensors[key].shape != wanted:
                raise ValueError(
                    f"tensor {key!r} of {path} must have shape {wanted}, "
                    f"got {tuple(tensors[key].shape)}"
                )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"model.{name}"])
            state_of = owners[id(parameter)].state[parameter]
            for entry in entries[name]:
                tensor = tensors[f"optimizer.{name}.{entry}"]
                # AdamW counts its updates on the CPU, wherever the parameter is.
                state_of[entry] = tensor if entry == "step" else tensor.to(parameter.device)
    return state


def _check_names(path, names, entries) -> None:
    wanted = {f"model.{name}" for name in entries}
    wanted |= {f"optimizer.{name}.{entry}" for name in entries for entry in entries[name]}
    for problem, differing in (("lacks", wanted - names), ("has", names - wanted)):
        if differing:
            raise ValueError(
                f"{path} is of another model or optimizer: it {problem} the tensor "
                f"{min(differing)!r}"
            )


def _read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file: {error}") from None
    if "training" not in metadata:
        raise ValueError(f"{path} is a safetensors file, but no checkpoint of training")
    return json.loads(metadata["training"]), tensors


def _optimizer_state(model, optimizers) -> dict[str, dict[str, Any]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: values for o in optimizers for p, values in o.state.items()}


def _side_by_side(ids, length, batch_size) -> Iterator[Int[np.ndarray, "rows length_plus_1"]]:
    """Cut ``ids`` into windows that share one id with the next; the last may be shorter."""
    n_windows = (len(ids) - 1) // length
    starts = length * np.arange(n_windows)
    for first in range(0, n_windows, batch_size):
        yield ids[starts[first : first + batch_size, None] + np.arange(length + 1)]
    rest = ids[n_windows * length :]
    if len(rest) > 1:
        yield rest[None]


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    _arguments.one_of("precision", precision, PRECISIONS)
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _without_averaging(loss: Any) -> contextlib.AbstractContextManager:
    """Return the context in which DistributedDataParallel adds gradients up without sending."""
    return getattr(loss, "no_sync", contextlib.nullcontext)()


def _mean_over_processes(value: torch.Tensor) -> float:
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value.item()


@contextlib.contextmanager
def _noise(device: torch.device, *key: int) -> Iterator[None]:
    """Seed torch's generators from ``key`` for a while, and leave them as they were."""
    seed = np.random.SeedSequence(key).generate_state(1, np.uint64)
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed(int(seed[0]) >> 1)
        yield
