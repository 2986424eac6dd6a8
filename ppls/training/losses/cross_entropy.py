"""PaddleSeg's cross entropies. Denominators are reckoned in float32, whatever the logits are, as PaddleSeg does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import UsageError


def without_channel(label: Tensor) -> Tensor:
    """Labels of the shape (N, H, W), given like that or as (N, 1, H, W)."""
    return label.squeeze(1) if label.ndim == 4 else label


def mean_of(loss: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """`mean(loss) / (mean(mask) + epsilon)`, the denominator in the precision of the mask."""
    return loss.mean() / (mask.mean() + epsilon)


class _Weighted(nn.Module):
    """A loss with a weight for each class."""

    weight: Tensor | None

    def __init__(self, weight: Sequence[float] | Tensor | None, ignore_index: int) -> None:
        super().__init__()
        given = None if weight is None else torch.as_tensor(weight, dtype=torch.float32)
        self.register_buffer("weight", given, persistent=False)
        self.ignore_index = ignore_index

    def check_weight(self, logit: Tensor) -> None:
        """Raises `UsageError` where there are not as many weights as classes."""
        if self.weight is not None and len(self.weight) != logit.shape[1]:
            raise UsageError(
                f"the loss has {len(self.weight)} class weights, but the logits have {logit.shape[1]} classes"
            )

    def pixels(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of each pixel, (N, H, W); 0 where it is ignored."""
        self.check_weight(logit)
        weight = None if self.weight is None else self.weight.to(logit.dtype)
        return F.cross_entropy(logit, label, weight, ignore_index=self.ignore_index, reduction="none")


class CrossEntropyLoss(_Weighted):
    """The mean over the pixels that are not ignored; 0 where all are (`paddleseg.models.losses.CrossEntropyLoss`).

    Args:
        weight: of each class.
        ignore_index: the label of pixels that do not count.
        top_k_percent_pixels: the part of the pixels, those of the largest loss, that count.
        avg_non_ignore: the mean is of the pixels that are not ignored; else of all.
    """

    def __init__(
        self,
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = 255,
        top_k_percent_pixels: float = 1.0,
        avg_non_ignore: bool = True,
    ) -> None:
        super().__init__(weight, ignore_index)
        self.top_k_percent_pixels, self.avg_non_ignore = top_k_percent_pixels, avg_non_ignore

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W)."""
        label = without_channel(label)
        return self.mean(self.pixels(logit, label), label)

    def mean(self, loss: Tensor, label: Tensor) -> Tensor:
        """The mean of the pixels' losses (N, H, W) that count."""
        valid = label != self.ignore_index
        mask = (valid if self.avg_non_ignore else torch.ones_like(valid)).float()
        loss = loss * mask
        counted = torch.ones_like(mask)
        if self.weight is not None:  # an ignored pixel is taken for one of class 0, where the mask does not hide it
            counted = self.weight[label.where(valid, 0)]
        if self.top_k_percent_pixels == 1.0:
            return mean_of(loss, mask * counted, 1e-8)
        hardest, places = loss.flatten().topk(int(self.top_k_percent_pixels * loss.numel()))
        return mean_of(hardest, counted.flatten()[places], 1e-8)


