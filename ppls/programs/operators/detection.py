"""Boxes around things, and the parts of images that are in them."""

from __future__ import annotations

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes
from ppls.programs.registry import Run, operator


@operator(pir="yolo_box", pdmodel="yolo_box", takes="X ImgSize", gives="Boxes Scores")
def yolo_box(attributes: Attributes) -> Run:
    """Boxes (left, top, right, bottom) in pixels and their scores from YOLO's maps, for each anchor at each place.

    Both are zeros where it is less sure than `conf_thresh` that there is anything.
    """
    classes, below = attributes.integer("class_num", 1), attributes.number("conf_thresh", 0.01)
    stride, inside = attributes.integer("downsample_ratio", 32), attributes.truth("clip_bbox", True)
    scale, aware = attributes.number("scale_x_y", 1.0), attributes.truth("iou_aware", False)
    trust = attributes.number("iou_aware_factor", 0.5)
    anchors = attributes.integers("anchors", [])
    pairs = list(zip(anchors[::2], anchors[1::2], strict=True))

    def run(x: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """`x` (N, anchors * (5 + classes), H, W), before it `anchors` maps more with overlaps; `sizes` (N, 2)."""
        (height, width), count = x.shape[2:], len(pairs)
        overlaps, maps = x.split([count if aware else 0, count * (5 + classes)], 1)
        along_x, along_y, wide, high, sure, *each = maps.unflatten(1, (count, 5 + classes)).unbind(2)
        sure = torch.sigmoid(sure)  # (N, anchors, H, W), as the others
        if aware:
            sure = sure ** (1.0 - trust) * torch.sigmoid(overlaps) ** trust
        image_height, image_width = (sizes[:, at].to(x.dtype).reshape(-1, 1, 1, 1) for at in (0, 1))
        shift = -0.5 * (scale - 1.0)
        columns, rows = (torch.arange(side, dtype=x.dtype, device=x.device) for side in (width, height))
        center_x = (columns + torch.sigmoid(along_x) * scale + shift) * image_width / width
        center_y = (rows[:, None] + torch.sigmoid(along_y) * scale + shift) * image_height / height
        of_anchors = torch.tensor(pairs, dtype=x.dtype, device=x.device).reshape(count, 2, 1, 1)
        wide = torch.exp(wide) * of_anchors[:, 0] * image_width / (stride * width)
        high = torch.exp(high) * of_anchors[:, 1] * image_height / (stride * height)
        ends = [center_x - wide / 2, center_y - high / 2, center_x + wide / 2, center_y + high / 2]
        if inside:
            ends = [each.clamp(min=0) for each in ends[:2]] + [
                torch.minimum(end, side - 1) for end, side in zip(ends[2:], (image_width, image_height), strict=True)
            ]
        boxes, scores = torch.stack(ends, -1), torch.stack([torch.sigmoid(one) * sure for one in each], -1)
        known = (sure >= below)[..., None]
        return torch.where(known, boxes, 0.0).flatten(1, 3), torch.where(known, scores, 0.0).flatten(1, 3)

    return run
