"""Training steps: the same batches through both frameworks, from the same weights, in float64 and in float32.

What eval mode cannot show: BatchNorm's momentum, the biased running variance, batches of one image, gradients,
dropouts. Float64 decides. In float32 the kinks of ReLU part single gradients by a hundredth, so there only the losses
and the norm of the whole gradient are judged, beside how far the reference parts from itself: they show what is done in
a narrower type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.conversion import Conversion
from ppls.converter.translate import translate_back
from ppls.mappings.operations import OperationError
from ppls.models.stored import stored_from_torch
from ppls.parity.answers import KeptStep, StoredArray
from ppls.parity.candidate import CandidateError, run, to_float64
from ppls.parity.draws import Draws, Shape
from ppls.parity.figures import TrainingFigures
from ppls.parity.progress import Progress, not_shown
from ppls.parity.randomness import all_heads, find_quiet
from ppls.parity.reference.figures import difference
from ppls.parity.reference.uniform import without_ones
from ppls.parity.reference_run import RecordedTraining
from ppls.parity.stages.stage import Stage
from ppls.parity.state import working_copy
from ppls.parity.tolerance import (
    FIRST_STEPS,
    RESOLUTION,
    TRAINING_APART,
    TRAINING_CHAOTIC,
    TRAINING_FLOAT32_LOSS,
    TRAINING_FLOAT32_NORM,
    TRAINING_PARTED,
    TRAINING_TOLERANCE,
    VANISHING,
    verdict_on,
)
from ppls.parity.trainer import Step, TrainingError, train

Array = np.ndarray[Any, Any]


def compare_training(
    recorded: RecordedTraining,
    module: nn.Module,
    conversion: Conversion,
    *,
    own: bool = True,
    progress: Progress = not_shown,
) -> Stage:
    """Trains two copies of the candidate on the same batches, one in float64, one in float32.

    Args:
        own: whether every tensor of the map must be the candidate's. Of another one losses, the norm of the gradient
            and the outputs after training are compared, and of the tensors those whose names the map knows.
    """
    found = _Found(recorded, conversion, own, progress)
    found.train(module, "float64")
    if found.drew_numbers and found.first_error > TRAINING_TOLERANCE:
        # some drop what is below a rate, others keep it
        other = _Found(recorded, conversion, own, progress, mirrored=True)
        other.train(module, "float64")
        found = min(found, other, key=lambda each: each.first_error)
    if found.agrees:  # else float64 has decided
        found.train(module, "float32")
    return found.stage()


@dataclass
class _Found:
    """What the two trainings have shown so far."""

    recorded: RecordedTraining
    conversion: Conversion
    own: bool
    progress: Progress
    mirrored: bool = False
    drew_numbers: bool = False
    figures: list[TrainingFigures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)

    def stage(self) -> Stage:
        undecided = [found for found in self.figures if found.undecided and found.dtype == "float32"]
        if undecided:
            self.warnings.append(
                f"in float32, {len(undecided)} figures part by more than the reference does from itself, "
                f"from step {undecided[0].step} on; float64 decides"
            )
        undecided = [found for found in self.figures if found.undecided and found.dtype == "float64"]
        if undecided:
            step = undecided[0].step
            own = self.recorded.result.apart[step - 1]
            self.warnings.append(
                f"in float64, {len(undecided)} figures part from step {step} on, where the reference parts from itself "
                f"by {own:.1e} when its weights are moved by a rounding; the steps before decide"
            )
        if self.left_out:
            self.warnings.append(
                f"{len(self.left_out)} tensors are not compared in training, {min(self.left_out)} first: the candidate "
                "has none that the map knows; losses, the norm of the gradient and the outputs after training are"
            )
        return Stage(
            name="training",
            unit="steps",
            compared=len({found.step for found in self.figures}),
            expected=len(self.recorded.job.steps),
            why=next(iter([*self.failures, *(self.warnings if self.left_out else [])[-1:]]), None),
            figures=tuple(self.figures),
            failures=tuple(self.failures),
            warnings=tuple(self.warnings),
        )

    @property
    def agrees(self) -> bool:
        return not self.failures and all(found.passed for found in self.figures)

    @property
    def first_error(self) -> float:
        """Of the losses of the first step, in float64."""
        losses = [found.scaled for found in self.figures if (found.what, found.step) == ("loss", 1)]
        return max((np.inf if scaled is None else scaled for scaled in losses), default=np.inf)

    def train(self, module: nn.Module, dtype: Literal["float64", "float32"]) -> None:
        """Trains a copy of the module in one of the types, and compares."""
        with working_copy(module) as copied:
            try:
                if dtype == "float64":
                    self._compare_float64(to_float64(copied))
                else:
                    self._compare_float32(copied)
            except TrainingError as error:
                self.failures.append(str(error))

    def _steps(self, module: nn.Module, dtype: Literal["float64", "float32"]) -> Iterator[Step]:
        count = len(self.recorded.job.steps)
        for step in train(self.recorded, module, dtype, mirrored=self.mirrored):
            self.progress(step.number + (count if dtype == "float32" else 0), 2 * count, "training steps")
            yield step

    def _compare_float64(self, module: nn.Module) -> None:
        start = {name: np.array(tensor.load()) for name, tensor in self._back(module.state_dict()).items()}
        for step in self._steps(module, "float64"):
            expected = self.recorded.result.steps[step.number - 1]
            self._check_heads(step, expected.losses)
            losses = [
                _figure(step.number, "loss", f"head {head}", a, b, abs(a))
                for head, (a, b) in enumerate(zip(expected.losses, step.losses, strict=True))
            ]
            self.figures += losses
            if step.number == 1:
                self.drew_numbers = bool(step.draws.numbers)
                self._compare_draws(step.draws, expected.draws, agree=all(found.passed for found in losses))
            if expected.parameters:
                self._compare_tensors(step, expected, start, module)
            a, b = expected.gradient_norm, step.gradient_norm
            self.figures.append(_figure(step.number, "gradient norm", "all parameters", a, b, a))
            self._leave_undecided(step.number)
            if not all(found.passed for found in self.figures):  # what has parted stays apart
                return
        self._compare_outputs(module)
        self._leave_undecided(len(self.recorded.job.steps))

    def _leave_undecided(self, step: int) -> None:
        """Figures of a later step at which rounding alone parts the reference from itself neither pass nor fail."""
        apart = self.recorded.result.apart
        if apart and step > 1 and not apart[step - 1] <= TRAINING_PARTED:
            self.figures = [
                replace(found, passed=True, undecided=True) if found.step == step and _has_parted(found) else found
                for found in self.figures
            ]

    def _compare_float32(self, module: nn.Module) -> None:
        for step in self._steps(module, "float32"):
            expected = self.recorded.result.float32[step.number - 1]
            self._check_heads(step, expected.losses)
            pairs = zip(expected.losses, step.losses, expected.loss_floors, strict=True)
            tolerance = TRAINING_FLOAT32_LOSS if step.number <= FIRST_STEPS else TRAINING_APART
            # batches of one leave two values per channel in the coarsest maps of some, which BatchNorm makes signs
            chaotic = step.number > 1 and expected.norm_floor > TRAINING_CHAOTIC
            decides = step.number <= FIRST_STEPS and not chaotic
            self.figures += [
                _narrow_figure(step.number, "loss", f"head {head}", a, b, floor, tolerance, decides)
                for head, (a, b, floor) in enumerate(pairs)
            ]
            a, b, floor = expected.gradient_norm, step.gradient_norm, expected.norm_floor
            self.figures.append(
                _narrow_figure(
                    step.number, "gradient norm", "all parameters", a, b, floor, TRAINING_FLOAT32_NORM, decides
                )
            )

    def _check_heads(self, step: Step, expected: Sequence[float]) -> None:
        if len(step.losses) != len(expected):
            raise TrainingError(
                f"the candidate returned {len(step.losses)} outputs in training, the reference {len(expected)}: "
                "steps are trained on the losses of all heads, so a port needs the auxiliary heads too; "
                "or leave out --train-steps"
            )

    def _compare_draws(self, draws: Draws, expected: Sequence[Shape], *, agree: bool) -> None:
        """Says what is dropped otherwise, where the losses differ and the draws do."""
        for name in dict.fromkeys(draws.others):
            self.warnings.append(f"the candidate draws by {name}, which cannot be given what the reference drew")
        theirs = Counter(_parts(shape) for shape in expected)
        ours = Counter(_parts(shape) for shape in [*(shape for shape, _ in draws.rates), *draws.numbers])
        if agree or theirs == ours:
            return
        self.failures.append(
            "what the candidate drops in training is not what the reference drops: masks of "
            f"{_listed(ours - theirs)}, where the reference has {_listed(theirs - ours)}"
        )

    def _compare_tensors(self, step: Step, expected: KeptStep, start: Mapping[str, Array], module: nn.Module) -> None:
        gradients = self._back(step.gradients)
        self._compare("gradient", step.number, expected.gradients, gradients, start.keys(), _largest)
        state = self._back(module.state_dict())

        def movement(name: str, array: Array) -> float:
            return _largest(name, array - start[name]) if name in start else 0.0

        self._compare("parameter", step.number, expected.parameters, state, start.keys(), movement)
        self._compare("statistic", step.number, expected.buffers, state, start.keys(), _largest)

    def _compare(
        self,
        what: str,
        step: int,
        expected: Mapping[str, StoredArray],
        found: Mapping[str, StoredTensor],
        known: Iterable[str],
        size: Any,
    ) -> None:
        """Each tensor scaled by its own largest value (a parameter: by how far it was moved).

        One that vanishes beside the largest of all is scaled by that.
        """
        folder = self.recorded.folder
        sizes = {name: size(name, _load(folder, stored)) for name, stored in expected.items()}
        largest = max(sizes.values(), default=0.0)
        dead = [each.pattern for each in self.conversion.map.dead]
        for name, stored in expected.items():
            if any(pattern.match_within(name) for pattern in dead):
                continue  # nothing of it is in the candidate, and what is written for it is as it is built
            if not self.own and name not in known:
                self.left_out.add(name)
            elif name not in found or found[name].shape != stored.shape:
                self.figures.append(TrainingFigures(step, what, name, None, False))
            else:
                a = _load(folder, stored)
                scale = sizes[name] if sizes[name] > VANISHING * largest else largest
                scale = max(scale, RESOLUTION * _largest(name, a))
                self.figures.append(_figure(step, what, name, a, found[name].load(), scale))

    def _compare_outputs(self, module: nn.Module) -> None:
        """What the trained model computes, in eval mode and of all heads."""
        images = np.load(self.recorded.folder / self.recorded.job.steps[0].images).astype("float64")
        result, step = self.recorded.result, len(self.recorded.job.steps)
        module.eval()
        heads: Sequence[Array] = []
        try:
            if result.heads:
                with all_heads(module, find_quiet(module, [images])):
                    heads = run(module, images)
            outputs = run(module, images)
        except CandidateError as error:
            raise TrainingError(f"after training the candidate {error}") from error
        for what, expected, found in (("output", result.outputs, outputs), ("head", result.heads, heads)):
            if len(found) != len(expected):
                self.failures.append(
                    f"after training the candidate returned {len(found)} {what}s, the reference {len(expected)}"
                )
            for index, (stored, b) in enumerate(zip(expected, found, strict=False)):
                a, name = _load(self.recorded.folder, stored), f"{what} {index}"
                if a.shape != b.shape:
                    self.figures.append(TrainingFigures(step, "output after training", name, None, False))
                else:
                    self.figures.append(_figure(step, "output after training", name, a, b, _largest(name, a)))

    def _back(self, tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
        """The candidate's tensors under Paddle's names, as far as the map knows them."""
        stored = {name: stored_from_torch(tensor) for name, tensor in tensors.items()}
        try:
            return translate_back(stored, self.conversion.map, self.conversion.config).tensors
        except OperationError as error:
            reason = f"gradients and parameters are not compared: {error}"
            self.warnings += [reason] if reason not in self.warnings else []
            self.own = False  # nothing of it has a way back
            return {}


def _has_parted(found: TrainingFigures) -> bool:
    """Whether it fails by how far it is, and not for what is missing."""
    return not found.passed and found.scaled is not None


def _parts(shape: Shape) -> tuple[int, ...]:
    """A mask's shape, whatever the order of its axes."""
    return tuple(sorted(without_ones(shape)))


