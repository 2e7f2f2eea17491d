"""Writing with GPT-2: `generate` has every way of decoding; `stream` gives a text as it comes.

A text that outgrows the model's context goes on: its beginning is dropped, half a context at a
time, and the model reads the rest anew (`window_begin`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64

from lmcourse import _arguments
from lmcourse.gpt2.config import GPT2Config
from lmcourse.gpt2.model import GPT2
from lmcourse.gpt2.sampling import (
    beam_score,
    contrastive_scores,
    draw,
    next_token_distribution,
    penalize_repetition,
)
from lmcourse.gpt2.tokenizer import END_OF_TEXT
from lmcourse.probability import log_softmax, softmax

Ids = Int[np.ndarray, " _"] | Int[torch.Tensor, " _"] | Sequence[int]
Batch = Int[np.ndarray, "_ _"] | Int[torch.Tensor, "_ _"] | Sequence[str] | Sequence[Ids]


class Generation(NamedTuple):
    """What was written after a prompt.

    Attributes:
        ids: the new tokens, those that ended the text included.
        text: what they say, without an end token, and up to a stop sequence; ``None`` without a
            tokenizer.
        finished: ``"end"`` if the end token came, ``"stop"`` if something of ``stop`` did,
            ``"length"`` if ``max_new_tokens`` were written.
        scores: log-probability of each new token under the model, in nats, before temperature,
            penalties and filters; ``None`` unless asked for.
    """

    ids: Int64[np.ndarray, " new"]
    text: str | None
    finished: str
    scores: Float64[np.ndarray, " new"] | None


def generate(
    model: Any,
    prompt: str | Ids | Batch,
    *,
    tokenizer: Any = None,
    max_new_tokens: int = 50,
    greedy: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    repetition_penalty: float = 1.0,
    num_beams: int = 1,
    length_penalty: float = 1.0,
    early_stopping: bool = False,
    penalty_alpha: float | None = None,
    stop: str | int | Sequence[str | int] = (),
    seed: int | Sequence[int] | None = None,
    return_scores: bool = False,
    on_token: Callable[[int, int], object] | None = None,
    use_cache: bool = True,
) -> Generation | list[Generation]:
    """Continue a text, or several at once.

    There are four methods, and each takes its own options:

    - *sampling*, the default, draws each token from what ``temperature``, ``top_k``, ``top_p``,
      ``min_p`` and ``typical_p`` make of the model's distribution;
    - *greedy* search (``greedy=True``) takes the likeliest token each time;
    - *beam* search (``num_beams`` above 1) keeps the likeliest ``num_beams`` texts and returns the
      one with the best `lmcourse.gpt2.sampling.beam_score`;
    - *contrastive* search (``penalty_alpha`` with ``top_k``) takes, among the ``top_k`` likeliest
      tokens, the one with the best `lmcourse.gpt2.sampling.contrastive_scores`.

    ``repetition_penalty`` goes with all of them. Given the same weights, and for sampling the same
    uniform numbers, the first three write what Hugging Face's ``generate`` writes.

    Several prompts are padded to the left and read side by side, and each ends on its own; beam and
    contrastive search, which read several continuations of a text side by side, take one prompt
    after another. Whatever else is in the batch, a text comes out the same: row ``i`` draws its
    random numbers from child ``i`` of ``numpy.random.SeedSequence(seed)``.

    Equations: eq-gpt2-beam, eq-gpt2-contrastive

    Sources: Su et al. (2022), contrastive search; the others as in `lmcourse.gpt2.sampling`.

    Args:
        model: a `GPT2`, or a `Decoder` of one, which takes one prompt and the first two methods.
        prompt: a text, which needs a ``tokenizer``, or token ids; or a list of either. In a text
            ``<|endoftext|>`` is the one special token.
        tokenizer: a `GPT2Tokenizer`. Its end token ends a text.
        max_new_tokens: how many tokens to write at most. The prompt does not count.
        greedy: take the likeliest token each time.
        temperature: above 0; less than 1 makes likely tokens likelier.
        top_k: sample among so many of the likeliest tokens.
        top_p: in (0, 1]; sample among the likeliest tokens that hold this much probability.
        min_p: in [0, 1]; sample among tokens at least this probable relative to the likeliest.
        typical_p: in (0, 1]; sample among the tokens whose surprise is nearest to the entropy.
        repetition_penalty: above 1 makes tokens that the text holds already less likely.
        num_beams: how many texts beam search keeps.
        length_penalty: more favours longer texts in beam search.
        early_stopping: end beam search once ``num_beams`` texts have ended, rather than when those
            that go on cannot become better than the worst of them.
        penalty_alpha: in [0, 1], the weight of unlikeness in contrastive search.
        stop: texts, before the first of which the result is cut, or token ids that end it.
        seed: of sampling; ``None`` gives other texts each time. A list gives each row its own: row
            ``i`` is then what ``seed[i]`` gives the prompt alone.
        return_scores: fill ``scores`` of the result.
        on_token: called after each step as ``on_token(n_new, max_new_tokens)``.
        use_cache: False reads the whole text again for every token; the result is the same.

    Returns:
        A `Generation`; a list of them for a list of prompts.

    Raises:
        TypeError: an argument is of the wrong type, or a text is given without a tokenizer.
        ValueError: a prompt is empty, holds an unknown id or is longer than the model's context; a
            number is out of range; ``stop`` holds an unknown id or an empty text; or an option is
            set that the method does not have.
    """
    texts, is_batch = _texts(
        model,
        prompt,
        tokenizer,
        max_new_tokens=max_new_tokens,
        stop=stop,
        seed=seed,
        scored=return_scores,
    )
    steps = _method(
        greedy=greedy,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        repetition_penalty=repetition_penalty,
        num_beams=num_beams,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        penalty_alpha=penalty_alpha,
    )
    for n_new in steps(model, texts, use_cache):
        if on_token is not None:
            on_token(n_new, max_new_tokens)
    results = [text.result() for text in texts]
    return results if is_batch else results[0]


def stream(
    model: Any,
    prompt: str | Ids,
    *,
    tokenizer: Any = None,
    max_new_tokens: int = 50,
    greedy: bool = False,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    repetition_penalty: float = 1.0,
    penalty_alpha: float | None = None,
    stop: str | int | Sequence[str | int] = (),
    seed: int | None = None,
    use_cache: bool = True,
) -> Iterator[str] | Iterator[int]:
    """Continue a text and give each piece as soon as it is certain.

    The pieces joined are the ``text`` that `generate` returns. None is half a character, and what
    may be the beginning of a stop sequence waits until it is known not to be one. Beam search is
    not offered: it knows its text only at the end.

    >>> for piece in stream(model, "It was", tokenizer=tokenizer):  # doctest: +SKIP
    ...     print(piece, end="", flush=True)

    Args:
        model: as in `generate`, and so the others.
        prompt: one text or the ids of one.
        tokenizer: without one, the ids of the tokens are given.
        max_new_tokens, stop, seed, use_cache: as in `generate`.
        greedy, temperature, top_k, top_p, min_p, typical_p: as in `generate`.
        repetition_penalty, penalty_alpha: as in `generate`.

    Returns:
        An iterator over pieces of text, none of them empty; over token ids without a tokenizer.

    Raises:
        TypeError: as `generate`.
        ValueError: as `generate`, or there are several prompts.
    """
    texts, is_batch = _texts(
        model, prompt, tokenizer, max_new_tokens=max_new_tokens, stop=stop, seed=seed
    )
    if is_batch:
        raise ValueError(f"prompt must be one text to stream it, got {len(texts)}")
    steps = _method(
        greedy=greedy,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        repetition_penalty=repetition_penalty,
        penalty_alpha=penalty_alpha,
    )
    return _pieces(texts[0], steps(model, texts, use_cache))


def window_begin(n_tokens: int, n_positions: int) -> int:
    """Return where the part of a text begins that the model sees.

    A text of up to ``n_positions`` tokens is seen whole. Beyond that its beginning is dropped in
    steps of half a context, so that a cache serves for as many tokens before all is read anew; the
    model sees at least the last half. The window depends on the text alone, so that a text comes
    out the same with and without a cache, alone and in a batch.

    Args:
        n_tokens: length of the text.
        n_positions: the model's context.

    Returns:
        The index of the first token that is seen.
    """
    stride = max(1, n_positions // 2)
    return -(-max(0, n_tokens - n_positions) // stride) * stride


class _Endings(NamedTuple):
    """What ends a text."""

    max_new_tokens: int
    end_id: int | None
    stop_ids: frozenset[int]  # the end token's among them
    stop_texts: tuple[str, ...]


class _Text:
    """A prompt and what has been written after it, until something ends it."""

    def __init__(
        self,
        prompt: list[int],
        endings: _Endings,
        *,
        tokenizer: Any,
        rng: np.random.Generator,
        scored: bool,
    ):
        self.ids, self.prompt = list(prompt), prompt
        self.endings, self.tokenizer, self.rng = endings, tokenizer, rng
        self.scored, self.scores = scored, []
        self.written = ""
        self.finished = None if endings.max_new_tokens else "length"
        self._decoder = None if tokenizer is None else tokenizer.stream()

    @property
    def n_new(self) -> int:
        return len(self.ids) - len(self.prompt)

    def push(self, token: int, score: float | None = None) -> None:
        """Write a token and see whether it ends the text."""
        self.ids.append(token)
        self.scores.append(score)
        if token in self.endings.stop_ids:
            self.finished = "end" if token == self.endings.end_id else "stop"
        elif self._decoder is not None and self._write(self._decoder.push(token)):
            self.finished = "stop"
            return
        elif self.n_new == self.endings.max_new_tokens:
            self.finished = "length"
        if self.finished and self._decoder is not None:
            self.written += self._decoder.flush()

    def ends_with(self, new: list[int]) -> bool:
        """Tell whether the text would end if these were its new tokens."""
        if new[-1] in self.endings.stop_ids or len(new) == self.endings.max_new_tokens:
            return True
        stops = self.endings.stop_texts
        return bool(stops) and any(map(self.tokenizer.decode(new).count, stops))

    @property
    def n_certain(self) -> int:
        """How many characters of what is written cannot be the beginning of a stop sequence."""
        stops = () if self.finished else self.endings.stop_texts
        beginnings = (stop[:length] for stop in stops for length in range(1, len(stop)))
        held_back = (len(start) for start in beginnings if self.written.endswith(start))
        return len(self.written) - max(held_back, default=0)

    def result(self) -> Generation:
        return Generation(
            ids=np.array(self.ids[len(self.prompt) :], dtype=np.int64),
            text=None if self.tokenizer is None else self.written,
            finished=self.finished,
            scores=np.array(self.scores, dtype=np.float64) if self.scored else None,
        )

    def _write(self, piece: str) -> bool:
        """Add a piece; if that completes a stop sequence, cut the text there and return True."""
        stops = self.endings.stop_texts
        begin = max(0, len(self.written) - max(map(len, stops), default=0))
        self.written += piece
        cuts = [cut for stop in stops if (cut := self.written.find(stop, begin)) >= 0]
        if cuts:
            self.written = self.written[: min(cuts)]
        return bool(cuts)


class _Reader:
    """Has a model read texts side by side, padded to the left, and keeps what can be reused."""

    def __init__(self, model, texts: list[_Text], *, use_cache: bool, keep_hidden: bool = False):
        self.model, self.texts = model, [list(text.ids) for text in texts]
        self.room = texts[0].endings.max_new_tokens
        self.use_cache, self.keep_hidden = use_cache, keep_hidden
        self.cache = None
        self.padding: list[int] = []  # how many columns stand to the left of each text
        self.hidden: torch.Tensor | None = None  # (texts, window, n_embd), if kept

    def read(self) -> Float[np.ndarray, "texts vocab"]:
        """Return the scores of each text's next token; at most one has come since the last call."""
        n_positions = self.model.config.n_positions
        if self.cache is not None and self.cache.length < n_positions:  # no window has moved
            return self._forward([text[-1:] for text in self.texts], self.cache.length + 1)
        windows = [text[window_begin(len(text), n_positions) :] for text in self.texts]
        width = max(map(len, windows))
        self.padding = [width - len(window) for window in windows]
        self.hidden = None
        if self.use_cache:
            room = min(n_positions, width + self.room)
            self.cache = self.model.new_cache(len(windows), room)
        padded = [[0] * (width - len(window)) + window for window in windows]
        return self._forward(padded, width)

    def append(self, tokens: Iterable[int]) -> None:
        """Add a token to each text, to be read next."""
        for text, token in zip(self.texts, tokens, strict=True):
            text.append(token)

    def select(self, rows: Sequence[int]) -> None:
        """Keep the texts of these rows, in this order; a row may come several times."""
        if list(rows) == list(range(len(self.texts))):
            return
        self.texts = [list(self.texts[row]) for row in rows]
        self.padding = [self.padding[row] for row in rows]
        if self.cache is not None:
            self.cache.select(rows)
        if self.hidden is not None:
            self.hidden = self.hidden[list(rows)]

    def _forward(self, ids: list[list[int]], width: int) -> Float[np.ndarray, "texts vocab"]:
        device, options = self.model.device, {}
        if any(self.padding):
            padding = torch.tensor(self.padding, device=device)[:, None]
            options["mask"] = torch.arange(width, device=device) >= padding  # (texts, width)
        ids = torch.tensor(ids, device=device)
        with torch.inference_mode(), _evaluating(self.model), self._keeping_hidden():
            logits = self.model(ids, self.cache, last_only=True, **options)
        return _to_numpy(logits[:, -1])

    @contextmanager
    def _keeping_hidden(self) -> Iterator[None]:
        """Keep what the last layer normalisation would make of each position that is read."""
        if not self.keep_hidden:
            yield
            return
        last = []
        hook = self.model.h[-1].register_forward_hook(lambda block, x, out: last.append(out))
        try:
            yield
        finally:
            hook.remove()
        new = self.model.ln_f(last[0])
        self.hidden = new if self.hidden is None else torch.cat([self.hidden, new], dim=1)


