"""Wrong answers to the exercises of chapter 1."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter, defaultdict

import numpy as np

from tests.exercise_mutants import mutant

# --- the chain rule ---------------------------------------------------------------------------

chain_rule = functools.partial(mutant, "language-models-chain-rule")


@chain_rule(idea="one token has the logarithm of its initial probability", got="got 0.25")
def probability_without_logarithm(ids, initial, transition):
    return initial[ids[0]] * np.prod(transition[ids[:-1], ids[1:]])


@chain_rule(idea="one token has the logarithm of its initial probability", got="got 0")
def forgets_the_initial_term(ids, initial, transition):
    return np.log(transition[ids[:-1], ids[1:]]).sum()


@chain_rule(idea="one token has the logarithm of its initial probability", got="got -2")
def bits(ids, initial, transition):
    return np.log2(initial[ids[0]]) + np.log2(transition[ids[:-1], ids[1:]]).sum()


@chain_rule(idea="one token has the logarithm of its initial probability", got="got [-1.386]")
def array_instead_of_number(ids, initial, transition):
    return np.log(initial[ids[:1]]) + np.log(transition[ids[:-1], ids[1:]]).sum()


@chain_rule(idea="a second token adds the logarithm of one transition", got="got -0.5754")
def treats_tokens_as_independent(ids, initial, transition):
    return np.log(initial[ids]).sum()


@chain_rule(idea="rows of transition are the current token, columns the next", got="got -1.897")
def transposed(ids, initial, transition):
    return np.log(initial[ids[0]]) + np.log(transition[ids[1:], ids[:-1]]).sum()


@chain_rule(idea="a second token adds the logarithm of one transition", got="got -0.2877")
def forgets_the_last_transition(ids, initial, transition):
    total = math.log(initial[ids[0]])
    for t in range(1, len(ids) - 1):
        total += math.log(transition[ids[t - 1], ids[t]])
    return total


@chain_rule(idea="every transition counts, the last too", got="got -")
def only_the_first_transition(ids, initial, transition):
    total = np.log(initial[ids[0]])
    return total + np.log(transition[ids[0], ids[1]]) if len(ids) > 1 else total


@chain_rule(idea="the probability of a long text must not underflow", got="got -inf")
def underflows(ids, initial, transition):
    return np.log(initial[ids[0]] * np.prod(transition[ids[:-1], ids[1:]]))


@chain_rule(idea="an impossible step has the log-probability -inf", got="got ValueError")
def logarithm_of_zero(ids, initial, transition):
    steps = [math.log(transition[i, j]) for i, j in itertools.pairwise(ids)]
    return math.log(initial[ids[0]]) + sum(steps)


@chain_rule(idea="an impossible step has the log-probability -inf", got="got -29.02")
def hides_zero_behind_a_small_constant(ids, initial, transition):
    p = np.append(initial[ids[0]], transition[ids[:-1], ids[1:]])
    return np.log(np.maximum(p, 1e-12)).sum()


# --- softmax ----------------------------------------------------------------------------------

softmax = functools.partial(mutant, "language-models-softmax")


def shifted_exp(logits, temperature):
    return np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)


@softmax(idea="probabilities are proportional to exp(logits)", got="got [1, 2, 5]")
def no_normalisation(logits, temperature):
    return np.exp(logits / temperature)


@softmax(idea="probabilities are proportional to exp(logits)", got="got [0, 0.301, 0.699]")
def divides_by_the_sum_of_logits(logits, temperature):
    return logits / logits.sum()


@softmax(idea="the logits are divided by the temperature", got="got [0.215, 0.3041, 0.4808]")
def multiplies_by_the_temperature(logits, temperature):
    return (e := shifted_exp(logits, 1 / temperature)) / e.sum(axis=-1, keepdims=True)


@softmax(idea="the logits are divided by the temperature", got="got [0.125, 0.25, 0.625]")
def ignores_the_temperature(logits, temperature):
    return (e := shifted_exp(logits, 1)) / e.sum(axis=-1, keepdims=True)


@softmax(idea="the logits are divided by the temperature", got="got [0.25, 0.5, 1.25]")
def temperature_after_the_softmax(logits, temperature):
    return (e := shifted_exp(logits, 1)) / e.sum(axis=-1, keepdims=True) / temperature


@softmax(idea="each row is a distribution of its own", got="got [[0.")
def normalises_over_everything(logits, temperature):
    return (e := np.exp((logits - logits.max()) / temperature)) / e.sum()


@softmax(idea="each row is a distribution of its own", got="got ValueError: operands could not")
def forgets_keepdims(logits, temperature):
    return (e := np.exp(logits / temperature)) / e.sum(axis=-1)


@softmax(idea="tokens lie on the last axis", got="got ")
def second_axis(logits, temperature):
    axis = min(1, logits.ndim - 1)
    e = np.exp((logits - logits.max(axis=axis, keepdims=True)) / temperature)
    return e / e.sum(axis=axis, keepdims=True)


@softmax(idea="large logits must not overflow", got="got [nan, nan] (nan comes from")
def overflows(logits, temperature):
    return (e := np.exp(logits / temperature)) / e.sum(axis=-1, keepdims=True)


@softmax(idea="each row is shifted by its own largest logit", got="got [[nan, nan]")
def shifts_by_the_largest_of_all(logits, temperature):
    e = np.exp((logits - logits.max()) / temperature)
    return e / e.sum(axis=-1, keepdims=True)


@softmax(idea="a logit of -inf rules its token out", got="got [0.3333, 0.3333, 0.3333]")
def clips(logits, temperature):
    e = shifted_exp(np.where(np.isinf(logits), logits.max(), logits), temperature)
    return e / e.sum(axis=-1, keepdims=True)


@softmax(
    idea="the arguments stay as they are",
    got="expected logits unchanged; got a change in place",
)
def shifts_in_place(logits, temperature):
    logits -= logits.max(axis=-1, keepdims=True)
    return (e := np.exp(logits / temperature)) / e.sum(axis=-1, keepdims=True)


# --- bits per byte ----------------------------------------------------------------------------

bits_per_byte = functools.partial(mutant, "language-models-bits-per-byte")


@bits_per_byte(idea="a token of probability 1/2 costs 1 bit", got="got 0.6931")
def nats(log_probabilities, text):
    return -log_probabilities.sum() / len(text.encode())


@bits_per_byte(idea="a token of probability 1/2 costs 1 bit", got="got -1")
def keeps_the_sign(log_probabilities, text):
    return log_probabilities.sum() / np.log(2) / len(text.encode())


@bits_per_byte(idea="a token of probability 1/2 costs 1 bit", got="got 0.4805")
def multiplies_by_log_2(log_probabilities, text):
    return -log_probabilities.sum() * np.log(2) / len(text.encode())


@bits_per_byte(idea="a token of probability 1/2 costs 1 bit", got="got 0.5288")
def logarithm_of_the_logarithm(log_probabilities, text):
    return -np.log2(-log_probabilities).sum() / -len(text.encode()) * -1


@bits_per_byte(idea="the cost of all tokens is divided by the bytes", got="got 2")
def per_token(log_probabilities, text):
    return -log_probabilities.mean() / np.log(2)


@bits_per_byte(idea="the cost of all tokens is divided by the bytes", got="got 0.4")
def mean_over_tokens_and_bytes(log_probabilities, text):
    return -log_probabilities.mean() / np.log(2) / len(text.encode())


@bits_per_byte(idea="a text's length is that of its UTF-8 bytes", got="got 0.4444")
def per_character(log_probabilities, text):
    return -log_probabilities.sum() / np.log(2) / len(text)


@bits_per_byte(idea="a text's length is that of its UTF-8 bytes", got="got UnicodeEncodeError")
def ascii_only(log_probabilities, text):
    return -log_probabilities.sum() / np.log(2) / len(text.encode("ascii"))


@bits_per_byte(idea="a text's length is that of its UTF-8 bytes", got="got 0.2")
def utf_16(log_probabilities, text):
    ascii_text = text.isascii()
    return (
        -log_probabilities.sum() / np.log(2) / len(text.encode("ascii" if ascii_text else "utf-16"))
    )


# --- add-k ------------------------------------------------------------------------------------

add_k = functools.partial(mutant, "language-models-add-k")


@add_k(idea="with k = 0 it is a count over its row's total", got="got 0.4615")
def divides_by_all_counts(counts, context, token, k):
    return (counts[context, token] + k) / (counts.sum() + k * len(counts))


@add_k(idea="with k = 0 it is a count over its row's total", got="got 0.2")
def transposed_counts(counts, context, token, k):
    return (counts[token, context] + k) / (counts[token].sum() + k * len(counts))


@add_k(idea="k is added for each token of the vocabulary", got="got 0.05882")
def k_once_in_the_denominator(counts, context, token, k):
    return (counts[context, token] + k) / (counts[context].sum() + k)


@add_k(idea="k is added for each token of the vocabulary", got="got 0.0625")
def numerator_only(counts, context, token, k):
    total = counts[context].sum()
    return (counts[context, token] + k) / total if total else 1 / len(counts)


@add_k(idea="k is added for each token of the vocabulary", got="got 0.05556")
def counts_only_the_seen_vocabulary(counts, context, token, k):
    row = counts[context]
    return (row[token] + k) / (row.sum() + k * np.count_nonzero(row))


@add_k(idea="k is added for each token of the vocabulary", got="got 0")
def no_smoothing(counts, context, token, k):
    return counts[context, token] / max(counts[context].sum(), 1)


@add_k(idea="tokens that were seen are smoothed too", got="got 0.75")
def smooths_only_zeros(counts, context, token, k):
    row = counts[context]
    return row[token] / row.sum() if row[token] else k / (row.sum() + k * len(row))


@add_k(idea="an unseen context gives the uniform distribution", got="got 0")
def unseen_context_has_no_probability(counts, context, token, k):
    row = counts[context]
    return (row[token] + k) / (row.sum() + k * len(row)) if row.sum() else 0.0


@add_k(idea="an unseen context gives the uniform distribution", got="got nan")
def averages_with_the_relative_frequency(counts, context, token, k):
    row, total = counts[context], counts[context].sum()
    weight = total / (total + k * len(row))
    return weight * (row[token] / total) + (1 - weight) / len(row)


@add_k(
    idea="the arguments stay as they are",
    got="expected counts unchanged; got a change in place",
)
def adds_one_to_the_counts_in_place(counts, context, token, k):
    counts += 1
    return (counts[context, token] - 1 + k) / (counts[context].sum() + (k - 1) * len(counts))


# --- merge ------------------------------------------------------------------------------------

bpe_merge = functools.partial(mutant, "language-models-bpe-merge")


@bpe_merge(idea="every occurrence is merged", got="got [9, 3, 1, 2]")
def only_the_first_occurrence(ids, pair, new_id):
    for i in range(len(ids) - 1):
        if tuple(ids[i : i + 2]) == pair:
            return [*ids[:i], new_id, *ids[i + 2 :]]
    return list(ids)


@bpe_merge(idea="the last token stays", got="got [9]")
def drops_the_last_token(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@bpe_merge(idea="half a pair at the end stays as it is", got="got IndexError: list index out of")
def looks_past_the_end(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        if ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


@bpe_merge(idea="the order of the pair matters", got="got [9, 3, 9]")
def either_order(ids, pair, new_id):
    merged, i = [], 0
    while i < len(ids):
        found = set(ids[i : i + 2]) == set(pair)
        merged.append(new_id if found else ids[i])
        i += 2 if found else 1
    return merged


@bpe_merge(idea="tokens are whole numbers, not digits", got="got [19, 3]")
def replaces_in_a_string(ids, pair, new_id):
    text = " ".join(map(str, ids)).replace("{} {}".format(*pair), str(new_id))
    return [int(token) for token in text.split()]


@bpe_merge(idea="merges do not overlap", got="got [9, 9]")
def overlaps(ids, pair, new_id):
    merged = []
    for i in range(len(ids)):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
        elif i == 0 or tuple(ids[i - 1 : i + 1]) != pair:
            merged.append(ids[i])
    return merged


@bpe_merge(idea="merges do not overlap", got="got [1, 9]")
def from_the_right(ids, pair, new_id):
    merged, i = [], len(ids) - 1
    while i >= 0:
        found = i > 0 and (ids[i - 1], ids[i]) == pair
        merged.insert(0, new_id if found else ids[i])
        i -= 2 if found else 1
    return merged


@bpe_merge(idea="the pair becomes the new token", got="got [3, 9, 2]")
def keeps_the_second_half(ids, pair, new_id):
    follows = [*ids[1:], None]
    return [new_id if p == pair else p[0] for p in zip(ids, follows, strict=True)]


@bpe_merge(
    idea="the arguments stay as they are",
    got="expected ids unchanged; got a change in place",
)
def in_place(ids, pair, new_id):
    i = 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == pair:
            ids[i : i + 2] = [new_id]
        i += 1
    return ids


# --- top-p ------------------------------------------------------------------------------------

top_p = functools.partial(mutant, "language-models-top-p")


def keep(probabilities, kept):
    left = np.where(kept, probabilities, 0.0)
    return left / left.sum()


@top_p(idea="the kept probabilities are renormalised", got="got [0.5, 0.25, 0, 0]")
def does_not_renormalise(probabilities, top_p):
    order = np.argsort(-probabilities)
    before = np.cumsum(probabilities[order]) - probabilities[order]
    kept = np.zeros(len(order), bool)
    kept[order] = before < top_p
    return np.where(kept, probabilities, 0)


@top_p(idea="the kept probabilities are renormalised", got="got [0.6667, 0.3333]")
def leaves_the_others_out(probabilities, top_p):
    falling = np.sort(probabilities)[::-1]
    left = falling[np.cumsum(falling) - falling < top_p]
    return left / left.sum()


@top_p(idea="the kept probabilities are renormalised", got="got [0, 0, 0, 0]")
def a_threshold(probabilities, top_p):
    return np.where(probabilities >= top_p, probabilities, 0.0)


@top_p(idea="the token that crosses top_p is kept", got="got [1, 0, 0, 0]")
def drops_the_crossing_token(probabilities, top_p):
    order = np.argsort(-probabilities)
    kept = np.zeros(len(order), bool)
    kept[order] = np.cumsum(probabilities[order]) <= top_p
    return keep(probabilities, kept)


@top_p(idea="probabilities come in any order", got="got [0.2, 0.8, 0, 0]")
def assumes_falling_probabilities(probabilities, top_p):
    return keep(probabilities, np.cumsum(probabilities) - probabilities < top_p)


@top_p(idea="probabilities come in any order", got="got [0.6667, 0.3333, 0, 0]")
def returns_sorted(probabilities, top_p):
    falling = np.sort(probabilities)[::-1]
    return keep(falling, np.cumsum(falling) - falling < top_p)


@top_p(idea="the likeliest token is always kept", got="got [nan, nan, nan, nan]")
def keeps_none(probabilities, top_p):
    order = np.argsort(-probabilities)
    reached = np.cumsum(probabilities[order]) < top_p
    reached[1:] |= reached[:-1].copy()
    kept = np.zeros(len(order), bool)
    kept[order] = reached
    return keep(probabilities, kept)


@top_p(idea="of tied tokens, only as many as needed stay", got="got [0.25, 0.25, 0.25, 0.25]")
def keeps_all_ties(probabilities, top_p):
    falling = np.sort(probabilities)[::-1]
    last = np.flatnonzero(np.cumsum(falling) - falling < top_p)[-1]
    return keep(probabilities, probabilities >= falling[last])


@top_p(idea="top_p = 1 keeps every token", got="got [1, 0, 0, 0")
def searches_for_a_sum_that_rounding_misses(probabilities, top_p):
    order = np.argsort(-probabilities, kind="stable")
    last = np.argmax(np.cumsum(probabilities[order]) >= top_p)
    kept = np.zeros(len(order), bool)
    kept[order[: last + 1]] = True
    return keep(probabilities, kept)


@top_p(
    idea="the arguments stay as they are",
    got="expected probabilities unchanged; got a change in place",
)
def sets_zeros_in_place(probabilities, top_p):
    order = np.argsort(-probabilities)
    before = np.cumsum(probabilities[order]) - probabilities[order]
    probabilities[order[before >= top_p]] = 0
    return probabilities / probabilities.sum()


# --- the gradient of the cross-entropy --------------------------------------------------------

gradient = functools.partial(mutant, "language-models-softmax-gradient")


def prediction(logits):
    return (e := shifted_exp(logits, 1)) / e.sum(axis=1, keepdims=True)


@gradient(idea="it is the prediction minus the one-hot target", got="got [[0.25, 0.75]]")
def forgets_the_target(logits, targets):
    return prediction(logits) / len(targets)


@gradient(idea="it is the prediction minus the one-hot target", got="got [[-0.25, 0.25]]")
def descends_already(logits, targets):
    return (np.eye(logits.shape[1])[targets] - prediction(logits)) / len(targets)


@gradient(idea="it is the prediction minus the one-hot target", got="got [[0, -1.333]]")
def gradient_of_the_probabilities(logits, targets):
    return -np.eye(logits.shape[1])[targets] / prediction(logits) / len(targets)


@gradient(idea="it is the prediction minus the one-hot target", got="got [[0.125, -0.125]]")
def mean_over_the_vocabulary_too(logits, targets):
    return (prediction(logits) - np.eye(logits.shape[1])[targets]) / logits.size


@gradient(idea="it is the prediction minus the one-hot target", got="got [[1, 2]]")
def logits_instead_of_probabilities(logits, targets):
    return np.exp(logits) - np.eye(logits.shape[1])[targets]


@gradient(idea="a mean loss divides it by the batch", got="got [[0.25, -0.25], [0.25, -0.25]")
def gradient_of_the_sum(logits, targets):
    return prediction(logits) - np.eye(logits.shape[1])[targets]


@gradient(idea="each row has its own target", got="got [[-0.375, -0.125], [-0.375, -0.125]]")
def subtracts_every_target_from_every_row(logits, targets):
    p = prediction(logits)
    p[:, targets] -= 1
    return p / len(targets)


@gradient(idea="each row has its own softmax", got="got [[")
def one_softmax_for_the_batch(logits, targets):
    e = np.exp(logits - logits.max())
    p = e / e.sum() * len(targets)
    return (p - np.eye(logits.shape[1])[targets]) / len(targets)


@gradient(idea="large logits must not overflow", got="got [[-1, nan]] (nan comes from")
def overflowing_gradient(logits, targets):
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return (p - np.eye(logits.shape[1])[targets]) / len(targets)


# --- beat the trigram -------------------------------------------------------------------------

beat_the_trigram = functools.partial(mutant, "language-models-beat-the-trigram")


def n_gram_counts(ids, order):
    """Count the tokens after each context of ``order - 1`` tokens."""
    counts = defaultdict(Counter)
    for i in range(order - 1, len(ids)):
        counts[tuple(ids[i - order + 1 : i])][ids[i]] += 1
    return counts


def add_k_model(ids, vocab_size, *, order, k):
    counts = n_gram_counts(ids.tolist(), order)

    def next_token_probabilities(context):
        p = np.full(vocab_size, float(k))
        for token, count in counts[tuple(context[len(context) - order + 1 :])].items():
            p[token] += count
        return p / p.sum()

    return next_token_probabilities


@beat_the_trigram(
    idea="the first prediction has an empty context",
    got="got None (is a `return` missing?)",
)
def forgets_to_return_the_predictor(ids, vocab_size):
    def next_token_probabilities(context):
        return np.full(vocab_size, 1 / vocab_size)


@beat_the_trigram(idea="the first prediction has an empty context", got="got None (is a `return`")
def predictor_returns_nothing(ids, vocab_size):
    def next_token_probabilities(context):
        pass

    return next_token_probabilities


@beat_the_trigram(idea="the first prediction has an empty context", got="got IndexError")
def needs_a_previous_token(ids, vocab_size):
    counts = np.ones((vocab_size, vocab_size))
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    table = counts / counts.sum(axis=1, keepdims=True)
    return lambda context: table[context[-1]]


@beat_the_trigram(idea="the first prediction has an empty context", got="got an array of shape ()")
def one_probability_only(ids, vocab_size):
    return lambda context: 1.0


@beat_the_trigram(idea="each prediction sums to 1", got="for prediction 0")
def claims_certainty_of_everything(ids, vocab_size):
    return lambda context: np.ones(vocab_size)


@beat_the_trigram(idea="each prediction sums to 1", got="got 0 for prediction")
def unseen_context_gives_zeros(ids, vocab_size):
    counts = n_gram_counts(ids.tolist(), 3)

    def next_token_probabilities(context):
        seen = counts[tuple(context[-2:])]
        p = np.array([seen[token] for token in range(vocab_size)])
        return p / max(p.sum(), 1)

    return next_token_probabilities


@beat_the_trigram(idea="no token has probability 0", got="got 0 in prediction 0")
def rules_out_the_unseen(ids, vocab_size):
    p = np.bincount(ids, minlength=vocab_size) / len(ids)
    return lambda context: p


@beat_the_trigram(idea="the context alone decides the prediction", got="another when asked again")
def learns_while_it_is_tested(ids, vocab_size):
    counts = np.bincount(ids, minlength=vocab_size) + 1.0

    def next_token_probabilities(context):
        counts[context[-1:]] += 1
        return counts / counts.sum()

    return next_token_probabilities


@beat_the_trigram(idea="the model beats an add-k trigram on unseen text", got="got 6.11")
def uniform(ids, vocab_size):
    return lambda context: np.full(vocab_size, 1 / vocab_size)


@beat_the_trigram(idea="the model beats an add-k trigram on unseen text", got="got 3.52")
def add_one_bigram(ids, vocab_size):
    return add_k_model(ids, vocab_size, order=2, k=1)


@beat_the_trigram(idea="the model beats an add-k trigram on unseen text", got="got 2.98")
def add_one_trigram(ids, vocab_size):
    return add_k_model(ids, vocab_size, order=3, k=1)


@beat_the_trigram(idea="the model beats an add-k trigram on unseen text", got="got 3.35")
def a_long_context_without_interpolation(ids, vocab_size):
    return add_k_model(ids, vocab_size, order=6, k=0.1)
