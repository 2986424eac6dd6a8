"""The `forward` of a block: what it takes and gives, the names of tensors and the texts of sizes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ppls.errors import ConversionError
from ppls.programs.code.blocks import Block, Path, taken, values_of
from ppls.programs.code.expressions import Scope, attribute, size_text
from ppls.programs.code.members import Maker, is_module
from ppls.programs.code.trace import Call, Trace, Value, Weight

_NAMES = ("x", "y", "z", "u", "v", "w")
_SIDES = ("batch", "channels", "height", "width")
_ROUNDED_UP = re.compile(r"1 \+ \(\(\(-1\) \+ (\w+)\) // (\d+)\)")  # in comments `height/32`


@dataclass
class Body:
    """A block's text: its parts by their names within it, its `forward`, and what it takes and gives."""

    block: Block
    parts: dict[Path, Maker]
    forward: list[str]
    comments: list[str]
    takes: list[Any]
    gives: list[Value]
    height: int


@dataclass
class Known:
    """What the forwards of all blocks go by.

    Attributes:
        makers: what makes each part of the network, by its name.
        paths: of all blocks.
        bodies: of the blocks that are written already, the inner ones first.
    """

    trace: Trace
    makers: Mapping[str, Maker]
    paths: Collection[Path]
    bodies: Mapping[Path, Body]

    def taken(self, item: Call | Block) -> list[Any]:
        """The tensors, and the symbols of open sizes, that a call or a block takes."""
        return self.bodies[item.path].takes if isinstance(item, Block) else taken(item)


