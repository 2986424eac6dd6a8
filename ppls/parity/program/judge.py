"""Judges the module of a program against what Paddle computes of it, and a model of the same network beside both."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from ppls.checkpoint.checkpoint import Checkpoint
from ppls.errors import MissingDependencyError, ParityError, UsageError, first_line
from ppls.parity.candidate import to_float64
from ppls.parity.figures import Divergence, OutputFigures, Picture
from ppls.parity.global_state import global_state_kept
from ppls.parity.input_shape import ANY, InputShape, Sides, inputs_of_shape
from ppls.parity.inputs import Input, choose_inputs, for_gradient
from ppls.parity.jobs import JobInput
from ppls.parity.process import ReferenceProcess
from ppls.parity.program.causes import cause_of_operation
from ppls.parity.program.ends import compare_ends, compare_model, ends_of, values_of
from ppls.parity.program.in_torch import TorchProgram
from ppls.parity.program.operations import NAME, UNIT, OperationFigures, compare_operations, results_of
from ppls.parity.program.recorded import RecordedProgram, run_program, write_inputs
from ppls.parity.progress import Progress, not_shown
from ppls.parity.reference.machine import peak_memory
from ppls.parity.reference_run import versions_of
from ppls.parity.report.data import Report
from ppls.parity.source import Request, Say
from ppls.parity.stages.layers import find_first_divergence
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import TOLERANCE, Tolerances
from ppls.programs.module import ProgramModule
from ppls.shown import shown
from ppls.temporary import temporary_folder
from ppls.version import versions

WITHOUT_PADDLE = (
    "Paddle did not run: the operators in torch are not proven, only that the model, its options and its weights are "
    "those of the program"
)


@global_state_kept()
def judge_program(
    checkpoint: Checkpoint,
    module: ProgramModule,
    *,
    model: nn.Module | None = None,
    model_name: str = "ppls's model",
    weights: Stage | None = None,
    request: Request,
    tolerance: float | Mapping[str, float] = TOLERANCE,
    strict: bool = False,
    say: Say = lambda line: None,
    progress: Progress = not_shown,
    candidate_name: str = "the program in torch",
) -> Report:
    """Judges the module of a program, and perhaps a model of the same network; arguments as of `verify_program`.

    Args:
        model: gives the logits that the program makes its outputs of, or returns.
        weights: how the model's tensors stand to the export's, where that was compared.
    """
    tolerances = Tolerances.given(tolerance).during("float64" if request.float64 else "float32", [])
    inputs = _inputs(module, request)
    if request.float64:
        module, model = copy.deepcopy(module).double(), None if model is None else to_float64(copy.deepcopy(model))
    with (
        temporary_folder() as folder,
        ReferenceProcess(folder, python=request.python, packages=("paddlepaddle",), progress=progress) as process,
    ):
        judge = _Judge(checkpoint, module, request, tolerances, process, folder, say, progress)
        files = write_inputs(inputs, folder)
        try:
            recorded = judge.run(values_of(ends_of(module.program)), files, "exported")
        except MissingDependencyError as error:
            if model is None:
                raise
            found = judge.without_paddle(model, inputs, first_line(error))
        else:
            found = judge.with_paddle(recorded, model, files)
    sides = [candidate_name] if "reference paddlepaddle" in found.versions else []
    return Report(
        checkpoint=str(checkpoint.path),
        sha256=checkpoint.sha256,
        architecture=None,
        candidate=" and ".join([*sides, *([] if model is None else [model_name])]),
        reference=found.reference,
        tolerance=tolerances.default if not request.float64 else min(map(tolerances.on, found.inputs)),
        dtype="float64" if request.float64 else "float32",
        inputs=found.inputs,
        stages=(*(() if weights is None else (weights,)), *found.stages),
        first_divergence=found.first,
        versions={**versions("numpy", "torch"), **found.versions},
        remarks=(*checkpoint.warnings, *found.remarks),
        pictures=found.pictures,
        peak_memory={**found.memory, "candidate": peak_memory()},
        strict=strict,
    )


@dataclass(frozen=True)
class _Found:
    reference: str
    inputs: tuple[str, ...]
    stages: tuple[Stage, ...]
    first: Divergence | None
    pictures: tuple[Picture, ...]
    remarks: tuple[str, ...]
    versions: Mapping[str, str]
    memory: Mapping[str, int]


@dataclass(frozen=True)
class _Judge:
    checkpoint: Checkpoint
    module: ProgramModule
    request: Request
    tolerances: Tolerances
    process: ReferenceProcess
    folder: Path
    say: Say
    progress: Progress

    def run(self, values: Sequence[int], files: Sequence[JobInput], store: str) -> RecordedProgram:
        """Has Paddle compute these values on those inputs."""
        what = "the export" if store == "exported" else "the export's operators"
        self.say(f"running {what} in Paddle on {len(files)} inputs")
        return run_program(
            self.process,
            self.checkpoint,
            values,
            files,
            self.folder,
            store,
            dtype="float64" if self.request.float64 else "float32",
            timeout=self.request.timeout,
        )

    def with_paddle(self, recorded: RecordedProgram, model: nn.Module | None, files: Sequence[JobInput]) -> _Found:
        """The program in torch beside Paddle's run of it, and the model beside that."""
        self.say(f"running the program in torch on {len(recorded.inputs)} inputs")
        outputs, pictures = compare_ends(recorded, self.module, self.tolerances, self.progress)
        left_out = recorded.answer.no_floor
        remarks = [] if left_out is None else [f"Paddle does not run it in float64, so there is no floor: {left_out}"]
        stages = [outputs]
        if self.request.layers:
            stages.append(self._operators(recorded, outputs, files))
        if model is not None:
            self.say("running the model")
            beside, _ = compare_model(recorded, model, self.module.program, self.tolerances, self.progress)
            stages.append(_told(beside, outputs))
        names = [each.name for stage in stages for each in stage.figures if isinstance(each, OutputFigures)]
        self.tolerances.check(names)
        return _Found(
            "Paddle's run of the export",
            tuple(recorded.inputs),
            tuple(stages),
            self._first(stages),
            tuple(pictures),
            tuple(remarks),
            {f"reference {name}": number for name, number in versions_of(recorded.answer).items()},
            {"reference": recorded.answer.peak_memory},
        )

    def without_paddle(self, model: nn.Module, inputs: Sequence[Input], why: str) -> _Found:
        """The model beside the program in torch."""
        self.say(f"running the program in torch on {len(inputs)} inputs")
        single = self.module.float() if self.request.float64 else self.module
        witness = TorchProgram(single, inputs, "float64" if self.request.float64 else "float32")
        stage, pictures = compare_model(witness, model, self.module.program, self.tolerances, self.progress)
        if not witness.inputs:
            raise ParityError(f"{self.checkpoint.path}: {witness.scope}")
        operators = Stage(name=NAME, unit=UNIT, expected=len(results_of(self.module)), why=why)
        return _Found(
            "the program in torch",
            tuple(witness.inputs),
            (stage, operators),
            self._first([stage]),
            tuple(pictures),
            (WITHOUT_PADDLE,),
            {},
            {},
        )

    def _operators(self, recorded: RecordedProgram, outputs: Stage, files: Sequence[JobInput]) -> Stage:
        """Every operation on one input: one on which an output differs, else a small one of odd sides."""
        wrong = [each.input for each in outputs.figures if isinstance(each, OutputFigures) and each.verdict != "pass"]
        there = [Input(name, recorded.input(name), recorded.is_strong(name)) for name in recorded.inputs]
        smallest = sorted(there, key=lambda given: given.array.size)
        chosen = next((given.name for given in smallest if given.name in wrong), None)
        chosen = chosen or for_gradient([replace(each, heads=_is_odd(each)) for each in there]) or smallest[0].name
        try:
            observed = self.run(results_of(self.module), [each for each in files if each.name == chosen], "operators")
        except ParityError as error:  # the outputs decide
            return Stage(name=NAME, unit=UNIT, expected=len(results_of(self.module)), why=first_line(error))
        stage = compare_operations(observed, chosen, self.module, self.tolerances, self.progress)
        first = next((each for each in stage.figures if each.verdict == "fail"), None)
        if isinstance(first, OperationFigures):
            self.say("looking for the cause")
            cause = cause_of_operation(observed, chosen, self.module, first)
            stage = replace(stage, figures=tuple(replace(e, cause=cause) if e is first else e for e in stage.figures))
        return stage

    def _first(self, stages: Sequence[Stage]) -> Divergence | None:
        figures = [each for stage in stages for each in stage.figures]
        operations = [each for each in figures if isinstance(each, OperationFigures)]
        for verdict in ("fail", "inconclusive"):
            for each in operations:
                if each.verdict == verdict:
                    names = each.input, each.source, each.target, each.kind
                    return Divergence(*names, "output", each.comparison, each.cause)
        return find_first_divergence([], [each for each in figures if isinstance(each, OutputFigures)])


