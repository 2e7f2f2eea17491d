import fractions

import numpy as np
import pytest
import torch

from lmcourse import _arguments as arguments

nan = float("nan")


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.ones(2, np.float32), np.float32),
        (np.ones(2, np.float64), np.float64),
        (np.ones(2, np.float16), np.float64),
        (np.ones(2, np.longdouble), np.float64),
        ([1, 2], np.float64),
        (np.uint8([1, 2]), np.float64),
        (torch.ones(2), np.float32),
    ],
    ids=str,
)
def test_finite_array_keeps_float32_and_float64_and_makes_the_rest_float64(given, dtype):
    assert arguments.finite_array("x", given).dtype == dtype


def test_what_is_right_passes():
    array = np.array([0.0, -np.inf])
    assert arguments.finite_array("x", array, allow_minus_inf=True, ndim=1) is array
    assert arguments.finite_array("x", 3.0).shape == ()
    assert arguments.token_ids("ids", [[0, 4]], 5, ndim=2).tolist() == [[0, 4]]
    assert arguments.token_ids("ids", np.uint8([3]), 5).dtype == np.int64
    assert arguments.token_ids("ids", [], 5, allow_empty=True).dtype == np.int64
    assert arguments.token_ids("ids", [10**9], None).tolist() == [10**9]
    assert arguments.number("x", np.float32(0.5), above=0, below=1) == 0.5
    assert type(arguments.number("x", fractions.Fraction(1, 2))) is float
    assert arguments.number("x", float("inf"), at_least=0, allow_inf=True) == float("inf")
    assert type(arguments.integer("n", np.int32(3), at_least=3, at_most=3)) is int
    assert arguments.text("text", "naïve 😀") == "naïve 😀"
    assert arguments.text("text", "") == ""
    assert arguments.one_of("name", "a", ("a", "b")) == "a"
    assert arguments.place("x", (1, ":")) == "x[1, :]"
    assert arguments.place("x", ()) == "x"


@pytest.mark.parametrize(("dtype", "slack"), [(np.float32, 5e-5), (np.float64, 5e-7)])
def test_distribution_allows_for_rounding(dtype, slack):
    for off in (-slack, slack):
        arguments.distribution("p", np.array([0.5, 0.5 + off], dtype))
    for off in (-4 * slack, 4 * slack):
        with pytest.raises(ValueError, match="p must sum to 1"):
            arguments.distribution("p", np.array([0.5, 0.5 + off], dtype))


@pytest.mark.parametrize("axis", [1, -2])
def test_distribution_sums_along_its_axis(axis):
    p = np.full((2, 4, 3), 0.25)
    assert arguments.distribution("p", p, axis=axis) is p
    p[1, 2, 0] = 0.5
    with pytest.raises(ValueError, match=r"got the sum 1\.25 of p\[1, :, 0\]"):
        arguments.distribution("p", p, axis=axis)


