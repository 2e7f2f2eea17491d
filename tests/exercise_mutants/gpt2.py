"""Wrong answers to the exercises of chapter 6."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from tests.exercise_mutants import mutant

# --- parameters ---------------------------------------------------------------------------------

counting = functools.partial(mutant, "gpt2-parameters")

TIED = "one more token takes one vector: the output uses the table again"
POSITION = "one more position takes one vector"
BLOCK = "a block has two layer norms and four matrices, all with a bias"
LAST = "after the last block there is a layer norm"


def count(vocab_size, n_positions, n_embd, n_layer, *, block=None):
    if block is None:
        block = 12 * n_embd**2 + 13 * n_embd
    return (vocab_size + n_positions + 2) * n_embd + n_layer * block


@counting(idea=TIED, got="expected 6; got 12")
def an_output_of_its_own(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer) + vocab_size * n_embd


@counting(idea=TIED, got="expected 6; got 7")
def an_output_bias(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer) + vocab_size


@counting(idea=TIED, got="expected 6; got 0")
def the_blocks_alone(vocab_size, n_positions, n_embd, n_layer):
    return 12 * n_layer * n_embd**2


@counting(idea=POSITION, got="expected 6; got 0")
def positions_that_are_computed(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, 0, n_embd, n_layer)


@counting(idea=POSITION, got="expected 6; got 15")
def the_causal_mask_counted(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer) + n_layer * n_positions**2


@counting(idea=BLOCK, got="expected 510; got 432")
def matrices_alone(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer, block=12 * n_embd**2)


@counting(idea=BLOCK, got="expected 510; got 456")
def no_biases(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer, block=12 * n_embd**2 + 4 * n_embd)


@counting(idea=BLOCK, got="expected 510; got 486")
def no_layer_norms(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer, block=12 * n_embd**2 + 9 * n_embd)


@counting(idea=BLOCK, got="expected 510; got 498")
def one_layer_norm_for_a_block(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer, block=12 * n_embd**2 + 11 * n_embd)


@counting(idea=BLOCK, got="expected 510; got 498")
def layer_norms_without_a_bias(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer, block=12 * n_embd**2 + 11 * n_embd)


@counting(idea=BLOCK, got="expected 510; got 468")
def attention_without_its_last_matrix(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer, block=11 * n_embd**2 + 12 * n_embd)


@counting(idea=BLOCK, got="expected 510; got 276")
def an_mlp_as_wide_as_the_vectors(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer, block=6 * n_embd**2 + 10 * n_embd)


@counting(idea=BLOCK, got="expected 510; got 0")
def one_block_counted(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, min(n_layer, 1))


@counting(idea=LAST, got="expected 96; got 84")
def no_last_layer_norm(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer) - 2 * n_embd


@counting(idea=LAST, got="expected 96; got 108")
def a_layer_norm_before_the_first_block(vocab_size, n_positions, n_embd, n_layer):
    return count(vocab_size, n_positions, n_embd, n_layer) + 2 * n_embd


# --- schedule -----------------------------------------------------------------------------------

scheduling = functools.partial(mutant, "gpt2-schedule")

PEAK = "at warmup_steps the rate is the peak"
WARMUP = "before, it is in proportion to the step"
FLOOR = "at max_steps it is down to floor times the peak"
HALFWAY = "halfway down in steps, it is halfway down"
COSINE = "the way down is half a cosine: slow, fast, slow"
AFTER = "after max_steps it stays where it is"
NO_WARMUP = "without warmup it starts at the peak"


def down(done, peak, floor):
    return peak * (floor + (1 - floor) * (1 + np.cos(np.pi * done)) / 2)


def rate(step, peak, warmup_steps, max_steps, floor, *, down=down, up=lambda share: share):
    if step < warmup_steps:
        return peak * up(step / warmup_steps)
    return down(min((step - warmup_steps) / (max_steps - warmup_steps), 1), peak, floor)


@scheduling(idea=PEAK, got="expected 2; got 1.964")
def the_cosine_begins_at_step_0(step, peak, warmup_steps, max_steps, floor):
    if step < warmup_steps:
        return peak * step / warmup_steps
    return down(min(step / max_steps, 1), peak, floor)


@scheduling(idea=PEAK, got="expected 2; got 1.818")
def one_step_too_slow(step, peak, warmup_steps, max_steps, floor):
    if step < warmup_steps + 1:
        return peak * step / (warmup_steps + 1)
    return rate(step - 1, peak, warmup_steps, max_steps, floor)


@scheduling(idea=PEAK, got="expected 2; got 1")
def the_share_of_the_peak_alone(step, peak, warmup_steps, max_steps, floor):
    return rate(step, 1.0, warmup_steps, max_steps, floor)


@scheduling(idea=WARMUP, got="expected 0.8; got 1")
def counted_from_1(step, peak, warmup_steps, max_steps, floor):
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return rate(step, peak, warmup_steps, max_steps, floor)


@scheduling(idea=WARMUP, got="expected 0.8; got 2")
def no_warmup(step, peak, warmup_steps, max_steps, floor):
    return rate(max(step, warmup_steps), peak, warmup_steps, max_steps, floor)


@scheduling(idea=WARMUP, got="expected 0.8; got 0.92")
def from_the_floor_up(step, peak, warmup_steps, max_steps, floor):
    def up(share):
        return floor + (1 - floor) * share

    return rate(step, peak, warmup_steps, max_steps, floor, up=up)


@scheduling(idea=FLOOR, got="expected 0.2; got 0.1")
def the_floor_is_a_rate(step, peak, warmup_steps, max_steps, floor):
    return rate(step, peak, warmup_steps, max_steps, floor / peak)


@scheduling(idea=FLOOR, got="expected 0.2; got 0")
def down_to_0(step, peak, warmup_steps, max_steps, floor):
    return rate(step, peak, warmup_steps, max_steps, 0)


@scheduling(idea=FLOOR, got="expected 0.2; got 2")
def a_whole_cosine(step, peak, warmup_steps, max_steps, floor):
    def up_again(done, peak, floor):
        return down(2 * done, peak, floor)

    return rate(step, peak, warmup_steps, max_steps, floor, down=up_again)


@scheduling(idea=FLOOR, got="expected 0.2; got 1.1")
def a_quarter_of_a_cosine(step, peak, warmup_steps, max_steps, floor):
    def half_the_way(done, peak, floor):
        return down(done / 2, peak, floor)

    return rate(step, peak, warmup_steps, max_steps, floor, down=half_the_way)


@scheduling(idea=FLOOR, got="expected 0.2; got 0.2365")
def as_many_steps_down_as_max_steps(step, peak, warmup_steps, max_steps, floor):
    return rate(step, peak, warmup_steps, max_steps + warmup_steps, floor)


@scheduling(idea=HALFWAY, got="expected 1.1; got 1")
def at_least_the_floor(step, peak, warmup_steps, max_steps, floor):
    return max(peak * floor, rate(step, peak, warmup_steps, max_steps, 0))


@scheduling(idea=HALFWAY, got="expected 1.1; got 0.6325")
def an_exponential(step, peak, warmup_steps, max_steps, floor):
    def decay(done, peak, floor):
        return peak * floor**done

    return rate(step, peak, warmup_steps, max_steps, floor, down=decay)


@scheduling(idea=COSINE, got="expected 1.736; got 1.55")
def a_straight_line_down(step, peak, warmup_steps, max_steps, floor):
    def line(done, peak, floor):
        return peak * (1 - (1 - floor) * done)

    return rate(step, peak, warmup_steps, max_steps, floor, down=line)


@scheduling(idea=AFTER, got="expected 0.2; got ")
def up_again_after_the_end(step, peak, warmup_steps, max_steps, floor):
    if step < warmup_steps:
        return peak * step / warmup_steps
    return down((step - warmup_steps) / (max_steps - warmup_steps), peak, floor)


@scheduling(idea=AFTER, got="expected 0.2; got 0")
def nothing_after_the_end(step, peak, warmup_steps, max_steps, floor):
    return (step <= max_steps) * rate(step, peak, warmup_steps, max_steps, floor)


@scheduling(idea=NO_WARMUP, got="expected 2; got ZeroDivisionError: ")
def divided_by_no_warmup(step, peak, warmup_steps, max_steps, floor):
    up = peak * step / warmup_steps
    return min(up, rate(max(step, warmup_steps), peak, warmup_steps, max_steps, floor))


# --- one merge ----------------------------------------------------------------------------------

merging = functools.partial(mutant, "gpt2-merge-rank")

TWO = "two neighbours become one token"
LOWEST = "of the pairs that are there, that of lowest rank is merged"
LEARNED = "a rank says which merge was learned first, not how often a pair is here"
EVERYWHERE = "the pair is merged wherever it is"
OVERLAP = "pairs that overlap are taken from the left"
ONE = "one call makes one merge"
WHOLE = "tokens are merged whole"
UNKNOWN = "where no pair has a rank, the tokens stay as they are"


def neighbours(tokens):
    return list(itertools.pairwise(tokens))


def merged(tokens, pair):
    out, i = [], 0
    while i < len(tokens):
        found = tuple(tokens[i : i + 2]) == pair
        out.append("".join(tokens[i : i + 1 + found]))
        i += 1 + found
    return out


def lowest(tokens, ranks):
    known = [pair for pair in neighbours(tokens) if pair in ranks]
    return min(known, key=ranks.get, default=None)


@merging(idea=TWO, got="expected ['x', 'lo']; got ['x', 'l', 'o']")
def only_the_first_two(tokens, ranks):
    return merged(tokens, tuple(tokens[:2])) if tuple(tokens[:2]) in ranks else list(tokens)


@merging(idea=TWO, got="expected ['x', 'lo']; got ['lo']")
def the_merge_alone(tokens, ranks):
    pair = lowest(tokens, ranks)
    return ["".join(pair)] if pair else list(tokens)


@merging(idea=TWO, got="expected ['x', 'lo']; got 'xlo'")
def text_for_tokens(tokens, ranks):
    return "".join(merged(tokens, lowest(tokens, ranks)))


@merging(idea=TWO, got="expected ['x', 'lo']; got a list ['x', ('l', 'o')]")
def pairs_for_tokens(tokens, ranks):
    pair = lowest(tokens, ranks)
    return [pair if token == "".join(pair) else token for token in merged(tokens, pair)]


@merging(idea=LOWEST, got="expected ['l', 'ow']; got ['lo', 'w']")
def the_leftmost_pair(tokens, ranks):
    pair = next((pair for pair in neighbours(tokens) if pair in ranks), None)
    return merged(tokens, pair)


@merging(idea=LOWEST, got="expected ['l', 'ow']; got ['lo', 'w']")
def the_first_of_the_dict(tokens, ranks):
    here = neighbours(tokens)
    return merged(tokens, next((pair for pair in ranks if pair in here), None))


@merging(idea=LOWEST, got="expected ['l', 'ow']; got ['lo', 'w']")
def the_highest_rank(tokens, ranks):
    known = [pair for pair in neighbours(tokens) if pair in ranks]
    return merged(tokens, max(known, key=ranks.get, default=None))


@merging(idea=LOWEST, got="expected ['l', 'ow']; got ['lo', 'w']")
def the_most_frequent_pair(tokens, ranks):
    known = [pair for pair in neighbours(tokens) if pair in ranks]
    return merged(tokens, max(known, key=known.count, default=None))


@merging(idea=LEARNED, got="expected ['b', 'a', 'n', 'a', 'nd']; got ['b', 'an', 'an', 'd']")
def frequent_pairs_before_low_ranks(tokens, ranks):
    known = [pair for pair in neighbours(tokens) if pair in ranks]
    pair = min(known, key=lambda pair: (-known.count(pair), ranks[pair]), default=None)
    return merged(tokens, pair)


@merging(idea=EVERYWHERE, got="expected ['b', 'an', 'an', 'a']; got ['b', 'an', 'a', 'n', 'a']")
def only_the_first_occurrence(tokens, ranks):
    pair = lowest(tokens, ranks)
    if pair is None:
        return list(tokens)
    i = neighbours(tokens).index(pair)
    return [*tokens[:i], "".join(pair), *tokens[i + 2 :]]


@merging(idea=OVERLAP, got="expected ['aa', 'a']; got ['a', 'aa']")
def from_the_right(tokens, ranks):
    pair = lowest(tokens, ranks)
    turned = merged(tokens[::-1], pair and pair[::-1])
    return [pair and "".join(pair) if t == "".join(pair or ())[::-1] else t for t in turned][::-1]


@merging(idea=OVERLAP, got="expected ['aa', 'a']; got ['aa', 'aa']")
def overlapping(tokens, ranks):
    pair = lowest(tokens, ranks)
    out, skip = [], False
    for both in [*neighbours(tokens), (tokens[-1], None)]:
        if both == pair:
            out.append("".join(pair))
        elif not skip:
            out.append(both[0])
        skip = both == pair
    return out


@merging(idea=ONE, got="expected ['lo', 'w', 'e', 'r']; got ['low', 'er']")
def all_merges_at_once(tokens, ranks):
    while (pair := lowest(tokens, ranks)) is not None:
        tokens = merged(tokens, pair)
    return list(tokens)


@merging(idea=ONE, got="expected ['lo', 'w', 'e', 'r']; got ['lo', 'w', 'er']")
def every_pair_once(tokens, ranks):
    for pair in sorted(set(neighbours(tokens)) & ranks.keys(), key=ranks.get):
        tokens = merged(tokens, pair)
    return list(tokens)


@merging(idea=WHOLE, got="got ['l', 'ow', 'low', 'hellow']")
def replaced_in_the_text(tokens, ranks):
    pair = lowest(tokens, ranks) or ("", "")
    return " ".join(tokens).replace(" ".join(pair), "".join(pair)).split(" ")


@merging(idea=WHOLE, got="got ['low', 'low', 'hello', 'w']")
def whatever_spells_the_same(tokens, ranks):
    ranked = {"".join(pair): rank for pair, rank in ranks.items()}
    here = [pair for pair in neighbours(tokens) if "".join(pair) in ranked]
    best = min(("".join(pair) for pair in here), key=ranked.get, default=None)
    for pair in here:
        tokens = merged(tokens, pair) if "".join(pair) == best else tokens
    return list(tokens)


@merging(idea=UNKNOWN, got="got ValueError: ")
def always_a_merge(tokens, ranks):
    return merged(tokens, min((p for p in neighbours(tokens) if p in ranks), key=ranks.get))


@merging(idea=UNKNOWN, got="expected ['l', 'o', 'w']; got ['lo', 'w']")
def unknown_pairs_merge_last(tokens, ranks):
    return merged(tokens, min(neighbours(tokens), key=lambda pair: ranks.get(pair, 10**9)))


@merging(idea=UNKNOWN, got="expected ['l', 'o', 'w']; got None")
def nothing_where_nothing_is_merged(tokens, ranks):
    pair = lowest(tokens, ranks)
    return merged(tokens, pair) if pair else None


# --- the mask behind a cache --------------------------------------------------------------------

masking = functools.partial(mutant, "gpt2-cache-mask")

CAUSAL = "without a cache, a token sees itself and what came before"
SINGLE = "a single new token sees the whole cache, and itself"
SEVERAL = "several new tokens see the cache and each other, causally"
PADDING = "nobody sees padding"
OWN_PADDING = "each row has padding of its own"
GO_ON = "positions go on where the cache ends"
FIRST = "the first real token is at position 0"


def mask_of(n_padding, n_cached, n_new, *, offset=0):
    keys = np.arange(n_cached + n_new)
    seen = keys <= keys[n_cached:, None] + offset
    return seen & (keys >= n_padding[:, None, None])


def positions_of(n_padding, n_cached, n_new):
    return np.maximum(np.arange(n_cached, n_cached + n_new) - n_padding[:, None], 0)


@masking(idea=CAUSAL, got="new token 0 of row 0 to see key 0; got no key")
def blind_to_itself(n_padding, n_cached, n_new):
    mask = mask_of(n_padding, n_cached, n_new, offset=-1)
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=CAUSAL, got="new token 0 of row 0 to see key 0; got keys 0, 1")
def one_key_too_many(n_padding, n_cached, n_new):
    mask = mask_of(n_padding, n_cached, n_new, offset=1)
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=CAUSAL, got="new token 0 of row 0 to see key 0; got keys 0, 1, 2")
def no_causality(n_padding, n_cached, n_new):
    mask = mask_of(n_padding, n_cached, n_new, offset=n_new)
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=CAUSAL, got="new token 0 of row 0 to see key 0; got keys 1, 2")
def true_for_what_is_hidden(n_padding, n_cached, n_new):
    return ~mask_of(n_padding, n_cached, n_new), positions_of(n_padding, n_cached, n_new)


@masking(idea=CAUSAL, got="expected booleans of shape (1, 3, 3); got float64 [[[0, -inf")
def what_is_added_to_the_scores(n_padding, n_cached, n_new):
    mask = mask_of(n_padding, n_cached, n_new)
    return np.where(mask, 0, -np.inf), positions_of(n_padding, n_cached, n_new)


@masking(idea=CAUSAL, got="expected a tuple (mask, positions); got [[[True")
def only_the_mask(n_padding, n_cached, n_new):
    return mask_of(n_padding, n_cached, n_new)


@masking(idea=SINGLE, got="expected new token 0 of row 0 to see keys 0, 1, 2, 3; got key 0")
def as_if_nothing_were_cached(n_padding, n_cached, n_new):
    """torch's is_causal, which aligns the first query with the first key."""
    n_key = n_cached + n_new
    mask = np.tri(n_new, n_key, dtype=bool) & (np.arange(n_key) >= n_padding[:, None, None])
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=SINGLE, got="expected new token 0 of row 0 to see keys 0, 1, 2, 3; got keys 0, 1, 2")
def the_offset_one_short(n_padding, n_cached, n_new):
    mask = mask_of(n_padding, n_cached, n_new, offset=-(n_cached > 0))
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=SINGLE, got="expected booleans of shape (1, 1, 4); got bool [[[True]]]")
def the_new_tokens_alone(n_padding, n_cached, n_new):
    mask = mask_of(n_padding, n_cached, n_new)[..., n_cached:]
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=SEVERAL, got="new token 0 of row 0 to see keys 0, 1, 2; got keys 0, 1, 2, 3, 4")
def a_cache_needs_no_mask(n_padding, n_cached, n_new):
    mask = mask_of(n_padding, n_cached, n_new, offset=n_new if n_cached else 0)
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=SEVERAL, got="new token 0 of row 0 to see keys 0, 1, 2; got keys 0, 1, 2, 3")
def one_key_too_many_behind_a_cache(n_padding, n_cached, n_new):
    mask = mask_of(n_padding, n_cached, n_new, offset=int(n_cached > 0))
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=SEVERAL, got="new token 1 of row 0 to see keys 0, 1, 2, 3; got keys 0, 1, 3")
def the_cache_and_itself(n_padding, n_cached, n_new):
    keys = np.arange(n_cached + n_new)
    seen = mask_of(n_padding, n_cached, n_new)
    if n_cached:
        seen &= (keys < n_cached) | (keys == keys[n_cached:, None])
    return seen, positions_of(n_padding, n_cached, n_new)


