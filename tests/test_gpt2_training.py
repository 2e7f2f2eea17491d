"""Training GPT-2: the parts against references, and the command line through kills and torchrun."""

import csv
import functools
import math
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lmcourse.data import load_corpus
from lmcourse.gpt2 import GPT2, GPT2Config
from lmcourse.gpt2.pretrained import from_pretrained
from lmcourse.gpt2.train import _Log, encode, main, parse, prepare, read_documents
from lmcourse.gpt2.training import (
    Batches,
    Metrics,
    NextTokenLoss,
    evaluate,
    fit,
    learning_rate,
    load_checkpoint,
    make_optimizers,
    parameter_groups,
    save_checkpoint,
    schedule,
    train_step,
    training_steps,
)

CONFIG = GPT2Config(vocab_size=11, n_positions=6, n_embd=8, n_layer=2, n_head=2)
TEXT = "It is a truth universally acknowledged, that a cat in want of a mat sat on a hat. " * 12
HELD_OUT = "A truth in want of a cat is universally acknowledged on a mat."


def double_model(dropout=0.0, seed=0):
    config = GPT2Config(**{**vars(CONFIG), "dropout": dropout})
    return GPT2(config, seed=seed).double()


def some_ids(n, seed=0):
    return np.random.default_rng(seed).integers(CONFIG.vocab_size, size=n)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same(ours, theirs, **tolerance):
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(
            ours[name], theirs[name], **tolerance or {"rtol": 0, "atol": 0}, msg=name
        )


# The schedule


