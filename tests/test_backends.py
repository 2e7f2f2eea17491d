"""The choice between numpy and numba, and what is said where numba is missing."""

import subprocess
import sys
import warnings

import pytest

from lmcourse._backends import choose_backend

NO_NUMBA = """
import sys
sys.modules["numba"] = None
from lmcourse.{module} import train
for seed in range(3):
    train({data}, seed=seed, backend={backend!r}, {options})
"""
WORD2VEC = {"module": "word2vec", "data": "[[0, 1, 2, 1, 0]], 3", "options": "passes=1, dim=2"}


def run_without_numba(backend, **case):
    code = NO_NUMBA.format(backend=backend, **case)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_numba_runs_where_it_is_installed():
    pytest.importorskip("numba")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_backend(None) == "numba"


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_named_backend_is_taken(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_backend(backend) == backend


def test_numpy_steps_in_with_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.warns(UserWarning, match=r'numba is not installed.*pip install "lmcourse\[fast\]"'):
        assert choose_backend(None) == "numpy"


def test_the_warning_names_the_callers_line_and_comes_once():
    """In a process of its own, where no type checker stands between the callers."""
    run = run_without_numba(None, **WORD2VEC)
    assert run.returncode == 0
    assert run.stderr.count("numba is not installed") == 1
    assert run.stderr.startswith("<string>:6: UserWarning: numba is not installed")


def test_numpy_asked_for_says_nothing():
    run = run_without_numba("numpy", **WORD2VEC)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.wrong_input
def test_other_backends_are_refused():
    with pytest.raises(ValueError, match="backend must be one of 'numpy', 'numba', got 'torch'"):
        choose_backend("torch")
