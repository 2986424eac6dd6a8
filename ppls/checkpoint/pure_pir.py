"""PIR's `.json`, read whole and written anew; see `ppls.checkpoint.pure_program`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppls.budget import Budget
from ppls.checkpoint.dtypes import BY_PIR
from ppls.checkpoint.pure_form import (
    Form,
    Step,
    check_inference,
    check_made,
    check_operator,
    input_shape,
    integer,
    keeps,
    number,
    sides,
    text,
    the_one_input,
    truth,
    word,
)
from ppls.checkpoint.pure_form import Value as AnyValue
from ppls.checkpoint.pure_operators import PIR_OPERATORS, WITHOUT_EFFECT
from ppls.checkpoint.tensors import MOST_DIMENSIONS
from ppls.documents import load_json
from ppls.shown import shown

_NOTHING = 0  # the number of an input that is not given
_MOST_VERSION = 100
_LAYOUTS = ("NCHW", "NHWC", "Undefined", "ANY", "UNDEFINED")
_IN_PLACE = ("1.cast_", "1.relu_", "1.reshape_", "1.scale_")  # they would write into what others may be returned
_INFERENCE = ("stop_gradient",)
_DTYPES = frozenset({*BY_PIR.values(), "undefined", "UNDEFINED", "Undefined(ALL_DTYPE)"})
_PARTS = {"#", "A", "I", "O", "OA", "DA", "QA"}
_BRANCH, _LOOP, _END = "1.if", "1.while", "2.yield"
_LIST = "1.t_dense_tensor_array"


def read(content: bytes, budget: Budget) -> Form:
    """Reads a program.

    Raises:
        ValueError: it is damaged, or holds what is not on the list.
    """
    match load_json(content, budget):
        case {
            "base_code": {"magic": "pir", "version": int(version)},
            "program": {"regions": [{"blocks": [{"ops": list(operations), **block}], **region}], **program},
        }:
            pass
        case _:
            raise ValueError("it is not one block of a PIR program")
    if program or set(region) - {"#"} or block.get("args") or set(block) - {"#", "args"}:
        raise ValueError("it is more than one block of a PIR program")
    if not 0 <= version <= _MOST_VERSION:
        raise ValueError(f"it is of version {version}")
    return _Reader().read(operations, version)


class _Reader:
    """The operations so far, as they are written.

    Attributes:
        types: of each value that there is, by its number.
    """

    def __init__(self) -> None:
        self.types: dict[int, dict[str, Any]] = {_NOTHING: {"#": "NULL"}}
        self._written: list[dict[str, Any]] = []
        self._steps: list[Step] = []
        self._parameters: dict[int, tuple[str, dict[str, Any]]] = {}
        self._inputs: list[tuple[str, tuple[int, ...]]] = []
        self._fetched: dict[int, int] = {}
        self._place = -1  # weights are not counted, nor what is in loops
        self._depth = 0  # of blocks within blocks
        self._over: set[int] = set()  # values of blocks that have ended
        self._hidden: set[int] = set()  # values that cannot be returned, beside those

    def read(self, operations: Sequence[Any], version: int) -> Form:
        for operation in operations:
            match operation:
                case {"#": "p", "A": [_, _, _, str(name), *_], "O": {"%": int(value), "TT": type_}}:
                    self._give([{"%": value, "TT": type_}])
                    self._parameters[value] = name, self.types[value]
                case _:
                    self._any(operation)
        name, shape = the_one_input(self._inputs)
        if not self._fetched or sorted(self._fetched) != list(range(len(self._fetched))):
            raise ValueError("it does not number what it returns")
        used = {value for step in self._steps for value in step.inputs}
        parameters = [entry for value, entry in self._parameters.items() if value in used]
        return Form(
            ".json",
            name,
            shape,
            self._steps,
            [self._fetched[place] for place in range(len(self._fetched))],
            [variable for variable, _ in parameters],
            lambda returned, double: _in_double(self._write(returned, used, version), double),
            self._over | self._hidden,
        )

    def _any(self, operation: Any) -> None:
        match operation:
            case {"#": str(kind), "A": list(attributes), "I": list(inputs), "O": list(outputs)}:
                blocks = kind in (_BRANCH, _LOOP)
                if more := set(operation) - _PARTS - ({"regions"} if blocks else set()):
                    raise ValueError(f"an operation has a part '{shown(min(more), 80)}'")
                if blocks:
                    self._blocks(kind, attributes, inputs, outputs, operation.get("regions"))
                    return
                self._place += 1
                self._operation(self._place, kind, attributes, inputs, outputs)
            case _:
                raise ValueError("an operation is without kind, inputs or outputs")

    def _blocks(self, kind: str, attributes: Any, inputs: list[Any], outputs: list[Any], regions: Any) -> None:
        """A branch, or a loop: what is in it is none of the values that may be returned.

        As `ppls.checkpoint.graph` counts, the operations of both branches stand before as many choices as there are
        results; a loop counts as one.
        """
        taken = [self._known(entry) for entry in inputs]
        if not taken or not isinstance(regions, list) or len(regions) != (2 if kind == _BRANCH else 1):
            raise ValueError("a branch or a loop is without its blocks")
        place = self._place
        if self._kind(taken[0]) != "0.t_bool" or (kind == _BRANCH and len(taken) != 1):
            raise ValueError("a branch or a loop asks no truth value")
        written = [self._region(region, taken[1:]) for region in regions]
        self._place = place + 1 if kind == _LOOP else self._place + len(outputs)
        given = self._give(outputs)
        for _, ends in written:
            wanted = given if kind == _BRANCH else [taken[0], *given]
            if [self._kind(value) for value in ends] != [self._kind(value) for value in wanted]:
                raise ValueError("a branch or a loop does not end in what it gives")
        if kind == _LOOP and len(given) != len(taken) - 1:
            raise ValueError("a loop does not end in what it begins with")
        named = dict(map(_attribute, attributes))
        kept = {name: value for name, value in named.items() if keeps(name, value["D"])}
        entry = self._entry(kind, kept, taken, given)
        entry["regions"] = [region for region, _ in written]
        self._written.append(entry)
        if kind == _LOOP:
            self._hidden.add(taken[0])  # it is written over in the loop: that it no longer is so ends it
            self._steps.append(Step(self._place, "while", tuple(taken), tuple(given)))
            return
        self._steps.append(Step(self._place, "if", tuple(taken), ()))
        first = self._place - len(given) + 1
        self._steps += [Step(first + at, "if", (), (value,)) for at, value in enumerate(given)]

    def _region(self, region: Any, begins: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
        """A block written anew, and what it ends in; `begins` are what stands for its arguments."""
        match region:
            case {"blocks": [{"args": list(arguments), "ops": [*operations, {"#": "2.yield", "I": list(inputs)}]}]}:
                pass
            case _:
                raise ValueError("a branch or a loop is without its block")
        outside, before = self._written, len(self.types)
        self._written = []
        self._depth += 1
        own = [self._argument(argument) for argument in arguments]
        if [self._kind(value) for value in own] != [self._kind(value) for value in begins]:
            raise ValueError("a loop does not begin with what it is given")
        for operation in operations:
            self._any(operation)
        ends = [self._known(entry) for entry in inputs]
        block = {
            "#": f"block_{len(self.types)}",
            "args": [{"#": value, "TT": self.types[value]} for value in own],
            "ops": [
                *self._written,
                {"#": _END, "A": [], "I": [{"%": value} for value in ends], "O": [], "OA": []},
            ],
        }
        self._steps.append(Step(self._place, "yield", tuple(ends), ()))
        self._written = outside
        self._depth -= 1
        self._over.update(itertools.islice(reversed(self.types), len(self.types) - before))
        return {"#": f"region_{len(self.types)}", "blocks": [block]}, ends

    def _argument(self, entry: Any) -> int:
        match entry:
            case {"#": value, "TT": type_} if type(value) is int and value not in self.types and -value >> 31 == 0:
                self._name(value, type_)
                return value
        raise ValueError("a loop has an argument that is there already, or none")

    def _name(self, value: int, type_: Any) -> None:
        self.types[value] = _type(type_)
        if self.types[value]["#"] == _LIST:
            self._hidden.add(value)

    def _kind(self, value: int) -> str:
        """The type of a tensor's elements, or that it is a list of tensors: one of these goes in and out of blocks."""
        match self.types[value]:
            case {"#": "0.t_dtensor", "D": [{"#": str(code)}, *_]}:
                return code
            case {"#": kind} if kind == _LIST:
                return _LIST
        raise ValueError("a branch or a loop takes or gives what is no tensor")

    def _operation(self, place: int, kind: str, attributes: list[Any], inputs: list[Any], outputs: list[Any]) -> None:
        taken = [self._known(entry) for entry in inputs]
        named = dict(map(_attribute, attributes))
        if self._depth and kind in ("1.fetch", "1.data"):
            raise ValueError("an input or an output is in a branch or a loop")
        if kind == "1.fetch":
            place = integer(named.get("col", {"D": None})["D"])
            if place in self._fetched or len(taken) != 1 or self.types[taken[0]]["#"] != "0.t_dtensor":
                raise ValueError("it does not number what it returns")
            self._fetched[place] = taken[0]
            return
        given = self._give(outputs)
        if kind == "1.data":
            self._inputs.append(self._input(named, given))
            kept: tuple[str, ...] = ("name", "shape", "dtype", "place")
        else:
            check_operator(kind, PIR_OPERATORS)
            plain = {name: value["D"] for name, value in named.items()}
            check_inference(kind.partition(".")[2], plain)
            check_made(kind.partition(".")[2], plain.get("shape"))
            kept = tuple(name for name, value in named.items() if keeps(name, value["D"]))
            self._steps.append(Step(place, kind.partition(".")[2].removesuffix("_"), tuple(taken), tuple(given)))
        self._written.append(self._entry(kind, {name: named[name] for name in kept if name in named}, taken, given))

    def _input(self, named: Mapping[str, Any], given: Sequence[int]) -> tuple[str, tuple[int, ...]]:
        match self.types[the_one_input(given)]:
            case {"#": "0.t_dtensor", "D": [{"#": code}, shape, *_]}:
                name = word(named.get("name", {"D": None})["D"])
                return name, input_shape(BY_PIR[code.removeprefix("0.")], shape)
        raise ValueError("it takes something that is no tensor")

    def _known(self, entry: Any) -> int:
        match entry:
            case {"%": value} if type(value) is int and value in self.types and value not in self._over:
                return value
        raise ValueError("an operation takes what is not there yet")

    def _give(self, outputs: list[Any]) -> list[int]:
        for entry in outputs:
            match entry:
                case {"%": value, "TT": type_} if type(value) is int and value not in self.types and value >> 31 == 0:
                    self._name(value, type_)
                case _:
                    raise ValueError("an operation gives what is there already, or nothing")
        return [entry["%"] for entry in outputs]

    def _entry(
        self, kind: str, attributes: Mapping[str, Any], taken: Sequence[int], given: Sequence[int]
    ) -> dict[str, Any]:
        marks = {name: {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": True}] * len(given)} for name in _INFERENCE}
        return {
            "#": kind.removesuffix("_") if kind in _IN_PLACE else kind,
            "A": _named(attributes),
            "I": [{"%": value} for value in taken],
            "O": [{"%": value, "TT": self.types[value]} for value in given],
            "OA": _named(marks),
        }

    def _write(self, returned: Sequence[AnyValue], used: set[AnyValue], version: int) -> bytes:
        operations: list[dict[str, Any]] = [
            {"#": "p", "A": [0, 1, 1, name], "DA": [], "O": {"%": value, "TT": type_}, "OA": [1, 1, 0], "QA": []}
            for value, (name, type_) in self._parameters.items()
            if value in used
        ]
        operations += self._written
        for place, value in enumerate(returned):
            assert isinstance(value, int)
            new = max(self.types) + 1
            self.types[new] = self.types[value]
            attributes = {"name": {"#": "0.a_str", "D": f"fetch_{place}"}, "col": {"#": "0.a_i32", "D": place}}
            fetch = self._entry("1.fetch", attributes, [value], [new])
            fetch["OA"] = _named({"persistable": {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": True}]}}) + fetch["OA"]
            operations.append(fetch)
        block = {"#": "block_0", "args": [], "ops": operations}
        document = {
            "base_code": {"magic": "pir", "trainable": False, "version": version},
            "program": {"regions": [{"#": "region_0", "blocks": [block]}]},
        }
        return json.dumps(document, allow_nan=False).encode()


def _in_double(content: bytes, double: bool) -> bytes:
    """No text of the file has a quotation mark as JSON has it, so that these are types and nothing else."""
    if not double:
        return content
    kind = b'{"#": "1.a_dtype", "D": "float%d"}'
    return content.replace(b'"#": "0.t_f32"', b'"#": "0.t_f64"').replace(kind % 32, kind % 64)


def _named(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"AT": value, "N": name} for name, value in attributes.items()]


def _attribute(entry: Any) -> tuple[str, dict[str, Any]]:
    match entry:
        case {"N": str(name), "AT": {"#": str(kind), "D": value}} if len(entry) == 2 and len(entry["AT"]) == 2:
            if name in WITHOUT_EFFECT:
                return name, {"#": kind, "D": None}
            return word(name), {"#": kind, "D": _value(kind, value)}
    raise ValueError("an attribute is without a name or a value")


def _value(kind: str, value: Any) -> Any:
    if kind == "0.a_array" and isinstance(value, list):
        return [{"#": item["#"], "D": _scalar(item["#"], item["D"])} for item in value if _is_scalar(item)]
    if kind == "1.a_intarray" and isinstance(value, list):
        return [integer(item) for item in value]
    if kind == "1.a_dtype" and isinstance(value, str) and value in _DTYPES:
        return value
    if kind == "1.a_place" and isinstance(value, list) and value:
        return [1 if integer(value[0]) else 0, 0, ""]  # the CPU, or none
    return _scalar(kind, value)


def _is_scalar(item: Any) -> bool:
    match item:
        case {"#": str(), "D": _} if len(item) == 2:
            return True
    raise ValueError("a list of an attribute holds something without a kind")


def _scalar(kind: str, value: Any) -> Any:
    read = _SCALARS.get(kind)
    if read is None:
        raise ValueError(f"it has an attribute of the kind '{shown(kind, 80)}', which is not on ppls's list")
    return read(value)


_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "0.a_bool": truth,
    "0.a_i32": lambda value: integer(value, 32),
    "0.a_i64": integer,
    "0.a_f32": number,
    "0.a_f64": number,
    "0.a_str": text,
}


def _type(type_: Any) -> dict[str, Any]:
    match type_:
        case {"#": "0.t_vec", "D": list(parts)}:
            return {"#": "0.t_vec", "D": [_tensor(part) for part in parts]}
        case {"#": "NULL"}:
            return {"#": "NULL"}
        case {"#": "1.t_dense_tensor_array", "D": [element, shape, layout]}:
            return {"#": _LIST, "D": _tensor({"#": "0.t_dtensor", "D": [element, shape, layout]})["D"][:3]}
    return _tensor(type_)


def _tensor(type_: Any) -> dict[str, Any]:
    match type_:
        case {"#": "0.t_dtensor", "D": [{"#": str(code)}, list(shape), str(layout), *_]} if (
            code.removeprefix("0.") in BY_PIR and layout in _LAYOUTS and len(shape) <= MOST_DIMENSIONS
        ):
            return {"#": "0.t_dtensor", "D": [{"#": code}, sides(shape), layout, [], 0]}
    raise ValueError("it has a value of a type that is not on ppls's list")
