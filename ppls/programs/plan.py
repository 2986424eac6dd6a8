"""How a program is run in torch: of each operation what computes it, and everything that cannot be run at once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import BuiltinFunctionType
from typing import Any, NamedTuple

from torch import nn

from ppls.programs.attributes import Attributes, UnsupportedError
from ppls.programs.calls import Argument, Loop, OneCall, Rounds
from ppls.programs.program import Program, Step, is_control_flow
from ppls.programs.registry import Operator, Role, Run
from ppls.shown import shown


class Planned(NamedTuple):
    """One operation that can be run.

    Attributes:
        step: what the program says of it.
        run: what computes it, of the arguments; a module for a layer.
        arguments: the values that it is given, in order.
        results: the values that it returns, in order; None for one that nothing takes.
        weights: of a layer, the value of each of its weights, by the name in the module.
        operator: what it is.
        last: values that nothing takes afterwards.
    """

    step: Step
    run: Run | nn.Module
    arguments: tuple[Argument, ...]
    results: tuple[Argument, ...]
    weights: Mapping[str, int]
    operator: Operator
    last: tuple[int, ...]

    def call(self, layer: nn.Module | None = None) -> OneCall:
        """It as it is run; by `layer`, where that is its module in a network."""
        return OneCall(
            layer or self.run,
            self.arguments,
            self.results,
            tuple(not (self.operator.numbers or role.numbers) for role in self.operator.given),
            self.operator.like,
            self.last,
            self.step.place,
            self.step.guards,
        )


def plan(program: Program, rounds: Rounds | None = None) -> list[Planned]:
    """What runs a program; `rounds` are those of its loops.

    Raises:
        ConversionError: operators, attributes or blocks that cannot be run in torch; it names all of them.
    """
    problems: list[tuple[str, Step]] = []
    planned = _plan(program, problems, rounds or Rounds())
    if problems:
        raise program.error("cannot be run in torch", problems)
    return planned


def _plan(program: Program, problems: list[tuple[str, Step]], rounds: Rounds) -> list[Planned]:
    """What runs those of its operations that can be run; of the others why they cannot."""
    constants = _constants(program)
    taken_last = _last_takers(program)
    planned: list[Planned] = []
    outputs = set(program.outputs)
    not_computed: dict[int, str] = {}  # what Paddle gives beside results: shapes for the way back, statistics
    for step in program.steps:
        operator = program.operator(step)
        if operator is None:
            what = "control flow" if is_control_flow(step.kind) else "unknown operator"
            problems.append((f"{what} {shown(step.kind, 80)}", step))
            continue
        computed = {role.name for role in operator.gives} | operator.same.keys()
        for role, values in step.outputs.items():
            if role not in computed:
                not_computed.update(dict.fromkeys(values, f"{shown(role, 80)} of {shown(step.kind, 80)}"))
        taken = [value for values in step.inputs.values() for value in values]
        returned = [value for values in step.outputs.values() for value in values if value in outputs]
        for what in dict.fromkeys(not_computed[value] for value in taken + returned if value in not_computed):
            problems.append((f"{what}, which is not computed, taken or returned", step))
        try:
            planned.append(_planned(step, operator, constants, taken_last, _loop(step, program, problems, rounds)))
        except UnsupportedError as error:
            problems.append((f"{shown(step.kind, 80)} with {error}", step))
    return planned


def _loop(step: Step, program: Program, problems: list[tuple[str, Step]], rounds: Rounds) -> Loop | None:
    """What runs a loop; None for an operation that is none."""
    if step.body is None:
        return None
    body = Program(program.source, program.form, *step.body, {})
    planned = _plan(body, problems, rounds)
    problems += [(f"{shown(each.step.kind, 80)} in a loop", each.step) for each in planned if each.operator.layer]
    return Loop(rounds, [each.call() for each in planned], [given.value for given in body.inputs], body.outputs)


def _planned(
    step: Step,
    operator: Operator,
    constants: Mapping[int, Any],
    taken_last: Mapping[int, tuple[int, ...]],
    loop: Loop | None,
) -> Planned:
    attributes = dict(step.attributes)
    for role, name in operator.constants.items():
        for value in step.inputs.get(role, ()):
            if value not in constants:
                raise UnsupportedError(f"{role} that is computed")
            attributes[name] = constants[value]
    known = {role.name for role in operator.takes}
    if unknown := sorted(step.inputs.keys() - known):
        raise UnsupportedError(f"an input {shown(unknown[0], 80)}")
    plain = operator.given[:1] if operator.layer else operator.given
    weights = {}
    for role_name, name in operator.weights.items():
        values = step.inputs.get(role_name, ())
        if len(values) != 1:
            raise UnsupportedError(f"{len(values)} inputs {role_name}")
        weights[name] = values[0]
    read = Attributes(attributes, step.kind)
    read.check_names()
    run = loop or operator.make(read)
    arguments = tuple(_argument(step.inputs, role) for role in plain)
    for taken, argument, needed in zip(plain, arguments, _needed(run, len(plain)), strict=True):
        if needed and argument is None:
            raise UnsupportedError(f"no input {taken.name}")
    return Planned(
        step,
        run,
        arguments,
        tuple(_argument(step.outputs, role) for role in operator.gives),
        weights,
        operator,
        taken_last.get(step.place, ()),
    )


def _argument(roles: Mapping[str, Sequence[int]], role: Role) -> Argument:
    values = tuple(roles.get(role.name, ()))
    if role.several:
        return values or None
    if len(values) > 1 and not role.numbers:  # PIR hands on several numbers as one
        raise UnsupportedError(f"{len(values)} inputs {role.name}")
    return None if not values else values[0] if len(values) == 1 else values


def _needed(run: Run | nn.Module, count: int) -> list[bool]:
    """Of each argument of what computes an operation whether it must be given: torch's own functions take all."""
    if isinstance(run, (nn.Module, BuiltinFunctionType)):
        return [True] * count
    known = inspect.signature(run).parameters.values()
    places = [each for each in known if each.kind is each.POSITIONAL_OR_KEYWORD][:count]
    needed = [each.default is each.empty for each in places]
    return needed + [False] * (count - len(needed))


def _constants(program: Program) -> dict[int, Any]:
    """The numbers that the program itself holds, by their values."""
    found: dict[int, Any] = {}
    for step in program.steps:
        if step.kind in ("full", "fill_constant"):
            found.update({value: step.attributes.get("value") for values in step.outputs.values() for value in values})
    return found


def _last_takers(program: Program) -> dict[int, tuple[int, ...]]:
    """Of each operation, by its place, the values that it is the last to take, or that nothing takes."""
    last: dict[int, int] = {}
    for step in program.steps:
        for values in (*step.outputs.values(), step.taken()):
            last.update(dict.fromkeys(values, step.place))
    kept = {*program.outputs, *program.weights}
    found: dict[int, list[int]] = {}
    for value, place in last.items():
        if value not in kept:
            found.setdefault(place, []).append(value)
    return {place: tuple(values) for place, values in found.items()}
