"""The rule that makes a verdict of error, tolerance and floor, and what is allowed to which output."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ppls
from ppls.parity.tolerance import FLOAT64_RESIZE_TOLERANCE, Tolerances, smallest_tolerance, verdict_on

ORDER = {"pass": 0, "inconclusive": 1, "fail": 2}
ERRORS = st.floats(0, 1e3)
TOLERANCES = st.floats(1e-12, 1e-1)
FLOORS = st.one_of(st.none(), st.floats(0, 1e2))


def rank(error, tolerance, floor):
    return ORDER[verdict_on(error, tolerance, floor)]


@given(ERRORS, ERRORS, TOLERANCES, FLOORS)
def test_a_larger_error_is_never_better(error, more, tolerance, floor):
    assert rank(error, tolerance, floor) <= rank(error + more, tolerance, floor)


@given(ERRORS, TOLERANCES, TOLERANCES, FLOORS)
def test_a_larger_tolerance_is_never_worse(error, tolerance, more, floor):
    assert rank(error, tolerance + more, floor) <= rank(error, tolerance, floor)


@given(ERRORS, TOLERANCES, FLOORS, st.floats(0, 1e2))
@example(1.01e-3, 1e-4, 2.50e-4, 1e-6)
def test_a_larger_floor_is_never_worse(error, tolerance, floor, more):
    assert rank(error, tolerance, (floor or 0.0) + more) <= rank(error, tolerance, floor)


def bounds(tolerance, floor):
    """The largest error that passes, and the largest that does not fail, by bisection."""
    found = []
    for most in (0, 1):
        low, high = 0.0, 1e6
        for _ in range(120):
            middle = (low + high) / 2
            low, high = (middle, high) if rank(middle, tolerance, floor) <= most else (low, middle)
        found.append(low)
    return found


@given(TOLERANCES, st.floats(0, 1e2), st.sampled_from(["tolerance", "floor"]))
@example(1e-4, 2.50e-4, "floor")  # here an error of 1.01e-3 failed, and with a floor of 2.51e-4 it was inconclusive
def test_no_bound_of_a_verdict_jumps_where_tolerance_or_floor_move_a_little(tolerance, floor, moved):
    nudge = 1.001
    before = bounds(tolerance, floor)
    after = bounds(tolerance * nudge, floor) if moved == "tolerance" else bounds(tolerance, floor * nudge)
    assert after == pytest.approx(before, rel=2e-3)


@given(st.floats(1e-12, 1e-2), FLOORS)
def test_the_smallest_tolerance_passes_and_anything_less_does_not(error, floor):
    smallest = smallest_tolerance(error, floor)
    assert verdict_on(error, smallest, floor) == "pass"
    assert verdict_on(error, smallest * (1 - 1e-9), floor) != "pass"


@pytest.mark.parametrize(
    ("error", "floor", "verdict"),
    [
        (0.9, 0.0, "pass"),
        (1.1, 0.0, "fail"),
        (1.1, None, "fail"),
        (3.9, 1.0, "pass"),  # four floors are allowed ...
        (4.1, 1.0, "inconclusive"),
        (9.9, 2.5, "pass"),  # ... up to ten tolerances
        (10.1, 2.5, "inconclusive"),
        (9.9, 100.0, "pass"),
        (10.1, 2.6, "inconclusive"),  # beyond those, within what rounding may explain
        (25.9, 2.6, "inconclusive"),
        (26.1, 2.6, "fail"),  # ten floors are no rounding
        (1.1, 0.1, "fail"),
        (0.9, math.nan, "pass"),
        (5.0, math.nan, "inconclusive"),
        (math.nan, 0.0, "fail"),
        (math.nan, math.nan, "fail"),
        (math.inf, 2.6, "fail"),
    ],
)
def test_four_floors_are_allowed_up_to_ten_tolerances_and_ten_floors_are_undecided(error, floor, verdict):
    assert verdict_on(error, 1.0, floor) == verdict


def test_one_output_has_a_tolerance_of_its_own():
    tolerances = Tolerances.given({"default": 1e-4, "head 1": 1e-3})
    assert tolerances.on("noise", "head 1") == 1e-3
    assert tolerances.on("noise", "head 0") == tolerances.on("noise") == 1e-4


def test_in_float64_no_tolerance_is_larger_than_its_own():
    tolerances = Tolerances.given({"default": 1e-12, "head 1": 1e-3}).during("float64", ["65x129"])
    assert tolerances.on("noise", "head 1") == 1e-9
    assert tolerances.on("65x129", "head 1") == FLOAT64_RESIZE_TOLERANCE
    assert tolerances.on("65x129") == 1e-12


@pytest.mark.parametrize("given", [0.0, 1.0, -1e-4, math.nan, {"head 1": 2.0}])
def test_what_is_no_tolerance_is_refused(given):
    with pytest.raises(ppls.UsageError, match="a scaled error between 0 and 1 is expected"):
        Tolerances.given(given)


def test_a_tolerance_of_an_output_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ppls.UsageError, match=r"head 7=.*no such output; it has output 0, head 1"):
        Tolerances.given({"head 7": 1e-3}).check(["output 0", "head 1", "output 0"])
