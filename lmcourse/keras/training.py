"""Training a model as in Keras: `compile`, `fit`, `evaluate`, `predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmcourse import _arguments
from lmcourse.keras import losses, metrics, optimizers
from lmcourse.keras._samples import Samples, per_output, samples, tensors
from lmcourse.keras.callbacks import Callback, CallbackList, History
from lmcourse.keras.losses import Loss
from lmcourse.keras.metrics import Mean, Metric
from lmcourse.keras.optimizers import Optimizer
from lmcourse.keras.symbolic import flatten, map_structure

Logs = dict[str, float | list[float]]


class Trainer:
    """What makes a model trainable; `Model` inherits from it.

    Attributes:
        compiled: whether `compile` was called.
        optimizer: changes the weights in training.
        loss: what `compile` got.
        history: what the last `fit` returned.
        stop_training: a callback sets it to end training.
    """

    compiled = False
    optimizer: Optimizer | None = None
    loss: Any = None
    history: History | None = None
    stop_training = False

    def compile(
        self,
        optimizer: str | Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
    ) -> None:
        """Say how the model is to be trained.

        With several outputs, ``loss``, ``loss_weights`` and the metrics may be lists with one entry
        for each output, or dicts by the outputs' names.

        Args:
            optimizer: by name, such as ``"adam"``, or an object of `optimizers`.
            loss: by name, an object of `losses`, or a function of targets and predictions; it is
                for all outputs if it is only one. ``None`` for an output leaves it untrained.
            loss_weights: factors of the outputs' losses in their sum.
            metrics: a list, each by name, an object of `metrics`, or a function. ``"accuracy"`` is
                binary, categorical or sparse, as the shapes have it.
            weighted_metrics: a list of metrics in which samples count by their weight.

        Raises:
            TypeError: an argument is neither a name nor an object.
            ValueError: a name is not known, with the nearest ones in the message; or a list or dict
                does not fit the outputs.
        """
        self.optimizer = optimizers.get(optimizer)
        self.loss = loss
        self.compile_arguments = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        outputs = self._outputs_by_name
        self._losses = _losses(loss, outputs)
        self._loss_weights = _loss_weights(loss_weights, outputs)
        self._metrics = _Metrics(
            _metrics_by_output("metrics", metrics, outputs),
            _metrics_by_output("weighted_metrics", weighted_metrics, outputs),
            outputs,
        )
        self._total_loss = Mean("loss")
        self._single_losses = {
            i: Mean(f"{name}_loss") for i, name in enumerate(outputs) if self._losses[i]
        }
        self.stop_training = False
        self.compiled = True

    def fit(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Sequence[Any] | None = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        validation_batch_size: int | None = None,
    ) -> History:
        """Train the model.

        Args:
            x: inputs: an array or tensor (samples, ...), or a list or dict of them.
            y: targets: an array or tensor (samples, ...), or a list or dict of them.
            batch_size: samples in a step; 32 if not given.
            epochs: number of the last epoch.
            verbose: 0 is silent, 1 (or ``"auto"``) shows a bar for each epoch, 2 prints a line.
            callbacks: called as training goes along.
            validation_split: share of the samples, at the end, that is kept for validation.
            validation_data: ``(x, y)`` or ``(x, y, sample_weight)`` for validation instead.
            shuffle: whether each epoch has its own order, drawn from torch's generator.
            class_weight: weights of the samples by their class.
            sample_weight: weights of the samples (samples,), or of the single predictions.
            initial_epoch: number of epochs that earlier training has done.
            validation_batch_size: samples in a step of validation; ``batch_size`` if not given.

        Returns:
            The loss and the metrics of each epoch.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the model is not compiled, or shapes or values do not fit.
        """
        self._check_compiled("fit")
        if class_weight is not None and sample_weight is not None:
            raise ValueError("only one of class_weight and sample_weight may be given, got both")
        train = self._samples(x, y, sample_weight)
        validation = None
        if validation_data is not None:
            validation = self._samples(*_unpacked("validation_data", validation_data))
        elif validation_split:
            train, validation = train.split(validation_split)
        if class_weight is not None:
            sparse = isinstance(self._losses[0], losses.SparseCategoricalCrossentropy)
            train = train.with_class_weight(class_weight, sparse=sparse)
        batch_size = self._prepare(train, batch_size)
        if validation is not None:
            validation_batch_size = self._prepare(validation, validation_batch_size or batch_size)
        epochs = _arguments.integer("epochs", epochs, at_least=0)
        initial_epoch = _arguments.integer("initial_epoch", initial_epoch, at_least=0)

        steps = -(-len(train) // batch_size)
        self.history = History()
        called = CallbackList(
            [callbacks, self.history], model=self, verbose=verbose, epochs=epochs, steps=steps
        )
        progress = _Progress(verbose, steps)
        self.stop_training = False
        logs: Logs = {}
        called.call("on_train_begin")
        for epoch in range(initial_epoch, epochs):
            called.call("on_epoch_begin", epoch)
            with progress.bar(f"Epoch {epoch + 1}/{epochs}") as bar:
                logs = self._train_epoch(train.batches(batch_size, shuffle), called, bar)
                if validation is not None:
                    found = self._test(validation.batches(validation_batch_size), called)
                    logs |= {f"val_{name}": value for name, value in found.items()}
                    logs = dict(sorted(logs.items()))
                bar.finish(logs)
            called.call("on_epoch_end", epoch, logs=logs)
            if self.stop_training:
                break
        called.call("on_train_end", logs=logs)
        return self.history

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
    ) -> float | list[float] | Logs:
        """Compute the loss and the metrics without training.

        Args:
            x: inputs, as in `fit`.
            y: targets, as in `fit`.
            batch_size: samples in a step; 32 if not given.
            verbose: as in `fit`.
            sample_weight: as in `fit`.
            callbacks: called as the evaluation goes along.
            return_dict: whether to return them by name.

        Returns:
            The loss; or, if there is more, a list with the loss and the metrics; or a dict.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the model is not compiled, or shapes or values do not fit.
        """
        self._check_compiled("evaluate")
        given = self._samples(x, y, sample_weight)
        batch_size = self._prepare(given, batch_size)
        steps = -(-len(given) // batch_size)
        called = CallbackList(callbacks, model=self, verbose=verbose, epochs=1, steps=steps)
        with _Progress(verbose, steps).bar("") as bar:
            logs = self._test(given.batches(batch_size), called, bar)
            bar.finish(logs)
        return logs if return_dict else self._in_order(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
    ) -> Any:
        """Compute the outputs, batch by batch.

        Args:
            x: inputs, as in `fit`.
            batch_size: samples in a step; 32 if not given.
            verbose: 0 and 2 are silent, 1 (or ``"auto"``) shows a bar.
            callbacks: called as it goes along.

        Returns:
            An array (samples, ...), or a list or dict of them.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: shapes or values do not fit.
        """
        given = Samples(tensors("x", x))
        batch_size = self._batch_size(given, batch_size)
        steps = -(-len(given) // batch_size)
        called = CallbackList(callbacks, model=self, verbose=verbose, epochs=1, steps=steps)
        waited_for = called.wait_for("on_predict_batch_end")
        found: list[Any] = []
        called.call("on_predict_begin")
        self.eval()
        with torch.no_grad(), _Progress(verbose, steps).bar("") as bar:
            for i, batch in enumerate(given.batches(batch_size)):
                called.call("on_predict_batch_begin", i)
                found.append(self(batch.x, training=False))
                if waited_for:
                    outputs = {"outputs": map_structure(_to_numpy, found[-1])}
                    called.call("on_predict_batch_end", i, logs=outputs)
                bar.step()
        called.call("on_predict_end")
        return _concatenated(found)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> float | list[float] | Logs:
        """Change the weights once, by all samples together.

        Args:
            x: inputs, as in `fit`.
            y: targets, as in `fit`.
            sample_weight: as in `fit`.
            class_weight: as in `fit`.
            return_dict: whether to return the loss and the metrics by name.

        Returns:
            The loss before the step; or, if there is more, a list with the metrics; or a dict.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the model is not compiled, or shapes or values do not fit.
        """
        self._check_compiled("train_on_batch")
        if class_weight is not None and sample_weight is not None:
            raise ValueError("only one of class_weight and sample_weight may be given, got both")
        batch = self._samples(x, y, sample_weight)
        if class_weight is not None:
            sparse = isinstance(self._losses[0], losses.SparseCategoricalCrossentropy)
            batch = batch.with_class_weight(class_weight, sparse=sparse)
        self._prepare(batch, len(batch))
        self._reset_metrics()
        with self._in_training():
            self._train_step(batch)
        logs = self._logs()
        return logs if return_dict else self._in_order(logs)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> float | list[float] | Logs:
        """Compute the loss and the metrics of all samples together.

        Args:
            x: inputs, as in `fit`.
            y: targets, as in `fit`.
            sample_weight: as in `fit`.
            return_dict: whether to return them by name.

        Returns:
            The loss; or, if there is more, a list with the loss and the metrics; or a dict.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the model is not compiled, or shapes or values do not fit.
        """
        self._check_compiled("test_on_batch")
        batch = self._samples(x, y, sample_weight)
        self._prepare(batch, len(batch))
        logs = self._test([batch], CallbackList(None, model=self))
        return logs if return_dict else self._in_order(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """Compute the outputs for all samples together.

        Args:
            x: inputs, as in `fit`.

        Returns:
            An array (samples, ...), or a list or dict of them.
        """
        return self.predict(x, batch_size=len(Samples(tensors("x", x))), verbose=0)

    @property
    def metrics(self) -> list[Metric]:
        """The loss and the metrics."""
        if not self.compiled:
            return []
        single = list(self._single_losses.values()) if len(self._single_losses) > 1 else []
        return [self._total_loss, *self._metrics.objects, *single]

    def direction_of(self, name: str) -> str | None:
        """Return ``"up"`` or ``"down"``, where a value is to go; ``None`` if that is not known.

        Args:
            name: of the value in histories, such as ``"loss"``.
        """
        if name == "loss" or name in (mean.name for mean in self._single_losses.values()):
            return "down"
        return self._metrics.direction_of(name)

    # One step, and one pass over the data.

    def _train_epoch(self, batches: Iterator[Samples], called: CallbackList, bar: _Bar) -> Logs:
        waited_for = called.wait_for("on_train_batch_end")
        self._reset_metrics()
        with self._in_training():
            for i, batch in enumerate(batches):
                called.call("on_train_batch_begin", i)
                self._train_step(batch)
                if waited_for:
                    called.call("on_train_batch_end", i, logs=self._logs())
                bar.step(self._logs)
                if self.stop_training:
                    break
        return self._logs()

    @contextmanager
    def _in_training(self) -> Iterator[None]:
        """Have layers behave as in training, and afterwards, whatever happens, no longer."""
        self.train()
        try:
            yield
        finally:
            self.eval()

    def _train_step(self, batch: Samples) -> None:
        for weight in self.optimizer.weights:
            weight.grad = None
        outputs = flatten(self(batch.x, training=True))
        loss = self._compute_loss(outputs, batch)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self._metrics.update(outputs, batch)

    def _test(
        self,
        batches: Iterator[Samples] | Sequence[Samples],
        called: CallbackList,
        bar: _Bar | None = None,
    ) -> Logs:
        waited_for = called.wait_for("on_test_batch_end")
        self._reset_metrics()
        self.eval()
        called.call("on_test_begin")
        with torch.no_grad():
            for i, batch in enumerate(batches):
                called.call("on_test_batch_begin", i)
                outputs = flatten(self(batch.x, training=False))
                self._compute_loss(outputs, batch)
                self._metrics.update(outputs, batch)
                if waited_for:
                    called.call("on_test_batch_end", i, logs=self._logs())
                if bar is not None:
                    bar.step(self._logs)
        logs = self._logs()
        called.call("on_test_end", logs=logs)
        return logs

    def _compute_loss(self, outputs: Sequence[Tensor], batch: Samples) -> Tensor:
        total: Tensor | float = 0.0
        for i, running in self._single_losses.items():
            loss = self._losses[i](batch.y[i], outputs[i], batch.weight[i])
            if loss.ndim:
                raise ValueError(
                    f"loss {self._losses[i].name!r} must return one number to train by, got shape "
                    f"{tuple(loss.shape)}: its reduction must not be 'none'"
                )
            if len(self._single_losses) > 1:
                running.add(loss.detach() * len(batch), len(batch))
            factor = self._loss_weights[i]
            total = total + (loss if factor is None else factor * loss)
        self._total_loss.add(total.detach() * len(batch), len(batch))
        return total

    def _reset_metrics(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def _logs(self) -> Logs:
        """Return the loss and the metrics so far as numbers, in the order that Keras has."""
        logs = {"loss": _number(self._total_loss)} | self._metrics.results()
        if len(self._single_losses) > 1:
            logs |= {mean.name: _number(mean) for mean in self._single_losses.values()}
        return dict(sorted(logs.items()))

    def _in_order(self, logs: Logs) -> float | list[float]:
        """Return values as Keras's `evaluate` does: the loss, the outputs' losses, the rest."""
        if len(self._single_losses) > 1:
            first = ["loss", *(mean.name for mean in self._single_losses.values())]
        else:
            first = ["loss", *self._metrics.results()]
        names = first + [name for name in logs if name not in first]
        values = [logs[name] for name in names]
        return values if len(values) > 1 else values[0]

    # What comes before the first step.

    @property
    def _outputs_by_name(self) -> list[str]:
        structure = getattr(self, "_output_structure", None)
        if isinstance(structure, Mapping):
            return list(structure)
        return list(getattr(self, "output_names", [self.name]))

    def _check_compiled(self, method: str) -> None:
        if not self.compiled:
            raise ValueError(
                f"{self.name!r} must be compiled before {method}: call "
                "compile(optimizer=..., loss=...)"
            )
        if not any(self._losses):
            raise ValueError(f"{method} must have a loss: give compile one, as in loss='mse'")

    def _samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Samples:
        outputs = self._outputs_by_name
        trained = [i for i, loss in enumerate(self._losses) if loss]
        y, sample_weight = (_placed(part, trained, len(outputs)) for part in (y, sample_weight))
        made = samples(x, y, sample_weight, outputs=outputs)
        for i in {*trained, *self._metrics.outputs}:
            if made.y[i] is None:
                raise ValueError(
                    f"y must hold targets for {outputs[i]!r}, which has a loss or a metric, "
                    "got none"
                )
        return made

    def _prepare(self, given: Samples, batch_size: int | None) -> int:
        """Build what is not built yet, check the samples, and return the batch size."""
        batch_size = self._batch_size(given, batch_size)
        shape = map_structure(lambda tensor: (batch_size, *tensor.shape[1:]), given.x)
        if not self.built:
            self.build(shape)
        trained = {id(weight) for weight in self.trainable_weights}
        for weight in self.weights:
            weight.requires_grad_(id(weight) in trained)
        self.optimizer.build(self.trainable_weights)
        for i, name in enumerate(self._outputs_by_name):
            loss = self._losses[i]
            if isinstance(loss, losses.SparseCategoricalCrossentropy):
                argument = "y" if len(self._losses) == 1 else f"y[{name!r}]"
                n_classes, ignored = self.outputs[i].shape[-1], loss.keywords["ignore_class"]
                if given.y[i].ndim < len(self.outputs[i].shape) or given.y[i].shape[-1] == 1:
                    losses.check_classes(argument, given.y[i], n_classes, ignored)
        return batch_size

    def _batch_size(self, given: Samples, batch_size: int | None) -> int:
        fixed = self.inputs[0].shape[0] if self.built else None
        if batch_size is None:
            batch_size = fixed or 32
        batch_size = _arguments.integer("batch_size", batch_size, at_least=1)
        if fixed is not None and (batch_size != fixed or len(given) % fixed):
            raise ValueError(
                f"{self.name!r} takes {fixed} samples at a time: pass batch_size={fixed} and a "
                f"multiple of {fixed} samples, got batch_size={batch_size} and {len(given)} samples"
            )
        return batch_size


class _Metrics:
    """The metrics of all outputs, and under which names histories hold them."""

    def __init__(
        self,
        plain: Sequence[Sequence[Any]],
        weighted: Sequence[Sequence[Any]],
        outputs: Sequence[str],
    ):
        self._outputs = outputs
        self._wanted = [
            (i, metric, is_weighted)
            for by_output, is_weighted in ((plain, False), (weighted, True))
            for i, listed in enumerate(by_output)
            for metric in listed
        ]
        self._objects: list[Metric] = []  # the kinds of accuracy are known with the first batch

    @property
    def outputs(self) -> list[int]:
        """The places of the outputs that have metrics."""
        return [i for i, _, _ in self._wanted]

    @property
    def objects(self) -> list[Metric]:
        return self._objects

    def update(self, predictions: Sequence[Tensor], batch: Samples) -> None:
        if not self._wanted:
            return
        if not self._objects:
            self._objects = [
                metrics.accuracy_for(metric, batch.y[i], predictions[i])
                if metrics.is_accuracy(metric)
                else metric
                for i, metric, _ in self._wanted
            ]
        for (i, _, is_weighted), metric in zip(self._wanted, self._objects, strict=True):
            weight = batch.weight[i] if is_weighted else None
            metric.update_state(batch.y[i], predictions[i], weight)

    def results(self) -> Logs:
        return {
            key: _number(metric) for key, metric in zip(self._keys(), self._objects, strict=False)
        }

    def direction_of(self, key: str) -> str | None:
        by_key = zip(self._keys(), self._objects, strict=False)
        return next((metric.direction for k, metric in by_key if k == key), None)

    def _keys(self) -> list[str]:
        """Name each metric as Keras does, so that no name comes twice."""
        keys: list[str] = []
        seen: dict[str, int] = {}
        for (i, _, is_weighted), metric in zip(self._wanted, self._objects, strict=False):
            prefix = f"{self._outputs[i]}_" if len(self._outputs) > 1 else ""
            key = prefix + metric.name
            if is_weighted and key in seen:
                key = f"{prefix}weighted_{metric.name}"
            count = seen.get(key, 0)
            seen[key] = count + 1
            keys.append(f"{key}_{count}" if count else key)
        return keys


class _Progress:
    """Shows how far an epoch is: nothing, a bar, or a line when it is done."""

    def __init__(self, verbose: int | str, steps: int):
        self.verbose = 1 if verbose == "auto" else verbose
        if self.verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 0, 1, 2 or 'auto', got {verbose!r}")
        self.steps = steps

    def bar(self, title: str) -> _Bar:
        return _Bar(title, self.verbose, self.steps)


class _Bar:
    def __init__(self, title: str, verbose: int, steps: int):
        self.title, self.verbose = title, verbose
        self._tqdm = None
        if verbose == 1:
            from tqdm import tqdm

            self._tqdm = tqdm(total=steps, desc=title or None, unit="step")

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_) -> None:
        if self._tqdm is not None:
            self._tqdm.close()

    def step(self, logs: Callable[[], Logs] | None = None) -> None:
        """Count one step; the values so far are looked up only when the bar is drawn anew."""
        if self._tqdm is not None and self._tqdm.update() and logs is not None:
            self._tqdm.set_postfix_str(_line(logs()))

    def finish(self, logs: Logs) -> None:
        if self._tqdm is not None:
            self._tqdm.set_postfix_str(_line(logs))
        elif self.verbose == 2:
            print(" - ".join(part for part in (self.title, _line(logs)) if part))


def _line(logs: Logs) -> str:
    first = [name for name in ("loss", "val_loss") if name in logs]
    ordered = [*first[:1], *(name for name in logs if name not in first)]
    validation = [name for name in ordered if name.startswith("val_")]
    training = [name for name in ordered if not name.startswith("val_")]
    names = training + first[1:] + validation
    return " - ".join(f"{name}: {_written(logs[name])}" for name in names)


def _written(value: float | list[float]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


def _losses(loss: Any, outputs: Sequence[str]) -> list[Loss | None]:
    """Return the loss of each output."""
    if isinstance(loss, Mapping):
        missing = [name for name in outputs if name not in loss]
        if missing:
            raise ValueError(
                "loss must have an entry for every output, None for those without a loss; "
                f"missing: {', '.join(missing)}"
            )
        loss = per_output("loss", loss, outputs)
    elif isinstance(loss, list | tuple):
        _check_length("loss", loss, outputs)
    else:
        loss = [loss] * len(outputs)
    return [None if one is None else losses.get(one) for one in loss]


def _loss_weights(given: Any, outputs: Sequence[str]) -> list[float | None]:
    """Return the factor of each output's loss."""
    if isinstance(given, list | tuple):
        _check_length("loss_weights", given, outputs)
    elif given is None or isinstance(given, Mapping):
        given = per_output("loss_weights", given, outputs)
    else:
        given = [given] * len(outputs)
    return [
        None if factor is None else _arguments.number(f"loss_weights[{name!r}]", factor)
        for name, factor in zip(outputs, given, strict=True)
    ]


