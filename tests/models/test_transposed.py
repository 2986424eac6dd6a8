"""Transposed convolutions that fill a map: whatever the size, in an export for any too."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from ppls.models.transposed import FillingConvTranspose2d


@pytest.mark.parametrize(("kernel_size", "padding", "sizes"), [(2, 0, (12, 13)), (3, 1, (11, 12))])
def test_a_transposed_convolution_fills_each_size_exported_for_any(
    kernel_size: int, padding: int, sizes: tuple[int, int]
) -> None:
    conv = FillingConvTranspose2d(2, 3, kernel_size, stride=2, padding=padding)

    class Filling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            return self.conv(x, like.shape[-2:])

    x, free = torch.randn(1, 2, 6, 6), dict.fromkeys((2, 3), torch.export.Dim.AUTO)
    like = torch.zeros(1, 1, sizes[0], sizes[1])
    program = torch.export.export(Filling(), (x, like), dynamic_shapes=({}, free)).module()
    for height, width in product(sizes, sizes):
        expected = nn.ConvTranspose2d.forward(conv, x, [height, width])
        assert torch.equal(conv(x, (height, width)), expected)
        assert torch.allclose(program(x, torch.zeros(1, 1, height, width)), expected, atol=1e-6)
