"""A module from one map to another, as its callers' types see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn


class Layer(nn.Module):
    """A module that takes one tensor and returns one."""

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """torch's own call is of any type."""
