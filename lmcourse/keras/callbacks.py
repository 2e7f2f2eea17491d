"""Callbacks by Keras's names: what training calls as it goes along."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from lmcourse import _arguments
from lmcourse.keras.symbolic import flatten

Logs = dict[str, Any]


class Callback:
    """Does nothing; a subclass overrides the methods of the moments that it waits for.

    Every method gets ``logs``, the loss and the metrics so far; at an epoch's end, also those of
    the validation data, whose names start with ``val_``; empty at a beginning.

    Attributes:
        model: the model that is trained.
        params: ``verbose``, ``epochs`` and ``steps``, the number of batches.
    """

    def __init__(self):
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        """Keep the ``model`` that is trained."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Keep ``params``, which say how it is trained."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called once before `fit` trains, with empty ``logs``."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called once after `fit` has trained, with the last epoch's ``logs``."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before each ``epoch``, the first of which is 0, with empty ``logs``."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after each ``epoch`` and its validation, with their ``logs``."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each ``batch`` of training, with empty ``logs``."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each ``batch`` of training, with the ``logs`` so far."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before `evaluate`, or a validation, with empty ``logs``."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after `evaluate`, or a validation, with its ``logs``."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each ``batch`` of `evaluate`, with empty ``logs``."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after each ``batch`` of `evaluate`, with the ``logs`` so far."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before `predict` computes, with empty ``logs``."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after `predict`, with empty ``logs``."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before each ``batch`` of `predict`, with empty ``logs``."""

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called after each ``batch`` of `predict`; its ``logs`` hold the outputs."""


