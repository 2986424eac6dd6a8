"""The program beside exported weights, `.pdmodel` (protobuf) or PIR's `.json`: it knows the names, shapes and types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ppls.budget import Budget
from ppls.checkpoint import protobuf, tensor_stream
from ppls.checkpoint.dtypes import BY_PIR
from ppls.checkpoint.source import Source
from ppls.checkpoint.tensors import check_name
from ppls.documents import load_json
from ppls.errors import first_line

_MAX_SIZE = 256 << 20
_LOD_TENSOR = 7  # framework.proto, VarType.Type: an ordinary tensor; feed and fetch lists are others


class Variable(NamedTuple):
    """A persistable variable."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Program(NamedTuple):
    """What a program says about its weights.

    Attributes:
        kind: `pdmodel` or `PIR program`.
        candidates: the sets of variables that a weights file of this program may hold, each sorted by name, as Paddle
            writes them: everything that is persistable, with or without the learning rate of a program that trains; in
            PIR the parameters alone, or with what the optimizer keeps.
    """

    kind: str
    candidates: tuple[tuple[Variable, ...], ...]


def looks_like_pdmodel(head: bytes) -> bool:
    """True for a ProgramDesc: its first field are the blocks, and the first field of a block is its index, 0."""
    if head[:1] != b"\x0a":
        return False
    at = 1
    while at < min(len(head), 10) and head[at] >= 0x80:
        at += 1
    return head[at + 1 : at + 3] == b"\x08\x00"


def looks_like_pir(head: bytes) -> bool:
    """True for the JSON that Paddle 3 writes in place of `.pdmodel`."""
    return head[:1] == b"{" and b'"base_code"' in head and b'"pir"' in head


def read(source: Source) -> Program:
    """Reads the variables, and nothing else.

    Raises:
        CheckpointError: this is no program, or it is damaged.
    """
    if source.size > _MAX_SIZE:
        raise source.error(f"{source.size:,} bytes is too much for a program; is it the weights file?")
    source.budget.take_bytes(source.size)
    content = source.read(0, source.size)
    try:
        if looks_like_pdmodel(content[:64]):
            variables = list(_pdmodel_variables(content, source.budget))
            kind, sets = "pdmodel", _with_and_without_learning_rate(variables)
        else:
            kind, sets = "PIR program", _pir_variables(content, source.budget)
    except ValueError as error:
        raise source.error(f"damaged, or not a Paddle program: {first_line(error)}") from None
    for variables in sets:
        source.budget.take_names(len(variables))
        names = [check_name(source, variable.name) for variable in variables]
        if len(set(names)) != len(names):
            raise source.error("damaged program: a variable stands in it twice")
    return Program(kind, tuple(tuple(sorted(variables)) for variables in sets))


UNSAVED = (
    "__non_persistable"  # ends the names of what `jit.save` leaves out: where the dropouts of recurrent layers are
)


def _with_and_without_learning_rate(variables: list[Variable]) -> list[list[Variable]]:
    """`save_vars` was seen to leave it out."""
    rest = [variable for variable in variables if not variable.name.startswith("learning_rate_")]
    return [variables, rest] if len(rest) < len(variables) else [variables]


def _pdmodel_variables(content: bytes, budget: Budget) -> Iterator[Variable]:
    block = next(value for number, value in protobuf.fields(content, budget) if number == 1)
    if isinstance(block, int):
        raise ValueError("a block that is a number")
    for number, value in protobuf.fields(block, budget):
        if number == 3 and not isinstance(value, int):
            yield from _pdmodel_variable(value, budget)


def _pdmodel_variable(message: memoryview, budget: Budget) -> Iterator[Variable]:
    values = dict(protobuf.fields(message, budget))  # 1 name, 2 type, 3 persistable
    name, kind = values.get(1), values.get(2)
    if values.get(3) != 1 or isinstance(kind, int | None) or isinstance(name, int | None):
        return
    type_values = dict(protobuf.fields(kind, budget))  # 1 kind of variable, 3 its tensor
    tensor = type_values.get(3)
    if type_values.get(1) == _LOD_TENSOR and isinstance(tensor, memoryview):
        description = dict(protobuf.fields(tensor, budget)).get(1)
        if isinstance(description, memoryview):
            yield Variable(bytes(name).decode("utf-8"), *tensor_stream.describe(description, budget))


def _pir_variables(content: bytes, budget: Budget) -> list[list[Variable]]:
    document = load_json(content, budget, needed=_may_be_variable)
    match document:
        case {"base_code": {"magic": "pir"}, "program": {"regions": [{"blocks": [{"ops": list(ops)}, *_]}, *_]}}:
            parameters = [variable for op in ops if (variable := _pir_parameter(op))]
            data = [variable for op in ops if (variable := _pir_data(op))]
            kept = [variable for variable in parameters if not variable.name.endswith(UNSAVED)]
            sets = [kept, kept + data] if data else [kept]
            if passing := {variable.name: variable for variable in parameters if variable.name.endswith(UNSAVED)}:
                sets += [[*variables, *passing.values()] for variables in sets]
            return sets
    raise ValueError("not the JSON of a PIR program")


def _may_be_variable(entry: dict[str, Any]) -> bool:
    """False for operations, which are most of a program: they have inputs, as a parameter has not."""
    return "I" not in entry or entry.get("#") == "1.data"


def _pir_parameter(op: Any) -> Variable | None:
    match op:
        case {"#": "p", "A": [_, _, _, str(name), *_], "O": {"TT": dict(type_)}}:
            return Variable(name, *_pir_type(type_))
        case {"#": "p"}:
            raise ValueError("a parameter without name or type")
    return None


def _pir_data(op: Any) -> Variable | None:
    """`static.save`: what the optimizer and the statistics keep are inputs of the program, marked persistable."""
    match op:
        case {"#": "1.data", "A": list(attributes), "O": [{"TT": dict(type_)}], "OA": list(marks)}:
            persistable = any(
                mark == {"N": "persistable", "AT": {"#": "0.a_array", "D": [{"#": "0.a_bool", "D": True}]}}
                for mark in marks
            )
            names = [item["AT"]["D"] for item in attributes if _is_name(item)]
            if persistable and len(names) == 1:
                return Variable(names[0], *_pir_type(type_))
    return None


def _is_name(attribute: Any) -> bool:
    match attribute:
        case {"N": "name", "AT": {"D": str()}}:
            return True
    return False


def _pir_type(type_: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    match type_:
        case {"#": "0.t_dtensor", "D": [{"#": str(code)}, list(shape), *_]}:
            dtype = BY_PIR.get(code.removeprefix("0."))
            if dtype is not None and all(type(side) is int for side in shape):
                return dtype, tuple(shape)
    raise ValueError("a parameter of a type that ppls does not know")
