"""Classes and probabilities beside logits: ties may fall either way, wrong classes may not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppls.parity.classes import compare_classes, compare_probabilities, softmax
from ppls.parity.compare import argmax_agreement

RNG = np.random.default_rng(0)


def logits(scale: float = 1.0) -> np.ndarray:
    return (RNG.normal(size=(2, 5, 12, 16)) * scale).astype(np.float32)


def test_the_classes_of_the_logits_pass_in_any_integer_type_and_with_a_channel() -> None:
    reference = logits()
    labels = reference.argmax(1)
    for classes in (labels, labels.astype(np.uint8), labels.astype(np.int32)[:, None]):
        found = compare_classes(reference, classes, tolerance=1e-4)
        assert (found.verdict, found.scaled) == ("pass", 0.0)
        assert argmax_agreement(reference, classes) == 1.0


def test_a_near_tie_passes_and_a_wrong_class_fails() -> None:
    reference = logits()
    labels = reference.argmax(1)
    best = int(labels[0, 3, 3])
    other = (best + 1) % 5
    labels[0, 3, 3] = other
    assert compare_classes(reference, labels, tolerance=1e-4).verdict == "fail"
    reference[0, other, 3, 3] = reference[0, best, 3, 3] - 1e-4  # half of which the candidate's must have erred by
    found = compare_classes(reference, labels, tolerance=1e-4)
    assert found.verdict == "pass"
    assert found.max_abs == pytest.approx(5e-5, rel=1e-2)
    assert found.needed is not None
    assert compare_classes(reference, labels, tolerance=found.needed).verdict == "pass"
    assert compare_classes(reference, labels, tolerance=found.needed * 0.99).verdict == "fail"


@given(st.floats(1e-6, 1e-1), st.floats(0.1, 100), st.integers(0, 1000))
def test_the_bound_is_never_more_than_the_error_of_the_logits(error: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference = (rng.normal(size=(1, 4, 8, 8)) * scale).astype(np.float32)
    largest = np.abs(reference).max()
    candidate = reference + (rng.uniform(-1, 1, reference.shape) * error * largest).astype(np.float32)
    bound = compare_classes(reference, candidate.argmax(1), tolerance=1e-4).scaled
    assert bound is not None
    assert bound <= np.abs(candidate - reference).max() / largest + 1e-7


def test_the_floor_excuses_what_it_excuses_of_logits() -> None:
    reference = logits()
    labels = reference.argmax(1)
    second = reference.argsort(1)[:, -2]
    labels[0, 0, 0] = second[0, 0, 0]
    margin = compare_classes(reference, labels, tolerance=1e-4).scaled
    assert margin is not None
    assert margin > 1e-4
    assert compare_classes(reference, labels, tolerance=margin / 2, floor=margin / 3).verdict == "pass"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros((2, 5, 16), np.int32), "classes of shape"),
        (np.zeros((2, 2, 12, 16), np.int64), "classes of shape"),
        (np.full((2, 12, 16), 5), "classes from 5 to 5, the reference has 5"),
        (np.full((2, 12, 16), -1), "classes from -1 to -1"),
        (np.zeros((2, 12, 16), np.float32), "classes of shape"),
    ],
)
def test_what_is_no_map_of_its_classes_fails_and_says_why(labels: np.ndarray, said: str) -> None:
    found = compare_classes(logits(), labels, tolerance=0.9)
    assert found.verdict == "fail"
    assert said in str(found.problem)


def test_logits_that_are_no_numbers_decide_nothing() -> None:
    reference = logits()
    reference[0, 0, 0, 0] = np.nan
    assert compare_classes(reference, reference.argmax(1), tolerance=1e-4).verdict == "inconclusive"


def test_probabilities_are_held_to_the_softmax_and_to_no_more_than_the_floor_carried_over() -> None:
    reference = logits(3)
    found = compare_probabilities(reference, softmax(reference), tolerance=1e-6, floor=1e-6)
    assert found.verdict == "pass"
    assert found.floor is not None
    assert found.floor <= 0.5e-6 * np.abs(reference).max() / softmax(reference).max() * 1.001
    moved = reference.copy()
    moved[:, 0] += 0.01
    assert compare_probabilities(reference, softmax(moved), tolerance=1e-4).verdict == "fail"
    assert softmax(reference).sum(1) == pytest.approx(1)
