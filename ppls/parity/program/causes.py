"""Why an operation's result is another: what came before it, or which of its attributes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ppls.parity.compare import compare
from ppls.parity.program.operations import Operation, OperationFigures, Walk, as_array, run_alone
from ppls.parity.program.recorded import RecordedProgram
from ppls.parity.tolerance import MENDS
from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.module import ProgramModule
from ppls.programs.tree import set_weight
from ppls.shown import shown

_NUMBERS = (1e-3, 1e-5, 1e-6, 1e-12, 0.01, 0.1, 0.2, 1.0)  # what epsilons and slopes usually are
_INTEGERS = (-1, 0, 1, 2, 3)  # axes, modes
_WORDS = ("nearest", "bilinear", "bicubic", "max", "avg", "zeros", "border", "reflection", "constant", "reflect")


def cause_of_operation(
    recorded: RecordedProgram, name: str, module: ProgramModule, first: OperationFigures
) -> str | None:
    """What is at fault where an operation differs, in words; None where it cannot be run alone.

    An attribute is named where the operation, alone and with another value of it, errs ten times less.
    """
    if first.alone is None:
        return None
    if first.alone.verdict == "pass":
        return (
            f"alone, on what Paddle computed before it, the operation agrees ({_error(first)}): what comes before it "
            "differs too little to fail, and adds up"
        )
    itself = f"alone, on what Paddle computed before it, the operation differs by {_error(first)}"
    walk = Walk(module, recorded.input(name), recorded.on(name))
    operation = next(each for each in walk.operations() if each.step.place == first.place)
    before = _own_error(operation, walk, module, dict(operation.step.attributes))
    best: tuple[float, str] | None = None
    for attribute, value in _others(operation.step.attributes):
        after = _own_error(operation, walk, module, {**operation.step.attributes, attribute: value})
        if before is not None and after is not None and after * MENDS <= before and (best is None or after < best[0]):
            was = json.dumps(operation.step.attributes[attribute])
            best = after, f"{shown(attribute, 80)} = {json.dumps(value)} in the place of {was}: {after:.1e} then"
    return itself if best is None else f"{itself}; it agrees with {best[1]}"


def _error(first: OperationFigures) -> str:
    assert first.alone is not None
    return first.alone.problem or f"{first.alone.scaled or 0.0:.1e} scaled"


def _own_error(operation: Operation, walk: Walk, module: ProgramModule, attributes: Mapping[str, Any]) -> float | None:
    """How far the operation errs alone with these attributes; None where it cannot be run, 1 where nothing compares."""
    operator = module.program.operator(operation.step)
    assert operator is not None
    own = operation.call.run
    try:
        run = operator.make(Attributes(attributes, operation.step.kind))
        if isinstance(run, nn.Module):
            for weight in operator.weights.values():
                set_weight(run, weight, getattr(own, weight).detach())
            run.eval()
    except (UnsupportedError, AttributeError):
        return None
    results = run_alone(operation.call._replace(run=run), operation.given, module.like)
    if results is None:
        return None
    worst = 0.0
    for value, _, _ in operation.results:
        beside = walk.reference.get(value)
        if beside is not None and beside.array.dtype.kind == "f":
            found = compare(beside.array, as_array(results[value], module.like), tolerance=0.0)
            worst = max(worst, 1.0 if found.scaled is None else found.scaled)
        elif beside is not None:
            other = as_array(results[value], module.like)
            worst = max(worst, float(other.shape != beside.array.shape or bool((other != beside.array).any())))
    return worst


def _others(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every attribute with every other value that is tried, one at a time."""
    for name, value in attributes.items():
        tried: tuple[Any, ...] = ()
        if isinstance(value, bool):
            tried = (not value,)
        elif isinstance(value, int):
            tried = _INTEGERS
        elif isinstance(value, float):
            tried = _NUMBERS
        elif isinstance(value, str):
            tried = _WORDS
        elif isinstance(value, list) and value and all(type(side) is int for side in value):
            tried = tuple([each] * len(value) for each in (0, 1, 2))
        yield from ((name, other) for other in tried if other != value)
