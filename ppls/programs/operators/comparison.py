"""Comparisons, and what is made of truth values."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppls.programs.operators.elementwise import of_tensors, paired
from ppls.programs.registry import operator

_PAIRS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "equal": (python.eq, python.eq),
    "not_equal": (python.ne, python.ne),
    "less_than": (python.lt, python.lt),
    "less_equal": (python.le, python.le),
    "greater_than": (python.gt, python.gt),
    "greater_equal": (python.ge, python.ge),
    "logical_and": (of_tensors(torch.logical_and), lambda x, y: bool(x and y)),
    "logical_or": (of_tensors(torch.logical_or), lambda x, y: bool(x or y)),
    "logical_xor": (of_tensors(torch.logical_xor), lambda x, y: bool(x) != bool(y)),
}


def _register(
    name: str, tensors: Callable[[Any, Any], Tensor], numbers: Callable[[Any, Any], Any], dtype: str = "bool"
) -> None:
    operator(pir=name, pdmodel=name, takes="X Y", numbers=True, like=True)(
        lambda attributes: paired(attributes, tensors, numbers, dtype)
    )


for _name, _functions in _PAIRS.items():
    _register(_name, *_functions)


def _register_single(pir: str, pdmodel: str, function: Callable[[Tensor], Tensor]) -> None:
    operator(pir=pir, pdmodel=pdmodel)(lambda attributes: function)


for _pir, _pdmodel, _function in (
    ("logical_not", "logical_not", torch.logical_not),
    ("isnan", "isnan_v2", torch.isnan),
    ("isinf", "isinf_v2", torch.isinf),
    ("isfinite", "isfinite_v2", torch.isfinite),
):
    _register_single(_pir, _pdmodel, _function)


for _name, _bits in (("and", python.and_), ("or", python.or_), ("xor", python.xor)):
    _register(f"bitwise_{_name}", of_tensors(getattr(torch, f"bitwise_{_name}")), _bits, "")
