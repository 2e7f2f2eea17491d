"""GPT-2's weights: read from a folder, from the hub or from the course, and written for others.

A model is a folder with ``config.json`` and ``model.safetensors``, as Hugging Face's transformers
reads and writes it. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from lmcourse import _files
from lmcourse.gpt2.config import GPT2Config
from lmcourse.gpt2.model import GPT2
from lmcourse.gpt2.tokenizer import GPT2Tokenizer

SMALL = Path(__file__).parent / "small"
"""The model that ships with the course."""

REVISIONS = {
    "gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "gpt2-medium": "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "gpt2-large": "32b71b12589c2f8d625668d2335a01cac3249519",
    "gpt2-xl": "15ea56dee5df4983c59b2538573817e1667135e2",
}
"""The commit of each model on the hub, under ``openai-community``, that its name stands for."""

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
INDEX_FILE, PICKLE_FILE = "model.safetensors.index.json", "pytorch_model.bin"

_REQUIRED = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
_OPTIONS = {  # what else a config.json may say, and the values that `GPT2` computes
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}
# Causal masks, which older files keep beside the weights.
_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")


def from_pretrained(
    name_or_path: str | os.PathLike,
    *,
    revision: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> GPT2:
    """Read a GPT-2 with its weights.

    Args:
        name_or_path: ``"lmcourse-small"``, the model that ships with the course; a folder with
            ``config.json`` and ``model.safetensors``; or ``"gpt2"``, ``"gpt2-medium"``,
            ``"gpt2-large"``, ``"gpt2-xl"`` from the Hugging Face hub, which needs
            ``huggingface_hub`` and, unless a copy is cached, a network.
        revision: commit, branch or tag on the hub; the one in `REVISIONS` if not given.
        device: where the weights go; torch's default device if not given.
        dtype: type of the weights; float32 if not given, whatever the file's type.

    Returns:
        The model, in evaluation mode: ``model.train()`` turns its dropout on.

    Raises:
        TypeError: ``dtype`` is no floating-point type.
        FileNotFoundError: there is no such folder, a file is missing, or there are weights only in
            a pickle; the message says how to convert it.
        ConnectionError: the hub cannot be reached, and there is no cached copy; the message says
            what to do.
        ModuleNotFoundError: ``huggingface_hub`` is needed and not installed.
        ValueError: ``config.json`` lacks a size or asks for what `GPT2` does not compute; a tensor
            is missing, unexpected or misshapen; a file is damaged; ``revision`` is given for a
            folder, or the hub does not know it.
    """
    dtype = _float_type(torch.float32 if dtype is None else dtype)
    device = torch.get_default_device() if device is None else torch.device(device)
    folder = _folder(name_or_path, revision)
    config = _read_config(folder / CONFIG_FILE)
    with torch.device("meta"):  # shapes without numbers: the file has them
        model = GPT2(config)
    tensors = {}
    for path in _weight_files(folder):
        tensors |= _read_tensors(path, device, dtype)
    _check_tensors(folder, model, tensors)
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def save_pretrained(
    model: GPT2,
    folder: str | os.PathLike,
    *,
    tokenizer: GPT2Tokenizer | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model as `from_pretrained` and transformers' ``GPT2LMHeadModel`` read it.

    Each file is there whole or not at all, the weights last.

    Args:
        model: any GPT-2.
        folder: where to; it is made if it is not there, and files of a model in it are replaced.
        tokenizer: is written to the folder too.
        dtype: type of the weights in the file, such as ``torch.float16``; the model's if not given.

    Raises:
        TypeError: ``dtype`` is no floating-point type.
        ValueError: ``tokenizer`` has more tokens than the model, or ``dtype`` cannot hold a weight.
        OSError: the folder cannot be made or is not writable.
    """
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"tokenizer must have at most the model's {model.config.vocab_size} tokens, "
            f"got {tokenizer.vocab_size}"
        )
    dtype = _float_type(model.wte.weight.dtype if dtype is None else dtype)
    tensors = {name: t.to("cpu", dtype).contiguous() for name, t in model.state_dict().items()}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} must be finite in {dtype}, got NaN or infinity")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save(folder)
    _files.write_text(folder / CONFIG_FILE, _config_json(model.config, tokenizer, dtype))
    _files.write_bytes(folder / WEIGHTS_FILE, to_bytes(tensors, metadata={"format": "pt"}))


def _folder(name_or_path: Any, revision: str | None) -> Path:
    """Return the model's folder, after a download if it takes one."""
    if isinstance(name_or_path, str):
        name = name_or_path.removeprefix("openai-community/")
        if name in REVISIONS:
            return _download(name, REVISIONS[name] if revision is None else revision)
    if revision is not None:
        raise ValueError(
            f"revision is for models of the hub, {', '.join(REVISIONS)}, got {name_or_path!r}"
        )
    folder = SMALL if name_or_path == "lmcourse-small" else Path(name_or_path)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"name_or_path must be 'lmcourse-small', a folder with a model, or one of "
            f"{', '.join(REVISIONS)}, got {str(name_or_path)!r}: there is no such folder"
        )
    return folder