# A method writes the texts and yields, after each step, how many new tokens there are.
_Method = Callable[[Any, list[_Text], bool], Iterator[int]]

_OPTIONS = {  # of each method; repetition_penalty goes with all of them
    "sampling": ("temperature", "top_k", "top_p", "min_p", "typical_p"),
    "greedy search": (),
    "beam search": ("length_penalty", "early_stopping"),
    "contrastive search": ("top_k",),
}
_NEUTRAL = {"temperature": 1, "length_penalty": 1, "early_stopping": False}


def _method(
    *,
    greedy: bool,
    penalty_alpha: float | None,
    repetition_penalty: float,
    num_beams: int = 1,
    **options: Any,
) -> _Method:
    """Check the options and return the method that they ask for."""
    penalty = _arguments.number("repetition_penalty", repetition_penalty, above=0)
    num_beams = _arguments.integer("num_beams", num_beams, at_least=1)
    asked = {
        "greedy search": greedy,
        "beam search": num_beams > 1,
        "contrastive search": penalty_alpha is not None,
    }
    methods = [name for name, wanted in asked.items() if wanted] or ["sampling"]
    if len(methods) > 1:
        raise ValueError(
            "give one of greedy, num_beams and penalty_alpha, each of which asks for a method, "
            f"got {' and '.join(methods)}"
        )
    (method,) = methods
    if options["temperature"] == 0:
        raise ValueError(
            "temperature must be above 0, got 0; for the likeliest token each time say greedy=True"
        )
    for name, value in options.items():
        if value != _NEUTRAL.get(name) and name not in _OPTIONS[method]:
            raise ValueError(f"{name} has no effect in {method}, got {name}={value!r}")
    options = {name: options[name] for name in _OPTIONS[method] if name in options}
    match method:
        case "greedy search":
            return _token_by_token(
                lambda logits, text: _penalized(logits, text.ids, penalty).argmax()
            )
        case "beam search":
            return _beam_search(penalty, num_beams, **options)
        case "contrastive search":
            return _contrastive_search(penalty, penalty_alpha, **options)
        case _:
            return _sampling(penalty, **options)