@masking(idea=PADDING, got="new token 0 of row 0 to see keys 2, 3; got keys 0, 1, 2, 3")
def padding_is_seen(n_padding, n_cached, n_new):
    return mask_of(0 * n_padding, n_cached, n_new), positions_of(n_padding, n_cached, n_new)


@masking(idea=PADDING, got="new token 0 of row 0 to see keys 2, 3; got key 3")
def one_padding_too_many(n_padding, n_cached, n_new):
    mask = mask_of(n_padding + (n_padding > 0), n_cached, n_new)
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=PADDING, got="new token 0 of row 0 to see keys 2, 3; got keys 0, 1, 2")
def padding_at_the_end(n_padding, n_cached, n_new):
    n_key = n_cached + n_new
    mask = np.tri(n_new, n_key, n_cached, dtype=bool)
    mask = mask & (np.arange(n_key) < n_key - n_padding[:, None, None])
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=OWN_PADDING, got="new token 0 of row 1 to see key 2; got keys 0, 1, 2")
def the_padding_of_the_first_row(n_padding, n_cached, n_new):
    mask = mask_of(n_padding[:1].repeat(len(n_padding)), n_cached, n_new)
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=OWN_PADDING, got="expected booleans of shape (3, 2, 4); got bool ")
def one_mask_for_the_batch(n_padding, n_cached, n_new):
    mask = mask_of(n_padding[:1], n_cached, n_new)
    return mask, positions_of(n_padding, n_cached, n_new)