def _download(name: str, revision: str) -> Path:
    """Return the folder in the hub's cache, filled if it was not."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import (
            EntryNotFoundError,
            LocalEntryNotFoundError,
            RevisionNotFoundError,
        )
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} is downloaded with huggingface_hub, which is not installed: "
            'pip install "lmcourse[hub]"'
        ) from error
    repository = _cached_repository(name, revision) or f"openai-community/{name}"
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        try:
            path = hf_hub_download(repository, file, revision=revision)
        except LocalEntryNotFoundError as error:
            raise ConnectionError(
                f"{name} is not in the cache, and the Hugging Face hub cannot be reached. Without "
                "a network, use 'lmcourse-small'; or where there is one, download it with "
                f"`hf download {repository} {CONFIG_FILE} {WEIGHTS_FILE} --revision {revision} "
                f"--local-dir my-{name}`, and give the path of that folder"
            ) from error
        except EntryNotFoundError as error:
            raise FileNotFoundError(
                f"{repository} has no {file} at revision {revision!r}; {_HOW_TO_CONVERT}"
            ) from error
        except RevisionNotFoundError as error:
            raise ValueError(f"revision must be one of {repository}, got {revision!r}") from error
    return Path(path).parent


_HOW_TO_CONVERT = (
    f"weights are read from safetensors only, because a pickle such as {PICKLE_FILE} can run any "
    "code: where you trust it, convert it with transformers, "
    "GPT2LMHeadModel.from_pretrained(folder).save_pretrained(new_folder)"
)


def _cached_repository(name: str, revision: str) -> str | None:
    """Return the name under which the cache has the weights: the hub's own, or the one before."""
    from huggingface_hub import try_to_load_from_cache

    for repository in (f"openai-community/{name}", name):
        if isinstance(try_to_load_from_cache(repository, WEIGHTS_FILE, revision=revision), str):
            return repository
    return None


def _weight_files(folder: Path) -> list[Path]:
    """Return the file with the weights, or the parts that an index lists."""
    if (folder / WEIGHTS_FILE).exists():
        return [folder / WEIGHTS_FILE]
    if not (folder / INDEX_FILE).exists():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS_FILE}; {_HOW_TO_CONVERT}")
    match _read_json(folder / INDEX_FILE):
        case {"weight_map": dict(parts)} if all(isinstance(part, str) for part in parts.values()):
            return [folder / part for part in sorted(set(parts.values()))]
    raise ValueError(f"{folder / INDEX_FILE} must hold a weight_map of names to files")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path.parent} has no {path.name}: is it a model's?") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def _read_config(path: Path) -> GPT2Config:
    content = _read_json(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold an object, got {content!r:.60}")
    missing = [name for name in _REQUIRED if name not in content]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}")
    for option, values in _OPTIONS.items():
        if option in content and content[option] not in values:
            wanted = " or ".join(map(repr, values))
            raise ValueError(f"{path}: {option} must be {wanted}, got {content[option]!r}")
    fields = {field.name for field in dataclasses.fields(GPT2Config)}
    sizes = {name: value for name, value in content.items() if name in fields}
    try:
        return GPT2Config(**sizes | {"dropout": content.get("resid_pdrop", 0.0)})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _config_json(config: GPT2Config, tokenizer: GPT2Tokenizer | None, dtype: torch.dtype) -> str:
    sizes = dataclasses.asdict(config)
    dropout = sizes.pop("dropout")
    end_of_text = None if tokenizer is None else tokenizer.eos_token_id
    content = {
        "architectures": ["GPT2LMHeadModel"],
        **{option: values[0] for option, values in _OPTIONS.items()},
        **sizes,
        "resid_pdrop": dropout,
        "embd_pdrop": dropout,
        "attn_pdrop": 0.0,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    return json.dumps(content, indent=2) + "\n"


def _read_tensors(path: Path, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return a file's tensors by the model's names, without masks."""
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            for full_name in file.keys():  # noqa: SIM118
                name = full_name.removeprefix("transformer.")
                if _MASK.fullmatch(name):
                    continue
                tensor = file.get_tensor(full_name)
                if not tensor.is_floating_point():
                    raise ValueError(f"{path}: {full_name} must be floats, got {tensor.dtype}")
                # A copy: the file may change under the tensors that it lends.
                tensors[name] = tensor.to(device, dtype, copy=True)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): copy or download it again"
        ) from error
    return tensors


def _check_tensors(folder: Path, model: GPT2, tensors: dict[str, torch.Tensor]) -> None:
    """Compare names and shapes with the model's; take out an output matrix that is tied."""
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    output = tensors.pop("lm_head.weight", None)
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    complaints = [f"{name} is missing" for name in expected if name not in found]
    complaints += [f"{name} is unexpected" for name in found if name not in expected]
    complaints += [
        f"{name} must have shape {expected[name]}, got {shape}"
        for name, shape in found.items()
        if name in expected and shape != expected[name]
    ]
    if complaints:
        more = f"; and {len(complaints) - 5} more" if len(complaints) > 5 else ""
        raise ValueError(
            f"the tensors in {folder} do not fit its {CONFIG_FILE}: "
            + "; ".join(complaints[:5])
            + more
        )
    if output is not None and not torch.equal(output, tensors["wte.weight"]):
        raise ValueError(
            f"the tensors in {folder}: lm_head.weight must equal wte.weight, "
            "because GPT2 has one matrix for both"
        )


def _float_type(dtype: Any) -> torch.dtype:
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point type of torch, got {dtype!r:.60}")
    return dtype
