"""What an exported program says of an option: `program:` beside how its tensors tell it.

The program is a graph of operations; a fact stands in one kind of them, near the weight that the map names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ppls.mappings.forms import MOST, Number, key_value
from ppls.mappings.names import Name, OptionName
from ppls.mappings.patterns import Pattern, lookup, prefixed
from ppls.mappings.shapes import Shapes
from ppls.records import dataclass
from ppls.schema import Node, Word, at_most, between, build, made_of, not_empty
from ppls.shown import shown

if TYPE_CHECKING:
    from ppls.checkpoint.graph import Graph, Operation


class Contradiction(Exception):  # noqa: N818 - reported beside the option by the caller
    """What the program says fits no value of the option; the message says what it says."""


@dataclass(eq=False, repr=False)
class Program:
    """The program of an export, asked by the names of the checkpoint's tensors.

    Attributes:
        graph: its operations.
        variables: what the program calls a tensor, by the name that the map's patterns have for it.
    """

    graph: Graph
    variables: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.graph.name

    def users(self, tensor: str) -> list[Operation]:
        """The operations that take a tensor."""
        return self.graph.users(self.variables.get(tensor, tensor))

    def near(self, tensor: str, place: str, kinds: Sequence[str]) -> list[Operation]:
        """The operations of these kinds at a place: `of` a tensor, or the nearest `before` or `after` those."""
        users = self.users(tensor)
        if place == "of":
            return [operation for operation in users if operation.kind in kinds]
        step = self.graph.before if place == "before" else self.graph.after
        return [found for operation in users for found in step(operation, kinds)]


def _dilation(operation: Operation, graph: Graph) -> Any:
    return _of_square(operation.attributes.get("dilations"))


def _bins(operation: Operation, graph: Graph) -> Any:
    if operation.attributes.get("adaptive") is not True:
        return None
    size = operation.attributes.get("ksize")
    if size is None and len(operation.inputs) > 1:  # PIR
        size = graph.constant(operation.inputs[1])
    return _of_square(size)


def _heads(operation: Operation, graph: Graph) -> Any:
    shape = operation.attributes.get("shape")
    if shape is None and len(operation.inputs) > 1:  # PIR
        shape = graph.constant(operation.inputs[1])
    if not isinstance(shape, list) or len(shape) != 4:
        return None
    return int(shape[2]) if isinstance(shape[2], float) and shape[2].is_integer() else shape[2]


def _of_square(sides: Any) -> Any:
    return sides[0] if isinstance(sides, list) and len(sides) == 2 and sides[0] == sides[1] else sides


def _attribute(name: str) -> Callable[[Operation, Graph], Any]:
    return lambda operation, graph: operation.attributes.get(name)


@dataclass(eq=False, repr=False)
class Fact:
    """What is read off an operation of these kinds; `of` a weight's own, else near it. None where that says nothing."""

    kinds: tuple[str, ...]
    read: Callable[[Operation, Graph], Any]
    of: bool = False


_RESIZES = tuple(f"{method}_interp" for method in ("bilinear", "nearest", "bicubic", "linear", "trilinear"))

FACTS = {
    "resize": Fact(_RESIZES, _attribute("interp_method")),
    "align_corners": Fact(_RESIZES, _attribute("align_corners")),
    "bins": Fact(("pool2d",), _bins),
    "adaptive": Fact(("pool2d",), _attribute("adaptive")),
    "heads": Fact(("reshape", "reshape2"), _heads),
    "dilation": Fact(("conv2d", "depthwise_conv2d"), _dilation, of=True),
}


