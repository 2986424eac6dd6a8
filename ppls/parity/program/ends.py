"""What a program returns, and what that is made of, beside what the candidate returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import nn

from ppls.parity.candidate import CandidateError, run
from ppls.parity.classes import compare_classes
from ppls.parity.compare import Array, argmax_agreement, classes_of, compare
from ppls.parity.figures import OutputFigures, Picture
from ppls.parity.program.recorded import Result, Witness
from ppls.parity.progress import Progress, not_shown
from ppls.parity.stages.outputs import picture
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Tolerances
from ppls.programs.module import ProgramModule
from ppls.programs.program import Program


class End(NamedTuple):
    """An output of a program: its value, and the value of the logits that it is made of, which may be the same."""

    itself: int
    logits: int


def ends_of(program: Program) -> list[End]:
    """The outputs of a program, in order."""
    return [End(value, program.before_choice(value)) for value in program.outputs]


def values_of(ends: Sequence[End]) -> list[int]:
    """Every value of some outputs, once."""
    return list(dict.fromkeys(value for end in ends for value in (end.logits, end.itself)))


def compare_ends(
    witness: Witness, module: ProgramModule, tolerances: Tolerances, progress: Progress = not_shown
) -> tuple[Stage, list[Picture]]:
    """Runs a program in torch on every input: what it returns, and the logits that it is made of."""
    ends = ends_of(module.program)
    values = values_of(ends)
    part = module.returning(module.program._replace(outputs=tuple(values)))

    def by_value(image: Array) -> Mapping[int, Array]:
        return dict(zip(values, run(part, image), strict=True))

    def each(name: str, beside: Mapping[int, Result], own: Mapping[int, Array]) -> Iterator[OutputFigures]:
        absolute = witness.dtype == "float32" and not witness.is_strong(name)
        for index, end in enumerate(ends):
            logits = beside[end.logits]
            if end.itself != end.logits:
                yield _logits(name, f"logits {index}", logits, own[end.logits], tolerances, absolute=absolute)
            yield _itself(name, f"output {index}", beside[end.itself], logits, own[end.itself], tolerances, absolute)

    return _stage("outputs", witness, by_value, each, [end.logits for end in ends[:1]], tolerances, progress, len(ends))


def compare_model(
    witness: Witness, module: nn.Module, program: Program, tolerances: Tolerances, progress: Progress = not_shown
) -> tuple[Stage, list[Picture]]:
    """Runs a model that gives logits on every input, beside those that the program makes its outputs of."""
    ends = ends_of(program)
    logits = list(dict.fromkeys(end.logits for end in ends))

    def by_value(image: Array) -> Mapping[int, Array]:
        return dict(zip(logits, run(module, image), strict=False))

    def each(name: str, beside: Mapping[int, Result], own: Mapping[int, Array]) -> Iterator[OutputFigures]:
        absolute = witness.dtype == "float32" and not witness.is_strong(name)
        for index, value in enumerate(logits):
            if value in own:
                yield _logits(name, f"model {index}", beside[value], own[value], tolerances, absolute=absolute)

    return _stage("model", witness, by_value, each, logits[:1], tolerances, progress, len(logits))


def _stage(
    stage: str,
    witness: Witness,
    by_value: Callable[[Array], Mapping[int, Array]],
    each: Callable[[str, Mapping[int, Result], Mapping[int, Array]], Iterator[OutputFigures]],
    pictured: Sequence[int],
    tolerances: Tolerances,
    progress: Progress,
    count: int,
) -> tuple[Stage, list[Picture]]:
    figures: list[OutputFigures] = []
    pictures: list[Picture] = []
    failures: list[str] = []
    compared = 0
    for done, name in enumerate(witness.inputs):
        progress(done, len(witness.inputs), "inputs")
        image = witness.input(name)
        try:
            own = by_value(image)
        except CandidateError as error:
            failures.append(f"the candidate {error} (input {name})")
            continue
        beside = witness.on(name)
        found = list(each(name, beside, own))
        figures += found
        compared += sum(not each.name.startswith("logits") for each in found)
        for value in pictured:
            if value in own and own[value].shape == beside[value].array.shape:
                pictures += picture(name, image, beside[value].array, own[value])
    return (
        Stage(
            name=stage,
            unit="outputs",
            on=tuple(witness.inputs),
            compared=compared,
            expected=count * len(witness.inputs),
            figures=tuple(figures),
            failures=tuple(failures),
            scope=witness.scope,
        ),
        pictures,
    )


def _logits(
    input: str, name: str, reference: Result, candidate: Array, tolerances: Tolerances, *, absolute: bool
) -> OutputFigures:
    comparison = compare(
        reference.array,
        candidate,
        tolerance=tolerances.on(input, name),
        floor=reference.floor,
        absolute=absolute,
        distributed=True,
    )
    return OutputFigures(input, name, comparison, argmax_agreement(reference.array, candidate))


def _itself(
    input: str,
    name: str,
    reference: Result,
    logits: Result,
    candidate: Array,
    tolerances: Tolerances,
    absolute: bool,
) -> OutputFigures:
    """Classes by the margin of the logits that they are taken from; other whole numbers as they are."""
    tolerance = tolerances.on(input, name)
    if reference.array.dtype.kind not in "biu":
        return _logits(input, name, reference, candidate, tolerances, absolute=absolute)
    if candidate.dtype == reference.array.dtype and classes_of(logits.array, candidate) is not None:
        comparison = compare_classes(
            logits.array, candidate, tolerance=tolerance, floor=logits.floor, absolute=absolute
        )
        return OutputFigures(input, name, comparison, argmax_agreement(logits.array, candidate))
    return OutputFigures(input, name, compare(reference.array, candidate, tolerance=0.0), None)
