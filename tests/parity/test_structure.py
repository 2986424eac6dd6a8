"""What a model returns beside a list of logits: dictionaries, masks with classes, boundaries, nested at will."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ppls.parity.candidate import CandidateError, run_by_place
from ppls.parity.reference.figures import difference
from ppls.parity.reference.structure import is_plain, places
from ppls.parity.reference_run import RecordedOutput, Stored
from ppls.parity.stages.outputs import wrong_structure

ONE, TWO, THREE = (np.full((1, 2, 3, 3), value, np.float32) for value in (1, 2, 3))


def by_place(result: Any) -> dict[str, Any]:
    return dict(places(result, lambda part: isinstance(part, np.ndarray)))


def expected(result: Any) -> list[RecordedOutput]:
    return [
        RecordedOutput("photograph", index, False, True, Stored(Path("x.npy"), None), place)
        for index, place in enumerate(by_place(result))
    ]


def wrong(reference: Any, candidate: Any) -> list[str]:
    return wrong_structure(expected(reference), by_place(candidate), "input photograph")


def test_every_tensor_has_its_place() -> None:
    nested = [ONE, (TWO, None), {"masks": [THREE], 7: "a word"}]
    assert list(by_place(nested)) == ["[0]", "[1][0]", "[2]['masks'][0]"]
    assert list(by_place(ONE)) == [""]


@pytest.mark.parametrize("result", [[ONE, TWO], (ONE, TWO), {"out": ONE, "aux": TWO}])
def test_the_logits_of_a_list_may_come_in_any_container(result: Any) -> None:
    assert wrong([ONE, TWO], result) == []
    assert wrong([ONE], ONE) == wrong(ONE, (ONE,)) == []


def test_a_list_of_another_length_is_told_by_the_numbers() -> None:
    assert wrong([ONE, TWO], [ONE]) == ["the candidate returned 1 outputs, the reference 2 (input photograph)"]


@pytest.mark.parametrize(
    ("reference", "right"),
    [
        ([ONE, (TWO, THREE)], (ONE, [TWO, THREE])),
        ({"masks": ONE, "classes": [TWO]}, {"classes": (TWO,), "masks": ONE}),
    ],
)
def test_a_list_for_a_tuple_and_keys_in_another_order_are_the_same_structure(reference: Any, right: Any) -> None:
    assert wrong(reference, right) == []


@pytest.mark.parametrize(
    ("reference", "other", "first"),
    [
        ({"masks": ONE, "classes": TWO}, {"masks": ONE, "labels": TWO}, "has no ['classes']"),
        ({"masks": ONE}, {"masks": ONE, "more": TWO}, "has ['more'], too"),
        ({"masks": ONE, "classes": TWO}, [ONE, TWO], "has no ['masks']"),
        ([ONE, (TWO, THREE)], [ONE, TWO, THREE], "has no [1][0]"),
        ([{"masks": ONE}], {"masks": ONE}, "has no [0]['masks']"),
    ],
)
def test_another_structure_is_a_failure_that_says_where(reference: Any, other: Any, first: str) -> None:
    (line,) = wrong(reference, other)
    assert first in line


def test_an_output_is_called_by_its_place_where_it_is_no_list() -> None:
    assert [output.name for output in expected({"masks": ONE, "a\nb": TWO})] == [
        "output ['masks']",
        r"output ['a\nb']",
    ]
    assert [output.name for output in expected([ONE, TWO])] == ["output 0", "output 1"]
    assert is_plain(["", "[0]", "[12]"])
    assert not is_plain(["[0]", "[1][0]"])


def test_a_candidate_that_returns_something_else_is_told_what() -> None:
    class Strange(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return {"logits": x, "more": object()}

    with pytest.raises(CandidateError, match="type object"):
        run_by_place(Strange(), ONE)


def test_of_classes_the_share_that_differs_counts_not_how_far_their_numbers_are_apart() -> None:
    classes = np.zeros((1, 100, 100), np.int64)
    other = classes.copy()
    other[0, 0, 0] = 18
    assert difference(classes, other).scaled == pytest.approx(1e-4)
    assert difference(classes == 0, other == 0).scaled == pytest.approx(1e-4)
    assert difference(classes, classes + 1).scaled == 1.0