@pytest.mark.wrong_input
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: arguments.finite_array("x", "abc"),
            TypeError,
            "x must be an array of real numbers, got str 'abc'",
        ),
        (
            lambda: arguments.finite_array("x", None),
            TypeError,
            "x must be an array of real numbers, got NoneType None",
        ),
        (
            lambda: arguments.finite_array("x", [[1], [2, 3]]),
            TypeError,
            "x must be an array of real numbers, got list",
        ),
        (
            lambda: arguments.finite_array("x", torch.ones(1, requires_grad=True)),
            TypeError,
            "x must be an array of real numbers, got Tensor .*detach",
        ),
        (
            lambda: arguments.finite_array("x", np.ones((2, 0))),
            ValueError,
            r"x must not be empty, got shape \(2, 0\)",
        ),
        (
            lambda: arguments.finite_array("x", [1.0], ndim=2),
            ValueError,
            r"x must have 2 axes, got shape \(1,\)",
        ),
        (
            lambda: arguments.finite_array("x", 1.0, ndim=1),
            ValueError,
            r"x must have 1 axis, got shape \(\)",
        ),
        (
            lambda: arguments.finite_array("x", [[0, nan]]),
            ValueError,
            r"x must be finite, got nan at x\[0, 1\]",
        ),
        (
            lambda: arguments.finite_array("x", [-np.inf]),
            ValueError,
            r"x must be finite, got -inf at x\[0\]",
        ),
        (lambda: arguments.finite_array("x", nan), ValueError, "x must be finite, got nan at x$"),
        (
            lambda: arguments.finite_array("x", [-np.inf, np.inf], allow_minus_inf=True),
            ValueError,
            r"x must be finite or -inf, got inf at x\[1\]",
        ),
        (
            lambda: arguments.token_ids("ids", [0.0], 5),
            TypeError,
            "ids must hold integer token ids, got list",
        ),
        (
            lambda: arguments.token_ids("ids", [True], 5),
            TypeError,
            "ids must hold integer token ids, got list",
        ),
        (
            lambda: arguments.token_ids("ids", "abc", 5),
            TypeError,
            "ids must hold integer token ids, got str 'abc'",
        ),
        (
            lambda: arguments.token_ids("ids", [[0], [1, 2]], 5),
            TypeError,
            "ids must hold integer token ids, got list",
        ),
        (
            lambda: arguments.token_ids("ids", [], 5),
            ValueError,
            "ids must hold at least one token id, got an empty",
        ),
        (
            lambda: arguments.token_ids("ids", [0], 5, ndim=2),
            ValueError,
            r"ids must have 2 axes, got shape \(1,\)",
        ),
        (
            lambda: arguments.token_ids("ids", [0, 5], 5),
            ValueError,
            r"ids must lie in \[0, 5\), got 5 at ids\[1\]",
        ),
        (lambda: arguments.token_ids("ids", [[0], [-1]], 5), ValueError, r"got -1 at ids\[1, 0\]"),
        (lambda: arguments.number("x", "1"), TypeError, "x must be a number, got str '1'"),
        (lambda: arguments.number("x", True), TypeError, "x must be a number, got bool True"),
        (lambda: arguments.number("x", 1j), TypeError, "x must be a number, got complex 1j"),
        (
            lambda: arguments.number("x", np.ones(2)),
            TypeError,
            r"got an array of float64 with shape \(2,\)",
        ),
        (lambda: arguments.number("x", nan), ValueError, "x must be a finite number, got nan"),
        (
            lambda: arguments.number("x", np.inf, above=0),
            ValueError,
            "x must be a finite number > 0, got inf",
        ),
        (
            lambda: arguments.number("x", 0, above=0),
            ValueError,
            "x must be a finite number > 0, got 0",
        ),
        (
            lambda: arguments.number("x", -1, at_least=0, at_most=1),
            ValueError,
            "finite number >= 0 and <= 1, got -1",
        ),
        (
            lambda: arguments.number("x", 2, at_least=0, at_most=1),
            ValueError,
            "finite number >= 0 and <= 1, got 2",
        ),
        (
            lambda: arguments.number("x", 1, below=1),
            ValueError,
            "x must be a finite number < 1, got 1",
        ),
        (
            lambda: arguments.number("x", nan, allow_inf=True),
            ValueError,
            "x must be a number, got nan",
        ),
        (lambda: arguments.integer("n", 1.0), TypeError, r"n must be an integer, got float 1\.0"),
        (lambda: arguments.integer("n", True), TypeError, "n must be an integer, got bool True"),
        (
            lambda: arguments.integer("n", 0, at_least=1),
            ValueError,
            "n must be an integer >= 1, got 0",
        ),
        (
            lambda: arguments.integer("n", 9, at_most=8),
            ValueError,
            "n must be an integer <= 8, got 9",
        ),
        (
            lambda: arguments.integer("n", 9, at_least=1, at_most=8),
            ValueError,
            "n must be an integer >= 1 and <= 8, got 9",
        ),
        (
            lambda: arguments.text("text", b"abc"),
            TypeError,
            "text must be a string, got bytes b'abc'",
        ),
        (
            lambda: arguments.text("text", "", allow_empty=False),
            ValueError,
            "text must not be empty",
        ),
        (
            lambda: arguments.text("text", "a\ud800"),
            ValueError,
            r"the lone surrogate U\+D800 at text\[1\]",
        ),
        (
            lambda: arguments.one_of("name", "c", ("a", "b")),
            ValueError,
            "name must be one of 'a', 'b', got 'c'",
        ),
        (
            lambda: arguments.distribution("p", [0.5, -0.5, 1.0]),
            ValueError,
            r"p must not be negative, got -0\.5 at p\[1\]",
        ),
        (
            lambda: arguments.distribution("p", 1.0),
            ValueError,
            r"p must have at least 1 axis, got the single number 1\.0",
        ),
        (
            lambda: arguments.distribution("p", [1.0], axis=1),
            ValueError,
            "axis must be an integer >= -1 and <= 0, got 1",
        ),
        (
            lambda: arguments.distribution("p", [1.0], ndim=2),
            ValueError,
            r"p must have 2 axes, got shape \(1,\)",
        ),
        (
            lambda: arguments.gradients_for({}, [1]),
            TypeError,
            "gradients must map names to arrays, got list",
        ),
    ],
)
def test_complaints_name_the_argument_what_was_expected_and_what_came(call, error, message):
    with pytest.raises(error, match=message):
        call()
