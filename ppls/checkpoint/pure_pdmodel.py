"""A `.pdmodel` (framework.proto, ProgramDesc), read whole and written anew; see `ppls.checkpoint.pure_program`."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ppls.budget import Budget
from ppls.checkpoint import pdmodel_attributes
from ppls.checkpoint.dtypes import DTYPES
from ppls.checkpoint.protobuf import as_bytes, as_text, field, one, packed, several, signed
from ppls.checkpoint.pure_form import (
    Form,
    Step,
    check_inference,
    check_made,
    check_operator,
    input_shape,
    integer,
    keeps,
    sides,
    the_one_input,
    word,
)
from ppls.checkpoint.pure_form import Value as AnyValue
from ppls.checkpoint.pure_operators import PDMODEL_OPERATORS
from ppls.shown import shown

_TENSOR = 7  # VarType.Type
_TYPES = ("dtype", "in_dtype", "out_dtype")  # attributes that number a type
_FEEDS, _FETCHES = "feed", "fetch"  # what Paddle calls the variables that hold what goes in and comes out


class _Variable(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    persistable: bool


class _Operator(NamedTuple):
    """Inputs and outputs by the operator's names for them; attributes with the code of their kind."""

    kind: str
    inputs: dict[str, list[str]]
    outputs: dict[str, list[str]]
    attributes: dict[str, tuple[int, Any]]


def read(content: bytes, budget: Budget) -> Form:
    """Reads a program.

    Raises:
        ValueError: it is damaged, or holds what is not on the list.
    """
    program = several(content, budget)
    if len(program.get(1, ())) != 1 or set(program) - {1, 4, 5}:
        raise ValueError("it is more than one block, and what runs another block is not on ppls's list")
    version = integer(one(several(as_bytes(one(program, 4, b"")), budget), 1, 0), 32)
    versions = dict(_versions(one(program, 5, b""), budget))
    block = several(as_bytes(program[1][0]), budget)
    found = dict(_variable(as_bytes(message), budget) for message in block.get(3, ()))
    tensors = {name: variable for name, variable in found.items() if variable is not None}
    weights = {name for name, variable in tensors.items() if variable.persistable}

    known, inputs, fetched = set(weights), [], {}
    operators: list[_Operator] = []
    steps: list[Step] = []
    for place, message in enumerate(block.get(4, ())):
        operator = _operator(as_bytes(message), budget)
        taken = [name for names in operator.inputs.values() for name in names]
        given = [name for names in operator.outputs.values() for name in names]
        plain = {name: value for name, (_, value) in operator.attributes.items()}
        if operator.kind == "feed":
            inputs += given
        else:
            _check_there(taken, known, "takes")
        if operator.kind == "fetch":
            fetched[plain.get("col", 0)] = taken[0] if len(taken) == 1 else ""
            continue
        _check_there(given, tensors, "gives")
        known.update(given)
        if operator.kind == "feed":
            continue
        check_operator(operator.kind, PDMODEL_OPERATORS)
        check_inference(operator.kind, plain)
        check_made(operator.kind, plain.get("shape"))
        kept = {name: value for name, value in operator.attributes.items() if keeps(name, plain[name])}
        operators.append(operator._replace(attributes=kept))
        steps.append(Step(place, operator.kind, tuple(taken), tuple(given)))
    image = the_one_input(inputs)
    if image in weights or not fetched or list(fetched) != list(range(len(fetched))) or "" in fetched.values():
        raise ValueError("it does not number what it takes and returns")
    every = (each for step in steps for each in step.inputs + step.outputs)
    used = {name: tensors[name] for name in dict.fromkeys([image, *every])}
    return Form(
        ".pdmodel",
        image,
        input_shape(tensors[image].dtype, tensors[image].shape),
        steps,
        list(fetched.values()),
        [name for name in used if name in weights],
        lambda returned, double: _write(
            version,
            versions,
            {name: _in_double(variable) for name, variable in used.items()} if double else used,
            image,
            [_in_double_too(operator) for operator in operators] if double else operators,
            returned,
        ),
    )


def _check_there(names: Sequence[str], there: Container[str], what: str) -> None:
    for name in names:
        if name not in there:
            raise ValueError(f"an operation {what} '{shown(name, 80)}', which is no tensor, or not there yet")


def _versions(message: Any, budget: Budget) -> Iterator[tuple[str, int]]:
    """Of each operator, by its name."""
    for pair in several(as_bytes(message), budget).get(1, ()):
        entry = several(as_bytes(pair), budget)
        yield as_text(one(entry, 1)), integer(one(several(as_bytes(one(entry, 2)), budget), 1), 32)


