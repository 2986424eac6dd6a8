"""Boxes that overlap better ones are left out: non-maximum suppression, class by class.

How many are left rests on the numbers, so that a network with one of these runs eager, and is neither compiled in one
piece nor exported by torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes
from ppls.programs.registry import Run, operator

_AT_ONCE = 128  # boxes that are compared with all before them


class _Found(NamedTuple):
    """What is left of one image: classes, scores and places among its boxes, each (found,)."""

    labels: Tensor
    scores: Tensor
    places: Tensor

    def take(self, order: Tensor) -> _Found:
        return _Found(*(each[order] for each in self))


@operator(pir="multiclass_nms3", pdmodel="multiclass_nms3", takes="BBoxes Scores RoisNum", gives="Out Index NmsRoisNum")
def multiclass_nms(attributes: Attributes) -> Run:
    """Rows (label, score, box), by class; within one by score, or by place where the boxes are regions'.

    Scores are put in order in float32, also those in float64; of equal ones the first is the better. A box stays where
    its overlap is at most the threshold: one without an area, on another such, goes. With `nms_eta` below 1 each box
    that stays lowers a threshold above 0.5.
    """
    threshold, most = attributes.number("score_threshold"), attributes.integer("keep_top_k")
    candidates, eta = attributes.integer("nms_top_k"), attributes.number("nms_eta", 1.0)
    overlap, more = attributes.number("nms_threshold", 0.3), _more(attributes)
    background = attributes.integer("background_label", 0)

    def one_class(scores: Tensor, boxes: Tensor) -> Tensor:
        """The places of the boxes that stay, by their scores."""
        places = (scores > threshold).nonzero()[:, 0]
        order = places[_descending(scores[places])]
        order = order[:candidates] if candidates > -1 else order
        best = boxes[order]
        return order[_greedy(best, more, overlap, most) if eta >= 1.0 else _lowering(best, more, overlap, eta)]

    def one_image(scores: Tensor, boxes: Tensor, of_regions: bool) -> _Found:
        """`scores` (classes, boxes), `boxes` (boxes, 4), or (classes, boxes, 4) of regions."""
        parts = [scores.new_zeros((2, 0), dtype=torch.long)]
        for label in range(len(scores)):
            if label != background:
                kept = one_class(scores[label], boxes[label] if of_regions else boxes)
                kept = kept.sort().values if of_regions else kept
                parts.append(torch.stack([torch.full_like(kept, label), kept]))
        labels, places = torch.cat(parts, 1)
        found = _Found(labels, scores[labels, places], places)
        if most > -1 and len(labels) > most:
            found = found.take(_descending(found.scores)[:most])
            if of_regions:
                found = found.take(found.places.argsort(stable=True))
            found = found.take(found.labels.argsort(stable=True))
        return found

    def of_images(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`boxes` (N, boxes, 4), `scores` (N, classes, boxes)."""
        each = [one_image(own, place, False) for own, place in zip(scores, boxes, strict=True)]
        rows = [_rows(found, own[found.places]) for found, own in zip(each, boxes, strict=True)]
        numbers = [found.places + at * scores.shape[2] for at, found in enumerate(each)]
        return _joined(rows, numbers)

    def of_regions(boxes: Tensor, scores: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`boxes` (regions, classes, 4), `scores` (regions, classes), `counts` (N,): how many are of each image."""
        rows, numbers, first = [], [], 0
        for count in counts.tolist():
            own, place = scores[first : first + count], boxes[first : first + count]
            found = one_image(own.t(), place.transpose(0, 1), True)
            rows.append(_rows(found, place[found.places, found.labels]))
            numbers.append((first + found.places) * scores.shape[1] + found.labels)
            first += count
        return _joined(rows, numbers)

    def run(boxes: Tensor, scores: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        _check(boxes)
        if scores.dim() == 3:
            return of_images(boxes, scores)
        if counts is None:
            raise ValueError("scores of regions, and not how many are of each image")
        return of_regions(boxes, scores, counts)

    return run


@operator(pir="matrix_nms", pdmodel="matrix_nms", takes="BBoxes Scores", gives="Out Index RoisNum")
def matrix_nms(attributes: Attributes) -> Run:
    """Rows (label, score, box), by score: no box goes for its overlap, but its score is lowered by it."""
    threshold, after = attributes.number("score_threshold"), attributes.number("post_threshold", 0.0)
    candidates, most = attributes.integer("nms_top_k"), attributes.integer("keep_top_k")
    background, more = attributes.integer("background_label", 0), _more(attributes)
    decay = _decay(attributes)

    def one_class(scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The places of those that stay, and what is left of their scores."""
        places = (scores > threshold).nonzero()[:, 0]
        order = places[scores[places].argsort(descending=True, stable=True)]
        order = order[:candidates] if candidates > -1 else order
        if len(order) == 0:
            return order, scores[order]
        better = _overlaps(boxes[order], boxes[order], more).tril(-1)  # of each with those before it
        largest = better.nan_to_num(0.0).amax(1)
        before = torch.ones_like(better, dtype=torch.bool).tril(-1)
        factors = torch.where(before, decay(better, largest), 1.0).nan_to_num(nan=1.0, posinf=1.0)
        left = scores[order] * factors.amin(1)
        return order[left > after], left[left > after]

    def one_image(scores: Tensor, boxes: Tensor) -> _Found:
        none = scores.new_zeros(0)
        parts = [_Found(none.long(), none, none.long())]
        for label in range(len(scores)):
            if label != background:
                places, left = one_class(scores[label], boxes)
                parts.append(_Found(torch.full_like(places, label), left, places))
        found = _Found(*(torch.cat(each) for each in zip(*parts, strict=True)))
        order = found.scores.argsort(descending=True, stable=True)
        return found.take(order[:most] if most > -1 else order)

    def run(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`boxes` (N, boxes, 4), `scores` (N, classes, boxes)."""
        _check(boxes)
        each = [one_image(own, place) for own, place in zip(scores, boxes, strict=True)]
        rows = [_rows(found, own[found.places]) for found, own in zip(each, boxes, strict=True)]
        return _joined(rows, [found.places + at * scores.shape[2] for at, found in enumerate(each)])

    return run


def _decay(attributes: Attributes) -> Callable[[Tensor, Tensor], Tensor]:
    """What an overlap leaves of a score, given the largest that the better box has itself."""
    if not attributes.truth("use_gaussian", False):
        return lambda overlap, largest: (1.0 - overlap) / (1.0 - largest)
    sigma = attributes.number("gaussian_sigma", 2.0)
    return lambda overlap, largest: torch.exp((largest * largest - overlap * overlap) * sigma)


def _more(attributes: Attributes) -> float:
    """By how much a side is longer than the difference of its ends: by 1 where they are pixels."""
    return 0.0 if attributes.truth("normalized", True) else 1.0


def _check(boxes: Tensor) -> None:
    if boxes.shape[-1] != 4:
        raise ValueError(f"boxes of {boxes.shape[-1]} numbers, where 4 are expected: polygons are not run")


def _descending(scores: Tensor) -> Tensor:
    return scores.float().argsort(descending=True, stable=True)


def _areas(boxes: Tensor, more: float) -> Tensor:
    left, top, right, bottom = boxes.unbind(-1)
    return torch.where((right < left) | (bottom < top), 0.0, (right - left + more) * (bottom - top + more))


def _overlaps(some: Tensor, others: Tensor, more: float) -> Tensor:
    """The intersection over the union of each of `some` (n, 4) with each of `others` (m, 4); 0 where they are apart."""
    low = torch.maximum(some[:, None, :2], others[:, :2])
    high = torch.minimum(some[:, None, 2:], others[:, 2:])
    apart = (some[:, None, :2] > others[:, 2:]) | (some[:, None, 2:] < others[:, :2])
    common = (high - low + more).prod(-1)
    union = _areas(some, more)[:, None] + _areas(others, more) - common
    return torch.where(apart.any(-1), 0.0, common / union)


def _greedy(boxes: Tensor, more: float, threshold: float, most: int) -> Tensor:
    """The places of the boxes, the best first, that no better one which stays overlaps by more than the threshold.

    A part of them at a time, so that memory is bounded, and no more than are wanted where `most` is not -1.
    """
    kept = torch.zeros(0, dtype=torch.long, device=boxes.device)
    for part in torch.arange(len(boxes), device=boxes.device).split(_AT_ONCE):
        left = part[(_overlaps(boxes[part], boxes[kept], more) <= threshold).all(1)]
        kept = torch.cat([kept, left[_settled(_overlaps(boxes[left], boxes[left], more) <= threshold)]])
        if -1 < most <= len(kept):
            return kept[:most]
    return kept


def _settled(beside: Tensor) -> Tensor:
    """Which stay, (boxes,), when each goes that may not stand beside one before it which stays.

    `beside` (boxes, boxes) says which may. What each is, given those before it, is computed for all at once until
    nothing changes any more: then it is what one after the other would give.
    """
    goes_for = (~beside).tril(-1).to(torch.float32)
    stays = goes_for.new_ones(len(beside))
    while True:
        changed = (goes_for @ stays == 0).to(torch.float32)
        if torch.equal(changed, stays):
            return stays.bool()
        stays = changed


def _lowering(boxes: Tensor, more: float, threshold: float, eta: float) -> Tensor:
    """As `_greedy`, where each that stays lowers a threshold above 0.5."""
    overlaps = _overlaps(boxes, boxes, more).cpu()
    limit, kept = torch.tensor(threshold, dtype=boxes.dtype), list[int]()
    for at, own in enumerate(overlaps):
        if bool((own[kept] <= limit).all()):
            kept.append(at)
            limit = limit * eta if limit > 0.5 else limit
    return torch.tensor(kept, dtype=torch.long, device=boxes.device)


def _rows(found: _Found, boxes: Tensor) -> Tensor:
    return torch.cat([found.labels[:, None].to(boxes.dtype), found.scores[:, None], boxes], 1)


def _joined(rows: list[Tensor], numbers: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Of all images: the rows, each one's number among all boxes (found, 1), and how many are of each image."""
    counts = torch.tensor([len(each) for each in rows], dtype=torch.int32, device=rows[0].device)
    return torch.cat(rows), torch.cat(numbers).to(torch.int32)[:, None], counts
