"""Where the maxima of a pooling stand, in either framework: a choice that rounding makes where two values tie.

A network that puts maps back where maxima stood computes something else, far and wide, with another choice; so both
sides, and both precisions, are to choose alike where either choice is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NEAR = 1e-4  # of the largest value: maps that differ by no more agree
FEW = 1e-2  # of all the maxima of a map: where more stand elsewhere, it is another map, or chosen otherwise


def settled(x: Array, places: Array, known: Sequence[Array]) -> Array:
    """`places`, but where another choice was made before and the values tie, that choice.

    Args:
        x: what is pooled, (N, C, H, W).
        places: of the maxima (N, C, h, w), each an index among the H * W pixels of its channel; kept as they are.
        known: places that were chosen before, of maps of any shape.
    """
    import numpy as np

    for other in known:
        if other.shape != places.shape:
            continue
        elsewhere = np.nonzero(other != places)
        if not len(elsewhere[0]):
            return places
        if len(elsewhere[0]) > FEW * places.size:
            continue
        if other.min() < 0 or other.max() >= x.shape[2] * x.shape[3]:
            continue
        values = x.reshape(*x.shape[:2], -1)
        image, channel = elsewhere[:2]
        own, before = (values[image, channel, chosen[elsewhere]] for chosen in (places, other))
        tie = own - before <= NEAR * np.abs(x).max()
        result: Array = places.copy()
        result[elsewhere] = np.where(tie, other[elsewhere], places[elsewhere])
        return result
    return places


class Maxima:
    """What the reference has chosen in a run: from then on, in either precision, it chooses alike where values tie.

    Attributes:
        known: the places, of every pooling that says them, in order.
    """

    def __init__(self) -> None:
        self.known: list[Array] = []
        self._noting = False

    @contextmanager
    def settled_in_run(self) -> Iterator[None]:
        """Chooses alike for as long as this lasts; begins without any choice, and notes none yet."""
        self.known = []
        try:
            yield
        finally:
            self.known = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Notes the choices that are made meanwhile."""
        self._noting = True
        try:
            yield
        finally:
            self._noting = False

    def remembering(self, max_pool2d: Any, to_tensor: Any) -> Any:
        """Paddle's pooling, with choices as before; `to_tensor` is Paddle's."""

        import numpy as np

        @wraps(max_pool2d)
        def pooled(x: Any, *arguments: Any, **options: Any) -> Any:
            result = max_pool2d(x, *arguments, **options)
            if not isinstance(result, (tuple, list)) or not (self._noting or self.known):
                return result
            values, places = result
            found = places.numpy()
            chosen = settled(x.numpy(), found, self.known)
            if self._noting and not any(np.array_equal(chosen, known) for known in self.known):
                self.known.append(chosen)
            return result if chosen is found else (values, to_tensor(chosen))

        return pooled


MAXIMA = Maxima()
