"""torch's tensors as the tensors of a file, lazy and bfloat16 as its bits; and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ppls.checkpoint.tensors import StoredTensor


def stored_from_torch(tensor: torch.Tensor) -> StoredTensor:
    """A tensor of torch as a stored one; it shares the memory where it lies on the CPU."""
    from ppls.checkpoint.tensors import StoredTensor  # here, so that importing the models needs nothing of files

    dtype = str(tensor.dtype).removeprefix("torch.")
    bits = tensor.detach().cpu().contiguous()
    return StoredTensor(dtype, tuple(tensor.shape), (bits.view(torch.uint16) if dtype == "bfloat16" else bits).numpy)


def to_torch(tensors: Mapping[str, StoredTensor]) -> dict[str, torch.Tensor]:
    """Tensors of a file as torch's, each a copy of its own."""
    result = {}
    for name, tensor in tensors.items():
        array = tensor.load()
        copied = torch.from_numpy(array.copy())
        result[name] = copied if array.dtype.name == tensor.dtype else copied.view(getattr(torch, tensor.dtype))
    return result
