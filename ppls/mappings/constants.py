"""Tensors of the source whose values are known: one number, or a table that the size of a tensor beside it tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ppls.errors import ConversionError
from ppls.mappings.patterns import Pattern
from ppls.records import dataclass

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, ...]
_WIDEST = 24  # a window's side: the table of one has its fourth power of values


@dataclass(eq=False, repr=False)
class Constant:
    """A tensor of the source that the target has built in: it must have these values wherever it stands.

    Attributes:
        value: of every element, or the name of one of `TABLES`.
        shape: of the tensor; none of a table.
        beside: a tensor that stands wherever this one does, and tells the table.
        only: the options with which there is such a tensor.
    """

    pattern: Pattern
    value: float | str
    shape: Shape
    beside: Pattern
    only: Mapping[str, Any]

    def __str__(self) -> str:
        return f"the table {self.value}" if isinstance(self.value, str) else f"the constant {self.value:g}"

    def array(self, beside: Shape) -> NDArray[Any]:
        """The whole tensor, in float32 or, of a table, in its own type.

        Args:
            beside: the shape of the tensor beside it.

        Raises:
            ConversionError: there is no table for that shape.
        """
        if isinstance(self.value, str):
            return TABLES[self.value](beside)
        return np.full(self.shape, self.value, np.float32)


def window_offsets(biases: Shape) -> NDArray[np.int64]:
    """For each two pixels of a window, which of its biases is that of their offset: `relative_position_index`.

    Args:
        biases: the shape of these, `((2 * window - 1) ** 2, heads)`.

    Raises:
        ConversionError: no square window has that many offsets, or one that is too large.
    """
    count = biases[0] if biases else 0
    side = math.isqrt(count)
    window = (side + 1) // 2
    if side * side != count or side % 2 == 0 or window > _WIDEST:
        raise ConversionError(f"{count} biases are not those of the offsets in a window of 1 to {_WIDEST} pixels")
    place = np.arange(window)
    apart = place[:, None] - place + window - 1
    numbers = side * apart[:, None, :, None] + apart[None, :, None, :]
    return numbers.reshape(window * window, window * window).astype(np.int64)


TABLES: Mapping[str, Callable[[Shape], NDArray[Any]]] = {"window_offsets": window_offsets}
