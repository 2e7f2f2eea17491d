"""The settings of chapter 5's trained models: what was tried, and how far each of them got.

Three parts: chapter 2's delay task by forget bias and learning rate, and with the delays mixed;
the next-word model with zeros in front of its examples, with a mask and without; and the spam
classifier from several seeds. Run as ``python -m benchmarks.lstm_training`` from the repository's
root; it takes about four minutes of one core.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from time import process_time

import numpy as np
import torch

from benchmarks import _measure
from lmcourse import keras
from lmcourse.classification import (
    best_threshold,
    decisions,
    expected_calibration_error,
    roc_auc,
)
from lmcourse.data import load_corpus, load_spam
from lmcourse.keras import layers
from lmcourse.keras.preprocessing.sequence import pad_sequences
from lmcourse.keras.preprocessing.text import Tokenizer
from lmcourse.optimizers import Adam, clip_by_global_norm, linear_decay
from lmcourse.synthetic_tasks import delayed_copy, delayed_copy_accuracy, learn_delayed_copy
from lmcourse.torch_models import NumpyInterface

DELAYS = (2, 5, 7, 10, 20, 40, 80)
FORGET_BIASES = (0, 1, 2, 4)
RATES = (0.005, 0.01, 0.02, 0.03, 0.05)
CHOSEN_RATE = 0.01
SECOND_SEED_RATES = (0.01, 0.02)
NEXT_WORD_SEEDS = (0, 1, 2)
SPAM_SEEDS = (0, 1, 2, 3, 4)
CALIBRATION_BINS = 5


def delay_model(forget_bias: float, seed: int) -> NumpyInterface:
    """Return the LSTM of the chapter's delay task, untrained."""
    torch.manual_seed(seed)
    lstm = layers.LSTM(32, return_sequences=True)
    model = keras.Sequential(
        [layers.Embedding(17, 32, embeddings_initializer=torch.randn), lstm, layers.Dense(17)]
    )
    model.build((None, None))
    with torch.no_grad():
        lstm.bias[32:64] = forget_bias  # i, f, c, o: the second block
    return NumpyInterface(model)


def accuracies(forget_bias: float, rate: float, seed: int) -> list[float]:
    """Train a new network on each delay, as the chapter does, and return its accuracy there."""
    scores = []
    for delay in DELAYS:
        model = delay_model(forget_bias, seed)
        learn_delayed_copy(model, Adam(rate), delay, np.random.default_rng(100 + seed), steps=200)
        scores.append(delayed_copy_accuracy(model, delay, np.random.default_rng(9)))
    return scores


def learn_mixed_delays(model: NumpyInterface, seed: int, steps: int) -> None:
    """Train on a delay drawn anew for each batch, otherwise as ``learn_delayed_copy``."""
    rng, optimizer = np.random.default_rng(100 + seed), Adam(CHOSEN_RATE)
    with linear_decay(optimizer, steps) as counting:
        for _ in counting:
            ids, symbols = delayed_copy(32, int(rng.choice(DELAYS)), rng)
            at_cue = np.zeros(ids.shape, dtype=bool)
            at_cue[:, -1] = True
            targets = np.where(at_cue, symbols[:, None], 0)
            _, gradients, _ = model.loss_and_gradients(ids, targets, counted=at_cue)
            clip_by_global_norm(gradients, 1.0)
            optimizer.step(model.parameters, gradients)


def in_columns(scores: Iterable[float]) -> list[str]:
    return [f"{score:.2f}" for score in scores]


def delay_table(scores: dict[tuple[float, float], list[float]]) -> str:
    """Return accuracies, a row for each rate and forget bias."""
    header = ("rate", "forget bias", *(f"delay {delay}" for delay in DELAYS))
    rows = [(f"{rate:g}", f"{bias:g}", *in_columns(row)) for (rate, bias), row in scores.items()]
    return _measure.table(header, rows)


def delay_tables() -> tuple[str, str, str]:
    """Return accuracies by rate and bias, the rates compared, and accuracies of a second seed."""
    first, second = (
        {(rate, bias): accuracies(bias, rate, seed) for rate in rates for bias in FORGET_BIASES}
        for seed, rates in enumerate((RATES, SECOND_SEED_RATES))
    )
    compared = []
    for rate in RATES:
        scores = np.concatenate([first[rate, bias] for bias in FORGET_BIASES])
        compared.append((f"{rate:g}", f"{scores.sum():.2f}", f"{np.sum(scores >= 0.99)}"))
    header = ("rate", "sum of the accuracies", "networks with at least 0.99")
    return delay_table(first), _measure.table(header, compared), delay_table(second)


def mixed_delays_table() -> str:
    """Return the accuracies of an LSTM with bias 1 that saw all delays, a row for each seed."""
    tested, rows = (*DELAYS, 160), []
    for seed in (0, 1):
        model = delay_model(1, seed)
        learn_mixed_delays(model, seed, steps=1000)
        scores = [delayed_copy_accuracy(model, d, np.random.default_rng(9)) for d in tested]
        rows.append((f"{seed}", *in_columns(scores)))
    return _measure.table(("seed", *(f"delay {delay}" for delay in tested)), rows)


def sentences(text: str) -> list[str]:
    """Cut after . ! or ?, and whatever closes the sentence."""
    return [
        sentence
        for line in text.splitlines()
        for sentence in re.split(r"(?<=[.!?])[\"')]*\s+", line)
        if sentence
    ]


