"""The figures, held against PaddleSeg's own functions, and counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ppls.errors import InputError
from ppls.inference.metrics import Areas, Metrics


def areas_of(prediction: list[int], label: list[int], classes: int, ignore: int = 255) -> Areas:
    areas = Areas.zero(classes)
    areas.add(torch.tensor([prediction]), torch.tensor([label]), ignore)
    return areas


def test_they_are_those_counted_by_hand() -> None:
    metrics = Metrics.of(areas_of([0, 0, 1, 1, 1], [0, 1, 1, 1, 255], 2))
    assert metrics.class_iou == (1 / 2, 2 / 3)
    assert metrics.class_precision == (1 / 2, 1.0)
    assert metrics.class_recall == (1.0, 2 / 3)
    assert metrics.acc == 3 / 4
    assert metrics.dice == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics.kappa == pytest.approx((3 / 4 - 1 / 2) / (1 - 1 / 2))


def test_a_class_that_occurs_nowhere_counts_as_zero_in_the_mean() -> None:
    assert Metrics.of(areas_of([0, 0], [0, 0], 4)).miou == 1 / 4


@pytest.mark.parametrize("ignore", [255, 2])
def test_they_equal_paddlesegs(ignore: int, monkeypatch: pytest.MonkeyPatch) -> None:
    paddle = pytest.importorskip("paddle")
    upstream = pytest.importorskip("paddleseg.utils.metrics")
    monkeypatch.setattr(paddle, "concat", paddle.stack)  # Paddle 3 does not concatenate scalars; PaddleSeg has it do so
    rng = np.random.default_rng(ignore)
    areas, theirs = Areas.zero(6), None
    for _ in range(3):
        prediction, label = rng.integers(0, 5, (2, 20, 30))
        label[rng.random(label.shape) < 0.1] = ignore
        areas.add(torch.from_numpy(prediction), torch.from_numpy(label), ignore)
        counts = upstream.calculate_area(*map(paddle.to_tensor, (prediction[None], label[None])), 6, ignore)
        theirs = counts if theirs is None else [a + b for a, b in zip(theirs, counts, strict=True)]
    assert theirs is not None
    for ours, other in zip((areas.intersect, areas.predicted, areas.labelled), theirs, strict=True):
        assert np.array_equal(ours.numpy(), other.numpy())
    metrics = Metrics.of(areas)
    class_iou, miou = upstream.mean_iou(*theirs)
    acc, precision, recall = upstream.class_measurement(*theirs)
    assert np.array_equal(metrics.class_iou, class_iou)
    assert (metrics.miou, metrics.acc) == (miou, acc)
    assert np.array_equal(metrics.class_precision, precision)
    assert np.array_equal(metrics.class_recall, recall)
    assert metrics.kappa == upstream.kappa(*theirs)
    assert metrics.dice == upstream.dice(*theirs)[1]


def test_without_a_counted_pixel_they_are_zero_and_kappa_is_none() -> None:
    metrics = Metrics.of(areas_of([0, 1], [255, 255], 2))
    assert (metrics.miou, metrics.acc, metrics.dice) == (0, 0, 0)
    assert math.isnan(metrics.kappa)
    assert metrics.to_json()["kappa"] is None


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(InputError, match=r"the label holds 5, 9, the model has 3 classes \(0 to 2\)"):
        areas_of([0, 1, 2], [5, 9, 255], 3)


def test_a_label_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"the label is 1x2 \(height x width\), the image 1x3"):
        areas_of([0, 1, 2], [0, 1], 3)


def test_counts_survive_their_way_to_another_process() -> None:
    areas = areas_of([0, 1, 1], [0, 1, 0], 2)
    assert Metrics.of(Areas.unpacked(areas.packed())) == Metrics.of(areas)