class Forward:
    """The `forward` of one block."""

    def __init__(self, known: Known, block: Block, takes: list[Any], gives: list[Value]) -> None:
        self._known, self._block, self._root = known, block, not block.path
        self._trace = known.trace
        self._takes, self._gives = takes, gives
        self._names: dict[Any, str] = {}
        self._free: list[str] = []
        self._count = 0
        self._sizes: list[Any] = []
        self._parts: dict[Path, Maker] = {}

    def body(self) -> Body:
        lines: list[str] = []
        comments: list[str] = []
        block = self._block
        given = [self._name(value) for value in self._takes]
        lasts = self._lasts()
        height = 0
        for at, item in enumerate(block.items):
            if isinstance(item, Block):
                inner = self._known.bodies[item.path]
                height = max(height, inner.height + 1)
                self._parts.setdefault(item.path[len(block.path) :], Maker(""))
                arguments = [self._names[each] if isinstance(each, Value) else self._size(each) for each in inner.takes]
                text = f"{self._place(item.path)}({', '.join(arguments)})"
                results: Any = inner.gives[0] if len(inner.gives) == 1 else list(inner.gives)
            else:
                text, results = self._call_text(item), item.gives
            dead = [value for value, last in lasts.items() if last == at and value in self._names]
            kept = [self._names.pop(value) for value in dead]
            self._free = kept + [name for name in self._free if name not in kept]
            if results is None or results == []:  # a statement
                lines.append(text)
                comments.append("")
                continue
            lines.append(f"{self._result(results, lasts, at)} = {text}")
            comments.append(self._comment(results))
        returned, note = self._returned()
        lines.append(returned)
        comments.append(note)
        self._own_weights()
        first = self._opening(given) if self._root else []
        takes = [*self._takes, *self._sizes]
        words = [*(f"{name}: Tensor" for name in given), *(f"{self._symbol_name(size)}: int" for size in self._sizes)]
        gives = "Tensor" if len(self._gives) == 1 else f"tuple[{', '.join(['Tensor'] * len(self._gives))}]"
        head = f"def forward(self, {', '.join(words)}) -> {'list[Tensor]' if self._root else gives}:"
        note = self._comment(list(self._takes)) if self._root else ""
        forward = [head, *(f"    {line}" for line in (*first, *lines))]
        return Body(block, self._parts, forward, [note, *[""] * len(first), *comments], takes, self._gives, height)

    def _opening(self, given: Sequence[str]) -> list[str]:
        """The names of the open sizes, and what must be true of them."""
        trace, lines = self._trace, []
        used = list(dict.fromkeys(self._sizes))
        self._sizes = []
        conditions = [each for each in trace.conditions if not _holds(each, trace.sizes)]
        for condition in conditions:
            used += [each for each in condition.free_symbols if each not in used]
        for size in used:
            which, side = trace.sizes[size]
            lines.append(f"{self._symbol_name(size)} = {given[which]}.shape[{side}]")
        for condition in conditions:
            text = size_text(condition, self._symbol_name)
            lines += [
                f"if not ({text}):",
                f"    raise ValueError({'made for sizes where ' + text!a})",
            ]
        return lines

    def _returned(self) -> tuple[str, str]:
        if self._root:
            outputs = self._trace.outputs
            texts = [self._names[each] if isinstance(each, Value) else self._scope().text(each) for each in outputs]
            return f"return [{', '.join(texts)}]", self._comment(list(outputs))
        return f"return {', '.join(self._names[value] for value in self._gives)}", self._comment(list(self._gives))

    def _own_weights(self) -> None:
        """The parts that no block within has."""
        path, depth = self._block.path, len(self._block.path)
        inner = [each for each in self._known.paths if each[:depth] == path and len(each) > depth]
        for name, maker in self._known.makers.items():
            own = tuple(name.split("."))
            if own[:depth] == path and len(own) > depth and not any(own[: len(each)] == each for each in inner):
                self._parts[own[depth:]] = maker

    def _lasts(self) -> dict[Any, int]:
        found: dict[Any, int] = {}
        for at, item in enumerate(self._block.items):
            for value in self._known.taken(item):
                if isinstance(value, Value):
                    found[value] = at
        ends = list(values_of(self._trace.outputs)) if self._root else self._gives
        found.update(dict.fromkeys(ends, len(self._block.items)))
        return found

    def _name(self, value: Any) -> str:
        if self._free:
            self._names[value] = self._free.pop(0)
        else:
            count, letter = divmod(self._count, len(_NAMES))
            self._names[value] = f"{_NAMES[letter]}{count or ''}"
            self._count += 1
        return self._names[value]

    def _result(self, results: Any, lasts: Mapping[Any, int], at: int) -> str:
        if isinstance(results, Value):
            return self._name(results) if lasts.get(results, -1) > at else "_"
        if results is None:
            return "_"
        texts = [self._result(each, lasts, at) for each in results]
        return f"({', '.join(texts)},)" if len(texts) == 1 else ", ".join(texts)

    def _call_text(self, call: Call) -> str:
        if call.layer:
            return f"{self._place(tuple(call.layer.split('.')))}({', '.join(map(self._scope().text, call.given))})"
        name = is_module(call, self._known.makers)
        if name is not None:
            return f"{self._place(tuple(name.split('.')))}({self._scope().text(call.given[0])})"
        return self._scope().call(call)

    def _place(self, path: Path) -> str:
        text = "self"
        for part in path[len(self._block.path) :]:
            text = attribute(text, part)
        return text

    def _scope(self) -> Scope:
        def weight(given: Weight) -> str:
            path = tuple(given.name.split("."))
            if path[: len(self._block.path)] != self._block.path:
                raise ConversionError("a weight is shared by modules that lie apart")
            return self._place(path)

        return Scope(self._names.__getitem__, weight, self._size, self._like)

    def _like(self) -> str | None:
        """The name of a tensor that is there, of the type that the network computes in."""
        for value, name in self._names.items():
            if isinstance(value, Value) and self._trace.kinds[value.number].dtype == torch.float32:
                return name
        return next(iter(self._names.values()), None)

    def _size(self, expression: Any) -> str:
        """An open size, by the shape of a tensor that is there; else by the sizes of the network's inputs."""
        if isinstance(expression, int):
            return repr(expression)
        for value, name in self._names.items():
            if isinstance(value, Value):
                for side, size in enumerate(self._trace.kinds[value.number].shape):
                    if size == expression:
                        return f"{name}.shape[{side}]"
        return size_text(expression, self._symbol)

    def _symbol(self, symbol: Any) -> str:
        for value, name in self._names.items():
            if isinstance(value, Value) and not self._root:
                for side, size in enumerate(self._trace.kinds[value.number].shape):
                    if size == symbol:
                        return f"{name}.shape[{side}]"
        if symbol not in self._trace.sizes:
            raise ConversionError("a size depends on numbers that are in a tensor")
        if symbol not in self._sizes:
            self._sizes.append(symbol)
        return self._symbol_name(symbol)

    def _symbol_name(self, symbol: Any) -> str:
        which, side = self._trace.sizes[symbol]
        kind = self._trace.kinds[self._trace.inputs[which].number]
        name = _SIDES[side] if len(kind.shape) == 4 else f"side_{side}"
        return name if which == 0 else f"{name}_{which}"

    def _side_text(self, size: Any) -> str:
        text = size_text(size, self._symbol_name) if hasattr(size, "free_symbols") else str(size)
        return _ROUNDED_UP.sub(r"\1/\2", text)

    def _comment(self, results: Any) -> str:
        shapes = [self._trace.kinds[value.number].shape for value in values_of(results)]
        texts = [", ".join(map(self._side_text, shape)) for shape in shapes]
        return "; ".join(f"({text})" for text in texts if len(text) < 80)


def _holds(condition: Any, sizes: Mapping[Any, tuple[int, int]]) -> bool:
    """Whether a condition is true of sizes of every sort, odd and even, so that nobody need be told."""
    for sample in ((1, 97, 161), (2, 128, 256), (3, 224, 353), (5, 1000, 72)):
        found = condition.subs({symbol: sample[min(side - (side > 1), 2)] for symbol, (_, side) in sizes.items()})
        if found is not True and not bool(found):
            return False
    return True