@masking(idea=GO_ON, got="expected [[3, 4]]; got [[0, 1]]")
def positions_begin_anew(n_padding, n_cached, n_new):
    return mask_of(n_padding, n_cached, n_new), positions_of(n_padding, 0, n_new)


@masking(idea=GO_ON, got="expected [[3, 4]]; got [[4, 5]]")
def positions_one_too_high(n_padding, n_cached, n_new):
    return mask_of(n_padding, n_cached, n_new), positions_of(n_padding, n_cached + 1, n_new)


@masking(idea=GO_ON, got="expected [[3, 4]]; got [[2, 3]]")
def positions_one_too_low(n_padding, n_cached, n_new):
    return mask_of(n_padding, n_cached, n_new), positions_of(n_padding, n_cached - 1, n_new)


@masking(idea=GO_ON, got="expected [[3, 4]]; got [3, 4]")
def positions_without_a_batch(n_padding, n_cached, n_new):
    return mask_of(n_padding, n_cached, n_new), positions_of(n_padding, n_cached, n_new)[0]


@masking(idea=FIRST, got="expected [[1, 2]]; got [[3, 4]]")
def positions_count_the_padding(n_padding, n_cached, n_new):
    return mask_of(n_padding, n_cached, n_new), positions_of(0 * n_padding, n_cached, n_new)


