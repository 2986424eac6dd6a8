"""The operations of an exported program, `.pdmodel` (protobuf) or PIR's `.json`: their kinds, what feeds what.

The two say the same in different words; here both come to one graph. Values have names in a `.pdmodel`, which may be
written again by a later operation, and numbers in PIR: each value is numbered here, so that it is written once.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ppls.budget import Budget
from ppls.checkpoint.operation import NOTHING, Body, Fed, Guards, Operation
from ppls.checkpoint.pdmodel_graph import read_pdmodel
from ppls.checkpoint.program import UNSAVED, looks_like_pdmodel
from ppls.checkpoint.source import Source
from ppls.documents import load_json
from ppls.errors import first_line

_SHAPES = ("shape", "shape64")  # what they give tells how large their input is, not what is in it
_NOT_FINITE = {"INF": math.inf, "-INF": -math.inf, "NaN": math.nan}
_MOST_VISITED = 300  # what is near is met within a few dozen


class Graph:
    """The operations of a program in their order.

    Attributes:
        name: the file.
        operations: those of its first block.
        parameters: the value of each weight, by the name of its variable.
        fed: type and shape of what goes in, by the name of its variable, where a `.pdmodel` tells them.
    """

    def __init__(
        self,
        name: str,
        operations: list[Operation],
        parameters: Mapping[str, int],
        fed: Mapping[str, Fed] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.name = name
        self._budget = budget
        self.operations = operations
        self.parameters = parameters
        self.fed = dict(fed or {})
        self._made_by = {value: operation for operation in operations for value in operation.outputs}
        self._made_by.pop(NOTHING, None)
        self._used_by: dict[int, list[Operation]] = {}
        for operation in operations:
            for value in set(operation.inputs) - {NOTHING}:
                self._used_by.setdefault(value, []).append(operation)

    def users(self, parameter: str) -> list[Operation]:
        """The operations that take a weight, by the name of its variable."""
        return self._used_by.get(self.parameters.get(parameter, NOTHING), [])

    def before(self, operation: Operation, kinds: Collection[str]) -> list[Operation]:
        """The nearest operations of one of these kinds among those whose results an operation rests on.

        Several where they are equally near.
        """
        return self._nearest(operation, kinds, self._feeding)

    def after(self, operation: Operation, kinds: Collection[str]) -> list[Operation]:
        """The nearest operations of one of these kinds among those that rest on an operation's results."""
        return self._nearest(operation, kinds, self._fed)

    def constant(self, value: int) -> Any:
        """What a value is that the program itself holds, None for one that is computed; a list may be so in part."""
        made = self._made_by.get(value)
        if made is None:
            return None
        if made.kind in ("full_int_array", "full", "fill_constant"):
            return made.attributes.get("value")
        if made.kind == "stack" and len(made.inputs) == 1:  # of what PIR combines
            made = self._made_by.get(made.inputs[0])
        if made is None or made.kind not in ("combine", "stack"):
            return None
        parts = [self._made_by.get(part) for part in made.inputs]
        return [part.attributes.get("value") if part is not None and part.kind == "full" else None for part in parts]

    def _feeding(self, operation: Operation) -> Iterator[Operation]:
        for value in operation.inputs[:_MOST_VISITED]:
            if value in self._made_by:
                yield self._made_by[value]

    def _fed(self, operation: Operation) -> Iterator[Operation]:
        for value in operation.outputs[:_MOST_VISITED]:
            yield from self._used_by.get(value, ())

    def _nearest(
        self, operation: Operation, kinds: Collection[str], neighbours: Callable[[Operation], Iterator[Operation]]
    ) -> list[Operation]:
        level, seen = [operation], {id(operation)}
        while level and len(seen) < _MOST_VISITED:
            if self._budget is not None:
                self._budget.take_nodes(len(level))
            reached: list[Operation] = []
            every = itertools.chain.from_iterable(map(neighbours, level))
            for found in itertools.islice(every, _MOST_VISITED):
                if id(found) not in seen and found.kind not in _SHAPES:
                    seen.add(id(found))
                    reached.append(found)
            if there := [found for found in reached if found.kind in kinds]:
                return there
            level = reached
        return []


def read_graph(source: Source) -> Graph:
    """The graph of a program.

    Raises:
        CheckpointError: this is no program, or it is damaged.
    """
    source.budget.take_bytes(source.size)
    content = source.read(0, source.size)
    try:
        read = read_pdmodel if looks_like_pdmodel(content[:64]) else _pir
        return Graph(source.label, *read(content, source.budget), budget=source.budget)
    except (ValueError, struct.error) as error:
        raise source.error(f"damaged, or not a Paddle program: {first_line(error)}") from None