def _is_odd(given: Input) -> bool:
    return any(side % 2 for side in given.array.shape[2:])


def _told(model: Stage, outputs: Stage) -> Stage:
    """The model's stage, with which of the three is another where two are not the same."""
    if model.verdict == "fail":
        side = (
            "the program in torch agrees with Paddle: the model, its options or its weights are at fault"
            if outputs.verdict == "pass"
            else "so is the program in torch"
        )
        return replace(model, failures=(*model.failures, f"the model is another function than the export; {side}"))
    if outputs.verdict == "fail" and model.verdict == "pass":
        what = "the model agrees with Paddle, the program in torch does not: an operator in torch is at fault"
        return replace(model, warnings=(*model.warnings, what))
    return model


def _inputs(module: ProgramModule, request: Request) -> list[Input]:
    """The default inputs that the program takes, or their like, and those that were asked for."""
    sides = module.input_shape
    if len(module.program.inputs) != 1 or len(sides) != 4:
        taken = ", ".join(f"{shown(each.name, 40)} {list(each.shape)}" for each in module.program.inputs)
        raise ParityError(f"{module.program.source}: takes {taken or 'nothing'}, where ppls has images (N, C, H, W)")
    channels = 3 if sides[1] == -1 else sides[1]
    shape = InputShape(*(ANY if side == -1 else Sides(side, side) for side in (sides[0], channels, *sides[2:])))
    defaults = inputs_of_shape(shape, request.seed, channels)
    given = (request.sizes, request.images, request.seed, channels, request.max_pixels)
    inputs = choose_inputs(*given, only=request.only, defaults=defaults)
    for each in inputs:
        if not shape.takes(each.array.shape):
            size = "x".join(map(str, each.array.shape))
            raise UsageError(f"the program takes {shape}; {shown(each.name, 80)} is {size}")
    return inputs