def _sampling(penalty: float, **filters: Any) -> _Method:
    # Tried on one token, so that bad numbers are found before the model reads anything.
    next_token_distribution(np.zeros(1), **filters)

    def choose(logits, text):
        p = next_token_distribution(logits, text.ids, repetition_penalty=penalty, **filters)
        return draw(p, text.rng.random())

    return _token_by_token(choose)


def _token_by_token(choose: Callable[[np.ndarray, _Text], Any]) -> _Method:
    """Return the method that writes texts side by side; ``choose`` turns scores into a token."""

    def steps(model, texts, use_cache):
        live = [text for text in texts if not text.finished]
        if not live:
            return
        reader = _Reader(model, live, use_cache=use_cache)
        while live:
            for logits, text in zip(reader.read(), live, strict=True):
                _push(text, int(choose(logits, text)), logits)
            yield live[0].n_new
            reader.append(text.ids[-1] for text in live)
            rows = [row for row, text in enumerate(live) if not text.finished]
            live = [live[row] for row in rows]
            if live:
                reader.select(rows)

    return steps


def _beam_search(
    penalty: float, num_beams: int, *, length_penalty: float, early_stopping: bool
) -> _Method:
    beam_score(0.0, 1, length_penalty=length_penalty)  # finds a bad number at once
    if not isinstance(early_stopping, bool):
        raise TypeError(f"early_stopping must be True or False, got {early_stopping!r}")

    def score(beam):
        return beam_score(beam.total, len(beam.ids), length_penalty=length_penalty)

    def search(model, text, use_cache):
        """Yield the number of new tokens after each step and return the best beam."""
        reader = _Reader(model, [text], use_cache=use_cache)
        beams, finished = [_Beam([], [], 0.0)], []
        # Enough for num_beams to go on even where every stop token is among the likeliest.
        n_candidates = max(2, 1 + len(text.endings.stop_ids)) * num_beams
        while True:
            logits = reader.read().astype(np.float64)
            sources, candidates = _continuations(logits, beams, text.prompt, penalty, n_candidates)
            yield len(candidates[0].ids)
            ends = [text.ends_with(beam.ids) for beam in candidates]
            # Candidates after the first num_beams are there to go on; they cannot end.
            finished += [candidates[i] for i in np.flatnonzero(ends[:num_beams])]
            finished = sorted(finished, key=score, reverse=True)[:num_beams]
            going_on = [i for i, end in enumerate(ends) if not end][:num_beams]
            beams = [candidates[i] for i in going_on]
            if not beams:
                return finished[0]
            full = len(finished) == num_beams
            if full and (early_stopping or score(beams[0]) <= score(finished[-1])):
                return finished[0]
            reader.select([sources[i] for i in going_on])
            reader.append(beam.ids[-1] for beam in beams)

    def steps(model, texts, use_cache):
        for text in texts:
            if not text.finished:
                best = yield from search(model, text, use_cache)
                for token, log_probability in zip(best.ids, best.scores, strict=True):
                    text.push(token, log_probability)

    return steps


