"""Optimizers by Keras's names, with Keras's updates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam

from lmcourse import _arguments
from lmcourse.keras.registry import look_up


class Optimizer:
    """Changes weights by their gradients.

    A subclass names the tensors that it keeps for each weight in ``slots`` and says in ``_update``
    how one step changes the weights.

    Args:
        learning_rate: size of the steps; it can be changed at any time.
        weight_decay: share of each weight, times the learning rate, that a step takes off it.
        clipnorm: longest gradient that one weight may have; a longer one is shortened.
        clipvalue: largest entry that a gradient may have; larger ones are cut off.
        global_clipnorm: longest gradient that all weights together may have.

    Attributes:
        iterations: number of steps so far.
        weights: what it was built for.
        state: tensors that it keeps, ``state[slot][i]`` for the weight ``i``.

    Raises:
        TypeError: an argument is not a number.
        ValueError: one is out of range, or more than one way to clip is given.
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: float,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ):
        self.learning_rate = learning_rate
        self.weight_decay = _positive("weight_decay", weight_decay)
        self.clipnorm = _positive("clipnorm", clipnorm)
        self.clipvalue = _positive("clipvalue", clipvalue)
        self.global_clipnorm = _positive("global_clipnorm", global_clipnorm)
        if sum(clip is not None for clip in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                "only one of clipnorm, clipvalue and global_clipnorm may be given, got "
                f"clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}"
            )
        self.iterations = 0
        self.weights: list[Tensor] = []
        self.state: dict[str, list[Tensor]] = {}
        self.built = False

    @property
    def learning_rate(self) -> float:
        """Size of the steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        """Make the steps of size ``value``.

        Raises:
            TypeError: it is not a number.
            ValueError: it is not finite or below 0.
        """
        self._learning_rate = _arguments.number("learning_rate", value, at_least=0)

    @property
    def name(self) -> str:
        """Its class's name in small letters."""
        return type(self).__name__.lower()

    def build(self, weights: Sequence[Float[Tensor, "*_"]]) -> None:
        """Make the tensors to keep for each weight, once.

        Args:
            weights: those to train, of any shapes.

        Raises:
            ValueError: it was built for other weights.
        """
        if not self.built:
            self.weights = list(weights)
            self.state = {
                slot: [self._initial(slot, weight) for weight in weights] for slot in self.slots
            }
            self.built = True
            return
        known = {id(weight) for weight in self.weights}
        for weight in weights:
            if id(weight) not in known:
                raise ValueError(
                    f"the optimizer was built for other weights, without "
                    f"{getattr(weight, 'path', 'one of these')}: compile the model again, with a "
                    "new optimizer"
                )

    def _initial(self, slot: str, weight: Tensor) -> Tensor:
        """Return what a slot holds before the first step."""
        return torch.zeros_like(weight)

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights by the gradients in their ``grad``; a weight without one stays."""
        used = [i for i, weight in enumerate(self.weights) if weight.grad is not None]
        weights = [self.weights[i] for i in used]
        gradients = self._clipped([weight.grad for weight in weights])
        if self.weight_decay is not None:
            for weight in weights:
                weight.mul_(1 - self.weight_decay * self.learning_rate)
        self.iterations += 1
        if weights:
            self._update(
                weights,
                gradients,
                *([tensors[i] for i in used] for tensors in self.state.values()),
            )

    def _update(self, weights: list[Tensor], gradients: list[Tensor], *state: list[Tensor]) -> None:
        """Change the weights, and the tensors of each slot, in place."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it does: no _update()")

    def variables(self) -> list[Float[Tensor, "*_"]]:
        """Return every tensor that it keeps."""
        return [tensor for tensors in self.state.values() for tensor in tensors]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another optimizer like this one, ready for JSON."""
        names = ("learning_rate", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """Return an optimizer like the one whose ``get_config`` returned ``config``."""
        return cls(**config)

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        if self.clipvalue is not None:
            return [g.clip(-self.clipvalue, self.clipvalue) for g in gradients]
        if self.clipnorm is not None:
            return [g * (self.clipnorm / g.norm().clamp(min=self.clipnorm)) for g in gradients]
        if self.global_clipnorm is not None and gradients:
            norm = torch.stack([g.norm() for g in gradients]).norm()
            scale = self.global_clipnorm / norm.clamp(min=self.global_clipnorm)
            return [g * scale for g in gradients]
        return gradients


class SGD(Optimizer):
    """w ← w − η g; with momentum μ, v ← μ v − η g and w ← w + v.

    Args:
        learning_rate: η.
        momentum: μ, in [0, 1].
        nesterov: whether to step by μ v − η g with the new v instead.
        **options: those of `Optimizer`: ``weight_decay`` and the three ways to clip.

    Raises:
        TypeError: an argument is not a number.
        ValueError: one is out of range.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.momentum = _arguments.number("momentum", momentum, at_least=0, at_most=1)
        self.nesterov = bool(nesterov)
        if self.momentum:
            self.slots = ("momentum",)

    def _update(self, weights, gradients, velocities=None):
        """One step."""
        if velocities is None:
            torch._foreach_add_(weights, gradients, alpha=-self.learning_rate)
            return
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, gradients, alpha=-self.learning_rate)
        if self.nesterov:
            torch._foreach_add_(weights, gradients, alpha=-self.learning_rate)
            torch._foreach_add_(weights, velocities, alpha=self.momentum)
        else:
            torch._foreach_add_(weights, velocities)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another optimizer like this one, ready for JSON."""
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """m and v follow the gradient and its square; w ← w − η √(1 − β₂ᵗ)/(1 − β₁ᵗ) m/(√v + ε).

    Source: Kingma and Ba (2015), with ε where their section 2 has it, as in Keras. torch adds it
    to √(v/(1 − β₂ᵗ)) instead: its ε/√(1 − β₂ᵗ) is this one's ε.

    Args:
        learning_rate: η.
        beta_1: share of m that a step keeps.
        beta_2: share of v that a step keeps.
        epsilon: ε.
        amsgrad: whether to use the largest v so far.
        **options: those of `Optimizer`: ``weight_decay`` and the three ways to clip.

    Raises:
        TypeError: an argument is not a number.
        ValueError: one is out of range.
    """

    slots = ("momentum", "velocity")

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.beta_1 = _arguments.number("beta_1", beta_1, at_least=0, below=1)
        self.beta_2 = _arguments.number("beta_2", beta_2, at_least=0, below=1)
        self.epsilon = _arguments.number("epsilon", epsilon, at_least=0)
        self.amsgrad = bool(amsgrad)
        if self.amsgrad:
            self.slots = (*self.slots, "velocity_hat")

    def _update(self, weights, gradients, momentums, velocities, largest=()):
        """One step."""
        done = torch.full((len(weights),), self.iterations - 1.0, device=weights[0].device)
        adam(
            weights,
            gradients,
            momentums,
            velocities,
            list(largest),
            list(done.unbind()),  # which torch counts on by itself
            fused=True,
            amsgrad=self.amsgrad,
            beta1=self.beta_1,
            beta2=self.beta_2,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=self.epsilon / math.sqrt(1 - self.beta_2**self.iterations),
            maximize=False,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another optimizer like this one, ready for JSON."""
        names = ("beta_1", "beta_2", "epsilon", "amsgrad")
        return super().get_config() | {name: getattr(self, name) for name in names}


