"""What each operator of a program computes, family by family: importing this registers all of them."""

from ppls.programs.operators import (
    activation,
    comparison,
    convolution,
    creation,
    dropout,
    elementwise,
    indexing,
    layout,
    matrix,
    normalisation,
    padding,
    pooling,
    reduction,
    resize,
    sampling,
    shape,
    slicing,
)
from ppls.programs.registry import every, find

__all__ = [
    "activation",
    "comparison",
    "convolution",
    "creation",
    "dropout",
    "elementwise",
    "every",
    "find",
    "indexing",
    "layout",
    "matrix",
    "normalisation",
    "padding",
    "pooling",
    "reduction",
    "resize",
    "sampling",
    "shape",
    "slicing",
]
