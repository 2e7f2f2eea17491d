"""Models as files: one safetensors file each, in which nothing is pickled.

The file's tensors are the weights and what the optimizer keeps; its metadata has one entry,
``lmcourse.keras``, in JSON: the architecture, what `compile` got, and the names in their order.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmcourse import _files
from lmcourse.keras import losses, metrics, optimizers
from lmcourse.keras.layers.wrappers import describe, revive
from lmcourse.keras.losses import Loss
from lmcourse.keras.metrics import Metric
from lmcourse.keras.registry import look_up

KEY = "lmcourse.keras"
FORMAT = 1


def save_model(model: Any, filepath: str | PathLike, overwrite: bool = True) -> None:
    """Write a model, with what it was compiled with and the optimizer's state.

    Args:
        model: a built model.
        filepath: any name; the content is safetensors.
        overwrite: whether a file of that name may be replaced.

    Raises:
        ValueError: the model is not built, or something in it is a function of your own.
        FileExistsError: there is such a file, and ``overwrite`` is False.
        OSError: the folder is missing or not writable.
    """
    _check_built(model, "save")
    content = _weights(model)
    about = {"format": FORMAT, "model": describe(model), "weights": list(content)}
    if model.compiled:
        about["compile"] = _compile_config(model)
        content |= _optimizer_state(model.optimizer)
    _write(filepath, content, about, overwrite)


def load_model(filepath: str | PathLike, compile: bool = True) -> Any:
    """Read a model that `Model.save` wrote; training goes on as if it had not been away.

    Args:
        filepath: the file.
        compile: whether to compile it too, as it was.

    Returns:
        The model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or has weights alone.
    """
    content, about = _read(filepath)
    if "model" not in about:
        raise ValueError(
            f"{filepath} holds weights alone: build the model, then model.load_weights(...)"
        )
    model = revive(about["model"])
    _set_weights(model, content, about["weights"], filepath)
    if compile and "compile" in about:
        settings = about["compile"]
        optimizer = _revived(optimizers.OPTIMIZERS, settings["optimizer"])
        given = {
            "loss": _map_described(losses.LOSSES, settings["loss"]),
            "loss_weights": settings["loss_weights"],
            "metrics": _map_described(metrics.METRICS, settings["metrics"]),
            "weighted_metrics": _map_described(metrics.METRICS, settings["weighted_metrics"]),
        }
        model.compile(optimizer, **given)
        _set_optimizer_state(model, settings, content)
    return model


def save_weights(model: Any, filepath: str | PathLike, overwrite: bool = True) -> None:
    """Write a model's weights alone.

    Args:
        model: a built model.
        filepath: any name; the content is safetensors.
        overwrite: whether a file of that name may be replaced.

    Raises:
        ValueError: the model is not built.
        FileExistsError: there is such a file, and ``overwrite`` is False.
        OSError: the folder is missing or not writable.
    """
    _check_built(model, "save_weights")
    content = _weights(model)
    _write(filepath, content, {"format": FORMAT, "weights": list(content)}, overwrite)


def load_weights(model: Any, filepath: str | PathLike) -> None:
    """Give a model the weights of a file, in their order; names need not agree.

    Args:
        model: a built model.
        filepath: what `save_weights` or `save_model` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model is not built, the file is of another kind, or a shape differs.
    """
    _check_built(model, "load_weights")
    content, about = _read(filepath)
    _set_weights(model, content, about["weights"], filepath)


def _check_built(model: Any, method: str) -> None:
    if not model.built:
        raise ValueError(
            f"{model.name!r} must be built before {method}: give it an Input, or call it on numbers"
        )


def _weights(model: Any) -> dict[str, np.ndarray]:
    paths = [weight.path for weight in model.weights]
    return dict(zip(paths, model.get_weights(), strict=True))


def _set_weights(model: Any, content: dict[str, np.ndarray], names: list[str], filepath) -> None:
    try:
        model.set_weights([content[name] for name in names])
    except ValueError as error:
        raise ValueError(f"{filepath} does not fit {model.name!r}: {error}") from None


def _compile_config(model: Any) -> dict[str, Any]:
    given = model.compile_arguments
    return {
        "optimizer": _described(optimizers.OPTIMIZERS, model.optimizer),
        "built_for": [weight.path for weight in model.optimizer.weights],
        "iterations": model.optimizer.iterations,
        "loss": _map_describe(losses.LOSSES, given["loss"], losses.get),
        "loss_weights": given["loss_weights"],
        "metrics": _map_describe(metrics.METRICS, given["metrics"], metrics.get),
        "weighted_metrics": _map_describe(metrics.METRICS, given["weighted_metrics"], metrics.get),
    }


def _described(table: dict[str, Any], thing: Any) -> dict[str, Any]:
    config = thing.get_config()  # which says so if it is a function of the user's
    if type(thing) not in table.values():
        raise ValueError(
            f"{type(thing).__name__} is a class of your own, which cannot be saved: use "
            "save_weights, or compile with what lmcourse.keras has"
        )
    return {"class_name": type(thing).__name__, "config": config}


def _revived(table: dict[str, Any], description: dict[str, Any]) -> Any:
    found = look_up("class", description["class_name"], table)
    return found.from_config(description["config"])


def _map_describe(table: dict[str, Any], given: Any, get: Any) -> Any:
    """Describe what is not a name, in whatever lists and dicts it comes."""
    if isinstance(given, dict):
        return {key: _map_describe(table, part, get) for key, part in given.items()}
    if isinstance(given, list | tuple):
        return [_map_describe(table, part, get) for part in given]
    if given is None or isinstance(given, str):
        return given
    thing = given if isinstance(given, Loss | Metric) else get(given)
    return _described(table, thing)


def _map_described(table: dict[str, Any], given: Any) -> Any:
    """Undo `_map_describe`."""
    if isinstance(given, dict) and given.keys() == {"class_name", "config"}:
        return _revived(table, given)
    if isinstance(given, dict):
        return {key: _map_described(table, part) for key, part in given.items()}
    if isinstance(given, list):
        return [_map_described(table, part) for part in given]
    return given


def _optimizer_state(optimizer: Any) -> dict[str, np.ndarray]:
    return {
        f"optimizer/{slot}/{weight.path}": tensor.cpu().numpy()
        for slot, tensors in optimizer.state.items()
        for weight, tensor in zip(optimizer.weights, tensors, strict=True)
    }


def _set_optimizer_state(model: Any, settings: dict[str, Any], content: dict) -> None:
    by_path = {weight.path: weight for weight in model.weights}
    optimizer = model.optimizer
    if not settings["built_for"]:
        return
    optimizer.build([by_path[path] for path in settings["built_for"]])
    optimizer.iterations = settings["iterations"]
    for slot, tensors in optimizer.state.items():
        for path, tensor in zip(settings["built_for"], tensors, strict=True):
            tensor.copy_(torch.from_numpy(content[f"optimizer/{slot}/{path}"]))


def _write(filepath: str | PathLike, content: dict, about: dict, overwrite: bool) -> None:
    from safetensors.numpy import save

    if not overwrite and Path(filepath).exists():
        raise FileExistsError(f"{filepath} exists: pass overwrite=True to replace it")
    content = {name: np.ascontiguousarray(array) for name, array in content.items()}
    _files.write_bytes(filepath, save(content, metadata={KEY: json.dumps(about)}))


def _read(filepath: str | PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    with Path(filepath).open("rb") as file:
        start = file.read(8)
    for magic, kind in ((b"PK", "a .keras file of Keras 3"), (b"\x89HDF", "an HDF5 file of Keras")):
        if start.startswith(magic):
            raise ValueError(
                f"{filepath} is {kind}, which lmcourse.keras cannot read: load it with Keras, and "
                "hand its weights over with set_weights(keras_model.get_weights())"
            )
    try:
        with safe_open(filepath, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(KEY, "null"))
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{filepath} is not a safetensors file: {error}") from None
    if about is None:
        raise ValueError(f"{filepath} is a safetensors file, but none that lmcourse.keras wrote")
    return content, about
