"""Operators of detection given what makes no sense: an error that is told, not another."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.operators import find
from ppls.programs.registry import Run
from tests.programs.detection_cases import NMS


def made(kind: str, **attributes: Any) -> Run:
    operator = find("pir", kind)
    assert operator is not None
    return operator.make(Attributes(attributes, kind))


@pytest.mark.parametrize(
    ("kind", "attributes", "says"),
    [
        ("yolo_box", {"anchors": [10, 13, 33]}, "3 numbers for anchors"),
        ("prior_box", {"min_sizes": [4.0, 9.0], "max_sizes": [6.0]}, "make no boxes"),
        ("prior_box", {"min_sizes": [4.0], "aspect_ratios": [0.0], "flip": True}, "make no boxes"),
        ("prior_box", {"min_sizes": [4.0], "max_sizes": [-9.0]}, "make no boxes"),
        ("box_coder", {"code_type": "strange"}, "code_type 'strange'"),
        ("multiclass_nms3", {**NMS, "nms_top_k": "all"}, "nms_top_k 'all'"),
    ],
)
def test_attributes_that_make_no_sense_are_refused(kind: str, attributes: dict[str, Any], says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        made(kind, **attributes)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (((1, 5, 8), (1, 2, 5)), "boxes of 8 numbers"),
        (((1, 5, 4), (2, 2, 5)), "zip"),
        (((1, 3, 4), (1, 2, 5)), "index"),
        (((5, 2, 4), (5, 2)), "not how many are of each image"),
    ],
)
def test_boxes_and_scores_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], ...], says: str) -> None:
    run = made("multiclass_nms3", **{**NMS, "score_threshold": -1.0})
    with pytest.raises((ValueError, IndexError), match=says):
        run(*map(torch.rand, shapes))


def test_boxes_of_which_none_is_good_enough_give_no_rows() -> None:
    rows, places, counts = made("multiclass_nms3", **NMS)(torch.rand(2, 5, 4), torch.zeros(2, 3, 5))
    assert (rows.shape, places.shape, counts.tolist()) == ((0, 6), (0, 1), [0, 0])


def test_half_precision_keeps_the_boxes_that_single_precision_keeps() -> None:
    torch.manual_seed(0)
    middle, side = torch.rand(1, 40, 2) * 8, torch.rand(1, 40, 2) * 3
    boxes = torch.cat([middle - side, middle + side], -1).half()
    scores = torch.randperm(80).reshape(1, 2, 40).half() / 128  # no two alike
    run = made("multiclass_nms3", **NMS)
    half, single = run(boxes, scores), run(boxes.float(), scores.float())
    assert half[0].dtype == torch.float16
    assert len(half[0]) == len(single[0])
    assert torch.equal(half[1], single[1])
