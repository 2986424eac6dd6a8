"""What PaddleSeg makes of labels for single losses: edges, and masks of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from ppls.schema import between
from ppls.training.data.cropping import LabelValue
from ppls.training.data.draws import Draws
from ppls.training.data.opencv import cv2
from ppls.training.data.pair import Array, Pair, Transform


@dataclass
class GenerateInstanceTargets(Transform):
    """For MaskFormer: `gt_classes` (num_classes,), those of the image and then `ignore_index`; `gt_masks`
    (num_classes, H, W), their masks and then zeros; `image_shape`, width and channels as PaddleSeg has it."""

    num_classes: Annotated[int, between(1, 4096)]
    ignore_index: LabelValue = 255

    def __call__(self, pair: Pair, draws: Draws) -> None:
        if pair.label is None:
            return
        found = np.unique(pair.label)
        found = found[found != self.ignore_index]
        left = self.num_classes - len(found)
        if left < 0:
            raise ValueError(f"its label has {len(found)} classes, more than the num_classes, {self.num_classes}")
        classes = np.append(found, np.full(left, self.ignore_index)).astype(np.int64)
        masks = np.zeros((self.num_classes, *pair.label.shape), np.float64 if len(found) else np.int64)
        for mask, value in zip(masks, found, strict=False):
            mask[:] = pair.label == value
        pair.instances = {
            "image_shape": np.array(pair.image.shape[1:]),
            "gt_classes": classes,
            "gt_masks": masks,
        }


def edges_of(label: Array, radius: int, classes: int) -> Array:
    """Where a label (H, W) changes: 1 where a pixel of another class, or the outside, is within `radius` pixels.

    `mask_to_binary_edge` without its distances. Of a class that is nowhere scipy reckons those to a point above the
    first pixel; what that marks, within PaddleSeg's radius of 2 or 4, is at the border and marked anyway.
    """
    label = np.ascontiguousarray(label)
    span = np.arange(-radius, radius + 1)
    disc = (span[:, np.newaxis] ** 2 + span**2 <= radius**2).astype(np.uint8)
    edges = np.zeros(label.shape, np.uint8)
    for number in np.unique(label):
        if not 0 <= number < classes:
            continue
        inside = (label == number).astype(np.uint8)
        padded = np.pad(inside, radius)
        near_inside, near_outside = (
            cv2.dilate(mask, disc)[radius:-radius, radius:-radius] for mask in (padded, 1 - padded)
        )
        edges |= np.where(inside, near_outside, near_inside)
    return edges
