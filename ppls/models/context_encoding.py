"""Context encoding (Zhang et al. 2018, https://arxiv.org/abs/1803.08904), which ENCNet and FastFCN share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.models.layer import Layer
from ppls.models.layers import ConvBNAct, to_tokens
from ppls.models.norms import BatchNorm1d


class ContextEncoding(nn.Module):
    """What the whole image is like, told by how its pixels differ from learnt codewords; each channel weighed by it."""

    def __init__(self, channels: int, codes: int) -> None:
        super().__init__()
        self.project = ConvBNAct(channels, channels, 1, bias=True)
        self.encoding = Encoding(channels, codes)
        self.bn = BatchNorm1d(codes)
        self.gate = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, channels, H, W)` to the same, and what was encoded: `(N, channels)`."""
        encoded = F.relu(self.bn(self.encoding(self.project(x)))).mean(1)
        weights = torch.sigmoid(self.gate(encoded))[..., None, None]
        return F.relu(x + x * weights), encoded


class Encoding(Layer):
    """How all pixels together differ from each codeword; a pixel counts the more with one, the nearer it is to it."""

    def __init__(self, channels: int, codes: int) -> None:
        super().__init__()
        self.codewords = nn.Parameter(torch.empty(codes, channels))
        self.scale = nn.Parameter(torch.empty(codes))
        for parameter in (self.codewords, self.scale):
            self.draw_weight(self, parameter.data)

    @staticmethod
    def draw_weight(layer: nn.Module, weight: Tensor) -> None:
        """As PaddleSeg draws codewords `(codes, channels)` and scales `(codes,)`."""
        bound = weight.numel() ** -0.5
        nn.init.uniform_(weight, *((-bound, bound) if weight.dim() > 1 else (-1.0, 0.0)))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, channels, H, W)` to `(N, codes, channels)`."""
        pixels = to_tokens(x)
        distances = (  # squared, of each pixel to each codeword: (N, H * W, codes)
            pixels.square().sum(2, keepdim=True) - 2 * pixels @ self.codewords.t() + self.codewords.square().sum(1)
        )
        weights = (self.scale * distances).softmax(2)
        return weights.transpose(1, 2) @ pixels - weights.sum(1).unsqueeze(2) * self.codewords
