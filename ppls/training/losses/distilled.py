"""PaddleSeg's losses of a model that learns from another one, or from an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import UsageError
from ppls.training.losses.cross_entropy import CrossEntropyLoss, mean_of, without_channel


class L1Loss(nn.Module):
    """The absolute difference (`paddleseg.models.losses.L1Loss`).

    Args:
        reduction: `mean` over what is not ignored, `sum`, or `none`.
        ignore_index: the value that does not count.
    """

    def __init__(self, reduction: Literal["mean", "sum", "none"] = "mean", ignore_index: int = 255) -> None:
        super().__init__()
        self.reduction, self.ignore_index = _reduction(reduction), ignore_index

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of two tensors of the same shape."""
        mask = (label != self.ignore_index).float()
        loss = (logit - label.detach()).abs() * mask
        if self.reduction == "mean":
            return mean_of(loss, mask, 1e-10)
        return loss.sum() if self.reduction == "sum" else loss


class MSELoss(nn.Module):
    """The squared difference, of ignored values too (`paddleseg.models.losses.MSELoss`).

    Args:
        reduction: `mean`, `sum`, or `none`.
        ignore_index: without effect, as in PaddleSeg.
    """

    def __init__(self, reduction: Literal["mean", "sum", "none"] = "mean", ignore_index: int = 255) -> None:
        super().__init__()
        self.reduction = _reduction(reduction)

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of two tensors of the same shape."""
        return F.mse_loss(logit, label.to(logit), reduction=self.reduction)


class DistillCrossEntropyLoss(CrossEntropyLoss):
    """Cross entropy with what a teacher thinks (`paddleseg.models.losses.DistillCrossEntropyLoss`).

    The teacher has a gradient by the weights alone.

    Args:
        weight: of each class; a pixel has the mean of them by the teacher's probabilities.
        ignore_index: the label of pixels that do not count.
        top_k_percent_pixels: the part of the pixels, those of the largest loss, that count.
    """

    def __init__(
        self, weight: Sequence[float] | Tensor | None = None, ignore_index: int = 255, top_k_percent_pixels: float = 1.0
    ) -> None:
        super().__init__(weight, ignore_index, top_k_percent_pixels)

    def forward(self, student: Tensor, teacher: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
        """The loss of logits (N, C, H, W) of two models; labels (N, H, W) say which pixels count."""
        if student.shape != teacher.shape:
            raise UsageError(
                f"DistillCrossEntropyLoss is given {tuple(student.shape)} and {tuple(teacher.shape)}: "
                "shapes must be equal"
            )
        wanted = teacher.softmax(1)
        loss = -(wanted.detach() * student.log_softmax(1)).sum(1)
        if self.weight is not None:
            self.check_weight(student)
            loss = loss * (wanted.float() * self.weight[:, None, None]).sum(1)  # in float32, as Paddle has weights
        return self.mean(loss, without_channel(label))


def _reduction(name: str) -> str:
    if name not in ("mean", "sum", "none"):
        raise UsageError(f"reduction is {name!r}, but it must be mean, sum or none")
    return name