class _Beam(NamedTuple):
    """One of the texts that beam search keeps."""

    ids: list[int]  # the new tokens
    scores: list[float]  # their log-probabilities
    total: float  # the sum of those, under the repetition penalty


def _continuations(
    logits: np.ndarray, beams: list[_Beam], prompt: list[int], penalty: float, n: int
) -> tuple[list[int], list[_Beam]]:
    """Return the best ``n`` beams that are longer by a token, and the row that each comes from."""
    log_p = log_softmax(logits)  # (beams, vocab)
    totals = np.array(
        [
            beam.total + _penalized(row, prompt + beam.ids, penalty)
            for row, beam in zip(log_p, beams, strict=True)
        ]
    )
    best = [divmod(i, log_p.shape[1]) for i in _largest(totals.ravel(), n).tolist()]
    longer = [
        _Beam(
            [*beams[row].ids, token],
            [*beams[row].scores, float(log_p[row, token])],
            float(totals[row, token]),
        )
        for row, token in best
    ]
    return [row for row, _ in best], longer


def _contrastive_search(penalty: float, penalty_alpha: float, *, top_k: int | None) -> _Method:
    penalty_alpha = _arguments.number("penalty_alpha", penalty_alpha, at_least=0, at_most=1)
    if top_k is None:
        raise ValueError("top_k must be given with penalty_alpha: among how many tokens to choose")
    top_k = _arguments.integer("top_k", top_k, at_least=1)

    def write(model, text, use_cache):
        reader = _Reader(model, [text], use_cache=use_cache, keep_hidden=True)
        logits = reader.read()[0]
        while not text.finished:
            p = softmax(_penalized(logits, text.ids, penalty))
            candidates = _largest(p, top_k)
            reader.select([0] * len(candidates))
            reader.append(candidates.tolist())
            next_logits, hidden = reader.read(), _to_numpy(reader.hidden)
            scores = contrastive_scores(
                p[candidates], hidden[:, -1], hidden[0, :-1], penalty_alpha=penalty_alpha
            )
            best = int(scores.argmax())
            _push(text, int(candidates[best]), logits)
            yield text.n_new
            reader.select([best])
            logits = next_logits[best]

    def steps(model, texts, use_cache):
        if not isinstance(model, GPT2):
            raise TypeError(
                f"model must be a GPT2 for contrastive search, got {type(model).__name__}"
            )
        for text in texts:
            yield from write(model, text, use_cache)

    return steps


