"""Semantic flow (Li et al. 2020, https://arxiv.org/abs/2002.10120), which SFNet and DecoupledSegNet share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """`x` (N, C, h, w) read off where `flow` (N, 2, H, W) points: `(N, C, H, W)`, 0 beyond its edges.

    Each pixel stands between the corners' centres, -1 and 1, and points right by half of the flow's first channel of
    them over W, and down by half of the second over H: upstream divides by the whole size.
    """
    height, width = flow.shape[-2:]
    rows, columns = _places(height, x), _places(width, x)
    across = columns + flow[:, 0] / width
    down = rows[:, None] + flow[:, 1] / height
    return F.grid_sample(x, torch.stack([across, down], dim=3), align_corners=True)


def _places(length: int, x: Tensor) -> Tensor:
    """From -1 to 1 in as many steps; -1 where it is one.

    Of tensors alone, since exports compute no quotient of two sizes.
    """
    places = torch.arange(length, dtype=x.dtype, device=x.device)
    return 2 * places / places[-1:].clamp(min=1) - 1
