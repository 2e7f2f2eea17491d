"""Interactive figures that work in Jupyter and, with no kernel, in the built book.

Import a widget from its module, ``from lmcourse.widgets.sampler_view import SamplerView``, or from
here; nothing heavy is loaded before the first one is asked for.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

# Every widget and the module that holds it; its script and style lie beside it.
_WIDGETS = {
    "SamplerView": "sampler_view",
    "GradientFlow": "gradient_flow",
    "EmbeddingMap": "embedding_map",
    "AttentionView": "attention_view",
    "GateView": "gate_view",
}


def modules() -> dict[str, Path]:
    """Return each widget's name and the path of its ES module."""
    folder = Path(__file__).parent
    return {kind: folder / f"{module}.js" for kind, module in _WIDGETS.items()}


def __getattr__(name: str) -> Any:
    if name not in _WIDGETS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WIDGETS[name]}"), name)
