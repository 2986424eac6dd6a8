"""PaddleSeg's losses that single architectures are trained with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import UsageError
from ppls.training.losses.cross_entropy import mean_of, without_channel


class SECrossEntropyLoss(nn.Module):
    """Which classes an image has (`paddleseg.models.losses.SECrossEntropyLoss`): ENCNet, FastFCN.

    Args:
        ignore_index: as PaddleSeg takes any: nothing depends on it, a label that is no class is none of an image's.
    """

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, C) and labels (N, H, W)."""
        logit = logit.flatten(1)
        classes = torch.arange(logit.shape[1], device=label.device)
        there = (label.flatten(1).unsqueeze(1) == classes.view(1, -1, 1)).any(2)
        return F.binary_cross_entropy_with_logits(logit, there.to(logit.dtype))


class RelaxBoundaryLoss(nn.Module):
    """At a border of two classes either is right (`paddleseg.models.losses.RelaxBoundaryLoss`): DecoupledSegNet.

    As PaddleSeg has it, each image is divided by how many classes are right at a pixel of every image of the batch in
    turn, and the results are added: the loss grows with the batch. Where it has options that it cannot run with
    (another border, weights that it calculates), this class has none.

    Args:
        ignore_index: the label of pixels that do not count.
    """

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W)."""
        classes = logit.shape[1]
        label = without_channel(label)
        label = label.where(label != self.ignore_index, classes)
        here = F.one_hot(label, classes + 1).movedim(-1, 1).to(logit.dtype)
        right = F.max_pool2d(here, 3, stride=1, padding=1)[:, :-1]
        count = right.sum(1)  # (N, H, W)
        ignored = (count == 0).to(logit.dtype)
        probability = logit.softmax(1)
        together = (probability * right).sum(1, keepdim=True)
        found = (probability * (1 - right) + together * right).log()
        losses = -(right * found).sum(1) * (1 - ignored)  # (N, H, W)
        shares = (1 / (count + ignored).float()).to(logit.dtype).sum(0)  # of all images, each in float32
        counted = ignored[0].numel() - ignored.sum((1, 2)) + 1
        return ((losses * shares).sum((1, 2)) / counted).sum()


class PointCrossEntropyLoss(nn.Module):
    """Cross entropy at points (`paddleseg.models.losses.PointCrossEntropyLoss`): PointRend.

    Args:
        ignore_index: the label of points that do not count.
        align_corners: how the labels are read at the points.
    """

    def __init__(self, ignore_index: int = 255, align_corners: bool = False) -> None:
        super().__init__()
        self.ignore_index, self.align_corners = ignore_index, align_corners

    def forward(self, logits: Sequence[Tensor], label: Tensor) -> Tensor:
        """The loss of logits (N, C, P) with points (N, P, 2) within 0 and 1, and labels (N, H, W)."""
        logit, points = logits
        grid = (points.detach() * 2.0 - 1.0).unsqueeze(2)
        image = without_channel(label).unsqueeze(1).to(grid.dtype)
        label = F.grid_sample(image, grid, mode="nearest", align_corners=self.align_corners)[:, 0, :, 0].long()
        loss = F.cross_entropy(logit, label, ignore_index=self.ignore_index, reduction="none")
        return mean_of(loss, (label != self.ignore_index).float(), 1e-8)


class RMILoss(nn.Module):
    """Region mutual information (`paddleseg.models.losses.RMILoss`): MscaleOCRNet. In float32 but for its matrices.

    Args:
        num_classes: those of the logits.
        rmi_radius: side of the regions.
        rmi_pool_size: side, and stride, of the maxima that they are made of.
        ignore_index: the label of pixels that do not count.

    Raises:
        ppls.UsageError: a radius that PaddleSeg does not take.
    """

    def __init__(
        self, num_classes: int = 19, rmi_radius: int = 3, rmi_pool_size: int = 3, ignore_index: int = 255
    ) -> None:
        super().__init__()
        if rmi_radius not in range(1, 11):
            raise UsageError(f"rmi_radius is {rmi_radius!r}, but it must be from 1 to 10")
        self.num_classes, self.radius, self.pool, self.ignore_index = (
            num_classes,
            rmi_radius,
            rmi_pool_size,
            ignore_index,
        )

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W), a number in float32."""
        labels = without_channel(labels)
        valid = labels != self.ignore_index
        there = F.one_hot(labels.where(valid, 0), self.num_classes).movedim(-1, 1).float() * valid.unsqueeze(1)
        found = logits.float().sigmoid() * valid.unsqueeze(1) + 1e-6
        labels_of, found_of = self._regions(there), self._regions(found)
        within = found_of @ found_of.mT
        little = 5e-4 * torch.eye(within.shape[-1], dtype=within.dtype, device=within.device)
        across = labels_of @ found_of.mT
        rest = labels_of @ labels_of.mT - across @ torch.linalg.inv(within + little) @ across.mT
        roots = torch.linalg.cholesky(rest + little).diagonal(dim1=-2, dim2=-1)
        information = 0.5 * 2.0 * (roots + 1e-8).log().sum(-1)  # (N, C)
        total: Tensor = (information.mean(0).float() / float(self.radius**2)).sum()
        return total

    def _regions(self, maps: Tensor) -> Tensor:
        """The pixels of every region less their means, (N, C, radius², regions), in float64."""
        if self.pool > 1:
            maps = F.max_pool2d(maps, self.pool, self.pool, padding=self.pool // 2)
        high, wide = maps.shape[2] - self.radius + 1, maps.shape[3] - self.radius + 1
        shifted = [maps[:, :, y : y + high, x : x + wide] for y in range(self.radius) for x in range(self.radius)]
        regions = torch.stack(shifted, 2).flatten(3).double()
        return regions - regions.mean(3, keepdim=True)