class AdamW(Adam):
    """`Adam` that takes a share of each weight off it in every step.

    Source: Loshchilov and Hutter (2019).

    Args:
        learning_rate: η.
        weight_decay: the share, times η.
        **options: of `Adam`.

    Raises:
        TypeError: an argument is not a number.
        ValueError: one is out of range.
    """

    def __init__(self, learning_rate: float = 0.001, weight_decay: float = 0.004, **options: Any):
        super().__init__(
            learning_rate,
            weight_decay=_arguments.number("weight_decay", weight_decay, at_least=0),
            **options,
        )


class RMSprop(Optimizer):
    """v follows the square of the gradient; w ← w − η g/√(v + ε).

    Source: Tieleman and Hinton (2012), lecture 6.5.

    Args:
        learning_rate: η.
        rho: share of v that a step keeps.
        momentum: share of the last step that is added to a step.
        epsilon: ε.
        centered: whether to take the square of the mean gradient off v.
        **options: those of `Optimizer`: ``weight_decay`` and the three ways to clip.

    Raises:
        TypeError: an argument is not a number.
        ValueError: one is out of range.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.rho = _arguments.number("rho", rho, at_least=0, below=1)
        self.momentum = _arguments.number("momentum", momentum, at_least=0, at_most=1)
        self.epsilon = _arguments.number("epsilon", epsilon, at_least=0)
        self.centered = bool(centered)
        self.slots = (
            "velocity",
            *["momentum"] * bool(self.momentum),
            *["average_gradient"] * self.centered,
        )

    def _update(self, weights, gradients, velocities, *others):
        """One step."""
        others = dict(zip(self.slots[1:], others, strict=True))
        torch._foreach_mul_(velocities, self.rho)
        torch._foreach_addcmul_(velocities, gradients, gradients, value=1 - self.rho)
        roots = torch._foreach_add(velocities, self.epsilon)
        if self.centered:
            averages = others["average_gradient"]
            torch._foreach_mul_(averages, self.rho)
            torch._foreach_add_(averages, gradients, alpha=1 - self.rho)
            torch._foreach_addcmul_(roots, averages, averages, value=-1)
        torch._foreach_sqrt_(roots)
        steps = torch._foreach_mul(gradients, self.learning_rate)
        torch._foreach_div_(steps, roots)
        if self.momentum:
            torch._foreach_mul_(others["momentum"], self.momentum)
            torch._foreach_add_(others["momentum"], steps)
            steps = others["momentum"]
        torch._foreach_add_(weights, steps, alpha=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another optimizer like this one, ready for JSON."""
        names = ("rho", "momentum", "epsilon", "centered")
        return super().get_config() | {name: getattr(self, name) for name in names}


