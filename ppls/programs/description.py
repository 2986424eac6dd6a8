"""A program as JSON, there and back: what is read is data from a file, whatever it says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ppls.budget import Budget
from ppls.checkpoint.pure_operators import WITHOUT_EFFECT
from ppls.documents import load_json
from ppls.errors import CheckpointError, first_line
from ppls.programs.program import Body, Input, Program, Step, check
from ppls.shown import shown

FORMAT = 1

_NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_MOST_SIDE = 1 << 31


def written(program: Program) -> bytes:
    """The description of a program: the same bytes for the same program."""
    document = {
        "format": FORMAT,
        "form": program.form,
        "inputs": [
            {"name": each.name, "value": each.value, "dtype": each.dtype, "shape": list(each.shape)}
            for each in program.inputs
        ],
        "outputs": list(program.outputs),
        "weights": {str(value): name for value, name in program.weights.items()},
        "steps": [_written(step) for step in program.steps],
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode("ascii")


def _written(step: Step) -> dict[str, Any]:
    body = step.body
    return {
        "place": step.place,
        "kind": step.kind,
        "layer": step.layer,
        "inputs": {role: list(values) for role, values in step.inputs.items()},
        "outputs": {role: list(values) for role, values in step.outputs.items()},
        "attributes": {name: _plain(value) for name, value in step.attributes.items() if name not in WITHOUT_EFFECT},
        **({"guards": [list(guard) for guard in step.guards]} if step.guards else {}),
        **(
            {
                "body": {
                    "inputs": [given.value for given in body.inputs],
                    "steps": [_written(each) for each in body.steps],
                    "outputs": list(body.outputs),
                }
            }
            if body
            else {}
        ),
    }


def parsed(content: bytes, source: str) -> Program:
    """The program that a description tells of.

    Args:
        source: the file, for messages.

    Raises:
        CheckpointError: it is damaged, or no description.
    """

    def error(why: str) -> CheckpointError:
        return CheckpointError(f"{source}: damaged, or not a program that ppls wrote: {why}")

    try:
        match load_json(content, Budget(len(content), error)):
            case {
                "format": int(format),
                "form": "pdmodel" | "pir" as form,
                "inputs": list(inputs),
                "outputs": list(outputs),
                "weights": dict(weights),
                "steps": list(steps),
            }:
                pass
            case _:
                raise ValueError("it lacks a part")
        if format != FORMAT:
            raise ValueError(f"it is of format {format}, this ppls reads {FORMAT}")
        program = Program(
            source,
            form,
            _steps(steps),
            tuple(map(_input, inputs)),
            tuple(map(_value, outputs)),
            {_value_of(value): _text(name) for value, name in weights.items()},
        )
        if not program.outputs:
            raise ValueError("it returns nothing")
    except ValueError as why:
        raise error(first_line(why)) from None
    check(program, error)
    return program


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _attribute(value: Any) -> Any:
    if isinstance(value, list):
        return [_attribute(each) for each in value]
    if isinstance(value, dict):
        if len(value) != 1 or value.get("number") not in _NUMBERS:
            raise ValueError("an attribute is no number, text or list")
        return _NUMBERS[value["number"]]
    return value


def _steps(entries: list[Any]) -> tuple[Step, ...]:
    steps = tuple(map(_step, entries))
    if len({step.place for step in steps}) != len(steps):
        raise ValueError("it numbers two operations alike")
    return steps


def _step(entry: Any) -> Step:
    match entry:
        case {
            "place": place,
            "kind": kind,
            "layer": layer,
            "inputs": dict(inputs),
            "outputs": dict(outputs),
            "attributes": dict(attributes),
            **more,
        }:
            own = {_text(name): _attribute(value) for name, value in attributes.items()}
            guards = more.get("guards", [])
            if not isinstance(guards, list):
                raise ValueError("the branches of an operation are no list")
            return Step(
                _value(place),
                _text(kind),
                _roles(inputs),
                _roles(outputs),
                own,
                _text(layer),
                tuple(map(_guard, guards)),
                _body(more["body"]) if "body" in more else None,
            )
    raise ValueError("an operation lacks a part")


def _body(entry: Any) -> Body:
    match entry:
        case {"inputs": list(inputs), "steps": list(steps), "outputs": list(outputs)}:
            given = tuple(Input("", _value(value), "", ()) for value in inputs)
            return Body(_steps(steps), given, tuple(map(_value, outputs)))
    raise ValueError("a loop lacks a part")


def _guard(entry: Any) -> tuple[int, bool]:
    match entry:
        case [value, bool(truth)]:
            return _value(value), truth
    raise ValueError("a branch that asks no truth value")


def _input(entry: Any) -> Input:
    match entry:
        case {"name": name, "value": value, "dtype": dtype, "shape": list(shape)}:
            if any(type(side) is not int or not -1 <= side <= _MOST_SIDE for side in shape):
                raise ValueError("an input is without a shape")
            return Input(_text(name), _value(value), _text(dtype), tuple(shape))
    raise ValueError("an input lacks a part")


def _roles(entry: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    found = {}
    for role, values in entry.items():
        if not isinstance(values, list):
            raise ValueError("an operation takes or gives no list of values")
        found[_text(role)] = tuple(map(_value, values))
    return found


def _value(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{shown(repr(value), 40)} stands where a number of a value belongs")
    return value


def _value_of(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{shown(repr(text), 40)} stands where a number of a value belongs") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(repr(value), 40)} stands where a text belongs")
    return value
