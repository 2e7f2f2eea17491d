"""Optimizers: rules that turn gradients into better parameters.

Each keeps its state (velocity, moments) by parameter name and updates arrays in place::

    optimizer = Adam(learning_rate=1e-3)
    for step in range(1000):
        loss, gradients = loss_and_gradients(parameters)
        optimizer.learning_rate = schedule(step)
        optimizer.step(parameters, gradients)

The numbers are those of ``torch.optim`` with the same settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Float

from lmcourse._arguments import finite_array, gradients_for, integer, number, writable_arrays

Arrays = dict[str, Float[np.ndarray, "*_"]]


class _Optimizer:
    """Checks and loops over the parameters; a subclass says how one of them moves."""

    def __init__(self, learning_rate: float):
        self.learning_rate = learning_rate
        self._kinds: dict[str, str] = {}

    @property
    def learning_rate(self) -> float:
        """The step size, above 0. Set it between steps to follow a schedule."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = number("learning_rate", value, above=0)

    def step(self, parameters: Arrays, gradients: Arrays) -> None:
        """Move every parameter, in place, by one step. Nothing moves if any argument is wrong.

        Args:
            parameters: float32 or float64 arrays by name; each keeps its type.
            gradients: the loss's gradient for each of the same names, of the same shape.

        Raises:
            TypeError: a parameter is not an array of float32 or float64.
            ValueError: a gradient is missing, belongs to no parameter, has the wrong shape, or
                holds NaN or infinity; a parameter is read-only, or had another shape or type in
                an earlier step.
        """
        writable_arrays("parameters", parameters)
        gradients = gradients_for(parameters, gradients)
        for name, parameter in parameters.items():
            kind = f"{parameter.dtype} {parameter.shape}"
            if self._kinds.get(name, kind) != kind:
                raise ValueError(
                    f"parameters[{name!r}] must stay {self._kinds[name]}, got {kind}; "
                    "another model needs an optimizer of its own"
                )
        for name, parameter in parameters.items():
            self._kinds[name] = f"{parameter.dtype} {parameter.shape}"
            self._move(name, parameter, gradients[name])

    def _move(self, name: str, parameter: np.ndarray, gradient: np.ndarray) -> None:
        raise NotImplementedError


class SGD(_Optimizer):
    """Stochastic gradient descent, with momentum if asked for.

    A step subtracts ``learning_rate * gradient``. With momentum the velocity
    ``v = momentum * v + gradient``, which starts at 0, takes the gradient's place; in Nesterov's
    variant ``gradient + momentum * v`` does, which looks one step ahead.

    Equations: eq-language-models-sgd, eq-language-models-momentum

    Sources: Polyak 1964 (momentum); Sutskever et al. 2013 (Nesterov's variant).

    Args:
        learning_rate: step size, above 0; an attribute that may be set between steps.
        momentum: the share of the velocity that survives a step, in [0, 1).
        nesterov: whether to use Nesterov's variant; needs ``momentum`` above 0.
        weight_decay: adds ``weight_decay * parameter`` to the gradient (an L2 penalty); at least 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ):
        super().__init__(learning_rate)
        self.momentum = number("momentum", momentum, at_least=0, below=1)
        self.nesterov = nesterov
        self.weight_decay = number("weight_decay", weight_decay, at_least=0)
        if nesterov and momentum == 0:
            raise ValueError("nesterov needs a momentum above 0, got momentum 0")
        self._velocity: Arrays = {}

    def _move(self, name: str, parameter: np.ndarray, gradient: np.ndarray) -> None:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        if self.momentum:
            velocity = self._velocity.setdefault(name, np.zeros_like(parameter))
            velocity *= self.momentum
            velocity += gradient
            gradient = gradient + self.momentum * velocity if self.nesterov else velocity
        parameter -= self.learning_rate * gradient


class Adam(_Optimizer):
    """Adam: each entry's step is scaled by the running size of its gradient.

    ``m`` and ``v`` are running means of the gradient and of its square. Both start at 0; dividing
    by ``1 - beta ** t`` after ``t`` steps makes up for it.

    Equation: eq-language-models-adam

    Source: Kingma and Ba 2015.

    Args:
        learning_rate: step size, above 0; an attribute that may be set between steps.
        betas: what survives of ``m`` and of ``v`` in each step, both in [0, 1).
        epsilon: added to the root of ``v``, above 0.
        weight_decay: adds ``weight_decay * parameter`` to the gradient (an L2 penalty); at least 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(learning_rate)
        if np.shape(betas) != (2,):
            raise ValueError(f"betas must be two numbers, got {betas!r}")
        self.betas = tuple(
            number(f"betas[{i}]", beta, at_least=0, below=1) for i, beta in enumerate(betas)
        )
        self.epsilon = number("epsilon", epsilon, above=0)
        self.weight_decay = number("weight_decay", weight_decay, at_least=0)
        self._steps: dict[str, int] = {}
        self._mean: Arrays = {}
        self._mean_square: Arrays = {}

    def _move(self, name: str, parameter: np.ndarray, gradient: np.ndarray) -> None:
        gradient = self._decay(parameter, gradient)
        beta1, beta2 = self.betas
        t = self._steps[name] = self._steps.get(name, 0) + 1
        m = self._mean.setdefault(name, np.zeros_like(parameter))
        v = self._mean_square.setdefault(name, np.zeros_like(parameter))
        m *= beta1
        m += (1 - beta1) * gradient
        v *= beta2
        v += (1 - beta2) * gradient**2
        corrected_m = m / (1 - beta1**t)
        corrected_v = v / (1 - beta2**t)
        parameter -= self.learning_rate * corrected_m / (np.sqrt(corrected_v) + self.epsilon)

    def _decay(self, parameter: np.ndarray, gradient: np.ndarray) -> np.ndarray | np.floating:
        """Return the gradient with the weight decay in it."""
        return gradient + self.weight_decay * parameter if self.weight_decay else gradient


