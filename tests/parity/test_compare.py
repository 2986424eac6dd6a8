"""The figures that everything is judged by."""

import numpy as np
import pytest

from ppls.parity.compare import argmax_agreement, compare
from ppls.parity.reference import figures
from ppls.parity.reference.figures import difference
from ppls.parity.tolerance import worst


def test_the_scaled_error_is_the_largest_difference_over_the_references_largest_value():
    reference = np.array([1.0, -4.0, 2.0], np.float32)
    found = difference(reference, np.array([1.5, -4.0, 2.0], np.float32))
    assert (found.max_abs, found.scaled) == (0.5, 0.125)


def test_the_scale_is_the_references_not_the_candidates():
    assert difference(np.ones(2), np.array([1.0, 100.0])).scaled == 99.0


def test_a_reference_of_zeros_is_compared_absolutely():
    assert difference(np.zeros(3), np.array([0.0, 0.25, 0.0])).scaled == 0.25


def test_a_difference_in_the_last_of_many_blocks_is_found(monkeypatch):
    monkeypatch.setattr(figures, "BLOCK", 4)
    reference = np.ones(11)
    candidate = reference.copy()
    candidate[-1] = 3.0
    assert difference(reference, candidate).max_abs == 2.0


def test_a_transposed_array_of_equal_mean_is_different():
    reference = np.arange(9.0).reshape(3, 3)
    assert compare(reference, reference.T.copy(), tolerance=1e-4).verdict == "fail"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["reference", "candidate"])
def test_a_value_that_is_not_finite_on_one_side_only_fails(bad, side):
    arrays = {"reference": np.ones(1000, np.float32), "candidate": np.ones(1000, np.float32)}
    arrays[side][7] = bad
    found = compare(arrays["reference"], arrays["candidate"], tolerance=0.5)
    assert found.verdict == "fail"
    assert found.problem == "1 of 1000 elements are NaN or infinite on one side only"


def test_infinities_of_another_sign_fail():
    assert compare(np.array([1.0, np.inf]), np.array([1.0, -np.inf]), tolerance=0.5).verdict == "fail"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_on_both_sides_proves_nothing(bad):
    array = np.array([1.0, bad])
    found = compare(array, array, tolerance=1e-4)
    assert found.verdict == "inconclusive"
    assert found.problem == "1 of 2 elements are NaN or infinite on both sides: nothing can be said of them"


def test_an_empty_array_proves_nothing():
    assert compare(np.zeros((0, 3)), np.zeros((0, 3)), tolerance=1e-4).verdict == "inconclusive"


def test_another_shape_fails_even_where_it_would_broadcast():
    found = compare(np.ones((1, 3, 2, 2)), np.ones((1, 3, 1, 1)), tolerance=1e-4)
    assert (found.verdict, found.problem) == ("fail", "shape [1, 3, 1, 1], the reference's is [1, 3, 2, 2]")


def test_another_dtype_fails_even_where_the_values_are_equal():
    assert compare(np.ones(3, np.float32), np.ones(3), tolerance=1e-4).problem == (
        "dtype float64, the reference's is float32"
    )


def test_an_output_larger_than_one_is_held_to_the_tolerance_absolutely_too():
    reference, candidate = np.array([100.0, 0.0]), np.array([100.001, 0.0])
    assert compare(reference, candidate, tolerance=1e-4).verdict == "pass"
    assert compare(reference, candidate, tolerance=1e-4, absolute=True).verdict == "fail"


def test_an_output_smaller_than_one_is_not_excused_by_its_small_absolute_difference():
    assert compare(np.array([0.01]), np.array([0.01001]), tolerance=1e-4, absolute=True).verdict == "fail"


def test_one_failure_fails_the_whole_and_one_doubt_leaves_it_open():
    assert worst(["pass", "inconclusive", "fail"]) == "fail"
    assert worst(["pass", "inconclusive"]) == "inconclusive"
    assert worst(["pass"]) == "pass"


def test_argmax_agreement_is_the_share_of_pixels_of_the_same_class():
    reference = np.zeros((1, 2, 2, 2))
    reference[:, 0] = 1.0
    candidate = reference.copy()
    candidate[0, 1, 0, 0] = 2.0
    assert argmax_agreement(reference, candidate) == 0.75
    assert argmax_agreement(reference[:, :1], candidate[:, :1]) is None


def test_the_figures_of_a_comparison_say_what_was_applied_and_what_would_have_passed():
    reference, candidate = np.array([100.0, 0.0]), np.array([100.001, 0.0])
    found = compare(reference, candidate, tolerance=1e-4, absolute=True)
    assert found.tolerance == 1e-4
    assert found.needed == pytest.approx(1e-3)  # the absolute difference, which the outputs are held to
    assert compare(reference, candidate, tolerance=found.needed, absolute=True).verdict == "pass"
    assert compare(reference, candidate, tolerance=found.needed * 0.999, absolute=True).verdict == "fail"