@masking(idea=FIRST, got="expected [[1, 2]]; got [[2, 3]]")
def the_first_real_token_at_1(n_padding, n_cached, n_new):
    fewer = np.maximum(n_padding - 1, 0)
    return mask_of(n_padding, n_cached, n_new), positions_of(fewer, n_cached, n_new)


# --- top-p --------------------------------------------------------------------------------------

cutting = functools.partial(mutant, "gpt2-top-p-ties")

CROSSES = "the token that crosses top_p stays"
ORDER = "logits come in any order"
TIES = "of equal logits, those of lower index stay"
SCALED = "what stays is divided by the temperature"
BEFORE = "the temperature comes before the cut"
ROUNDING = "rounding errors let no token in"
LIKELIEST = "the likeliest token always stays"
FINITE = "large logits stay finite"
ANY = "any logits will do, with many ties"


def softmax(logits):
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def in_falling_order(logits):
    return np.argsort(-logits, kind="stable")


def kept(logits, top_p, *, order=in_falling_order, softmax=softmax, before=np.less, slack=1e-9):
    """Return which tokens stay: those whose predecessors in ``order`` hold less than top_p."""
    falling = order(logits)
    p = softmax(logits)[falling]
    stays = before(np.cumsum(p) - p, top_p - slack)
    stays[0] = True
    mask = np.empty(len(logits), dtype=bool)
    mask[falling] = stays
    return mask


def cut(logits, temperature, top_p, **options):
    scaled = logits / temperature
    return np.where(kept(scaled, top_p, **options), scaled, -np.inf)


@cutting(idea=CROSSES, got="got [-0.6931, -inf, -inf, -inf]")
def the_token_that_crosses_goes(logits, temperature, top_p):
    scaled = logits / temperature
    falling = in_falling_order(scaled)
    stays = np.cumsum(softmax(scaled)[falling]) <= top_p + 1e-9
    stays[0] = True
    return np.where(stays[np.argsort(falling)], scaled, -np.inf)