class OhemCrossEntropyLoss(nn.Module):
    """Cross entropy of the pixels that the model is least sure of (`paddleseg.models.losses.OhemCrossEntropyLoss`).

    Where no more than `min_kept` pixels are valid, all of them count. Else those whose probability is below `thresh`,
    or below that of the `min_kept`-th, which is itself left out: `<` is strict.

    Args:
        thresh: probability.
        min_kept: pixels of the batch; 0 keeps all.
        ignore_index: the label of pixels that do not count.
    """

    def __init__(self, thresh: float = 0.7, min_kept: int = 10000, ignore_index: int = 255) -> None:
        super().__init__()
        self.thresh, self.min_kept, self.ignore_index = thresh, min_kept, ignore_index

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W)."""
        label = without_channel(label)
        valid = self.kept(logit.detach(), label)
        label = label.where(valid, self.ignore_index)
        loss = F.cross_entropy(logit, label, ignore_index=self.ignore_index, reduction="none")
        return mean_of(loss, valid.float(), self.epsilon)

    epsilon = 1e-5

    def kept(self, logit: Tensor, label: Tensor) -> Tensor:
        """The pixels that count, (N, H, W)."""
        valid = label != self.ignore_index
        if not 0 < self.min_kept < int(valid.sum()):
            return valid
        probability = logit.softmax(1).gather(1, label.where(valid, 0).unsqueeze(1)).squeeze(1)
        probability = probability + (~valid).to(probability)  # what is ignored is above all others
        highest = probability.flatten().kthvalue(self.min_kept).values
        return valid & (probability < highest.clamp(min=self.thresh))


class BootstrappedCrossEntropyLoss(_Weighted):
    """Of each image the pixels above a loss, or the `min_K` of the largest (`BootstrappedCrossEntropyLoss`).

    Args:
        min_K: pixels of an image that count at least.
        loss_th: the loss above which all count.
        weight: of each class.
        ignore_index: the label of pixels of no loss, which are counted where too few others have any.
    """

    def __init__(
        self,
        min_K: int,  # noqa: N803 - PaddleSeg's name
        loss_th: float,
        weight: Sequence[float] | Tensor | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__(weight, ignore_index)
        self.fewest, self.threshold = min_K, loss_th

    def forward(self, logit: Tensor, label: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W), with more pixels than `min_K`."""
        losses = self.pixels(logit, without_channel(label)).flatten(1)
        if losses.shape[1] <= self.fewest:
            raise UsageError(f"min_K is {self.fewest}, but an image has {losses.shape[1]} pixels: it must have more")
        total = logit.new_zeros(())
        for loss in losses.sort(descending=True).values:
            enough = loss[self.fewest] > self.threshold
            total = total + (loss[loss > self.threshold] if enough else loss[: self.fewest]).mean()
        return total / len(losses)


class EdgeAttentionLoss(nn.Module):
    """Cross entropy where a second head finds an edge (`paddleseg.models.losses.EdgeAttentionLoss`).

    Args:
        edge_threshold: a pixel with an edge above it counts.
        ignore_index: the label of pixels that do not count.
    """

    def __init__(self, edge_threshold: float = 0.8, ignore_index: int = 255) -> None:
        super().__init__()
        self.edge_threshold, self.ignore_index = edge_threshold, ignore_index

    def forward(self, logits: Sequence[Tensor], label: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) with edges (N, 1, H, W), and labels (N, H, W)."""
        logit, label = logits[0], _at_edges(logits[1], label, self.edge_threshold, self.ignore_index)
        loss = F.cross_entropy(logit, label, ignore_index=self.ignore_index, reduction="none")
        return mean_of(loss, (label != self.ignore_index).float(), 1e-10)


class OhemEdgeAttentionLoss(OhemCrossEntropyLoss):
    """`OhemCrossEntropyLoss` where a second head finds an edge (`paddleseg.models.losses.OhemEdgeAttentionLoss`).

    Args:
        edge_threshold: a pixel with an edge above it counts.
        thresh: probability.
        min_kept: pixels of the batch; 0 keeps all.
        ignore_index: the label of pixels that do not count.
    """

    epsilon = 1e-10

    def __init__(
        self, edge_threshold: float = 0.8, thresh: float = 0.7, min_kept: int = 5000, ignore_index: int = 255
    ) -> None:
        super().__init__(thresh, min_kept, ignore_index)
        self.edge_threshold = edge_threshold

    def forward(self, logits: Sequence[Tensor], label: Tensor) -> Tensor:  # type: ignore[override]
        """The loss of logits (N, C, H, W) with edges (N, 1, H, W), and labels (N, H, W)."""
        return super().forward(logits[0], _at_edges(logits[1], label, self.edge_threshold, self.ignore_index))


def _at_edges(edges: Tensor, label: Tensor, threshold: float, ignore_index: int) -> Tensor:
    label = without_channel(label)
    if edges.shape != (label.shape[0], 1, *label.shape[1:]):
        raise UsageError(f"edges have the shape {tuple(edges.shape)}, but labels have {tuple(label.shape)}")
    return label.where(edges.detach().squeeze(1) > threshold, ignore_index)