class Adagrad(Optimizer):
    """a sums up the squares of the gradient; w ← w − η g/√(a + ε).

    Source: Duchi et al. (2011).

    Args:
        learning_rate: η.
        initial_accumulator_value: a before the first step.
        epsilon: ε.
        **options: those of `Optimizer`: ``weight_decay`` and the three ways to clip.

    Raises:
        TypeError: an argument is not a number.
        ValueError: one is out of range.
    """

    slots = ("accumulator",)

    def __init__(
        self,
        learning_rate: float = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ):
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = _arguments.number(
            "initial_accumulator_value", initial_accumulator_value, at_least=0
        )
        self.epsilon = _arguments.number("epsilon", epsilon, at_least=0)

    def _initial(self, slot: str, weight: Tensor) -> Tensor:
        """Return what a slot holds before the first step."""
        return torch.full_like(weight, self.initial_accumulator_value)

    def _update(self, weights, gradients, accumulators):
        """One step."""
        torch._foreach_addcmul_(accumulators, gradients, gradients)
        roots = torch._foreach_add(accumulators, self.epsilon)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(weights, gradients, roots, value=-self.learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make another optimizer like this one, ready for JSON."""
        names = ("initial_accumulator_value", "epsilon")
        return super().get_config() | {name: getattr(self, name) for name in names}


OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.__name__: optimizer for optimizer in (SGD, Adam, AdamW, RMSprop, Adagrad)
}
_BY_NAME = OPTIMIZERS | {name.lower(): optimizer for name, optimizer in OPTIMIZERS.items()}


def get(optimizer: str | Optimizer | type[Optimizer]) -> Optimizer:
    """Return an optimizer by name; an object is itself.

    Raises:
        TypeError: ``optimizer`` is neither.
        ValueError: there is no optimizer of that name; the message gives the nearest ones.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        return optimizer()
    return look_up("optimizer", optimizer, _BY_NAME)()


def _positive(name: str, value: float | None) -> float | None:
    return None if value is None else _arguments.number(name, value, above=0)
