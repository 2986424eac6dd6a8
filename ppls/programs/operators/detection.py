"""Boxes around things, and the parts of images that are in them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
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
    if len(anchors) % 2:
        raise UnsupportedError(f"{len(anchors)} numbers for anchors, which are pairs")
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


@operator(pir="prior_box", pdmodel="prior_box", takes="Input Image", gives="Boxes Variances")
def prior_box(attributes: Attributes) -> Run:
    """SSD's boxes at each place of a map, (H, W, boxes, 4), in parts of the image, and their variances."""
    sides, larger = attributes.numbers("min_sizes"), attributes.numbers("max_sizes", [])
    listed = attributes.numbers("aspect_ratios", [1.0])
    if any(each <= 0 for each in (*sides, *larger, *listed)) or len(larger) not in (0, len(sides)):
        raise UnsupportedError("sizes and ratios that make no boxes")
    ratios = _ratios(listed, both=attributes.truth("flip", False))
    variances, inside = attributes.numbers("variances", [0.1, 0.1, 0.2, 0.2]), attributes.truth("clip", False)
    steps, offset = (
        (attributes.number("step_h", 0.0), attributes.number("step_w", 0.0)),
        attributes.number("offset", 0.5),
    )
    squares_first = attributes.truth("min_max_aspect_ratios_order", False)
    shapes = []  # width and height of each box
    for at, side in enumerate(sides):
        square = [(math.sqrt(side * larger[at]),) * 2] if larger else []
        others = [(side * math.sqrt(ratio), side / math.sqrt(ratio)) for ratio in ratios]
        shapes += [others[0], *square, *others[1:]] if squares_first else [*others, *square]

    def run(x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        height, width = x.shape[2:]
        image_height, image_width = image.shape[2:]
        step_y, step_x = steps if all(steps) else (image_height / height, image_width / width)
        rows, columns = (torch.arange(side, dtype=x.dtype, device=x.device) + offset for side in (height, width))
        centers = torch.meshgrid(rows * step_y, columns * step_x, indexing="ij")[::-1]
        middle = torch.stack(centers, -1)[:, :, None]  # (H, W, 1, 2)
        half = torch.tensor(shapes, dtype=x.dtype, device=x.device) / 2
        size = torch.tensor([image_width, image_height], dtype=x.dtype, device=x.device)
        boxes = torch.cat([(middle - half) / size, (middle + half) / size], -1)
        spread = torch.tensor(variances, dtype=x.dtype, device=x.device).expand_as(boxes)
        return boxes.clamp(0.0, 1.0) if inside else boxes, spread

    return run


def _ratios(listed: list[float], *, both: bool) -> list[float]:
    """1, and each other once; `both` ways, where it is said."""
    found = [1.0]
    for ratio in listed:
        if all(abs(ratio - known) >= 1e-6 for known in found):
            found += [ratio, 1.0 / ratio] if both else [ratio]
    return found


@operator(pir="box_coder", pdmodel="box_coder", takes="PriorBox PriorBoxVar TargetBox", gives="OutputBox")
def box_coder(attributes: Attributes) -> Run:
    """Boxes as their differences to others, or back: centre and size, in parts of those others' size."""
    back = attributes.choice("code_type", "encode_center_size", "decode_center_size") == "decode_center_size"
    more = 0.0 if attributes.truth("box_normalized", True) else 1.0
    axis, listed = attributes.integer("axis", 0), attributes.numbers("variance", [])

    def run(prior: Tensor, spread: Tensor | None = None, target: Tensor | None = None) -> Tensor:
        """`prior` (M, 4); `target` (N, 4) to (N, M, 4), or back of (N, M, 4), or (M, N, 4) if `axis` is 1."""
        if target is None:
            raise ValueError("no boxes to code")
        factors = torch.tensor(listed, dtype=prior.dtype, device=prior.device) if spread is None and listed else spread
        if back and axis == 1:
            prior, factors = prior[:, None], factors[:, None] if factors is not None and factors.dim() == 2 else factors
        size = prior[..., 2:] - prior[..., :2] + more
        center = prior[..., :2] + size / 2
        factors = torch.ones_like(prior) if factors is None else factors
        if back:
            middle = factors[..., :2] * target[..., :2] * size + center
            half = torch.exp(factors[..., 2:] * target[..., 2:]) * size / 2
            return torch.cat([middle - half, middle + half - more], -1)
        middle, sides = (
            (target[:, None, 2:] + target[:, None, :2]) / 2,
            target[:, None, 2:] - target[:, None, :2] + more,
        )
        return torch.cat([(middle - center) / size, torch.log(torch.abs(sides / size))], -1) / factors

    return run


@operator(pir="roi_align", pdmodel="roi_align", takes="X ROIs RoisNum")
def roi_align(attributes: Attributes) -> Run:
    """Each region in (pooled_height, pooled_width) parts: of each the mean at evenly spread places between pixels.

    As many a side as `sampling_ratio`; without one as a part has pixels, so that it differs from region to region.
    """
    sides = attributes.integer("pooled_height", 1), attributes.integer("pooled_width", 1)
    scale, fixed = attributes.number("spatial_scale", 1.0), attributes.integer("sampling_ratio", -1)
    centred = attributes.truth("aligned", False)

    def run(x: Tensor, regions: Tensor, counts: Tensor) -> Tensor:
        """`x` (N, C, H, W), `regions` (regions, 4), `counts` (N,) of each image, to (regions, C, *sides)."""
        first = regions[:, [1, 0]] * scale - (0.5 if centred else 0.0)
        extent = regions[:, [3, 2]] * scale - (0.5 if centred else 0.0) - first
        extent = extent if centred else extent.clamp(min=1.0)
        parts = extent / extent.new_tensor(sides)
        taps = torch.full_like(parts, fixed) if fixed > 0 else parts.ceil()
        image = torch.arange(len(counts), device=x.device).repeat_interleave(counts.long())
        kinds, kind = torch.unique(torch.cat([image[:, None], taps.long()], 1), dim=0, return_inverse=True)
        out = x.new_full((len(regions), x.shape[1], *sides), math.nan)  # of a region without an extent, as Paddle's
        for at, (of_image, *many) in enumerate(kinds.tolist()):
            if min(many) > 0:
                alike = kind == at
                places = [_taps(first[alike, axis], parts[alike, axis], sides[axis], many[axis]) for axis in (0, 1)]
                out[alike] = _means(x[of_image], places, sides, many)
        return out

    return run


def _taps(first: Tensor, part: Tensor, parts: int, many: int) -> Tensor:
    """Along one axis the places in pixels, (regions, parts * many)."""
    steps = (torch.arange(parts * many, dtype=first.dtype, device=first.device) + 0.5) / many
    return first[:, None] + part[:, None] * steps


def _means(image: Tensor, places: list[Tensor], sides: tuple[int, int], many: list[int]) -> Tensor:
    """(regions, C, *sides) of `image` (C, H, W). At its border is its last pixel, and further out than 1 zero."""
    inside = [(at >= -1) & (at <= size) for at, size in zip(places, image.shape[1:], strict=True)]
    normal = [
        2 * at.clamp(0, size - 1) / max(size - 1, 1) - 1 for at, size in zip(places, image.shape[1:], strict=True)
    ]
    rows, columns = normal[0].shape[1], normal[1].shape[1]
    grid = torch.stack(
        [normal[1][:, None].expand(-1, rows, -1), normal[0][:, :, None].expand(-1, -1, columns)], -1
    ).flatten(0, 1)
    sampled = F.grid_sample(image[None], grid[None], "bilinear", "border", align_corners=True)[0]
    sampled = sampled.unflatten(1, (-1, rows)) * (inside[0][:, :, None] & inside[1][:, None])
    return sampled.unflatten(3, (sides[1], many[1])).unflatten(2, (sides[0], many[0])).mean((3, 5)).transpose(0, 1)