class CallbackList:
    """Calls several callbacks in turn.

    Args:
        callbacks: one, or (nested) lists of them.
        model: the model that is trained.
        **params: for each callback's ``params``.

    Raises:
        TypeError: something is not a callback.
    """

    def __init__(self, callbacks: Any, *, model: Any, **params: Any):
        self.callbacks = flatten(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                hint = ": make one of it, with ()" if isinstance(callback, type) else ""
                raise TypeError(
                    f"callbacks must be objects of Callback, got {callback!r:.60}{hint}"
                )
            callback.set_model(model)
            callback.set_params(params)

    def call(self, moment: str, *when: int, logs: Logs | None = None) -> None:
        """Call the method named ``moment`` of every callback, with ``when`` and ``logs``."""
        for callback in self.callbacks:
            getattr(callback, moment)(*when, {} if logs is None else logs)

    def wait_for(self, moment: str) -> bool:
        """Return whether any callback does something at ``moment``."""
        return any(
            getattr(getattr(callback, moment), "__func__", None) is not getattr(Callback, moment)
            for callback in self.callbacks
        )


class History(Callback):
    """Writes down the loss and the metrics of each epoch; `fit` returns one.

    Attributes:
        history: a list of values, one an epoch, for each name.
        epoch: the epochs.
    """

    def __init__(self):
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the ``logs`` of ``epoch`` down."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """Calls functions.

    Args:
        **functions: by the names of the moments, such as ``on_epoch_end``.

    Raises:
        TypeError: there is no such moment.
    """

    def __init__(self, **functions: Callable[..., Any] | None):
        super().__init__()
        for moment, function in functions.items():
            if not (moment.startswith("on_") and hasattr(Callback, moment)):
                raise TypeError(f"LambdaCallback must get names such as on_epoch_end, got {moment}")
            if function is not None:
                setattr(self, moment, function)


class _Monitor(Callback):
    """Knows whether one of the values in ``logs`` has improved."""

    def __init__(self, monitor: str, mode: str, min_delta: float, best: float | None):
        super().__init__()
        self.monitor = monitor
        self.mode = _arguments.one_of("mode", mode, ("auto", "min", "max"))
        self.min_delta = abs(_arguments.number("min_delta", min_delta))
        self.best = best

    def value(self, logs: Logs | None) -> float | None:
        """Return the value that is watched; warn if there is none.

        Raises:
            ValueError: with ``mode="auto"``, it is not known whether more or less is better.
        """
        logs = logs or {}
        if self._direction() is None:
            raise ValueError(
                f"{type(self).__name__} cannot tell whether {self.monitor!r} is to rise or to "
                f"fall: pass mode='max' or mode='min', or one of {', '.join(logs)}"
            )
        found = logs.get(self.monitor)
        if found is None:
            warnings.warn(
                f"{type(self).__name__} watches {self.monitor!r}, which is not there; there are: "
                f"{', '.join(logs)}",
                stacklevel=2,
            )
        return found

    def improved(self, value: float, reference: float | None) -> bool:
        """Tell whether ``value`` is better than ``reference`` by more than ``min_delta``."""
        if reference is None:
            return True
        if self._direction() == "down":
            return value + self.min_delta < reference
        return value - self.min_delta > reference

    def _direction(self) -> str | None:
        if self.mode != "auto":
            return "down" if self.mode == "min" else "up"
        return self.model.direction_of(self.monitor.removeprefix("val_"))


class EarlyStopping(_Monitor):
    """Stops training when a value no longer improves.

    Args:
        monitor: which.
        min_delta: smallest change that counts as an improvement.
        patience: epochs without improvement after which training stops.
        verbose: 1 prints when it stops.
        mode: ``"min"`` if less is better, ``"max"`` if more is, ``"auto"`` goes by the metric.
        baseline: value that must be reached too before ``patience`` starts anew.
        restore_best_weights: whether to end with the weights of the best epoch, not of the last.
        start_from_epoch: epochs before it do not count.

    Attributes:
        stopped_epoch: epoch after which it stopped training; 0 if it did not.
        best: best value.
        best_epoch: its epoch.

    Raises:
        TypeError: a number is not one.
        ValueError: a number is out of range, or there is no such ``mode``.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta, best=None)
        self.patience = _arguments.integer("patience", patience, at_least=0)
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = _arguments.integer("start_from_epoch", start_from_epoch, at_least=0)
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training; ``logs`` are not looked at."""
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_epoch = 0
        self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Stop training if the value has not improved for too long.

        Args:
            epoch: the epoch that has ended.
            logs: its loss and metrics.

        Raises:
            ValueError: with ``mode="auto"``, it is not known whether more or less is better.
        """
        current = self.value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.improved(current, self.best):
            self.best, self.best_epoch = current, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.improved(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Give the model its best weights, if asked for; ``logs`` are not looked at."""
        if self.verbose and self.stopped_epoch:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(
                    "Restoring model weights from the end of the best epoch: "
                    f"{self.best_epoch + 1}."
                )
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Saves the model, or its weights, after each epoch.

    Args:
        filepath: where; ``{epoch}`` (the first is 1) and the names in ``logs`` are filled in, as in
            ``"model-{epoch:02d}-{val_loss:.2f}.safetensors"``. Folders are made.
        monitor: which value decides what is best.
        verbose: 1 prints what it does.
        save_best_only: whether to save only when the value has improved.
        save_weights_only: whether to save only the weights, not the whole model.
        mode: ``"min"`` if less is better, ``"max"`` if more is, ``"auto"`` goes by the metric.
        initial_value_threshold: value that the first one must improve on to be saved.

    Raises:
        ValueError: there is no such ``mode``.
    """

    def __init__(
        self,
        filepath: str | PathLike,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode, min_delta=0.0, best=initial_value_threshold)
        self.filepath = fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, if there is reason to.

        Args:
            epoch: the epoch that has ended.
            logs: its loss and metrics.

        Raises:
            KeyError: ``filepath`` names something that is not in ``logs``.
            OSError: the file cannot be written.
        """
        logs = logs or {}
        path = self._path(epoch, logs)
        if self.save_best_only and not self._is_best(epoch, logs):
            return
        if self.verbose:
            print(f"Epoch {epoch + 1}: saving model to {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)

    def _path(self, epoch: int, logs: Logs) -> Path:
        try:
            return Path(self.filepath.format(epoch=epoch + 1, **logs))
        except KeyError as error:
            raise KeyError(
                f"filepath {self.filepath!r} names {error}, which is not there; there are: epoch, "
                f"{', '.join(logs)}"
            ) from None

    def _is_best(self, epoch: int, logs: Logs) -> bool:
        current = self.value(logs)
        if current is None:
            return True  # as in Keras: what cannot be compared is saved
        before = "None" if self.best is None else f"{self.best:.5f}"
        if not self.improved(current, self.best):
            if self.verbose:
                print(f"Epoch {epoch + 1}: {self.monitor} did not improve from {before}")
            return False
        if self.verbose:
            print(f"Epoch {epoch + 1}: {self.monitor} improved from {before} to {current:.5f}")
        self.best = current
        return True