def scheduler_rates(make, n, **options):
    """The learning rates that a scheduler of transformers goes through, for a peak of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer, **options)
    rates = []
    for _ in range(n):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_the_schedule_is_that_of_transformers(warmup, floor):
    theirs = scheduler_rates(
        transformers.get_cosine_with_min_lr_schedule_with_warmup,
        31,
        num_warmup_steps=warmup,
        num_training_steps=30,
        min_lr_rate=floor,
    )
    rate = schedule(0.25, warmup_steps=warmup, max_steps=30, floor=floor)
    np.testing.assert_allclose([rate(step) for step in range(31)], 0.25 * np.array(theirs))


def test_the_schedule_peaks_after_the_warmup_and_stays_at_the_floor():
    rate = functools.partial(learning_rate, peak=2.0, warmup_steps=4, max_steps=10, floor=0.1)
    assert [rate(step) for step in (0, 1, 4, 10, 99)] == [0.0, 0.5, 2.0, 0.2, 0.2]


# Batches


@given(
    st.integers(1, 7).flatmap(
        lambda length: st.tuples(st.just(length), st.integers(length + 1, 40))
    ),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_an_epoch_has_each_id_as_a_target_once(sizes, batch_size, seed):
    length, n = sizes
    batches = Batches(np.arange(n), length, batch_size, seed=seed)
    n_windows = n // length
    assert batches.windows_per_epoch == n_windows
    windows = np.concatenate([batches[step] for step in range(3 * n_windows)])
    np.testing.assert_array_equal(windows[:, 1:], (windows[:, :-1] + 1) % n)
    for epoch in range(3):
        targets = windows[epoch * n_windows : (epoch + 1) * n_windows, 1:].ravel()
        assert len(set(targets.tolist())) == len(targets) == n_windows * length > n - length


def test_batches_depend_on_seed_and_step_alone():
    ids = some_ids(100)
    forwards = Batches(ids, 7, 4, seed=1)
    forwards = [forwards[step] for step in range(12)]
    backwards = Batches(ids, 7, 4, seed=1)
    for step in reversed(range(12)):
        np.testing.assert_array_equal(backwards[step], forwards[step])
    assert any((Batches(ids, 7, 4, seed=2)[step] != forwards[step]).any() for step in range(3))


def test_epochs_differ_in_cuts_and_order():
    batches = Batches(np.arange(64), 8, 8)
    first, second = (batches[epoch][:, 0] for epoch in (0, 1))
    assert len({*(first % 8), *(second % 8)}) == 2  # one cut each
    assert sorted(first) != list(first) and list(first // 8) != list(second // 8)


def test_processes_share_a_batch_out():
    whole = Batches(np.arange(50), 5, 6, seed=3)
    parts = [Batches(np.arange(50), 5, 6, seed=3, rank=rank, n_processes=3) for rank in range(3)]
    for step in range(7):
        np.testing.assert_array_equal(np.concatenate([p[step] for p in parts]), whole[step])


# One update


@pytest.mark.parametrize("clip", [math.inf, 0.05])
def test_a_step_is_a_step_against_the_clipped_gradient(clip):
    model, batch = double_model(), Batches(some_ids(60), 6, 4)[0]
    before = weights(model)
    expected_loss = model.loss(torch.from_numpy(batch))
    gradient = torch.autograd.grad(expected_loss, list(model.parameters()))
    expected_norm = math.sqrt(sum(float((g**2).sum()) for g in gradient))
    assert expected_norm > 0.05
    sgd = torch.optim.SGD(model.parameters())
    loss, norm = train_step(model, [sgd], batch, learning_rate=0.5, clip=clip)
    assert loss == pytest.approx(expected_loss.item(), rel=1e-12)
    assert norm == pytest.approx(expected_norm, rel=1e-9)
    scale = 0.5 * min(1.0, clip / expected_norm)
    expected = {name: p - scale * g for (name, p), g in zip(before.items(), gradient, strict=True)}
    assert_same(weights(model), expected, rtol=0, atol=1e-7)  # torch adds 1e-6 to the norm


def test_parts_add_up_to_the_gradient_of_the_batch():
    results = []
    for accumulate in (1, 2, 8):
        model = double_model()
        sgd = torch.optim.SGD(model.parameters())
        batch = Batches(some_ids(60), 6, 8)[0]
        results.append(
            (*train_step(model, [sgd], batch, learning_rate=1.0, accumulate=accumulate), model)
        )
    for loss, norm, model in results[1:]:
        assert (loss, norm) == pytest.approx(results[0][:2], rel=1e-12)
        assert_same(weights(model), weights(results[0][2]), rtol=1e-10, atol=1e-13)


def test_gradients_do_not_pile_up_from_step_to_step():
    model, batch = double_model(), Batches(some_ids(60), 6, 4)[0]
    sgd = torch.optim.SGD(model.parameters())
    norms = [train_step(model, [sgd], batch, learning_rate=1e-9)[1] for _ in range(3)]
    assert norms == pytest.approx(norms[:1] * 3, rel=1e-6)


class Compiled(NextTokenLoss):
    """As torch.compile leaves a module: it cannot be asked whether it is true."""

    def __len__(self):
        raise TypeError("no length")


def test_a_loss_that_is_given_takes_the_place_of_the_models():
    model, other = double_model(), double_model(seed=1)
    sgd, batch = torch.optim.SGD(model.parameters()), Batches(some_ids(60), 6, 4)[0]
    loss, _ = train_step(model, [sgd], batch, learning_rate=1.0, loss=Compiled(other))
    assert loss == pytest.approx(other.loss(torch.from_numpy(batch)).item(), rel=1e-12)


def test_bfloat16_is_for_products_and_not_for_weights():
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = GPT2(CONFIG)
        history = fit(model, some_ids(60), max_steps=3, batch_size=4, precision=precision)
        losses[precision] = history[-1].train_loss
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=1e-2)


# Optimizers


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_matrices_decay(optimizer):
    model = double_model()
    with torch.no_grad():
        for p in model.parameters():
            p += 1.0
    before = weights(model)
    for part in make_optimizers(model, optimizer, weight_decay=0.5):
        for group in part.param_groups:
            group["lr"] = 0.1
            for p in group["params"]:
                p.grad = torch.zeros_like(p)
        part.step()
    decayed = {name: p * (0.95 if p.ndim == 2 else 1.0) for name, p in before.items()}
    assert_same(weights(model), decayed, rtol=1e-12, atol=0)


def test_groups_hold_every_parameter_once():
    model = double_model()
    matrices, vectors = parameter_groups(model, 0.1)
    assert {id(p) for p in model.parameters()} == {
        id(p) for group in (matrices, vectors) for p in group["params"]
    }
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert len(matrices["params"]) == 2 + 4 * CONFIG.n_layer


def test_muon_takes_the_matrices_inside_the_blocks():
    model = double_model()
    muon, adamw = make_optimizers(model, "muon")
    names = {id(p): name for name, p in model.named_parameters()}
    of_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    of_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert of_muon == {
        f"h.{i}.{matrix}.weight"
        for i in range(CONFIG.n_layer)
        for matrix in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert of_adamw == set(names.values()) - of_muon


def test_fit_goes_the_way_of_a_plain_loop():
    ids = some_ids(80)
    model, reference = double_model(), double_model()
    history = fit(
        model, ids, max_steps=5, batch_size=4, learning_rate=0.02, warmup_steps=2, accumulate=2
    )
    decaying = [p for p in reference.parameters() if p.ndim > 1]
    others = [p for p in reference.parameters() if p.ndim == 1]
    groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.95), weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        adamw, lambda step: learning_rate(step + 1, peak=1.0, warmup_steps=2, max_steps=5)
    )
    batches = Batches(ids, 6, 4)
    for step, metrics in enumerate(history):
        loss = reference.loss(torch.from_numpy(batches[step]))
        adamw.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        expected = Metrics(
            step + 1, 24 * (step + 1), scheduler.get_last_lr()[0], loss.item(), None, norm.item(), 0
        )
        adamw.step()
        scheduler.step()
        for name in ("step", "tokens", "learning_rate", "train_loss", "gradient_norm"):
            assert getattr(metrics, name) == pytest.approx(getattr(expected, name), rel=1e-9)
        assert metrics.tokens_per_second > 0
    # The bias of the keys has no gradient but rounding, which Adam takes for one.
    theirs, ours = weights(reference), weights(model)
    assert_same(
        {name: p for name, p in ours.items() if not name.endswith("c_attn.bias")},
        {name: p for name, p in theirs.items() if not name.endswith("c_attn.bias")},
        rtol=1e-6,
        atol=1e-8,
    )


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_fit_learns_a_text_by_heart(optimizer):
    model = GPT2(CONFIG)
    ids = np.tile(np.random.default_rng(0).permutation(11), 10)  # each id has one successor
    history = fit(model, ids, max_steps=60, batch_size=8, learning_rate=0.02, optimizer=optimizer)
    assert history[0].train_loss == pytest.approx(math.log(11), abs=0.1)
    assert history[-1].train_loss < 0.6


def test_fit_evaluates_when_due_and_reports_every_step():
    model, held_out, seen = GPT2(CONFIG), some_ids(30, seed=1), []
    history = fit(
        model,
        some_ids(60),
        max_steps=5,
        batch_size=2,
        held_out=held_out,
        eval_every=2,
        on_step=seen.append,
    )
    assert seen == history
    assert [m.step for m in history if m.held_out_loss is not None] == [2, 4, 5]
    assert history[-1].held_out_loss == evaluate(model, held_out)


# Dropout


def test_dropout_repeats_itself_and_leaves_the_generator_alone():
    state = torch.random.get_rng_state()
    runs = []
    for seed in (0, 0, 1):
        model = double_model(dropout=0.3)
        fit(model, np.zeros(60, int), max_steps=3, batch_size=2, seed=seed)
        runs.append(weights(model)["h.0.mlp.c_fc.weight"])
        torch.rand(3)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    torch.random.set_rng_state(state)
    fit(model, some_ids(60), max_steps=1, batch_size=2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_steps_and_processes_draw_noise_of_their_own():
    losses = []
    for rank in (0, 1):
        model = double_model(dropout=0.5)
        batches = Batches(np.zeros(60, int), 6, 4, rank=rank, n_processes=2)  # all windows alike
        steps = training_steps(
            model, [torch.optim.SGD(model.parameters())], batches, lambda step: 0.0, max_steps=3
        )
        losses += [metrics.train_loss for metrics in steps]
    assert len(set(losses)) == 6


# Evaluation


@pytest.mark.parametrize("n", [2, 6, 13, 29])
def test_evaluate_scores_every_id_but_the_first(n):
    model, ids = double_model(dropout=0.5).train(), some_ids(n)
    loss = evaluate(model, ids, length=4, batch_size=3)
    assert model.training
    model.eval()
    total = 0.0
    for start in range(0, n - 1, 4):
        window = torch.from_numpy(ids[start : start + 5])
        with torch.no_grad():
            scores = model(window[None, :-1])[0].log_softmax(-1)
        total -= scores[torch.arange(len(window) - 1), window[1:]].sum().item()
    assert loss == pytest.approx(total / (n - 1), rel=1e-12)


# Checkpoints


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_goes_on_from_a_checkpoint(tmp_path, optimizer):
    batches, rate = Batches(some_ids(60), 6, 4), schedule(0.01, warmup_steps=2, max_steps=6)
    model = GPT2(CONFIG)
    optimizers = make_optimizers(model, optimizer)
    losses = []
    for metrics in training_steps(model, optimizers, batches, rate, max_steps=6):
        losses.append(metrics.train_loss)
        if metrics.step == 3:
            save_checkpoint(tmp_path / "c", model, optimizers, {"step": 3, "note": "half-way"})
    again = GPT2(CONFIG, seed=1)
    optimizers = make_optimizers(again, optimizer)
    assert load_checkpoint(tmp_path / "c", again, optimizers) == {"step": 3, "note": "half-way"}
    resumed = training_steps(again, optimizers, batches, rate, max_steps=6, first_step=4)
    assert [metrics.train_loss for metrics in resumed] == losses[3:]
    assert_same(weights(again), weights(model))


@pytest.fixture
def checkpoint(tmp_path):
    model = GPT2(CONFIG)
    optimizers = make_optimizers(model)
    list(
        training_steps(model, optimizers, Batches(some_ids(60), 6, 4), lambda s: 0.01, max_steps=1)
    )
    save_checkpoint(tmp_path / "checkpoint", model, optimizers, {"step": 1})
    return tmp_path / "checkpoint"


def assert_refused(path, match, *, config=CONFIG, optimizer="adamw", error=ValueError):
    model = GPT2(config)
    before, optimizers = weights(model), make_optimizers(model, optimizer)
    with pytest.raises(error, match=match):
        load_checkpoint(path, model, optimizers)
    assert_same(weights(model), before)


@pytest.mark.wrong_input
@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_a_truncated_checkpoint_is_refused(checkpoint, kept):
    checkpoint.write_bytes(checkpoint.read_bytes()[:kept])
    assert_refused(checkpoint, "truncated or no safetensors file")


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: t.pop("model.h.1.ln_2.bias"), r"lacks the tensor 'model\.h\.1\.ln_2\.bias'"),
        (lambda t: t.pop("optimizer.ln_f.bias.exp_avg"), r"lacks .*'optimizer\.ln_f\.bias\.exp_"),
        (lambda t: t.update({"model.lm_head": torch.ones(2)}), r"has the tensor 'model\.lm_head'"),
        (
            lambda t: t.update({"model.wpe.weight": torch.ones(5, 8)}),
            r"'model\.wpe\.weight'.*must have shape \(6, 8\), got \(5, 8\)",
        ),
        (
            lambda t: t.update({"optimizer.wpe.weight.exp_avg": torch.ones(())}),
            r"'optimizer\.wpe\.weight\.exp_avg'.*must have shape \(6, 8\), got \(\)",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(checkpoint, change, match):
    tensors = load_file(checkpoint)
    change(tensors)
    save_file(tensors, checkpoint, metadata={"training": "{}"})
    assert_refused(checkpoint, match)


@pytest.mark.wrong_input
def test_what_is_no_checkpoint_of_this_training_is_refused(checkpoint, tmp_path):
    assert_refused(checkpoint, r"has the tensor|lacks the tensor", optimizer="muon")
    wider = GPT2Config(**{**vars(CONFIG), "n_embd": 16, "n_inner": 64})
    assert_refused(checkpoint, "must have shape", config=wider)
    save_file({"a": torch.ones(2)}, tmp_path / "other")
    assert_refused(tmp_path / "other", "no checkpoint of training")
    assert_refused(tmp_path / "absent", "absent", error=FileNotFoundError)


# Wrong input


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"peak": 0.0}, "peak must be a finite number > 0, got 0"),
        ({"warmup_steps": 11}, "warmup_steps must be an integer >= 0 and <= 10, got 11"),
        ({"max_steps": 0}, "max_steps must be an integer >= 1, got 0"),
        ({"floor": 1.5}, "floor must be"),
        ({"step": -1}, "step must be an integer >= 0, got -1"),
    ],
)
def test_a_wrong_schedule_is_refused(wrong, match):
    arguments = {"step": 1, "peak": 1.0, "warmup_steps": 2, "max_steps": 10} | wrong
    with pytest.raises(ValueError, match=match):
        learning_rate(**arguments)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"ids": [0, 1, 2, 3, 4, 5]}, r"window of length \+ 1 = 7 ids, got 6"),
        ({"ids": [0] * 20 + [11]}, r"ids must lie in \[0, 11\), got 11 at ids\[20\]"),
        ({"length": 7}, "length must be an integer >= 1 and <= 6, got 7"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, got 0"),
        ({"accumulate": 3}, "accumulate must divide the 4 rows of a process, got 3"),
        ({"clip": 0.0}, "clip must be a number > 0, got 0"),
        ({"optimizer": "sgd"}, "optimizer must be one of 'adamw', 'muon', got 'sgd'"),
        ({"precision": "float16"}, "precision must be one of 'float32', 'bfloat16'"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"eval_every": 0}, "eval_every must be an integer >= 1, got 0"),
    ],
)
def test_fit_refuses_wrong_input(wrong, match):
    model = GPT2(CONFIG)
    before = weights(model)
    with pytest.raises(ValueError, match=match):
        fit(model, **{"ids": some_ids(40), "max_steps": 2, "batch_size": 4, **wrong})
    assert_same(weights(model), before)


@pytest.mark.wrong_input
def test_more_wrong_input():
    with pytest.raises(ValueError, match="multiple of the 3 processes, got 4"):
        Batches(some_ids(40), 6, 4, n_processes=3)
    with pytest.raises(ValueError, match="at least 2 ids, got 1"):
        evaluate(GPT2(CONFIG), [1])


@pytest.mark.wrong_input
def test_a_model_that_diverged_is_not_updated():
    model = GPT2(CONFIG)
    with torch.no_grad():
        model.ln_f.weight[0] = math.inf
    before = weights(model)
    with pytest.raises(FloatingPointError, match="training diverged: loss nan"):
        fit(model, some_ids(40), max_steps=1, batch_size=2)
    assert_same(weights(model), before)


@pytest.mark.wrong_input
def test_muon_needs_a_torch_that_has_it(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ImportError, match=r"'muon' needs torch\.optim\.Muon, which torch"):
        make_optimizers(GPT2(CONFIG), "muon")


# The command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two texts and a trained model, ``whole``, in it."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "text.txt").write_text(TEXT, "utf-8")
    (folder / "held-out.txt").write_text(HELD_OUT, "utf-8")
    main(command(folder, "whole"))
    return folder


def command(folder, out, *more):
    """The arguments of a tiny run; of an option given twice, the last counts."""
    return [
        *("--data", str(folder / "text.txt"), "--held-out", str(folder / "held-out.txt")),
        *("--out", str(folder / out), "--n-layer", "1", "--n-head", "2", "--n-embd", "16"),
        *("--n-positions", "8", "--vocab-size", "270", "--batch-size", "4", "--dropout", "0.2"),
        *("--max-steps", "8", "--warmup-steps", "2", "--learning-rate", "0.01"),
        *("--eval-every", "3", "--save-every", "3", "--log-every", "4", "--threads", "1"),
        *("--device", "cpu", *more),
    ]


def rows(folder):
    with (folder / "training.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_times(folder):
    timed = ("tokens_per_second", "seconds")
    return [{k: v for k, v in row.items() if k not in timed} for row in rows(folder)]


def assert_same_run(folder, other):
    assert without_times(folder) == without_times(other)
    for file in ("model.safetensors", "checkpoint.safetensors"):
        assert_same(load_file(folder / file), load_file(other / file))


def test_the_csv_has_a_row_for_each_step(folder):
    table = rows(folder / "whole")
    assert list(table[0]) == [
        *("step", "tokens", "learning_rate", "train_loss", "held_out_loss", "gradient_norm"),
        *("tokens_per_second", "held_out_bits_per_byte", "seconds"),
    ]
    assert [int(row["step"]) for row in table] == list(range(1, 9))
    assert [int(row["tokens"]) for row in table] == [32 * step for step in range(1, 9)]
    rate = schedule(0.01, warmup_steps=2, max_steps=8)
    assert [float(row["learning_rate"]) for row in table] == [rate(step) for step in range(1, 9)]
    assert [int(row["step"]) for row in table if row["held_out_loss"]] == [3, 6, 8]
    assert all(
        (row["held_out_loss"] == "") == (row["held_out_bits_per_byte"] == "") for row in table
    )
    seconds = [float(row["seconds"]) for row in table]
    speeds = [32 / float(row["tokens_per_second"]) for row in table]
    np.testing.assert_allclose(seconds, np.cumsum(speeds))


def test_the_folder_holds_the_model_that_was_evaluated_last(folder):
    model = from_pretrained(str(folder / "whole"))
    tokenizer = prepare(parse(command(folder, "whole", "--resume"))).tokenizer
    ids = encode(tokenizer, [HELD_OUT])
    assert ids[-1] == tokenizer.eos_token_id and tokenizer.decode(ids[:-1]) == HELD_OUT
    last = rows(folder / "whole")[-1]
    loss = evaluate(model, ids)
    assert float(last["held_out_loss"]) == pytest.approx(loss, rel=1e-6)
    bits = loss * (len(ids) - 1) / math.log(2) / len(HELD_OUT.encode())
    assert float(last["held_out_bits_per_byte"]) == pytest.approx(bits, rel=1e-6)


KILL = """
import os, signal
from lmcourse.gpt2 import train
add = train._Log.add
def add_and_die(log, metrics):
    add(log, metrics)
    if metrics.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