def _check_length(argument: str, given: Sequence[Any], outputs: Sequence[str]) -> None:
    if len(given) != len(outputs):
        raise ValueError(
            f"{argument} must hold one entry for each of the {len(outputs)} outputs "
            f"({', '.join(outputs)}), got {len(given)}"
        )


def _metrics_by_output(argument: str, given: Any, outputs: Sequence[str]) -> list[list[Any]]:
    """Return a list of metrics for each output, accuracies still by name."""
    if given is not None and not isinstance(given, list | tuple | Mapping):
        raise TypeError(
            f"{argument} must be a list, as in {argument}=['accuracy'], got {given!r:.60}"
        )
    if len(outputs) == 1:
        listed = [given]
    elif isinstance(given, list | tuple):
        _check_length(argument, given, outputs)
        listed = given
    else:
        listed = per_output(argument, given, outputs)
    return [
        [metric if metrics.is_accuracy(metric) else metrics.get(metric) for metric in flatten(part)]
        for part in listed
    ]


def _placed(given: Any, trained: Sequence[int], n_outputs: int) -> Any:
    """Put what is given for the outputs with a loss alone into its places among all outputs."""
    if len(trained) == n_outputs:
        return given
    if len(trained) == 1 and hasattr(given, "shape"):
        given = [given]
    if not isinstance(given, list | tuple) or len(given) != len(trained):
        return given
    placed = dict(zip(trained, given, strict=True))
    return [placed.get(i) for i in range(n_outputs)]


def _unpacked(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple) or len(value) not in (2, 3):
        raise ValueError(f"{name} must be (x, y) or (x, y, sample_weight), got {value!r:.60}")
    return value


def _number(metric: Metric) -> float | list[float]:
    return metric.result().tolist()


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _concatenated(parts: list[Any]) -> Any:
    """Join the outputs of all batches, each in its place of the structure."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {key: _concatenated([part[key] for part in parts]) for key in first}
    if isinstance(first, list | tuple):
        return [_concatenated([part[i] for part in parts]) for i in range(len(first))]
    return _to_numpy(torch.cat(parts))
