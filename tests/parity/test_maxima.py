"""Maxima that tie stand where PaddleSeg's stand, and no others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ppls.parity.maxima import Settled, with_maxima_settled
from ppls.parity.reference.maxima import Maxima, settled

Array = np.ndarray[Any, Any]

WIDE = np.random.default_rng(0).normal(size=(1, 2, 32, 32)).astype("float32")


def places_of(x: Array) -> Array:
    found: Array = F.max_pool2d(torch.from_numpy(x), 2, return_indices=True)[1].numpy()
    return found


def tied(by: float) -> tuple[Array, Array]:
    """Two maps: in a window of the second another pixel is the largest, by so much of the largest of all."""
    x, y = WIDE.copy(), WIDE.copy()
    x[0, 1, 4, 6], x[0, 1, 5, 7] = 3.0, 3.0 - 1e-6
    y[0, 1, 4, 6], y[0, 1, 5, 7] = 3.0, 3.0 + by * float(np.abs(WIDE).max())
    return x, y


def test_a_maximum_that_ties_stands_where_it_stood_before() -> None:
    x, y = tied(5e-5)
    before, places = places_of(x), places_of(y)
    assert (before != places).sum() == 1
    assert (settled(y, places, [before]) == before).all()
    assert (settled(y, places, [before[:, :1], places_of(-WIDE), before]) == before).all()


def test_one_that_is_larger_by_more_stands_where_it_is() -> None:
    x, y = tied(5e-4)
    assert (settled(y, places_of(y), [places_of(x)]) == places_of(y)).all()


def test_where_many_stand_elsewhere_it_is_another_map_or_a_fault() -> None:
    flat = np.zeros_like(WIDE)  # every window ties
    last = places_of(flat) + 33
    assert (settled(flat, last, [places_of(flat)]) == last).all()


def test_places_beyond_a_map_are_of_another() -> None:
    x, y = tied(5e-5)
    assert (settled(y[..., :31, :31], places_of(y), [places_of(x)]) == places_of(y)).all()


def test_the_candidates_poolings_are_settled_whoever_calls_them() -> None:
    x, y = tied(5e-5)
    pool = torch.nn.MaxPool2d(2, return_indices=True)
    with Settled([places_of(x)]):
        values, places = pool(torch.from_numpy(y))
    assert (places.numpy() == places_of(x)).all()
    assert torch.equal(values, pool(torch.from_numpy(y))[0])


def test_without_such_poolings_nothing_is_watched() -> None:
    def judge(recording: object, more: int) -> bool:
        return bool(torch.utils._python_dispatch._get_current_dispatch_mode()) and more == 1

    watched = with_maxima_settled(judge)  # type: ignore[arg-type]
    assert not watched(SimpleNamespace(maxima=[]), 1)  # type: ignore[arg-type]
    assert watched(SimpleNamespace(maxima=[places_of(WIDE)]), 1)  # type: ignore[arg-type]


class Tensor:
    """As much of one of Paddle's as the pooling asks of it."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def numpy(self) -> Array:
        return self.array


def test_the_reference_chooses_in_its_second_precision_as_in_its_first() -> None:
    x, y = tied(5e-5)
    maxima = Maxima()
    pool = maxima.remembering(lambda given: (None, Tensor(places_of(given.array))), Tensor)
    with maxima.settled_in_run():
        with maxima.noted():
            for array in (x, x, -WIDE):
                pool(Tensor(array))
        assert len(maxima.known) == 2
        assert (pool(Tensor(y))[1].array == places_of(x)).all()
        assert len(maxima.known) == 2
    assert (pool(Tensor(y))[1].array == places_of(y)).all()


def test_poolings_that_do_not_say_where_are_left_alone() -> None:
    maxima = Maxima()
    with maxima.settled_in_run(), maxima.noted():
        given = Tensor(WIDE)
        assert maxima.remembering(lambda given: given, Tensor)(given) is given
    assert maxima.known == []