class AdamW(Adam):
    """Adam with decoupled weight decay: the decay shrinks the parameter and bypasses the moments.

    Before each of Adam's steps the parameter is multiplied by ``1 - learning_rate * weight_decay``.

    Equation: eq-language-models-adam

    Source: Loshchilov and Hutter 2019.

    Args:
        learning_rate: as in :class:`Adam`.
        betas: as in :class:`Adam`.
        epsilon: as in :class:`Adam`.
        weight_decay: at least 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(learning_rate, betas=betas, epsilon=epsilon, weight_decay=weight_decay)

    def _decay(self, parameter: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Shrink the parameter instead, and return the gradient as it is."""
        parameter *= 1 - self.learning_rate * self.weight_decay
        return gradient


class AdaGrad(_Optimizer):
    """AdaGrad: each entry's step shrinks with the squares of all its gradients so far.

    The squares are summed, and a step subtracts ``learning_rate * gradient / root of the sum``. An
    entry that is seldom moved keeps a large step, which suits the vectors of rare words.

    Equation: eq-glove-adagrad

    Source: Duchi, Hazan and Singer 2011.

    Args:
        learning_rate: step size, above 0; an attribute that may be set between steps.
        initial_accumulator: what every sum of squares starts from, at least 0. GloVe starts from 1.
        epsilon: added to the root of the sum, above 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, learning_rate: float, *, initial_accumulator: float = 0.0, epsilon: float = 1e-10
    ):
        super().__init__(learning_rate)
        self.initial_accumulator = number("initial_accumulator", initial_accumulator, at_least=0)
        self.epsilon = number("epsilon", epsilon, above=0)
        self._squares: Arrays = {}

    def _move(self, name: str, parameter: np.ndarray, gradient: np.ndarray) -> None:
        start = np.full_like(parameter, self.initial_accumulator)
        squares = self._squares.setdefault(name, start)
        squares += gradient**2
        parameter -= self.learning_rate * gradient / (np.sqrt(squares) + self.epsilon)


@contextmanager
def linear_decay(optimizer, steps: int) -> Iterator[Iterator[int]]:
    """Count steps while the learning rate falls linearly, from the optimizer's own to zero.

    However the block ends, the optimizer has its own rate again after it::

        with linear_decay(optimizer, 1000) as counting:
            for step in counting:
                ...

    Args:
        optimizer: one of this module, or anything with a ``learning_rate``.
        steps: how many, at least 1. The rate of step t is its ``1 - t / steps`` share.

    Returns:
        A context that gives the numbers from 0 to ``steps - 1``.

    Raises:
        TypeError: ``steps`` is not an integer.
        ValueError: ``steps`` is below 1.
    """
    steps, peak = integer("steps", steps, at_least=1), optimizer.learning_rate

    def count() -> Iterator[int]:
        for step in range(steps):
            optimizer.learning_rate = peak * (1 - step / steps)
            yield step

    try:
        yield count()
    finally:
        optimizer.learning_rate = peak


def clip_by_global_norm(gradients: Arrays, max_norm: float) -> float:
    """Scale all gradients down together, in place, if their global norm is above ``max_norm``.

    The global norm is that of the vector in which all gradients stand end to end. All are
    multiplied by the same number, so the direction of the step stays as it is.

    Equation: eq-rnn-clip

    Source: Pascanu, Mikolov and Bengio 2013.

    Args:
        gradients: arrays by name, as ``step`` takes them.
        max_norm: the largest norm that is left alone, above 0.

    Returns:
        The global norm before clipping.

    Raises:
        TypeError: a gradient is not an array of float32 or float64, or ``max_norm`` not a number.
        ValueError: a gradient is read-only or holds NaN or infinity, or ``max_norm`` is not above
            0.
    """
    max_norm = number("max_norm", max_norm, above=0)
    writable_arrays("gradients", gradients)
    arrays = [
        finite_array(f"gradients[{name!r}]", gradient).astype(np.float64)
        for name, gradient in gradients.items()
        if gradient.size
    ]
    # Everything is divided by the largest entry first: the square of a large one would overflow.
    largest = max((float(np.abs(array).max()) for array in arrays), default=0.0)
    if largest == 0:
        return 0.0
    norm = largest * math.sqrt(sum(float(np.sum((array / largest) ** 2)) for array in arrays))
    if norm > max_norm:
        for gradient in gradients.values():
            gradient *= max_norm / norm
    return norm
