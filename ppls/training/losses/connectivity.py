"""PaddleSeg's loss of how connected areas are, reckoned by OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppls.errors import not_installed

Array = np.ndarray[Any, Any]


class SemanticConnectivityLoss(nn.Module):
    """How far areas of the prediction are from those of the label (`paddleseg.models.losses.SemanticConnectivityLoss`).

    Of the predicted classes alone, so that it has no gradient: beside other losses it is a figure that is added. Areas
    of a prediction weigh as much as the number of their class, and those of class 0 nothing, as written there.

    Args:
        ignore_index: the label that is no class.
        max_pred_num_conn: areas of the prediction that count, where there are more than twice the label's.

    Raises:
        ppls.MissingDependencyError: OpenCV is not installed.
    """

    def __init__(self, ignore_index: int = 255, max_pred_num_conn: int = 10) -> None:
        super().__init__()
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise not_installed(error) from error
        self._areas = cv2.connectedComponents
        self.ignore_index, self.max_pred_num_conn = ignore_index, max_pred_num_conn

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W)."""
        predictions, labels = (values.to("cpu", torch.uint8).numpy() for values in (logit.argmax(1), label))
        losses = [self._of_image(*pair) for pair in zip(predictions, labels, strict=True)]
        value = torch.tensor(np.array(losses, np.float32).mean(dtype=np.float32), device=logit.device)
        return value + 0 * logit.sum()

    def _of_image(self, predicted: Array, label: Array) -> float:
        classes = [number for number in np.unique(label) if number != self.ignore_index]
        losses = [self._of_class(predicted == number, label == number, int(number)) for number in classes]
        return float(sum(losses)) / len(losses) if losses else 0.0

    def _of_class(self, predicted: Array, wanted: Array, number: int) -> float:
        found, areas = self._areas(predicted.astype(np.uint8))
        count, wanted_areas = self._areas(wanted.astype(np.uint8))
        if found > 2 * count:
            found = min(found, self.max_pred_num_conn)
        if found <= 1:  # none but the rest of the image
            return _area(wanted & ~predicted) / wanted.size + 1
        overlaps = np.array(
            [[_overlap(areas == j, wanted_areas == i, number) for j in range(1, found)] for i in range(1, count)]
        )
        matched = [float(row[row > 0].mean()) for row in overlaps if row.any()]
        lone = _area(overlaps.sum(0) == 0)
        return 1 - sum(matched) / float(count - 1 + lone)


def _overlap(predicted: Array, wanted: Array, number: int) -> float:
    both = number * _area(predicted & wanted)
    return both / (number * _area(predicted) + _area(wanted) - both) if both else 0.0


def _area(mask: Array) -> int:
    return int(np.count_nonzero(mask))