def _pir(content: bytes, budget: Budget) -> tuple[list[Operation], dict[str, int], dict[str, Fed]]:
    match load_json(content, budget, needed=_is_no_type):
        case {"base_code": {"magic": "pir"}, "program": {"regions": [{"blocks": [{"ops": list(ops)}, *_]}, *_]}}:
            pass
        case _:
            raise ValueError("not the JSON of a PIR program")
    read = _Pir(budget)
    read.block(ops)
    return read.operations, read.parameters, {}


class _Pir:
    """The operations of a program's blocks so far, one after the other.

    Those of both branches of an `if` stand before it, each with what it asks; the `if` itself is, for each of its
    results, a choice of the two that the branches end in. What a loop runs is a part of the loop.
    """

    def __init__(self, budget: Budget) -> None:
        self.operations: list[Operation] = []
        self.parameters: dict[str, int] = {}
        self._unsaved: set[int] = set()
        self._budget = budget

    def block(self, ops: list[Any], guards: Guards = (), *, inner: bool = False) -> tuple[int, ...]:
        """Adds the operations of a block; what one within another ends in."""
        for op in ops:
            match op:
                case {"#": "p", "A": [_, _, _, str(name), *_], "O": {"%": int(value)}}:
                    if name.endswith(UNSAVED):
                        self._unsaved.add(value)
                    else:
                        self.parameters[name] = value
                case {"#": str(kind), "A": list(attributes), "I": list(inputs), "O": list(outputs)}:
                    self._budget.take_nodes(len(attributes) + len(inputs) + len(outputs))
                    plain = dict(map(_pir_attribute, attributes))
                    taken, given = (tuple(map(_pir_value, values)) for values in (inputs, outputs))
                    taken = tuple(NOTHING if value in self._unsaved else value for value in taken)
                    if kind == "2.yield" and inner:
                        return taken
                    if kind == "1.if":
                        self._branches(op.get("regions"), taken, given, plain, guards)
                        continue
                    bare = kind.partition(".")[2].removesuffix("_")
                    body = self._body(op.get("regions"), taken, given) if kind == "1.while" else None
                    self.operations.append(Operation(bare, plain, taken, given, kind, guards=guards, body=body))
                case _:
                    raise ValueError("an operation without kind, inputs or outputs")
        return ()

    def _branches(
        self,
        regions: Any,
        taken: tuple[int, ...],
        given: tuple[int, ...],
        attributes: dict[str, Any],
        guards: Guards,
    ) -> None:
        match regions:
            case [{"blocks": [{"ops": list(then)}]}, {"blocks": [{"ops": list(other)}]}]:
                pass
            case _:
                raise ValueError("a branch without its two blocks")
        if len(taken) != 1:
            raise ValueError("a branch that asks nothing")
        branches = ((then, True), (other, False))
        ends = [self.block(ops, (*guards, (taken[0], truth)), inner=True) for ops, truth in branches]
        if any(len(end) != len(given) for end in ends):
            raise ValueError("a branch that does not end in what is given")
        for value, *each in zip(given, *ends, strict=True):
            self.operations.append(Operation("if", attributes, (*taken, *each), (value,), "1.if", guards=guards))

    def _body(self, regions: Any, taken: tuple[int, ...], given: tuple[int, ...]) -> Body:
        match regions:
            case [{"blocks": [{"ops": list(ops), "args": list(arguments)}]}]:
                pass
            case _:
                raise ValueError("a loop without its block")
        outside, self.operations = self.operations, []
        ends = self.block(ops, inner=True)
        body = Body(tuple(map(_argument, arguments)), tuple(self.operations), ends)
        self.operations = outside
        if len(taken) - 1 != len(body.arguments) or len(taken) != len(ends) or len(given) != len(body.arguments):
            raise ValueError("a loop that does not end in what it begins with")
        return body


def _argument(entry: Any) -> int:
    match entry:
        case {"#": int(value)}:
            return value
    raise ValueError("an argument of a loop that is no value")


def _is_no_type(entry: dict[str, Any]) -> bool:
    """False for the types of values, which are much of a program."""
    return not str(entry.get("#")).startswith("0.t_")


def _pir_value(entry: Any) -> int:
    match entry:
        case {"%": int(value)}:
            return value
    raise ValueError("an input or output that is no value")


def _pir_attribute(entry: Any) -> tuple[str, Any]:
    match entry:
        case {"N": str(name), "AT": dict(attribute)}:
            return name, _pir_plain(attribute)
    raise ValueError("an attribute without a name")


def _pir_plain(attribute: dict[str, Any]) -> Any:
    """A number that JSON does not have stands in another place, as a text."""
    if "VD" in attribute:
        return _NOT_FINITE.get(str(attribute["VD"]), attribute["VD"])
    value = attribute.get("D")
    if str(attribute.get("#")).endswith(".a_array") and isinstance(value, list):
        return [_pir_plain(item) if isinstance(item, dict) else item for item in value]
    return value