@cutting(idea=CROSSES, got="got [-0.6931, -1.386, -1.897, -2.303]")
def from_the_least_likely_up(logits, temperature, top_p):
    return cut(logits, temperature, top_p, order=lambda x: np.argsort(x, kind="stable"))


@cutting(idea=CROSSES, got="got [-0.6931, -1.386, -1e+09, -1e+09]")
def a_large_number_for_infinity(logits, temperature, top_p):
    return np.maximum(cut(logits, temperature, top_p), -1e9)


@cutting(idea=CROSSES, got="got [-0.6931, -1.386, 0, 0]")
def zeros_for_infinity(logits, temperature, top_p):
    scaled = logits / temperature
    return np.where(kept(scaled, top_p), scaled, 0)


@cutting(idea=CROSSES, got="got [0.6667, 0.3333, 0, 0]")
def probabilities_for_logits(logits, temperature, top_p):
    return softmax(cut(logits, temperature, top_p))


@cutting(idea=CROSSES, got="got [-0.6931, -inf, -inf, -inf]")
def a_least_probability(logits, temperature, top_p):
    scaled = logits / temperature
    p = softmax(scaled)
    return np.where(p >= top_p * p.max() + 0.2, scaled, -np.inf)


@cutting(idea=ORDER, got="got [-1.897, -0.6931, -inf, -inf]")
def as_if_they_were_sorted(logits, temperature, top_p):
    return cut(logits, temperature, top_p, order=lambda x: np.arange(len(x)))


@cutting(idea=ORDER, got="got [-0.6931, -1.386, -inf, -inf]")
def sorted_and_left_so(logits, temperature, top_p):
    return cut(logits[in_falling_order(logits)], temperature, top_p)


@cutting(idea=ORDER, got="got [-1.897, -inf, -2.303, -inf]")
def the_order_for_its_inverse(logits, temperature, top_p):
    scaled = logits / temperature
    falling = in_falling_order(scaled)
    return np.where(kept(scaled[falling], top_p)[falling], scaled, -np.inf)


@cutting(idea=TIES, got="got [0, 0, 0, 0]")
def all_that_are_as_likely_as_the_last(logits, temperature, top_p):
    scaled = logits / temperature
    least = scaled[kept(scaled, top_p)].min()
    return np.where(scaled >= least, scaled, -np.inf)


@cutting(idea=TIES, got="got [-inf, -inf, 0, 0]")
def sorted_upwards_and_turned(logits, temperature, top_p):
    return cut(logits, temperature, top_p, order=lambda x: np.argsort(x, kind="stable")[::-1])


@cutting(idea=TIES, got="got [0, 0, 0, -inf]")
def one_more_than_needed(logits, temperature, top_p):
    return cut(logits, temperature, top_p, before=np.less_equal, slack=-1e-9)


@cutting(idea=SCALED, got="got [-0.6931, -1.386, -1.897, -2.303]")
def the_logits_as_they_came(logits, temperature, top_p):
    return np.where(kept(logits / temperature, top_p), logits, -np.inf)


@cutting(idea=SCALED, got="got [-0.3466, -0.6931, -0.9486, -1.151]")
def multiplied_by_the_temperature(logits, temperature, top_p):
    return cut(logits, 1 / temperature, top_p)


@cutting(idea=BEFORE, got="got [-0.1054, -inf, -inf, -inf]")
def the_cut_before_the_temperature(logits, temperature, top_p):
    return np.where(kept(logits, top_p), logits / temperature, -np.inf)


@cutting(idea=ROUNDING, got="got [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]")
def no_slack(logits, temperature, top_p):
    return cut(logits, temperature, top_p, slack=0)


@cutting(idea=LIKELIEST, got="got [-inf, -inf, -inf]")
def nothing_is_safe(logits, temperature, top_p):
    scaled = logits / temperature
    falling = in_falling_order(scaled)
    p = softmax(scaled)[falling]
    stays = np.cumsum(p) - p < top_p - 1e-9
    return np.where(stays[np.argsort(falling)], scaled, -np.inf)


@cutting(idea=LIKELIEST, got="got [0, -inf, -inf]")
def the_first_token_always_stays(logits, temperature, top_p):
    scaled = logits / temperature
    falling = in_falling_order(scaled)
    p = softmax(scaled)[falling]
    stays = (np.cumsum(p) - p < top_p - 1e-9)[np.argsort(falling)]
    stays[0] |= not stays.any()
    return np.where(stays, scaled, -np.inf)


@cutting(idea=FINITE, got="got [")
def exponentials_that_overflow(logits, temperature, top_p):
    return cut(logits, temperature, top_p, softmax=lambda x: np.exp(x) / np.exp(x).sum())


@cutting(idea=ANY, got=" at [")
def an_order_that_ties_upset(logits, temperature, top_p):
    def upset(logits):
        """As an unstable sort may do it, on every machine."""
        backwards = np.arange(len(logits)) * (-1 if len(logits) > 16 else 1)
        return np.lexsort([backwards, -logits])

    return cut(logits, temperature, top_p, order=upset)


# --- repetition penalty -------------------------------------------------------------------------

penalizing = functools.partial(mutant, "gpt2-repetition-penalty")

ABOVE = "a logit above 0 is divided by the penalty"
BELOW = "a logit below 0 gets further from 0"
ONCE = "a token that comes three times is penalized once"
ROWS = "each row of the batch has a text of its own"
ZERO = "0 stays 0, and -inf stays -inf"
REWARD = "a penalty below 1 makes repetition likelier"


def seen(logits, ids):
    mask = np.zeros(logits.shape, dtype=bool)
    np.put_along_axis(mask, ids, True, axis=1)
    return mask


def divided_or_multiplied(logits, penalty):
    return np.where(logits > 0, logits / penalty, logits * penalty)


@penalizing(idea=ABOVE, got="got [[6, 1]]")
def the_other_way_round(logits, ids, penalty):
    return np.where(seen(logits, ids), divided_or_multiplied(logits, 1 / penalty), logits)


@penalizing(idea=ABOVE, got="got [[1.5, 0.5]]")
def every_token_penalized(logits, ids, penalty):
    return divided_or_multiplied(logits, penalty)


