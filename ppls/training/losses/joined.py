"""PaddleSeg's losses that join: several of one head, two heads with one another."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ppls.errors import UsageError
from ppls.training.losses.cross_entropy import mean_of


class MixedLoss(nn.Module):
    """Several losses of one head, each with a coefficient (`paddleseg.models.losses.MixedLoss`).

    Args:
        losses: those.
        coef: their coefficients, which the head's own multiplies.

    Raises:
        ppls.UsageError: not as many coefficients as losses.
    """

    def __init__(self, losses: Sequence[nn.Module], coef: Sequence[float]) -> None:
        super().__init__()
        if len(losses) != len(coef):
            raise UsageError(f"MixedLoss has {len(losses)} losses, but {len(coef)} coefficients")
        self.losses, self.coef = nn.ModuleList(losses), list(coef)

    def forward(self, logits: Tensor, labels: Tensor) -> list[Tensor]:
        """Each loss, times its coefficient."""
        return [coef * loss(logits, labels) for loss, coef in zip(self.losses, self.coef, strict=True)]


class KLLoss(nn.Module):
    """The Kullback-Leibler divergence of one head from another (`paddleseg.models.losses.KLLoss`).

    Args:
        ignore_index: the label of pixels that do not count, where labels are given.
        temperature: what the logits are divided by, whose square multiplies the loss.
    """

    def __init__(self, ignore_index: int = 255, temperature: float = 1) -> None:
        super().__init__()
        self.ignore_index, self.temperature = ignore_index, temperature

    def forward(self, logit_1: Tensor, logit_2: Tensor, label: Tensor | None = None) -> Tensor:
        """The loss of logits (N, C, H, W) that learn from others; without labels (N, H, W) all pixels count."""
        if logit_1.shape != logit_2.shape:
            raise UsageError(f"KLLoss is given {tuple(logit_1.shape)} and {tuple(logit_2.shape)}: shapes must be equal")
        learning, teaching = (
            (logit_1 / self.temperature).log_softmax(1),
            (logit_2.detach() / self.temperature).softmax(1),
        )
        loss = F.kl_div(learning, teaching, reduction="none") * self.temperature * self.temperature
        if label is None:
            return loss.mean()
        mask = (label != self.ignore_index).unsqueeze(1).float()
        return mean_of(loss * mask, mask, 1e-8)