def _push(text: _Text, token: int, logits: np.ndarray) -> None:
    """Write a token that was chosen by these scores."""
    if text.scored:
        text.push(token, float(log_softmax(logits.astype(np.float64))[token]))
    else:
        text.push(token)


def _penalized(logits: np.ndarray, ids: list[int], penalty: float) -> np.ndarray:
    return logits if penalty == 1 else penalize_repetition(logits, ids, penalty)


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    """Return where the ``n`` largest values are, largest first; among equals the first is first."""
    n = min(n, len(values))
    unsorted = np.argpartition(-values, n - 1)[:n]
    return unsorted[np.lexsort((unsorted, -values[unsorted]))]


def _pieces(text: _Text, steps: Iterator[int]) -> Iterator[str] | Iterator[int]:
    n_given = 0
    for _ in steps:
        if text.tokenizer is None:
            yield text.ids[-1]
        elif (n_certain := text.n_certain) > n_given:
            yield text.written[n_given:n_certain]
            n_given = n_certain


def _texts(
    model: Any,
    prompt: Any,
    tokenizer: Any,
    *,
    max_new_tokens: int,
    stop: Any,
    seed: Any,
    scored: bool = False,
) -> tuple[list[_Text], bool]:
    """Check the prompts, and return them as texts, with whether they came as a list."""
    config = getattr(model, "config", None)
    if not isinstance(config, GPT2Config):
        raise TypeError(
            "model must be a GPT2, such as from_pretrained('lmcourse-small'), or a decoder of one, "
            f"got {type(model).__name__}"
        )
    if tokenizer is not None and tokenizer.vocab_size != config.vocab_size:
        raise ValueError(
            f"tokenizer must have the model's vocabulary of {config.vocab_size} tokens, "
            f"got one of {tokenizer.vocab_size}"
        )
    is_batch = _is_batch(prompt)
    named = {f"prompt[{i}]": p for i, p in enumerate(prompt)} if is_batch else {"prompt": prompt}
    prompts = [_prompt_ids(name, p, tokenizer, config) for name, p in named.items()]
    endings = _endings(stop, tokenizer, config.vocab_size, max_new_tokens)
    texts = [
        _Text(ids, endings, tokenizer=tokenizer, rng=rng, scored=scored)
        for ids, rng in zip(prompts, _generators(seed, len(prompts)), strict=True)
    ]
    return texts, is_batch


