"""Numbers in place of random ones, in the reference: what its dropouts draw is what the other side is given too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paddle

from .uniform import uniform


@contextmanager
def replayed(step: int) -> Iterator[list[tuple[int, ...]]]:
    """Gives every draw of uniform numbers, those of the dropouts too, what `uniform` makes; notes their shapes.

    A dropout of single values draws inside its kernel: it is asked for as one along all axes, which Paddle builds of
    the same parts.
    """
    common: Any = paddle.nn.functional.common
    functional: Any = paddle.nn.functional
    kept = [(common, "dropout"), (functional, "dropout"), (paddle, "uniform"), (paddle, "rand")]
    originals = [getattr(module, name) for module, name in kept]
    dropout = common.dropout
    shapes: list[tuple[int, ...]] = []

    def draw(shape: Any, dtype: Any = None) -> Any:
        sides = tuple(int(side) for side in shape)
        shapes.append(sides)
        return paddle.to_tensor(uniform(sides, step)).astype(dtype or paddle.get_default_dtype())

    def drop(x: Any, p: Any = 0.5, axis: Any = None, training: bool = True, *more: Any, **options: Any) -> Any:
        whole = axis is None and training and p not in (0, 1)
        return dropout(x, p, list(range(x.ndim)) if whole else axis, training, *more, **options)

    def draw_between(shape: Any, dtype: Any = None, min: float = -1.0, max: float = 1.0, **options: Any) -> Any:
        return draw(shape, dtype) * (max - min) + min

    replacements = [drop, drop, draw_between, lambda shape, dtype=None, **options: draw(shape, dtype)]
    for (module, name), replacement in zip(kept, replacements, strict=True):
        setattr(module, name, replacement)
    try:
        yield shapes
    finally:
        for (module, name), original in zip(kept, originals, strict=True):
            setattr(module, name, original)