def _variable(message: memoryview, budget: Budget) -> tuple[str, _Variable | None]:
    """Name and tensor; None of what is no tensor."""
    entry = several(message, budget)
    kind = several(as_bytes(one(entry, 2)), budget)
    name = as_text(one(entry, 1))
    if one(kind, 1) != _TENSOR:
        return name, None
    tensor = several(as_bytes(one(kind, 3)), budget)
    described = several(as_bytes(one(tensor, 1)), budget)
    codes = {dtype.stream: dtype.name for dtype in DTYPES.values()}
    if one(described, 1) not in codes:
        raise ValueError(f"'{shown(name, 80)}' is of a type that ppls does not know")
    shape = sides([signed(side) for side in packed(described.get(2, ()), budget)])
    return name, _Variable(codes[one(described, 1)], tuple(shape), bool(one(entry, 3, 0)))


def _operator(message: memoryview, budget: Budget) -> _Operator:
    entry = several(message, budget)
    attributes = dict(pdmodel_attributes.read(as_bytes(value), budget) for value in entry.get(4, ()))
    return _Operator(
        as_text(one(entry, 3)),
        _arguments(entry.get(1, ()), budget),
        _arguments(entry.get(2, ()), budget),
        attributes,
    )


def _arguments(messages: Sequence[int | memoryview], budget: Budget) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for message in messages:
        entry = several(as_bytes(message), budget)
        parameter = word(as_text(one(entry, 1)))
        if parameter in found:
            raise ValueError("an operation has an argument twice")
        found[parameter] = [as_text(value) for value in entry.get(2, ())]
    return found


def _in_double(variable: _Variable) -> _Variable:
    return variable._replace(dtype="float64") if variable.dtype == "float32" else variable


def _in_double_too(operator: _Operator) -> _Operator:
    """Where it names a type by its number."""
    single, double = (DTYPES[dtype].stream for dtype in ("float32", "float64"))
    attributes = {
        name: (code, double if name in _TYPES and value == single else value)
        for name, (code, value) in operator.attributes.items()
    }
    return operator._replace(attributes=attributes)


def _write_operator(operator: _Operator) -> bytes:
    def arguments(place: int, named: Mapping[str, Sequence[str]]) -> bytes:
        return b"".join(
            field(place, field(1, parameter.encode()) + b"".join(field(2, each.encode()) for each in names))
            for parameter, names in named.items()
        )

    attributes = (field(4, pdmodel_attributes.written(name, *value)) for name, value in operator.attributes.items())
    written = field(3, operator.kind.encode()) + arguments(1, operator.inputs) + arguments(2, operator.outputs)
    return field(4, written + b"".join(attributes))


def _write_variable(name: str, variable: _Variable) -> bytes:
    described = field(1, DTYPES[variable.dtype].stream) + b"".join(field(2, side) for side in variable.shape)
    kind = field(1, _TENSOR) + field(3, field(1, described))
    return field(3, field(1, name.encode()) + field(2, kind) + field(3, variable.persistable))


def _write(
    version: int,
    versions: Mapping[str, int],
    variables: Mapping[str, _Variable],
    image: str,
    operators: Sequence[_Operator],
    returned: Sequence[AnyValue],
) -> bytes:
    def end(kind: str, takes: str, gives: str, place: int) -> bytes:
        return _write_operator(_Operator(kind, {"X": [takes]}, {"Out": [gives]}, {"col": (0, place)}))

    lists = [(_FEEDS, 9), (_FETCHES, 10)]  # VarType.Type, of what holds the inputs and the outputs
    block = field(1, 0) + field(2, -1)
    block += b"".join(
        field(3, field(1, name.encode()) + field(2, field(1, kind)) + field(3, True)) for name, kind in lists
    )
    block += b"".join(_write_variable(name, found) for name, found in variables.items())
    block += end("feed", _FEEDS, image, 0) + b"".join(map(_write_operator, operators))
    block += b"".join(end("fetch", str(value), _FETCHES, place) for place, value in enumerate(returned))
    kinds = {operator.kind for operator in operators}
    pairs = b"".join(
        field(1, field(1, name.encode()) + field(2, field(1, number)))
        for name, number in versions.items()
        if name in kinds
    )
    return field(1, block) + field(4, field(1, version)) + field(5, pairs)