def next_word_examples(tokenizer: Tokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return up to eight words before each word of a sentence, padded in front, and the word."""
    pairs = [
        (ids[max(0, i - 8) : i], ids[i])
        for ids in tokenizer.texts_to_sequences(texts)
        for i in range(1, len(ids))
    ]
    before, word = zip(*pairs, strict=True)
    return pad_sequences(before), np.array(word)


def next_word_table() -> str:
    """Return held-out perplexities of the chapter's next-word model, with a mask and without."""
    novel = load_corpus("austen").work("Pride and Prejudice").split()
    train, held_out = sentences(novel.train.text), sentences(novel.held_out.text)
    tokenizer = Tokenizer(num_words=2000, oov_token="<unk>")
    tokenizer.fit_on_texts(train)
    (x, y), (x_out, y_out) = (next_word_examples(tokenizer, part) for part in (train, held_out))
    rows = []
    for seed in NEXT_WORD_SEEDS:
        perplexities = []
        for mask_zero in (True, False):
            keras.utils.set_random_seed(seed)
            model = keras.Sequential(
                [
                    layers.Embedding(2000, 64, mask_zero=mask_zero),
                    layers.LSTM(64),
                    layers.Dense(2000, activation="softmax"),
                ]
            )
            model.compile(
                loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(0.005)
            )
            model.fit(x, y, batch_size=128, epochs=2, verbose=0)
            perplexities.append(np.exp(model.evaluate(x_out, y_out, verbose=0)))
        masked, unmasked = perplexities
        rows.append((f"{seed}", f"{masked:.1f}", f"{unmasked:.1f}", f"{unmasked - masked:+.1f}"))
    return _measure.table(("seed", "with a mask", "without", "difference"), rows)


def spam_table() -> str:
    """Return the test scores of the chapter's spam classifier, a row for each seed."""
    train, validation, test = load_spam()
    words = Tokenizer(num_words=3000, oov_token="<unk>")
    words.fit_on_texts(train.texts)
    x, x_val, x_test = (
        pad_sequences(words.texts_to_sequences(part.texts), 40)
        for part in (train, validation, test)
    )
    rows = []
    for seed in SPAM_SEEDS:
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [
                layers.Embedding(3000, 32, mask_zero=True),
                layers.LSTM(32),
                layers.Dense(1, activation="sigmoid"),
            ]
        )
        model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
        stop = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
        history = model.fit(
            x,
            train.labels,
            epochs=10,
            batch_size=32,
            validation_data=(x_val, validation.labels),
            callbacks=[stop],
            verbose=0,
        )
        p_val, p = (model.predict(part, verbose=0)[:, 0] for part in (x_val, x_test))
        threshold = best_threshold(validation.labels, p_val)
        at_half, at_chosen = (decisions(test.labels, p, t) for t in (0.5, threshold))
        errors = round((1 - at_half.accuracy) * len(test))
        calibration = expected_calibration_error(test.labels, p, bins=CALIBRATION_BINS)
        rows.append(
            (
                f"{seed}",
                f"{np.argmin(history.history['val_loss']) + 1} of {len(history.epoch)}",
                f"{errors} of {len(test)}",
                f"{at_half.f1:.3f}",
                f"{threshold:.2f}",
                f"{at_chosen.f1:.3f}",
                f"{roc_auc(test.labels, p):.3f}",
                f"{calibration:.3f}",
            )
        )
    header = (
        "seed",
        "best epoch",
        "errors at 0.5",
        "F1 at 0.5",
        "chosen threshold",
        "F1 there",
        "ROC-AUC",
        "calibration error",
    )
    return _measure.table(header, rows)


def measured(name: str, make):
    """Make a part of the report; it is printed at once, since the whole takes minutes."""
    start = process_time()
    made = make()
    print(f"{name}: {process_time() - start:.0f} s of processor time")
    print(*((made,) if isinstance(made, str) else made), sep="\n\n", flush=True)
    return made


def main() -> None:
    torch.set_num_threads(1)  # the networks are small: a second thread only waits
    by_rate, compared, second_seed = measured("delays", delay_tables)
    mixed = measured("mixed delays", mixed_delays_table)
    next_word = measured("next word", next_word_table)
    spam = measured("spam", spam_table)
    _measure.report(
        "lstm_training",
        "The settings of chapter 5",
        "**Delays.** Varied: the learning rate, the forget gate's bias at the start, the delay; "
        "one seed. Accuracy at the cue of `delayed_copy` after 200 updates of 32 sequences on one "
        "delay: an embedding, an LSTM of 32 units and a dense layer, Adam with a rate that falls "
        "linearly to zero, gradients clipped at 1. Guessing gets 0.125.",
        by_rate,
        "The rates compared, over the 28 networks of each. The chapter takes "
        f"{CHOSEN_RATE:g} for all biases.",
        compared,
        "Varied: the same, at two of the rates and from a second seed for weights and sequences.",
        second_seed,
        f"Varied: the seed. One LSTM with forget bias 1, rate {CHOSEN_RATE:g}, 1,000 updates, each "
        "on a delay drawn from the seven above; then asked at each of them and at 160, which it "
        "was not taught.",
        mixed,
        "**Next word.** Varied: `mask_zero`, and the seed. Held-out perplexity of the chapter's "
        "model (*Pride and Prejudice*, 2,000 words, zeros in front, up to 8 words before the one "
        "to predict) after 2 epochs.",
        next_word,
        "**Spam.** Varied: the seed. The chapter's LSTM, trained until the validation loss has not "
        "fallen for two epochs, with the weights of the best epoch. The threshold is the one with "
        "the highest F1 on the validation messages; all other columns are of the test messages, "
        f"the calibration error with {CALIBRATION_BINS} bins.",
        spam,
        packages=("torch", "numpy"),
    )


if __name__ == "__main__":
    main()
