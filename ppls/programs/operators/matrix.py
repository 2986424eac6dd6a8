"""Products of matrices."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.registry import Run, operator


def _product(turn_x: bool, turn_y: bool, factor: float = 1.0) -> Run:
    """A vector is not turned."""

    def run(x: Tensor, y: Tensor) -> Tensor:
        x = x.transpose(-1, -2) if turn_x and x.dim() > 1 else x
        y = y.transpose(-1, -2) if turn_y and y.dim() > 1 else y
        found = torch.matmul(x, y)
        return found if factor == 1.0 else found * factor

    return run


@operator(pir="matmul", takes="X Y")
def matmul(attributes: Attributes) -> Run:
    return _product(attributes.truth("transpose_x", False), attributes.truth("transpose_y", False))


@operator(pdmodel="matmul_v2", takes="X Y")
def matmul_v2(attributes: Attributes) -> Run:
    return _product(attributes.truth("trans_x", False), attributes.truth("trans_y", False))


@operator(pdmodel="matmul", takes="X Y")
def old_matmul(attributes: Attributes) -> Run:
    """Paddle 1's, times `alpha`."""
    attributes.must_be("head_number", 1)
    turn_x, turn_y = (attributes.truth(f"transpose_{name}", False) for name in "XY")
    return _product(turn_x, turn_y, attributes.number("alpha", 1.0))


@operator(pir="diag", pdmodel="diag_v2")
def diag(attributes: Attributes) -> Run:
    """Of a vector the matrix that has it as a diagonal, of a matrix that diagonal; elsewhere a value."""
    offset, value = attributes.integer("offset", 0), attributes.number("padding_value", 0.0)

    def run(x: Tensor) -> Tensor:
        found = torch.diag(x, offset)
        if value == 0.0 or x.dim() == 2:
            return found
        return torch.where(torch.diag(torch.ones_like(x, dtype=torch.bool), offset), found, value)

    return run


@operator(pir="bmm", pdmodel="bmm", takes="X Y")
def bmm(attributes: Attributes) -> Run:
    return torch.bmm


@operator(pir="mv", pdmodel="mv", takes="X Vec")
def mv(attributes: Attributes) -> Run:
    return torch.mv


@operator(pir="dot", pdmodel="dot", takes="X Y")
def dot(attributes: Attributes) -> Run:
    return lambda x, y: (x * y).sum(-1)


@operator(pir="addmm", pdmodel="addmm", takes="Input X Y")
def addmm(attributes: Attributes) -> Run:
    alpha, beta = (attributes.number(name, 1.0) for name in ("Alpha", "Beta"))
    if "alpha" in attributes or "beta" in attributes:
        alpha, beta = (attributes.number(name, 1.0) for name in ("alpha", "beta"))
    return lambda added, x, y: torch.addmm(added, x, y, alpha=alpha, beta=beta)


@operator(pdmodel="mul", takes="X Y")
def mul(attributes: Attributes) -> Run:
    """Paddle 1's: both are made matrices, the first `num_col_dims` axes their rows."""
    rows_x, rows_y = (attributes.integer(f"{name}_num_col_dims", 1) for name in "xy")

    def run(x: Tensor, y: Tensor) -> Tensor:
        left = x.flatten(rows_x).flatten(0, rows_x - 1)
        right = y.flatten(rows_y).flatten(0, rows_y - 1)
        return (left @ right).reshape(*x.shape[:rows_x], *y.shape[rows_y:])

    return run


@operator(pir="einsum", pdmodel="einsum", takes="Operands*")
def einsum(attributes: Attributes) -> Run:
    equation = attributes.text("equation")
    if not re.fullmatch(r"[A-Za-z.,>\- ]{1,200}", equation):
        raise UnsupportedError(f"equation {equation!r}")
    return lambda operands: torch.einsum(equation, *operands)