def _listed(shapes: Counter[tuple[int, ...]]) -> str:
    return ", ".join(f"{count} of {list(shape)}" for shape, count in shapes.items()) or "none"


def _load(folder: Path, stored: StoredArray) -> Array:
    array: Array = np.load(folder / stored.file, mmap_mode="r")
    return array


def _largest(name: str, array: Array) -> float:
    return float(np.abs(array).max(initial=0.0))


def _figure(step: int, what: str, name: str, a: Array | float, b: Array | float, scale: float) -> TrainingFigures:
    scaled = _scaled(a, b, scale)
    return TrainingFigures(step, what, name, scaled, scaled is not None and scaled <= TRAINING_TOLERANCE)


def _narrow_figure(
    step: int, what: str, name: str, a: float, b: float, floor: float, tolerance: float, decides: bool
) -> TrainingFigures:
    """In float32 only the first steps decide: what parts once grows, at a step that nobody can foretell."""
    scaled = _scaled(a, b, abs(a))
    verdict = verdict_on(np.nan if scaled is None else scaled, tolerance, floor)
    passed = verdict != "fail" or not decides
    return TrainingFigures(step, what, name, scaled, passed, "float32", floor, passed and verdict != "pass")


def _scaled(a: Array | float, b: Array | float, scale: float) -> float | None:
    found = difference(np.reshape(a, -1), np.reshape(b, -1))
    if found.one_sided or found.undefined:
        return None
    return found.max_abs / scale if scale > 0 else found.max_abs