@dataclass(eq=False, repr=False)
class ProgramRule:
    """How a program tells an option.

    Attributes:
        fact: what is read, one of `FACTS`.
        places: `of`, `before` or `after`, each with the weights.
        is_list: the option has a value for each index; else all operations must agree.
        times, over: a value is multiplied by that option's (by `over` where the option is nothing), and divided.
        cases: the values of the option, each with what the weights of one name come to; None for anything.
    """

    fact: str
    places: tuple[tuple[str, Pattern], ...]
    is_list: bool
    times: str = ""
    over: int = 1
    cases: tuple[tuple[Any, tuple[int | None, ...]], ...] = ()

    def read(self, program: Program, shapes: Shapes, config: Mapping[str, Any]) -> Any:
        """What the program says; None where it says nothing.

        Raises:
            Contradiction: it says what no value of the option means.
        """
        if self.cases:
            found = self._measured(program, shapes)
            for value, expected in self.cases if found is not None else ():
                if _fit(found, expected):
                    return value
            if found is not None:
                raise Contradiction(f"has {self._told(found)}, which fits no value of the option")
            return None
        if not self.is_list:
            read = [value for place, name in self._named(shapes) for value in self._at(program, place, name)]
            return self._scaled(self._one(read), config)
        values: dict[int, list[tuple[str, Any]]] = {}
        for place, pattern in self.places:
            for indices, name in shapes.named(pattern):
                (index,) = indices.values()
                values.setdefault(index, []).extend(self._at(program, place, name))
        in_order = [self._one(values[index]) for index in sorted(values)]
        if not values or sorted(values) != list(range(len(values))) or None in in_order:
            return None
        return [self._scaled(value, config) for value in in_order]

    def agrees(self, told: Any, value: Any, program: Program, shapes: Shapes) -> bool:
        """Whether a value is what the program said it is, or one that comes to the same."""
        if self.is_list and isinstance(value, list):  # there may be more than this model has use for
            return len(value) >= len(told) and all(map(_same, value, told))
        if self.cases:
            found = self._measured(program, shapes)
            return any(_same(value, one) and _fit(found, expected) for one, expected in self.cases)
        return _same(value, told)

    def _named(self, shapes: Shapes) -> Iterator[tuple[str, str]]:
        for place, pattern in self.places:
            for _, name in shapes.named(pattern):
                yield place, name

    def _measured(self, program: Program, shapes: Shapes) -> tuple[Any, ...] | None:
        """What each weight comes to, where all are there and say so."""
        found = tuple(self._one(self._at(program, place, pattern.text)) for place, pattern in self.places)
        return None if None in found else found

    def _at(self, program: Program, place: str, name: str) -> list[tuple[str, Any]]:
        """What the operations near one weight say, each with where it stands."""
        fact = FACTS[self.fact]
        read = [fact.read(operation, program.graph) for operation in program.near(name, place, fact.kinds)]
        return [(f"{place} {name}", value) for value in read if value is not None]

    def _one(self, values: list[tuple[str, Any]]) -> Any:
        """The one value of them all."""
        for where, value in values[1:]:
            if not _same(value, values[0][1]):
                first = f"{self._told(values[0][1])} {values[0][0]}"
                raise Contradiction(f"has {first}, but {self._told(value)} {where}; the option is one value for all")
        return values[0][1] if values else None

    def _scaled(self, value: Any, config: Mapping[str, Any]) -> Any:
        if not self.times or type(value) is not int:
            return value
        try:
            factor = lookup(config, self.times)
        except KeyError:  # a problem already
            return value
        factor = self.over if factor is None else factor
        if type(factor) is not int:
            return value
        return value * factor / self.over if value * factor % self.over else value * factor // self.over

    def _told(self, value: Any) -> str:
        return f"{self.fact} {shown(repr(value), 80)}"


def _fit(found: Any, expected: tuple[int | None, ...]) -> bool:
    return all(each is None or _same(value, each) for value, each in zip(found, expected, strict=True))


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one type: True is not 1."""
    return type(one) is type(other) and bool(one == other)


def _weights(names: Pattern | list[Pattern]) -> list[Pattern]:
    names = names if isinstance(names, list) else [names]
    if any(len(name.captures) > 1 for name in names):
        raise ValueError("a weight has one index, <i>, or none")
    return names


Weights = Annotated[list[Pattern], made_of(Name | Annotated[list[Name], at_most(20), not_empty], _weights)]
Case = Annotated[dict[Word, Annotated[list[Node], at_most(20)]], at_most(1)]


@dataclass(eq=False, repr=False, kw_only=True)
class ProgramEntry:
    """What a map says of where an option stands in a program."""

    take: Literal["resize", "align_corners", "bins", "adaptive", "heads", "dilation"]
    of: Weights | None = None
    before: Weights | None = None
    after: Weights | None = None
    times: OptionName | None = None
    over: Annotated[int, between(1, MOST)] | None = None
    is_: Annotated[list[Case], at_most(50), not_empty] | None = field(default=None, metadata={"key": "is"})

    def __post_init__(self) -> None:
        places = (("of", self.of), ("before", self.before), ("after", self.after))
        self.places = [(place, name) for place, names in places for name in names or ()]
        if not self.places:
            raise ValueError("`of`, `before` or `after`, the weights that the operation is near to, is missing")
        if any((place == "of") != FACTS[self.take].of for place, _ in self.places):
            where = "of a weight" if FACTS[self.take].of else "before or after a weight"
            raise ValueError(f"{self.take} is that of an operation {where}")
        if (self.times is None) != (self.over is None):
            raise ValueError("'times', an option, and 'over' need one another")
        if self.is_ is not None and (self.times or any(name.captures for _, name in self.places)):
            raise ValueError("'is' is of weights without an index, and of what they say as it is")
        self.cases = [(key_value(text), self._expected(row)) for rows in self.is_ or () for text, row in rows.items()]

    def _expected(self, row: list[Node]) -> tuple[int | None, ...]:
        if len(row) != len(self.places):
            raise ValueError(f"expected {len(self.places)} entries in each row of `is:`, one for each weight")
        return tuple(None if node.written == "_" else build(node, Number) for node in row)

    def uses(self) -> Iterator[str]:
        """The options that it is read by."""
        if self.times is not None:
            yield self.times

    def rule(self, option: str, source: str, is_list: bool) -> ProgramRule:
        """The rule for an option that is a list, or one value.

        Args:
            option, source: where an including map puts its options, and the tensors of the source.

        Raises:
            ValueError: a list needs an index.
        """
        if is_list and not all(name.captures for _, name in self.places):
            raise ValueError("the option is a list, so that each weight of `program:` needs an index, <i>")
        places = tuple((place, name.within(source)) for place, name in self.places)
        times = prefixed(self.times, option) if self.times else ""
        return ProgramRule(self.take, places, is_list, times, self.over or 1, tuple(self.cases))