def _is_batch(prompt: Any) -> bool:
    if isinstance(prompt, (list, tuple)) and prompt:
        return not isinstance(prompt[0], Integral)
    return getattr(prompt, "ndim", 1) == 2


def _prompt_ids(name: str, prompt: Any, tokenizer: Any, config: GPT2Config) -> list[int]:
    if isinstance(prompt, str):
        if tokenizer is None:
            raise TypeError(f"{name} is a text, which needs a tokenizer; or give its token ids")
        prompt = tokenizer.encode(prompt, allowed_special="all")
    ids = _arguments.token_ids(name, prompt, config.vocab_size, ndim=1, allow_empty=True)
    if len(ids) == 0:
        raise ValueError(
            f"{name} must hold at least one token; to begin a text with nothing before it, give "
            f"{END_OF_TEXT!r} or its id"
        )
    if len(ids) > config.n_positions:
        raise ValueError(
            f"{name} must have at most n_positions = {config.n_positions} tokens, the model's "
            f"context, got {len(ids)}; give its last {config.n_positions}"
        )
    return ids.tolist()


def _endings(stop: Any, tokenizer: Any, vocab_size: int, max_new_tokens: int) -> _Endings:
    if isinstance(stop, (str, Integral)):
        stop = [stop]
    if not isinstance(stop, Iterable):
        raise TypeError(f"stop must hold texts or token ids, got {type(stop).__name__} {stop!r}")
    end_id = None if tokenizer is None else tokenizer.eos_token_id
    ids, texts = set() if end_id is None else {end_id}, []
    for item in stop:
        if isinstance(item, str):
            texts.append(_arguments.text("stop", item, allow_empty=False))
        else:
            ids.add(_arguments.integer("stop", item, at_least=0, at_most=vocab_size - 1))
    if texts and tokenizer is None:
        raise TypeError(f"stop holds the text {texts[0]!r}, which needs a tokenizer")
    limit = _arguments.integer("max_new_tokens", max_new_tokens, at_least=0)
    return _Endings(limit, end_id, frozenset(ids), tuple(texts))


def _generators(seed: Any, n: int) -> list[np.random.Generator]:
    """Return a source of random numbers for each text."""
    if isinstance(seed, (Sequence, np.ndarray)):
        if len(seed) != n:
            raise ValueError(f"seed must be a number or one for each prompt, {n}, got {len(seed)}")
        seeds = [_arguments.integer(f"seed[{i}]", s, at_least=0) for i, s in enumerate(seed)]
        children = [np.random.SeedSequence(s).spawn(1)[0] for s in seeds]
    else:
        seed = seed if seed is None else _arguments.integer("seed", seed, at_least=0)
        children = np.random.SeedSequence(seed).spawn(n)
    return [np.random.default_rng(child) for child in children]


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off for a while."""
    training = getattr(model, "training", False)
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _to_numpy(values: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values
    wide = values.double() if values.dtype == torch.float64 else values.float()
    return wide.cpu().numpy()
