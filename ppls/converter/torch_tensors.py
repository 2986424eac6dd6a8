"""torch's tensors as the converter sees tensors: lazy, bfloat16 as its bits. Not imported where torch need not be."""

from __future__ import annotations

import torch

from ppls.converter.checkpoint import StoredTensor


def stored_from_torch(tensor: torch.Tensor) -> StoredTensor:
    """A tensor of torch as a stored one; it shares the memory where it lies on the CPU."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    bits = tensor.detach().cpu().contiguous()
    return StoredTensor(dtype, tuple(tensor.shape), (bits.view(torch.uint16) if dtype == "bfloat16" else bits).numpy)