@penalizing(idea=ABOVE, got="got [[1, 1]]")
def the_penalty_subtracted(logits, ids, penalty):
    return logits - seen(logits, ids) * penalty


@penalizing(idea=ABOVE, got="got [[3, 0.5]]")
def those_that_are_new(logits, ids, penalty):
    return np.where(seen(logits, ids), logits, divided_or_multiplied(logits, penalty))


@penalizing(idea=ABOVE, got="got [[2.307, 1]]")
def its_logarithm_subtracted(logits, ids, penalty):
    return logits - seen(logits, ids) * np.log(penalty)


@penalizing(idea=BELOW, got="expected [[-6, 1]]; got [[-1.5, 1]]")
def divided_whatever_the_sign(logits, ids, penalty):
    return np.where(seen(logits, ids), logits / penalty, logits)


@penalizing(idea=BELOW, got="expected [[-6, 1]]; got [[-3, 1]]")
def only_above_0(logits, ids, penalty):
    return np.where(seen(logits, ids) & (logits > 0), logits / penalty, logits)


@penalizing(idea=BELOW, got="expected [[-6, 1]]; got [[6, 1]]")
def the_size_multiplied(logits, ids, penalty):
    changed = np.where(logits > 0, logits / penalty, np.abs(logits) * penalty)
    return np.where(seen(logits, ids), changed, logits)


@penalizing(idea=ONCE, got="expected [[1.5, -2]]; got [[0.375, -4]]")
def once_for_each_time(logits, ids, penalty):
    logits = logits.copy()
    for row, text in zip(logits, ids, strict=True):
        for token in text:
            row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
    return logits


@penalizing(idea=ROWS, got="got [[1.5, 0.5], [1.5, 0.5]]")
def the_tokens_of_all_rows(logits, ids, penalty):
    changed = logits.copy()
    changed[:, ids.ravel()] = divided_or_multiplied(logits, penalty)[:, ids.ravel()]
    return changed


@penalizing(idea=ROWS, got="got [[1.5, 1], [1.5, 1]]")
def the_first_row_s_text(logits, ids, penalty):
    changed = logits.copy()
    changed[:, ids[0]] = divided_or_multiplied(logits, penalty)[:, ids[0]]
    return changed


@penalizing(idea=ZERO, got="got [[0, nan, 1]]")
def by_a_factor_of_0(logits, ids, penalty):
    mask = seen(logits, ids)
    rest = logits * ~mask
    return rest + mask * divided_or_multiplied(logits, penalty)


@penalizing(idea=ZERO, got="got [[0, nan, 1]]")
def by_a_difference(logits, ids, penalty):
    change = divided_or_multiplied(logits, penalty) - logits
    return logits + np.where(seen(logits, ids), change, 0)


@penalizing(idea=REWARD, got="expected [[6, -0.5]]; got [[3, -1]]")
def never_likelier(logits, ids, penalty):
    changed = divided_or_multiplied(logits, penalty)
    return np.where(seen(logits, ids), np.minimum(changed, logits), logits)


@penalizing(idea="the arguments stay as they are", got="expected logits unchanged")
def penalized_in_place(logits, ids, penalty):
    mask = seen(logits, ids)
    logits[mask] = divided_or_multiplied(logits[mask], penalty)
    return logits


# --- beams --------------------------------------------------------------------------------------

scoring = functools.partial(mutant, "gpt2-beam-scores")

ADDED = "the log-probabilities of the tokens are added up"
PROMPT = "the prompt does not count"
POWER = "the sum is divided by the number of new tokens to the power of length_penalty"
AFTER_EOS = "what stands after eos is padding"
EOS = "eos counts in the sum and in the length"
IN_PROMPT = "an eos in the prompt ends nothing"
OWN_LENGTH = "each beam has a length of its own"


def length_of(ids, eos):
    """How many tokens a beam has, eos included."""
    ends = np.flatnonzero(ids == eos)
    return ends[0] + 1 if len(ends) else len(ids)


def scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, *, score, length_of=length_of):
    new_ids, new = ids[:, n_prompt:], log_probabilities[:, n_prompt:]
    lengths = [length_of(row, eos) for row in new_ids]
    return np.array([score(row[:n], n) for row, n in zip(new, lengths, strict=True)])


@scoring(idea=ADDED, got="expected [-3]; got [0.04979]")
def a_probability(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return np.exp(new.sum() / n ** float(length_penalty))

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=ADDED, got="expected [-3]; got [-1.5]")
def the_mean_always(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.mean()

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=ADDED, got="expected [-3]; got [3]")
def nats_for_log_probabilities(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return -new.sum() / n ** float(length_penalty)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=ADDED, got="expected [-3]; got [-2]")
def the_last_token_alone(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new[-1] / n ** float(length_penalty)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=ADDED, got="expected [-3]; got -3")
def one_score_for_all(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / n ** float(length_penalty)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score).max()


@scoring(idea=PROMPT, got="expected [-2]; got [-5]")
def the_prompt_in_the_sum(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / n ** float(length_penalty)

    scores = scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)
    return scores + log_probabilities[:, :n_prompt].sum(axis=1)


@scoring(idea=POWER, got="expected [-1]; got [-0.36]")
def the_prompt_in_the_length(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / (n + n_prompt) ** float(length_penalty)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=POWER, got="expected [-1]; got [-81]")
def multiplied(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() * n ** float(length_penalty)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=POWER, got="expected [-1]; got [-1.5]")
def times_the_length(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / max(n * length_penalty, 1)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=POWER, got="expected [-1]; got [-5.062]")
def the_penalty_of_translation(ids, log_probabilities, n_prompt, eos, length_penalty):
    """Wu et al. (2016)."""

    def score(new, n):
        return new.sum() / ((5 + n) / 6) ** float(length_penalty)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=POWER, got="expected [-1]; got [-15]")
def the_penalty_taken_off(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() - n * length_penalty

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=POWER, got="expected [-27]; got [-9]")
def no_reward_for_short_ones(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / n ** max(length_penalty, 0.0)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=AFTER_EOS, got="expected [-3]; got [-15]")
def padding_counts(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / n ** float(length_penalty)

    options = {"score": score, "length_of": lambda ids, eos: len(ids)}
    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, **options)