train._Log.add = add_and_die
train.main()
"""


def test_a_killed_run_goes_on_as_if_it_had_not_been(folder):
    arguments = command(folder, "killed")
    killed = subprocess.run([sys.executable, "-c", KILL, *arguments], timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert [int(row["step"]) for row in rows(folder / "killed")] == [1, 2, 3, 4, 5]
    with (folder / "killed" / "training.csv").open("a") as file:
        file.write("1")  # as a kill in the midst of writing leaves it
    assert not (folder / "killed" / "model.safetensors").exists()
    main([*arguments, "--resume"])
    assert_same_run(folder / "killed", folder / "whole")
    main([*arguments, "--resume"])  # nothing is left to do
    assert_same_run(folder / "killed", folder / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_with_a_checkpoint(folder, monkeypatch, number, capsys):
    arguments = command(folder, f"stopped-{number}")
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        add = _Log.add

        def add_and_stop(log, metrics):
            if metrics.step == 4:
                os.kill(os.getpid(), number)
            add(log, metrics)

        patch.setattr(_Log, "add", add_and_stop)
        main(arguments)
    assert signal.getsignal(number) is handler
    out = folder / f"stopped-{number}"
    assert "stopped after step 5: --resume goes on" in capsys.readouterr().out
    assert len(rows(out)) == 5 and not (out / "model.safetensors").exists()
    main([*arguments, "--resume"])
    assert_same_run(out, folder / "whole")


def torchrun(*arguments):
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "lmcourse.gpt2.train", *arguments),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_two_processes_train_as_one_does(folder):
    alike = ("--dropout", "0", "--max-steps", "4")  # processes draw noise of their own
    run = torchrun(*command(folder, "two", *alike, "--accumulate", "2"))
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("parameters") == 1  # the first process alone speaks
    main(command(folder, "one", *alike))
    two, one = rows(folder / "two"), rows(folder / "one")
    assert len(two) == len(one) == 4
    for column in ("learning_rate", "train_loss", "gradient_norm"):
        ours, theirs = ([float(row[column]) for row in table] for table in (two, one))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert float(two[-1]["held_out_loss"]) == pytest.approx(
        float(one[-1]["held_out_loss"]), rel=1e-5
    )


def test_training_goes_on_from_a_model_with_its_tokenizer(folder):
    arguments = command(folder, "tuned", "--init-from", str(folder / "whole"), "--dropout", "0.4")
    run = prepare(parse(arguments))
    assert_same(weights(run.model), weights(from_pretrained(str(folder / "whole"))))
    assert run.model.config.dropout == 0.4
    assert (
        run.tokenizer.merges
        == prepare(parse(command(folder, "whole", "--resume"))).tokenizer.merges
    )
    main([*arguments, "--max-steps", "2"])
    assert len(rows(folder / "tuned")) == 2


def test_tokens_are_an_amount_of_training_too(folder):
    arguments = [a for a in command(folder, "tokens") if a not in ("--max-steps", "8")]
    arguments[arguments.index("--n-positions") + 1 : arguments.index("--vocab-size")] = ["8"]
    assert prepare(parse([*arguments, "--tokens", "100"])).max_steps == 3
    assert prepare(parse([*arguments, "--tokens", "100", "--length", "5"])).max_steps == 5


def test_metrics_go_to_tensorboard_if_it_is_there(folder, monkeypatch):
    scalars, made = [], []

    class SummaryWriter:
        def __init__(self, *arguments, **options):
            made.append((arguments, options))

        def add_scalar(self, name, value, step):
            scalars.append((name, value, step))

        def close(self):
            made.append("closed")

    module = SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    main(command(folder, "board", "--max-steps", "2"))
    assert made == [((folder / "board" / "tensorboard",), {"purge_step": 1}), "closed"]
    written = {(name, step): str(value) for name, value, step in scalars}
    table = {
        (name, int(row["step"])): value
        for row in rows(folder / "board")
        for name, value in row.items()
        if value and name != "step"
    }
    assert written == table


def test_corpora_give_all_but_their_held_out_part():
    texts, held_out = read_documents(["alice"]), read_documents(["alice"], held_out=True)
    split = load_corpus("alice").split()
    assert texts == [c.text for part in (split.train, split.validation) for c in part.chapters]
    assert held_out == [c.text for c in split.held_out.chapters]


def test_a_file_may_hold_several_texts(tmp_path):
    (tmp_path / "a").write_text("One.<|endoftext|>Two.\n<|endoftext|>", "utf-8")
    assert read_documents([str(tmp_path / "a")]) == ["One.", "Two.\n"]


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (("--data", "absent.txt"), "data must be files or of 'alice', .*, got 'absent.txt'"),
        (
            ("--batch-size", "6", "--accumulate", "4"),
            "--batch-size must be a multiple of 1 .* 4, got 6",
        ),
        (("--save-every", "0"), "--save-every must be an integer >= 1, got 0"),
        (("--threads", "0"), "--threads must be an integer >= 1, got 0"),
        (("--clip", "-1"), "--clip must be a number > 0, got -1"),
        (("--warmup-steps", "9"), "warmup_steps must be an integer >= 0 and <= 8, got 9"),
        (("--n-head", "3"), "n_head must divide n_embd, got 3 and 16"),
        (("--length", "9"), "length must be an integer >= 1 and <= 8, got 9"),
        (("--resume",), "--resume needs .*checkpoint.safetensors, which does not exist"),
        (("--tokenizer", "gpt2"), "--vocab-size must be that of the tokenizer in gpt2, 50257"),
    ],
)
def test_wrong_options_are_named(folder, tmp_path, wrong, match):
    with pytest.raises(SystemExit, match=f"^error: {match}"):
        main(command(folder, tmp_path / "out", *wrong))
    assert not (tmp_path / "out" / "training.csv").exists()


@pytest.mark.wrong_input
def test_a_text_must_be_text(folder, tmp_path):
    for content, match in ((b"", "must not be empty"), (b"\xff\xfe", "must be a text in UTF-8")):
        (tmp_path / "text").write_bytes(content)
        with pytest.raises(SystemExit, match=match):
            main(command(folder, tmp_path / "out", "--data", str(tmp_path / "text")))


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("--learning-rate", "0.02"), "learning_rate was 0.01, got 0.02"),
        (("--max-steps", "9"), "max_steps was 8, got 9"),
        (("--n-embd", "8"), "n_embd was 16, got 8"),
        (("--length", "7"), "length was 8, got 7"),
        (("--optimizer", "muon"), "optimizer was adamw, got muon"),
    ],
)
def test_training_is_not_resumed_with_other_settings(folder, change, match):
    with pytest.raises(SystemExit, match=f"--resume needs the settings of before: {match}"):
        main(command(folder, "whole", "--resume", *change))


@pytest.mark.wrong_input
def test_a_checkpoint_is_not_overwritten_and_other_text_not_resumed(folder):
    with pytest.raises(SystemExit, match="exists: give --resume to go on from it"):
        main(command(folder, "whole"))
    with pytest.raises(SystemExit, match="settings of before: data was"):
        main(command(folder, "whole", "--resume", "--data", str(folder / "held-out.txt")))


@pytest.mark.wrong_input
def test_a_model_keeps_its_sizes(folder, tmp_path):
    arguments = command(folder, tmp_path / "out", "--init-from", str(folder / "whole"))
    with pytest.raises(SystemExit, match=r"--n-embd must be that of the model in .*, 16, or left"):
        main([*arguments, "--n-embd", "32"])
    with pytest.raises(SystemExit, match=r"--tokenizer has 50257 tokens, the model in .* 270"):
        main([*arguments, "--tokenizer", "gpt2", "--vocab-size", "50257"])


@pytest.mark.wrong_input
def test_a_diverged_run_says_so(folder):
    with pytest.raises(SystemExit, match="error: training diverged"):
        main(command(folder, "diverged", "--learning-rate", "1e30", "--clip", "inf"))
