"""PaddleSeg's losses by sigmoid: binary cross entropy, focal losses, the details of an edge."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import UsageError
from ppls.training.losses.cross_entropy import mean_of, without_channel


class BCELoss(nn.Module):
    """Binary cross entropy of every class (`paddleseg.models.losses.BCELoss`).

    Args:
        weight: `dynamic`: of either label twice the other's share of the batch.
        pos_weight: of label 1; `dynamic`: twice the share of label 0.
        ignore_index: the label of pixels that do not count.
        edge_label: it is given the edges of the labels in their place.

    Raises:
        ppls.UsageError: a weight of another kind.
    """

    def __init__(
        self,
        weight: Tensor | Literal["dynamic"] | None = None,
        pos_weight: float | Literal["dynamic"] | None = None,
        ignore_index: int = 255,
        edge_label: bool = False,
    ) -> None:
        super().__init__()
        if weight is not None and not isinstance(weight, Tensor) and weight != "dynamic":
            raise UsageError(f"the weight of BCELoss is {weight!r}, but it must be a tensor or dynamic")
        if pos_weight is not None and not isinstance(pos_weight, float) and pos_weight != "dynamic":
            raise UsageError(f"pos_weight of BCELoss is {pos_weight!r}, but it must be a float or dynamic")
        self.weight, self.pos_weight = weight, pos_weight
        self.ignore_index, self.edge_label = ignore_index, edge_label

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W), or of C channels."""
        if label.ndim != logit.ndim:
            label = label.unsqueeze(1)
        mask = label != self.ignore_index
        label = label.where(mask, 0)
        if label.shape[1] != logit.shape[1]:
            label = F.one_hot(label.squeeze(1), logit.shape[1]).movedim(-1, 1)
        positive, negative = (label == 1).sum().float(), (label == 0).sum().float()
        count = positive + negative + 1e-10
        weights: float | Tensor = 1.0
        if self.weight is not None:
            weights = (
                self.weight
                if isinstance(self.weight, Tensor)
                else 2 * torch.where(label == 1, negative / count, positive / count)
            )
        target = label.to(logit.dtype)
        factor = 2 * negative / count if isinstance(self.pos_weight, str) else self.pos_weight
        loss = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
        if factor is not None:
            loss = loss * (factor * target + (1 - target))
        shown = mask.float()
        return mean_of(loss * weights * shown, shown, 1e-10)


class FocalLoss(nn.Module):
    """The focal loss of two classes (`paddleseg.models.losses.FocalLoss`).

    Args:
        alpha: the weight of label 1 of each channel; of 0 it is `1 - alpha`.
        gamma: the power.
        ignore_index: the label of pixels that do not count.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, ignore_index: int = 255) -> None:
        super().__init__()
        self.alpha, self.gamma, self.ignore_index = alpha, gamma, ignore_index

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, 2, H, W) and labels (N, H, W)."""
        if logit.shape[1] != 2:
            raise UsageError(f"FocalLoss is of 2 classes, but the logits have {logit.shape[1]}: MultiClassFocalLoss")
        mask = label != self.ignore_index
        target = F.one_hot(label.where(mask, 0), 2).movedim(-1, 1).to(logit.dtype)
        loss = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
        found = logit.sigmoid()
        right = found * target + (1 - found) * (1 - target)
        loss = (self.alpha * target + (1 - self.alpha) * (1 - target)) * loss * (1 - right) ** self.gamma
        return (loss * mask.unsqueeze(1)).sum() / (mask.sum() * 2 + 1e-10)


class MultiClassFocalLoss(nn.Module):
    """Cross entropy times `alpha * (1 - p) ** gamma` (`paddleseg.models.losses.MultiClassFocalLoss`).

    Args:
        num_class: as PaddleSeg has it: nothing depends on it.
        alpha: a factor.
        gamma: the power.
        ignore_index: the label of pixels that do not count.
    """

    def __init__(self, num_class: int, alpha: float = 1.0, gamma: float = 2.0, ignore_index: int = 255) -> None:
        super().__init__()
        self.num_class, self.alpha, self.gamma, self.ignore_index = num_class, alpha, gamma, ignore_index

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W)."""
        label = without_channel(label)
        loss = F.cross_entropy(logit, label, ignore_index=self.ignore_index, reduction="none")
        loss = self.alpha * (1 - (-loss).exp()) ** self.gamma * loss
        mask = (label != self.ignore_index).float()
        return mean_of(loss * mask, mask, 1e-10)


class DetailAggregateLoss(nn.Module):
    """Binary cross entropy and Dice of the labels' edges at three scales (`DetailAggregateLoss` of PaddleSeg).

    PaddleSeg draws the three factors that join the scales, where STDC's authors have 0.6, 0.3 and 0.1, and never trains
    or saves them: every run of it has other targets. Here they are drawn as it does, or given.

    Args:
        ignore_index: as PaddleSeg has it: nothing depends on it, ignored pixels have edges too.
        fuse_kernel: the three factors.
    """

    fuse_kernel: Tensor
    laplacian: Tensor

    def __init__(self, ignore_index: int = 255, fuse_kernel: tuple[float, float, float] | None = None) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        bound = math.sqrt(6 / (3 + 1))  # Xavier's, of three channels to one
        factors = torch.empty(3).uniform_(-bound, bound) if fuse_kernel is None else torch.tensor(fuse_kernel)
        self.register_buffer("fuse_kernel", factors.float(), persistent=False)
        laplacian = torch.full((1, 1, 3, 3), -1.0)
        laplacian[0, 0, 1, 1] = 8
        self.register_buffer("laplacian", laplacian, persistent=False)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, 1, H', W'), which are resized, and labels (N, H, W)."""
        target = self.edges(without_channel(label)).to(logits.dtype)
        if logits.shape[-1] != target.shape[-1]:
            logits = F.interpolate(logits, target.shape[2:], mode="bilinear", align_corners=True)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, target)
        found, there = logits.sigmoid().flatten(1), target.flatten(1)
        shared, both = (found * there).sum(1), found.sum(1) + there.sum(1)
        return cross_entropy + (1 - (2 * shared + 1) / (both + 1)).mean()

    def edges(self, label: Tensor) -> Tensor:
        """Where the labels (N, H, W) have an edge, as 0 and 1, (N, 1, H, W)."""
        image = label.unsqueeze(1).float()
        scales = [F.conv2d(image, self.laplacian, stride=stride, padding=1) for stride in (1, 2, 4)]
        found = torch.cat([(F.interpolate(scale, image.shape[2:]) > 0.1).float() for scale in scales], 1)
        return (F.conv2d(found, self.fuse_kernel.view(1, 3, 1, 1)) > 0.1).float()