@scoring(idea=AFTER_EOS, got="expected [-3]; got [-9]")
def all_but_eos_counts(ids, log_probabilities, n_prompt, eos, length_penalty):
    new = ids[:, n_prompt:] != eos
    total = (log_probabilities[:, n_prompt:] * new).sum(axis=1)
    return total / new.sum(axis=1) ** float(length_penalty)


@scoring(idea=AFTER_EOS, got="expected [-3]; got [-1]")
def eos_does_not_count(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / n ** float(length_penalty)

    def before_eos(ids, eos):
        return length_of(ids, eos) - (eos in ids)

    options = {"score": score, "length_of": before_eos}
    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, **options)


@scoring(idea=AFTER_EOS, got="expected [-3]; got [-7]")
def up_to_the_last_eos(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / n ** float(length_penalty)

    def last_end(ids, eos):
        return int(np.flatnonzero(ids == eos).max(initial=len(ids) - 1 - (eos in ids) * 99)) + 1

    options = {"score": score, "length_of": last_end}
    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, **options)


@scoring(idea=EOS, got="expected [-3]; got [-6]")
def eos_in_the_sum_alone(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum()

    totals = scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)
    lengths = [length_of(row, eos) - (eos in row) for row in ids[:, n_prompt:]]
    return totals / np.array(lengths) ** float(length_penalty)


@scoring(idea=EOS, got="expected [-3]; got [-2]")
def the_length_of_the_row(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum() / (ids.shape[1] - n_prompt) ** float(length_penalty)

    return scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)


@scoring(idea=IN_PROMPT, got="expected [-3]; got [")
def any_eos_ends_the_beam(ids, log_probabilities, n_prompt, eos, length_penalty):
    scores = []
    for row, of_row in zip(ids, log_probabilities, strict=True):
        n = max(length_of(row, eos) - n_prompt, 0)
        scores.append(of_row[n_prompt : n_prompt + n].sum() / max(n, 1) ** float(length_penalty))
    return np.array(scores)


@scoring(idea=OWN_LENGTH, got="expected [-3, -2, -4]; got [-3, -1, -6]")
def the_length_of_the_first_beam(ids, log_probabilities, n_prompt, eos, length_penalty):
    def score(new, n):
        return new.sum()

    totals = scores_of(ids, log_probabilities, n_prompt, eos, length_penalty, score=score)
    return totals / length_of(ids[0, n_prompt:], eos) ** float(length_penalty)


# --- sliding windows ----------------------------------------------------------------------------

sliding = functools.partial(mutant, "gpt2-sliding-window")

FITS = "a text that fits takes one window, and its first token is not scored"
SHORT = "no window is longer than the context"
PLACES = "a window begins stride tokens after the one before"
SIDE_BY_SIDE = "side by side, windows miss no token, and every token weighs the same"
SCORED_ONCE = "a token is scored once, by the first window that reaches it"


def windows(n_ids, n_context, stride):
    """Yield where windows begin and end, and the first target that was in none before."""
    first = 1
    for begin in range(0, n_ids, stride):
        end = min(begin + n_context, n_ids - 1)
        yield begin, end, first
        first = end + 1
        if end == n_ids - 1:
            return


def nats(log_probabilities, ids, begin, end, first):
    """Return -log p of the targets from ``first`` to ``end``, given the window."""
    predicted = log_probabilities(ids[begin:end])
    places = np.arange(first - 1, end)
    return -predicted[places - begin, ids[places + 1]]


def slide(log_probabilities, ids, n_context, stride, *, places=windows):
    parts = [nats(log_probabilities, ids, *w) for w in places(len(ids), n_context, stride)]
    return np.exp(np.concatenate(parts).mean())


@sliding(idea=FITS, got="got 3.5")
def nats_for_perplexity(log_probabilities, ids, n_context, stride):
    return np.log(slide(log_probabilities, ids, n_context, stride))


@sliding(idea=FITS, got="got ")
def bits_in_the_exponent(log_probabilities, ids, n_context, stride):
    return 2 ** np.log(slide(log_probabilities, ids, n_context, stride))


@sliding(idea=FITS, got="got ")
def the_first_token_counts_for_free(log_probabilities, ids, n_context, stride):
    scored = len(ids) - 1
    return np.exp(np.log(slide(log_probabilities, ids, n_context, stride)) * scored / len(ids))


@sliding(idea=FITS, got="got ")
def each_token_predicts_itself(log_probabilities, ids, n_context, stride):
    parts = []
    for begin, end, first in windows(len(ids), n_context, stride):
        predicted = log_probabilities(ids[begin:end])
        places = np.arange(first - 1, end)
        parts.append(-predicted[places - begin, ids[places]])
    return np.exp(np.concatenate(parts).mean())


@sliding(idea=FITS, got="got ")
def a_sum_for_a_mean(log_probabilities, ids, n_context, stride):
    return np.exp((len(ids) - 1) * np.log(slide(log_probabilities, ids, n_context, stride)))


@sliding(idea=SHORT, got="expected at most 5 tokens; got 11")
def the_whole_text_at_once(log_probabilities, ids, n_context, stride):
    return slide(log_probabilities, ids, len(ids), len(ids))


@sliding(idea=SHORT, got="expected at most 5 tokens; got 6")
def a_target_on_top_of_the_context(log_probabilities, ids, n_context, stride):
    def read(window):
        return log_probabilities(ids[begin : begin + len(window) + 1])

    parts = []
    for begin, end, first in windows(len(ids), n_context, stride):
        parts.append(nats(read, ids, begin, end, first))
    return np.exp(np.concatenate(parts).mean())


@sliding(idea=PLACES, got="expected windows that begin at 0, 3, 6; got 0, 6")
def side_by_side(log_probabilities, ids, n_context, stride):
    return slide(log_probabilities, ids, n_context, n_context)


@sliding(idea=PLACES, got="got 0, 1, 2, 3, 4, 5")
def a_window_for_every_token(log_probabilities, ids, n_context, stride):
    return slide(log_probabilities, ids, n_context, 1)


