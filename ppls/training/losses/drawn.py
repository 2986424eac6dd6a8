"""PaddleSeg's losses that draw: torch's generator is the source, so no run has the draws of Paddle's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import UsageError
from ppls.training.losses.cross_entropy import without_channel


class DualTaskLoss(nn.Module):
    """Edges of a drawn segmentation beside those of the labels (`paddleseg.models.losses.DualTaskLoss`): GSCNN.

    Args:
        ignore_index: the label of pixels that do not count.
        tau: temperature of the Gumbel softmax.
    """

    def __init__(self, ignore_index: int = 255, tau: float = 0.5) -> None:
        super().__init__()
        self.ignore_index, self.tau = ignore_index, tau

    def forward(self, logit: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits (N, C, H, W) and labels (N, H, W), each side more than one pixel."""
        if min(logit.shape[2:]) < 5:
            raise UsageError(f"DualTaskLoss is of images of 5 pixels a side at least, not of {tuple(logit.shape[2:])}")
        labels = without_channel(labels)
        mask = (labels != self.ignore_index).unsqueeze(1)
        noise = torch.rand(logit.shape, device=logit.device)
        noise = -(1e-10 - (noise + 1e-10).log()).log()
        drawn = ((logit * mask + noise) / self.tau).softmax(1)
        there = F.one_hot(labels * mask.squeeze(1), logit.shape[1]).movedim(-1, 1).float()
        found, wanted = _edges(drawn), _edges(there)
        loss = (found - wanted).abs() * mask
        return 0.5 * _mean_where(loss, found > 1e-8) + 0.5 * _mean_where(loss, wanted > 1e-8)


def _mean_where(loss: Tensor, chosen: Tensor) -> Tensor:
    return (loss * chosen).sum() / chosen.sum().clamp(min=1)


def _edges(maps: Tensor) -> Tensor:
    """How steep smoothed maps (N, C, H, W) are, the steepest of all being 1."""
    maps = _smooth(maps)
    kernel = maps.new_tensor([[-0.5, 0.0, 0.5]])
    across, down = _convolved(maps, kernel, padding=(0, 1)), _convolved(maps, kernel.mT, padding=(1, 0))
    steep = (across * across + down * down + 1e-6).sqrt()
    return steep / steep.max()


def _smooth(maps: Tensor, radius: int = 4) -> Tensor:
    """Maps under a triangle filter; beyond each border what PaddleSeg takes there, the border itself first."""
    rising = list(range(1, radius + 1))
    kernel = torch.tensor([[*rising, radius + 1, *reversed(rising)]], dtype=torch.float32, device=maps.device)
    kernel = (kernel / (radius + 1) ** 2).to(maps.dtype)
    for axis, sides in ((3, (1, 1, 0, 0)), (2, (0, 0, 1, 1))):
        beyond = F.pad(F.pad(maps, sides, "replicate"), [radius * side for side in sides], "reflect")
        length = beyond.shape[axis]
        maps = torch.cat([beyond.narrow(axis, 0, radius), maps, beyond.narrow(axis, length - radius, radius)], axis)
    return _convolved(_convolved(maps, kernel), kernel.mT)


def _convolved(maps: Tensor, kernel: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
    channels = maps.shape[1]
    return F.conv2d(maps, kernel.expand(channels, 1, *kernel.shape), padding=padding, groups=channels)


class PixelContrastCrossEntropyLoss(nn.Module):
    """Pixels of a class nearer to one another (`paddleseg.models.losses.PixelContrastCrossEntropyLoss`).

    Where no class has more than `max_views` pixels in an image it is 0; PaddleSeg's divides by zero.

    Args:
        temperature: of the similarity.
        base_temperature: of the loss.
        ignore_index: the label of pixels that do not count.
        max_samples: anchors of a batch.
        max_views: of a class in an image; those with no more pixels are left out.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        base_temperature: float = 0.07,
        ignore_index: int = 255,
        max_samples: int = 1024,
        max_views: int = 100,
    ) -> None:
        super().__init__()
        self.temperature, self.base_temperature = temperature, base_temperature
        self.ignore_index, self.max_samples, self.max_views = ignore_index, max_samples, max_views

    def forward(self, preds: Mapping[str, Tensor], label: Tensor) -> Tensor:
        """The loss of `seg` (N, C, h, w) with `embed` (N, D, h, w), and labels (N, H, W)."""
        embedding, predicted = preds["embed"], preds["seg"].argmax(1).flatten(1)
        image = without_channel(label).unsqueeze(1).float()
        labels = F.interpolate(image, embedding.shape[2:]).long().flatten(1)
        features = embedding.flatten(2).mT  # (N, pixels, D)
        anchors = [
            (number, int(kind))
            for number, own in enumerate(labels)
            for kind, count in zip(*own.unique(return_counts=True), strict=True)
            if kind != self.ignore_index and count > self.max_views
        ]
        if not anchors:
            return embedding.sum() * 0.0
        views = min(self.max_samples // len(anchors), self.max_views)
        chosen = [
            features[number, self._chosen(labels[number] == kind, predicted[number] == kind, views)]
            for number, kind in anchors
        ]
        return self._contrast(torch.stack(chosen, 1), torch.tensor([kind for _, kind in anchors]).to(embedding))

    def _chosen(self, there: Tensor, found: Tensor, views: int) -> Tensor:
        """Pixels of a class: those that the model takes for another, and those that it does not, by halves."""
        hard, easy = (there & ~found).nonzero().squeeze(1), (there & found).nonzero().squeeze(1)
        kept = views // 2
        if len(hard) >= views / 2 and len(easy) < views / 2:
            kept = views - len(easy)
        elif len(hard) < views / 2:
            kept = len(hard)
        drawn = [
            pixels[torch.randperm(len(pixels)).to(pixels.device)[:count]]
            for pixels, count in ((hard, kept), (easy, views - kept))
            if len(pixels)
        ]
        return torch.cat(drawn)

    def _contrast(self, features: Tensor, kinds: Tensor) -> Tensor:
        """`features` (views, anchors, D) of anchors of classes."""
        views = features.shape[0]
        flat = features.flatten(0, 1)
        similar = flat @ flat.mT / self.temperature
        similar = similar - similar.max(1, keepdim=True).values
        same = (kinds.view(-1, 1) == kinds).to(flat.dtype).repeat(views, views)
        others = (similar.exp() * (1 - same)).sum(1, keepdim=True)
        likely = similar - (similar.exp() + others).log()
        same = same * (1 - torch.eye(len(same), dtype=same.dtype, device=same.device))
        nearest = (same * likely).sum(1) / same.sum(1)
        return (-(self.temperature / self.base_temperature) * nearest).mean()
