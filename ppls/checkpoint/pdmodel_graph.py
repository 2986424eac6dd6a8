"""The operations of a `.pdmodel` (framework.proto, ProgramDesc); see `ppls.checkpoint.graph`."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ppls.budget import Budget
from ppls.checkpoint import protobuf, tensor_stream
from ppls.checkpoint.operation import NOTHING, Fed, Operation


def read_pdmodel(content: bytes, budget: Budget) -> tuple[list[Operation], dict[str, int], dict[str, Fed]]:
    """The operations, the value of each weight by its variable, and what goes in by its variable."""
    block = next((value for number, value in protobuf.fields(content, budget) if number == 1), None)
    if not isinstance(block, memoryview):
        raise ValueError("no block")
    values: dict[str, int] = {}  # of each variable, the last that was written under its name
    count = itertools.count(NOTHING + 1)

    def written(name: str) -> int:
        values[name] = next(count)
        return values[name]

    def known(name: str) -> int:
        return values[name] if name in values else written(name)

    operations: list[Operation] = []
    parameters: dict[str, int] = {}
    variables: dict[str, memoryview] = {}  # the type of each
    messages = [(number, value) for number, value in protobuf.fields(block, budget) if isinstance(value, memoryview)]
    for number, message in messages:
        if number == 3:
            entries = dict(protobuf.fields(message, budget))  # 1 name, 2 type, 3 persistable
            name, type_ = entries.get(1), entries.get(2)
            if not isinstance(name, memoryview):
                continue
            if isinstance(type_, memoryview):
                variables[_text(name)] = type_
            if entries.get(3) == 1:
                parameters[_text(name)] = written(_text(name))
    fed: dict[str, Fed] = {}
    for number, message in messages:
        if number == 4:
            operation, names = _pdmodel_operation(message, budget, known, written)
            operations.append(operation)
            if operation.kind == "feed" and len(names) == 1 and names[0] in variables:
                fed[names[0]] = Fed(operation.outputs[0], *_pdmodel_type(variables[names[0]], budget))
    return operations, parameters, fed


def _pdmodel_type(message: memoryview, budget: Budget) -> tuple[str, tuple[int, ...]]:
    """framework.proto, VarType: 3 an ordinary tensor, of which 1 is the description."""
    tensor = dict(protobuf.fields(message, budget)).get(3)
    described = dict(protobuf.fields(protobuf.as_bytes(tensor or b""), budget)).get(1)
    return tensor_stream.type_and_sides(protobuf.as_bytes(described or b""), budget)


def _pdmodel_operation(
    message: memoryview, budget: Budget, known: Callable[[str], int], written: Callable[[str], int]
) -> tuple[Operation, list[str]]:
    """An operation, and the variables that it gives."""
    kind = ""
    attributes: dict[str, Any] = {}
    inputs: list[tuple[str, str]] = []  # role and variable
    outputs: list[tuple[str, str]] = []
    for number, value in protobuf.fields(message, budget):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            inputs += _pdmodel_variables(value, budget)
        elif number == 2:
            outputs += _pdmodel_variables(value, budget)
        elif number == 3:
            kind = _text(value)
        elif number == 4:
            name, plain = _pdmodel_attribute(value, budget)
            if isinstance(plain, _Variables):
                inputs += [(name, variable) for variable in plain.names]
            else:
                attributes[name] = plain
    if not kind:
        raise ValueError("an operation without a kind")
    names = [name for _, name in outputs]
    operation = Operation(
        kind.removesuffix("_v2"),
        attributes,
        tuple(known(name) for _, name in inputs),
        tuple(map(written, names)),
        kind,
        tuple(role for role, _ in inputs),
        tuple(role for role, _ in outputs),
    )
    return operation, names


def _pdmodel_variables(message: memoryview, budget: Budget) -> Iterator[tuple[str, str]]:
    """The variables of one argument, each with the argument's name."""
    entries = protobuf.several(message, budget)
    role = _text(protobuf.as_bytes(entries.get(1, [b""])[0]))
    return ((role, protobuf.as_text(value)) for value in entries.get(2, ()))


class _Variables(NamedTuple):
    """What stands in an attribute's place and is computed: inputs by another name."""

    names: tuple[str, ...]


def _pdmodel_attribute(message: memoryview, budget: Budget) -> tuple[str, Any]:
    """framework.proto, OpDesc.Attr: 1 name, 2 type, and the value in a field of its own for each type."""
    name = ""
    single: Any = None
    several: list[Any] = []
    variables: list[str] = []
    for number, value in protobuf.fields(message, budget):
        if number == 1 and isinstance(value, memoryview):
            name = _text(value)
        elif number == 5 and isinstance(value, memoryview):
            single = _text(value)
        elif number == 4 and isinstance(value, memoryview):
            (single,) = struct.unpack("<f", value)
        elif number == 19 and isinstance(value, memoryview):
            (single,) = struct.unpack("<d", value)
        elif number == 10 and isinstance(value, int):
            single = bool(value)
        elif number in (3, 13) and isinstance(value, int):
            single = protobuf.signed(value)
        elif number in (6, 15):
            several += map(protobuf.signed, [value] if isinstance(value, int) else protobuf.varints(value, budget))
        elif number == 7 and isinstance(value, memoryview):
            several += [number for (number,) in struct.iter_unpack("<f", value)]
        elif number == 8 and isinstance(value, memoryview):
            several.append(_text(value))
        elif number == 11:
            several += map(bool, [value] if isinstance(value, int) else protobuf.varints(value, budget))
        elif number == 16 and isinstance(value, memoryview):
            several += [number for (number,) in struct.iter_unpack("<d", value)]
        elif number in (17, 18) and isinstance(value, memoryview):
            variables.append(_text(value))
        elif number == 20 and isinstance(value, memoryview):
            single = _pdmodel_scalar(value, budget)
        elif number == 21 and isinstance(value, memoryview):
            several.append(_pdmodel_scalar(value, budget))
    if variables:
        return name, _Variables(tuple(variables))
    return name, several if single is None and several else single


def _pdmodel_scalar(message: memoryview, budget: Budget) -> Any:
    """A number with its type, framework.proto's Scalar: 2 truth, 3 integer, 4 number."""
    entries = dict(protobuf.fields(message, budget))
    match entries.get(1), entries.get(2), entries.get(3), entries.get(4):
        case 1, int(truth), _, _:
            return bool(truth)
        case 2, _, int(whole), _:
            return protobuf.signed(whole)
        case 3, _, _, memoryview() as number:
            return struct.unpack("<d", number)[0]
    raise ValueError("a number of a type that ppls does not know")


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8")
