"""Every operation of a program: what torch makes of it beside what Paddle made, in the run and alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppls.parity.compare import Array, Comparison, compare
from ppls.parity.figures import LayerFigures
from ppls.parity.program.choices import CHOOSING, Choices, compare_choices
from ppls.parity.program.recorded import RecordedProgram, Result
from ppls.parity.progress import Progress, not_shown
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import OPERATION_TOLERANCE, Tolerances, Verdict, worst
from ppls.programs.calls import values_in
from ppls.programs.module import OneCall, ProgramModule
from ppls.programs.numbers import Numbers, numbers_of
from ppls.programs.program import Program, Step

NAME, UNIT = "operators", "results of operations"


@dataclass(frozen=True)
class OperationFigures(LayerFigures):
    """One result of one operation.

    `source` is what the program calls the value, `target` where the operation stands, `kind` the operator. In the run
    it is given what torch computed before it; `alone`, what Paddle computed before it.

    Attributes:
        place: the operation's number.
        alone: None where it cannot be run alone.
        choices: of integers that were chosen by scores, where they differ.
        cause: of the first that fails, in words.
    """

    place: int = 0
    alone: Comparison | None = None
    choices: Choices | None = None
    cause: str | None = None

    @property
    def comparison(self) -> Comparison:
        in_run = super().comparison
        return self.alone if self.alone is not None and in_run.verdict == "pass" != self.alone.verdict else in_run

    @property
    def verdict(self) -> Verdict:
        return worst(part.verdict for part in (self.at_output, self.alone) if part is not None)

    def more(self) -> dict[str, Any]:
        scaled = None if self.alone is None else self.alone.scaled
        return {
            "place": self.place,
            "alone": scaled if scaled is None or math.isfinite(scaled) else None,
            "choices": None if self.choices is None else asdict(self.choices),
        }


def results_of(module: ProgramModule) -> list[int]:
    """The values that are compared: what operations compute of others, in order of execution.

    What is in branches and loops shows in what these give; lists are no tensors, and the file does not number them.
    """
    steps = {step.place: step for step in module.program.steps}
    weights = module.program.weights
    return [
        value
        for call in module.calls()
        if steps[call.place].inputs and not call.guards  # what is in the program itself Paddle folds away
        for value in values_in(call.results)
        if value not in weights and value > 0
    ]


def compare_operations(
    recorded: RecordedProgram,
    name: str,
    module: ProgramModule,
    tolerances: Tolerances,
    progress: Progress = not_shown,
) -> Stage:
    """Runs the module on one input, operation by operation, beside what Paddle computed."""
    walk = Walk(module, recorded.input(name), recorded.on(name))
    found: list[OperationFigures] = []
    failures: list[str] = []
    by_ties: set[int] = set()  # values that differ since what ties was chosen otherwise, and what is computed of them
    judged: dict[int, Verdict] = {}
    calls = module.calls()
    for done, operation in enumerate(walk.operations()):
        progress(done, len(calls), "operations")
        if operation.error is not None:
            failures.append(str(operation.error))
            break
        moved = not by_ties.isdisjoint(operation.taken)
        agree = all(judged.get(value, "pass") == "pass" for value in operation.taken)
        for value, in_run, alone in operation.results:
            beside = walk.reference.get(value)
            if beside is None:
                by_ties.update([value] if moved else [])
                continue
            figures = _figures(operation, beside, in_run, alone, name, tolerances, walk)
            if figures.at_output is not None and figures.at_output.verdict != "pass":
                explained = beside.array.dtype.kind in "biu" and agree  # what comes in agrees, and it is right alone
                if (moved or explained) and figures.alone is not None and figures.alone.verdict == "pass":
                    figures = replace(figures, at_output=replace(figures.at_output, verdict="pass", problem=None))
                    by_ties.add(value)
            if moved or figures.choices is not None:
                by_ties.add(value)
            judged[value] = figures.verdict
            found.append(figures)
    expected = len(results_of(module))
    return Stage(
        name=NAME,
        unit=UNIT,
        on=(name,),
        compared=len(found),
        expected=expected,
        why=None if len(found) == expected else "Paddle does not return what another operation writes over",
        figures=tuple(found),
        failures=tuple(failures),
        warnings=tuple(f"{each.source}, {each.kind}: {each.choices}" for each in found if each.choices is not None),
    )


@dataclass
class Operation:
    """One operation as it was run.

    Attributes:
        step: what the program says of it.
        call: how it is run.
        given: what it was given alone: what Paddle computed, where that is known.
        taken: the values that it takes.
        results: each value, in the run and alone, as arrays; None alone where it could not be run so.
        error: why it cannot be run, after which nothing is.
    """

    step: Step
    call: OneCall
    given: dict[int, Any]
    taken: tuple[int, ...]
    results: list[tuple[int, Array, Array | None]]
    error: Exception | None = None


class Walk:
    """A run of a module on one input, in which each operation is run alone too.

    Attributes:
        reference: what Paddle computed.
    """

    def __init__(self, module: ProgramModule, image: Array, reference: Mapping[int, Result]) -> None:
        self.reference = reference
        self._module = module
        self._image = image

    def operations(self) -> Iterator[Operation]:
        """Each in order of execution."""
        module, program = self._module, self._module.program
        steps = {step.place: step for step in program.steps}
        values: dict[int, Any] = {program.inputs[0].value: torch.from_numpy(self._image.copy())}
        for weight in module.weights():
            values[weight.value] = getattr(weight.owner, weight.name)
        own = set(values)
        for call in module.calls():
            taken = tuple(value for value in values_in(call.arguments) if value in values)
            given = {value: self._paddles(value, values[value]) for value in taken}
            operation = Operation(steps[call.place], call, dict(given), taken, [])
            every = all(value in own or value in self.reference or isinstance(given[value], Numbers) for value in taken)
            try:
                with torch.no_grad():
                    call._replace(last=()).into(values, module.like)
            except Exception as error:  # torch raises many
                operation.error = module.failed(call, error)
                yield operation
                return
            alone = run_alone(call, given, module.like) if every else None
            for value in values_in(call.results):
                if value in values and isinstance(values[value], (Tensor, Numbers)):
                    beside = None if alone is None else as_array(alone[value], module.like)
                    operation.results.append((value, as_array(values[value], module.like), beside))
            yield operation
            for value in call.last:
                values.pop(value, None)

    def _paddles(self, value: int, own: Any) -> Any:
        if not isinstance(own, Tensor) or value not in self.reference:
            return own
        return torch.from_numpy(np.array(self.reference[value].array)).to(own.dtype)


def run_alone(call: OneCall, given: Mapping[int, Any], like: Tensor) -> Mapping[int, Any] | None:
    """What an operation makes of these values; None where it cannot be run."""
    values = dict(given)
    try:
        with torch.no_grad():
            call._replace(last=()).into(values, like)
    except Exception:  # the run itself tells
        return None
    return values


def as_array(value: Any, like: Tensor) -> Array:
    """A tensor, or the numbers that stand for one, as an array."""
    tensor = value.tensor(like) if isinstance(value, Numbers) else value
    array: Array = tensor.detach().cpu().numpy()
    return array


def axis_of(step: Step, program: Program, given: Mapping[int, Any]) -> int | None:
    """Along which axis an operation chooses; None for one list of all."""
    if step.attributes.get("flatten"):
        return None
    for value in step.inputs.get("Axis", ()):
        if value in given:
            return int(numbers_of(given[value])[0])
    constants = {value: each.attributes for each in program.steps for value in values_in(tuple(each.outputs.values()))}
    for value in step.inputs.get("Axis", ()):
        return int(constants[value].get("value", -1))
    return int(step.attributes.get("axis", -1))


def _figures(
    operation: Operation,
    beside: Result,
    in_run: Array,
    alone: Array | None,
    name: str,
    tolerances: Tolerances,
    walk: Walk,
) -> OperationFigures:
    step = operation.step
    tolerance = tolerances.on(name)
    strict = min(tolerance, OPERATION_TOLERANCE)
    choices = None
    scores = walk.reference.get(next(iter(step.inputs.get("X", ())), -1))
    if step.kind in CHOOSING and beside.array.dtype.kind in "iu" and scores is not None:
        axis = axis_of(step, walk._module.program, operation.given)
        place = {"floor": scores.floor}
        flow, choices = compare_choices(scores.array, beside.array, in_run, axis, tolerance=tolerance, **place)
        by_itself = None
        if alone is not None:
            by_itself, _ = compare_choices(scores.array, beside.array, alone, axis, tolerance=0.0, floor=None)
    else:
        flow = compared(beside, in_run, tolerance)
        by_itself = None if alone is None else compared(beside, alone, strict)
    where = f"operation {step.place}" + (f" in {step.layer}" if step.layer else "")
    return OperationFigures(
        name,
        beside.name if not beside.name.isdigit() else f"%{beside.name}",
        where,
        step.kind,
        None,
        flow,
        place=step.place,
        alone=by_itself,
        choices=choices,
    )


def compared(beside: Result, array: Array, tolerance: float) -> Comparison:
    """One result beside Paddle's: whole numbers must be the same, whatever their width, and so must infinite ones."""
    reference = beside.array
    if reference.dtype.kind in "iu" and array.dtype.kind in "iu":
        array = array.astype(reference.dtype)
    floor = None if reference.dtype.kind in "biu" else beside.floor
    if reference.dtype.kind == array.dtype.kind == "f" and reference.shape == array.shape:
        endless = np.isinf(reference) & (reference == array)  # a mask of attention, say: the same number
        reference, array = (np.where(endless, 0, each).astype(each.dtype) for each in (reference, array))
    return compare(reference, array, tolerance=0.0 if reference.dtype.kind in "biu" else tolerance, floor=floor)
