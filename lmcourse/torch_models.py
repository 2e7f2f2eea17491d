"""Torch models behind the interface of the numpy ones, so that both share optimizers and tasks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import nn

from lmcourse import _arguments


class NumpyInterface:
    """Show a torch language model as ``lmcourse.rnn.RecurrentModel`` shows itself.

    ``parameters`` maps names to arrays that share their memory with the module: an optimizer of
    ``lmcourse.optimizers`` that updates them trains the module.

    Args:
        module: maps ids (batch, time) to logits (batch, time, vocab); its parameters are on the
            CPU, in float32 or float64.

    Raises:
        TypeError: ``module`` is not a torch module, or a parameter is of another type.
        ValueError: a parameter is not on the CPU.
    """

    def __init__(self, module: nn.Module):
        if not isinstance(module, nn.Module):
            raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
        for name, parameter in module.named_parameters():
            if parameter.dtype not in (torch.float32, torch.float64):
                raise TypeError(
                    "module must have parameters of float32 or float64, "
                    f"got {name} of {parameter.dtype}"
                )
            if parameter.device.type != "cpu":
                raise ValueError(f"module must be on the CPU, got {name} on {parameter.device}")
        self.module = module
        self.parameters: dict[str, np.ndarray] = {
            name: parameter.detach().numpy() for name, parameter in module.named_parameters()
        }

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.size for p in self.parameters.values())

    def logits(
        self, ids: Int[np.ndarray, "batch time"]
    ) -> tuple[Float[np.ndarray, "batch time vocab"], None]:
        """Score the token after each token.

        Args:
            ids: token ids.

        Returns:
            Logits in nats, and ``None`` in the place of a recurrent model's state.

        Raises:
            TypeError: ``ids`` are not integers.
            ValueError: the module does not take them.
        """
        with torch.no_grad():
            return self.module(_tensor("ids", ids)).numpy(), None

    def loss_and_gradients(
        self,
        ids: Int[np.ndarray, "batch time"],
        targets: Int[np.ndarray, "batch time"],
        *,
        counted: Bool[np.ndarray, "batch time"] | None = None,
    ) -> tuple[float, dict[str, Float[np.ndarray, "*_"]], None]:
        """Return the mean cross-entropy of the targets, and its gradients by autograd.

        Args:
            ids: token ids.
            targets: the token that should follow each.
            counted: which targets count; all if not given.

        Returns:
            The loss in nats, a gradient for each parameter, and ``None`` in the place of a
            recurrent model's state.

        Raises:
            TypeError: ``ids`` or ``targets`` are not integers, or ``counted`` is not boolean.
            ValueError: shapes differ, no target counts, a target has no logit, or the module does
                not take the ids.
        """
        ids, targets = _tensor("ids", ids), _tensor("targets", targets)
        counted = torch.as_tensor(np.ones(targets.shape, bool) if counted is None else counted)
        if counted.dtype != torch.bool:
            raise TypeError(f"counted must be an array of bool, got an array of {counted.dtype}")
        for name, value in (("targets", targets), ("counted", counted)):
            if value.shape != ids.shape:
                raise ValueError(
                    f"{name} must have the shape of ids {tuple(ids.shape)}, "
                    f"got shape {tuple(value.shape)}"
                )
        if not counted.any():
            raise ValueError("counted must hold at least one target, got none")
        self.module.zero_grad()
        logits = self.module(ids)  # (batch, time, vocab)
        _arguments.token_ids("targets", targets, logits.shape[-1])
        loss = nn.functional.cross_entropy(logits[counted], targets[counted])
        loss.backward()
        gradients = {
            name: np.zeros_like(self.parameters[name]) if p.grad is None else p.grad.numpy()
            for name, p in self.module.named_parameters()
        }
        return loss.item(), gradients, None


def _tensor(name: str, ids) -> torch.Tensor:
    largest = np.iinfo(np.int64).max  # the module knows its vocabulary, and checks
    return torch.from_numpy(_arguments.token_ids(name, ids, largest, ndim=2))
