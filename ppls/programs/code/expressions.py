"""Python text from a closed set of values: nothing of a file stands in it but as an escaped literal."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import resolve_name
from torch.utils._sympy.printers import PythonPrinter

from ppls.errors import ConversionError
from ppls.programs.code.trace import Call, Value, Weight

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FUNCTION = re.compile(r"torch\.(nn\.functional\.|linalg\.|special\.|fft\.)?[A-Za-z_][A-Za-z0-9_]*")
_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "true_divide": "/", "floor_divide": "//", "__floordiv__": "//",
    "remainder": "%", "__mod__": "%", "pow": "**", "__pow__": "**", "matmul": "@", "__matmul__": "@", "eq": "==",
    "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "__and__": "&", "__or__": "|", "__xor__": "^",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^",
}  # fmt: skip
_REFLECTED = {"__radd__": "+", "__rsub__": "-", "__rmul__": "*", "__rdiv__": "/", "__rtruediv__": "/",
              "__rpow__": "**", "__rmatmul__": "@", "__rfloordiv__": "//", "__rmod__": "%"}  # fmt: skip
_BY_DEFAULT = {"inplace": False, "antialias": False, "training": False}
_METHODS = re.compile(r"[a-z][a-z0-9_]*")


def is_plain(name: str) -> bool:
    """Whether a name may stand in code as it is."""
    return bool(_IDENTIFIER.fullmatch(name)) and not keyword.iskeyword(name)


def attribute(owner: str, name: str) -> str:
    """A part of a module by its name, whatever that is."""
    return f"{owner}.{name}" if is_plain(name) else f"getattr({owner}, {name!a})"


def literal(value: Any) -> str:
    """A number, a truth value, a text or None; raises `ConversionError` for all else."""
    if value is None or type(value) in (bool, int):
        return repr(value)
    if type(value) is float:
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    if type(value) is str:
        return ascii(value)
    if isinstance(value, (torch.dtype, torch.memory_format)):
        return str(value)
    if value is Ellipsis:
        return "..."
    raise ConversionError(f"a call is given a {type(value).__name__}")


class Scope:
    """What a text may speak of: the names of tensors, weights and sizes where it stands.

    Args:
        value, weight, size: the text of each; a size is an expression of the symbols of open sizes.
        like: the name of a tensor of the network's own type there, else None.
    """

    def __init__(
        self,
        value: Callable[[Value], str],
        weight: Callable[[Weight], str],
        size: Callable[[Any], str],
        like: Callable[[], str | None],
    ) -> None:
        self._value, self._weight, self._size, self._like = value, weight, size, like

    def text(self, given: Any) -> str:
        """An argument."""
        if isinstance(given, Value):
            return self._value(given)
        if isinstance(given, Weight):
            return self._weight(given)
        if isinstance(given, list):
            return f"[{', '.join(map(self.text, given))}]"
        if isinstance(given, tuple):
            return f"({', '.join(map(self.text, given))}{',' if len(given) == 1 else ''})"
        if isinstance(given, slice):
            ends = ["" if end is None else self.text(end) for end in (given.start, given.stop, given.step)]
            return ":".join(ends[:2] if not ends[2] else ends)
        if isinstance(given, torch.device):
            like = self._like()
            return literal(str(given)) if like is None else f"{like}.device"
        if given is torch.float32:
            like = self._like()
            return "torch.float32" if like is None else f"{like}.dtype"
        return self._size(given) if hasattr(given, "free_symbols") else literal(given)

    def call(self, call: Call) -> str:
        """What a call of a function computes."""
        given = list(call.given)
        name = getattr(call.function, "__name__", "")
        if given and given[0] is None and name.startswith("new_"):
            given[0] = None
            like = self._like()
            if like is None:
                raise ConversionError(f"{name} has no tensor to be like")
            return self._called(f"{like}.{name}", given[1:], call.named)
        full = _name(call.function)
        if full.startswith("torch.Tensor."):
            if name in ("__getitem__", "__setitem__"):
                index = given[1] if isinstance(given[1], tuple) else (given[1],)
                place = f"{self._operand(given[0])}[{', '.join(map(self.text, index))}]"
                return f"{place} = {self.text(given[2])}" if name == "__setitem__" else place
            if name in _BINARY and len(given) == 2 and not call.named:
                return f"{self._operand(given[0])} {_BINARY[name]} {self._operand(given[1])}"
            if name in _REFLECTED and len(given) == 2:
                return f"{self._operand(given[1])} {_REFLECTED[name]} {self._operand(given[0])}"
            if name in ("neg", "__neg__"):
                return f"-{self._operand(given[0])}"
            if not _METHODS.fullmatch(name):
                raise ConversionError(f"{full} has no place in code")
            return self._called(f"{self._operand(given[0])}.{name}", given[1:], call.named)
        return self._called(full.replace("torch.nn.functional.", "F."), given, call.named)

    def _operand(self, given: Any) -> str:
        text = self.text(given)
        return f"({text})" if text.startswith("-") or (" " in text and not text.endswith(")")) else text

    def _called(self, function: str, given: Sequence[Any], named: dict[str, Any]) -> str:
        arguments = [*map(self.text, given)]
        for name, value in named.items():
            if value is not None and not (name in _BY_DEFAULT and value is _BY_DEFAULT[name]):
                arguments.append(f"{name}={self.text(value)}")
        return f"{function}({', '.join(arguments)})"


def _name(function: Any) -> str:
    """What torch calls a function; raises `ConversionError` for one that is none of torch's."""
    if isinstance(function, (torch._ops.OpOverloadPacket, torch._ops.OpOverload)):
        return f"torch.ops.{str(function).replace('::', '.')}"
    name, own = resolve_name(function) or "", str(getattr(function, "__name__", ""))
    if not name and getattr(torch, own, None) is function:
        name = f"torch.{own}"
    if not name.startswith("torch.Tensor.") and not _FUNCTION.fullmatch(name):
        raise ConversionError(f"{name or function} has no place in code")
    return name


def size_text(expression: Any, symbol: Callable[[Any], str]) -> str:
    """An expression of open sizes, each symbol by its text."""
    text: str = PythonPrinter().doprint(expression)
    for each in sorted(expression.free_symbols, key=lambda each: -len(str(each))):
        text = re.sub(rf"\b{re.escape(str(each))}\b", lambda _, each=each: symbol(each), text)  # type: ignore[misc]
    return text