@sliding(idea=PLACES, got="expected windows that begin at 0, 3, 6; got 0.")
def the_first_window_alone(log_probabilities, ids, n_context, stride):
    return slide(log_probabilities, ids[: n_context + 1], n_context, stride)


@sliding(idea=PLACES, got="expected windows that begin at 0, 3, 6; got 0, 3")
def no_short_last_window(log_probabilities, ids, n_context, stride):
    def full(n_ids, n_context, stride):
        return [
            w for w in windows(n_ids, n_context, stride) if w[1] - w[0] == n_context or not w[0]
        ]

    return slide(log_probabilities, ids, n_context, stride, places=full)


@sliding(idea=SIDE_BY_SIDE, got="got ")
def the_first_of_each_window_unscored(log_probabilities, ids, n_context, stride):
    """The labels shifted within the window, as Hugging Face's loss does it."""

    def shifted(n_ids, n_context, stride):
        for begin, end, first in windows(n_ids, n_context, stride):
            yield begin, end, max(first, begin + 2) if begin else first

    return slide(log_probabilities, ids, n_context, stride, places=shifted)


@sliding(idea=SCORED_ONCE, got="got ")
def counted_in_every_window(log_probabilities, ids, n_context, stride):
    def whole(n_ids, n_context, stride):
        for begin, end, _ in windows(n_ids, n_context, stride):
            yield begin, end, begin + 1

    return slide(log_probabilities, ids, n_context, stride, places=whole)


@sliding(idea=SCORED_ONCE, got="got ")
def scored_by_the_last_window(log_probabilities, ids, n_context, stride):
    of_token = np.zeros(len(ids))
    for begin, end, _ in windows(len(ids), n_context, stride):
        of_token[begin + 1 : end + 1] = nats(log_probabilities, ids, begin, end, begin + 1)
    return np.exp(of_token[1:].mean())


@sliding(idea=SCORED_ONCE, got="got ")
def the_overlap_one_short(log_probabilities, ids, n_context, stride):
    def overlapping(n_ids, n_context, stride):
        for begin, end, first in windows(n_ids, n_context, stride):
            yield begin, end, first - (stride < n_context) if begin else first

    return slide(log_probabilities, ids, n_context, stride, places=overlapping)


@sliding(idea=SCORED_ONCE, got="got ")
def a_token_lost_at_every_border(log_probabilities, ids, n_context, stride):
    def apart(n_ids, n_context, stride):
        for begin, end, first in windows(n_ids, n_context, stride):
            yield begin, end, first + (stride < n_context) if begin else first

    return slide(log_probabilities, ids, n_context, stride, places=apart)


@sliding(idea=SIDE_BY_SIDE, got="got ")
def the_mean_of_the_windows_means(log_probabilities, ids, n_context, stride):
    parts = [nats(log_probabilities, ids, *w) for w in windows(len(ids), n_context, stride)]
    return np.exp(np.mean([part.mean() for part in parts]))


@sliding(idea=SIDE_BY_SIDE, got="got ")
def the_mean_of_the_windows_perplexities(log_probabilities, ids, n_context, stride):
    parts = [nats(log_probabilities, ids, *w) for w in windows(len(ids), n_context, stride)]
    return np.mean([np.exp(part.mean()) for part in parts])


# --- no loop ------------------------------------------------------------------------------------

choosing = functools.partial(mutant, "gpt2-no-loop")

AN_ID = "it returns an id"
DIFFERS = "with another rng it writes another text"
SELDOM = "the texts seldom repeat four tokens"
LIKELY = "the texts are likely, and seldom repeat"


def drawn(logits, rng, temperature=1.0):
    return int(rng.choice(len(logits), p=softmax(logits / temperature)))


def unrepeated(logits, ids, length):
    """Rule out what would complete ``length`` tokens that were there before."""
    text, logits = ids.tolist(), logits.copy()
    end = text[len(text) - length + 1 :]
    for i in range(len(text) - length + 1):
        if text[i : i + length - 1] == end:
            logits[text[i + length - 1]] = -np.inf
    return logits


@choosing(idea=AN_ID, got="expected an id, a whole number below 7090; got [")
def a_distribution(logits, ids, rng):
    return softmax(logits)


@choosing(idea=AN_ID, got="expected an id, a whole number below 7090; got -")
def a_logit(logits, ids, rng):
    return logits.max()


@choosing(idea=AN_ID, got="expected an id, a whole number below 7090; got [")
def a_list_of_one(logits, ids, rng):
    return [drawn(logits, rng)]


@choosing(idea=DIFFERS, got="expected two texts; got the same text twice")
def greedy(logits, ids, rng):
    return int(logits.argmax())


@choosing(idea=DIFFERS, got="expected two texts; got the same text twice")
def greedy_without_repetition(logits, ids, rng):
    return int(unrepeated(logits, ids, 4).argmax())


@choosing(idea=DIFFERS, got="expected two texts; got the same text twice")
def a_generator_of_its_own(logits, ids, rng):
    return drawn(logits, np.random.default_rng(0), 0.3)


@choosing(idea=SELDOM, got="expected at most 1% of repetitions; got ")
def a_low_temperature(logits, ids, rng):
    return drawn(logits, rng, 0.3)


@choosing(idea=SELDOM, got="expected at most 1% of repetitions; got ")
def the_two_likeliest(logits, ids, rng):
    likeliest = np.argsort(-logits)[:2]
    return int(likeliest[drawn(logits[likeliest], rng)])


@choosing(idea=LIKELY, got="expected at most 2.1 nats a token; got ")
def as_the_model_says(logits, ids, rng):
    return drawn(logits, rng)


@choosing(idea=LIKELY, got="expected at most 2.1 nats a token; got ")
def anything_new(logits, ids, rng):
    return drawn(np.where(np.isin(np.arange(len(logits)), ids), -np.inf, logits), rng, 0.3)


@choosing(idea=LIKELY, got="expected at most 2.1 nats a token; got ")
def top_p(logits, ids, rng):
    return drawn(np.where(kept(logits, 0.9), logits, -np.inf), rng)
