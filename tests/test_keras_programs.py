"""Programs written for Keras: another import, and nothing else, runs them on lmcourse.keras.

Each program in ``tests/programs`` imports from ``tensorflow.keras``, as most that are in use do.
TensorFlow's name stands for the package ``keras._tf_keras.keras`` of Keras 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lmcourse.keras
from tests.keras_reference import keras, quiet
from tests.notebooks import ROOT

pytestmark = quiet

PROGRAMS = ROOT / "tests" / "programs"
SWAPS = {lmcourse.keras: "lmcourse", keras: "keras._tf_keras"}
COMPARED = {
    "next_word": ["x", "y", "probabilities", "next_word"],
    "character_model": ["probabilities", "states", "written"],
    "spam": ["x_train", "x_test", "probabilities", "found"],
}


def run(program: str, library: Any) -> dict[str, Any]:
    """Run a program with the library that its imports are changed to, and return its variables."""
    path = PROGRAMS / f"{program}.py"
    source = path.read_text(encoding="utf-8")
    assert source.count("from tensorflow") == source.count("tensorflow") > 0
    variables = {"__name__": program}
    exec(
        compile(source.replace("from tensorflow", f"from {SWAPS[library]}"), path, "exec"),
        variables,
    )
    return variables


def in_order(fit: Any, start: Any) -> Any:
    """Make ``fit`` let ``start`` see the built model before, and take the examples in order."""

    def wrapped(self, x, *arguments, **options):
        if not self.built:
            self(x[:1])
        start(self)
        return fit(self, x, *arguments, **{**options, "shuffle": False})

    return wrapped


@pytest.mark.parametrize("program", COMPARED)
def test_an_import_is_all_that_differs(program, monkeypatch):
    """From the same first weights come the same losses, predictions and texts.

    How weights start and how examples are shuffled is drawn at random, by each library in its own
    way; so the weights that Keras drew are copied, and both take the examples in order.
    """
    weights: list[np.ndarray] = []
    monkeypatch.setattr(
        keras.Model,
        "fit",
        in_order(keras.Model.fit, lambda model: weights.extend(model.get_weights())),
    )
    monkeypatch.setattr(
        lmcourse.keras.Model,
        "fit",
        in_order(lmcourse.keras.Model.fit, lambda model: model.set_weights(weights)),
    )
    keras.utils.set_random_seed(0)
    theirs = run(program, keras)
    ours = run(program, lmcourse.keras)
    losses = theirs["history"].history
    assert list(ours["history"].history) == list(losses)
    for name, values in losses.items():
        np.testing.assert_allclose(ours["history"].history[name], values, rtol=1e-4, err_msg=name)
    assert losses["loss"][-1] < losses["loss"][0], "nothing was learnt"
    for name in COMPARED[program]:
        assert type(ours[name]) is type(theirs[name])
        if isinstance(theirs[name], str):
            assert ours[name] == theirs[name]
        else:
            # Rounding, each library's own, has grown over the steps of training.
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=2e-4, err_msg=name)


def test_programs_use_what_the_course_teaches():
    """Every program is compared, so that none is there that nobody runs."""
    assert {path.stem for path in PROGRAMS.glob("*.py")} == set(COMPARED)
