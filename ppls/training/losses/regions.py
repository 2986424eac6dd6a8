"""PaddleSeg's losses of whole regions: Dice, Lovasz."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ppls.errors import UsageError
from ppls.training.losses.cross_entropy import without_channel


class DiceLoss(nn.Module):
    """Dice of every class (`paddleseg.models.losses.DiceLoss`).

    Like PaddleSeg's it overwrites the labels: what was ignored is class 0 in the caller's tensor, to every loss after
    this one too.

    Args:
        weight: of each class.
        ignore_index: the label of pixels that do not count.
        smooth: added to both sides of the fraction.
        keep_labels: leave the labels as they are, which PaddleSeg has no option for.
    """

    def __init__(
        self,
        weight: Sequence[float] | None = None,
        ignore_index: int = 255,
        smooth: float = 1.0,
        keep_labels: bool = False,
    ) -> None:
        super().__init__()
        self.weight = None if weight is None else list(weight)
        self.ignore_index, self.smooth, self.keep_labels = ignore_index, smooth, keep_labels

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W), in which ignored ones become 0."""
        classes = logits.shape[1]
        if self.weight is not None and len(self.weight) != classes:
            raise UsageError(f"the loss has {len(self.weight)} class weights, but the logits have {classes} classes")
        if self.keep_labels:
            labels = labels.clone()
        mask = (labels != self.ignore_index).flatten(1).unsqueeze(1)
        labels[labels == self.ignore_index] = 0
        there = nn.functional.one_hot(without_channel(labels), classes).flatten(1, 2).transpose(1, 2) * mask
        found = logits.softmax(1).flatten(2) * mask
        shared = (found * there).sum(2)  # (N, C)
        both = (found + there).sum(2)
        losses = (1 - (2 * shared + self.smooth) / (both + self.smooth + 1e-8)).mean(0)
        if self.weight is not None:
            losses = losses * losses.new_tensor(self.weight)
        return losses.sum() / classes


class LovaszSoftmaxLoss(nn.Module):
    """The Lovasz extension of each class's IoU (`paddleseg.models.losses.LovaszSoftmaxLoss`).

    Where all pixels are ignored it is 0; PaddleSeg's returns an empty tensor, which its training cannot add up.

    Args:
        ignore_index: the label of pixels that do not count.
        classes: whose mean it is: `present` in the labels, `all`, or those of a list.
    """

    def __init__(self, ignore_index: int = 255, classes: str | Sequence[int] = "present") -> None:
        super().__init__()
        self.ignore_index, self.classes = ignore_index, classes

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W)."""
        valid = without_channel(labels) != self.ignore_index
        found = logits.softmax(1).permute(0, 2, 3, 1)[valid]  # (P, C)
        labels = without_channel(labels)[valid]
        if not len(labels):
            return logits.sum() * 0.0
        classes = range(found.shape[1]) if isinstance(self.classes, str) else self.classes
        losses = []
        for number in classes:
            there = (labels == number).to(found.dtype)
            if self.classes == "present" and not there.any():
                continue
            errors, order = (there - found[:, number]).abs().sort(descending=True)
            losses.append((errors * _lovasz_gradient(there[order])).sum())
        return torch.stack(losses).mean()


class LovaszHingeLoss(nn.Module):
    """The Lovasz hinge of two classes (`paddleseg.models.losses.LovaszHingeLoss`).

    Args:
        ignore_index: the label of pixels that do not count.
    """

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (N, 1, H, W) or (N, 2, H, W) and labels (N, H, W) of 0 and 1."""
        if logits.shape[1] == 2:
            probability = logits.softmax(1)[:, 1]
            epsilon = 1e-9
            # As written there: the quotient is of epsilon alone.
            logits = (probability + epsilon / (1 - probability + epsilon)).log()
        labels = labels.flatten()
        valid = labels != self.ignore_index
        logits, labels = logits.flatten()[valid], labels[valid]
        if not len(labels):
            return logits.sum() * 0.0
        errors, order = (1.0 - logits * (2.0 * labels - 1.0)).sort(descending=True)
        return (errors.relu() * _lovasz_gradient(labels[order])).sum()


def _lovasz_gradient(there: Tensor) -> Tensor:
    """The gradient of the extension by the errors, in descending order; in float32, as PaddleSeg has it."""
    total = there.sum()
    intersection = total - there.cumsum(0)
    union = total + (1 - there).cumsum(0)
    jaccard = 1.0 - intersection.float() / union.float()
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
