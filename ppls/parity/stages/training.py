"""Training steps: the same batches through both frameworks, from the same weights, in float64 and in float32.

What eval mode cannot show: BatchNorm's momentum, the biased running variance, batches of one image, gradients. In
float32 the kinks of ReLU part single gradients by a hundredth, so there only the losses and the norm of the whole
gradient are judged: they show what is done in a narrower type.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.converter.conversion import Conversion
from ppls.converter.translate import translate_back
from ppls.mappings.operations import OperationError
from ppls.parity.answers import StoredArray, TrainingStep
from ppls.parity.candidate import tensors_of, to_float64
from ppls.parity.figures import TrainingFigures
from ppls.parity.jobs import Batch, TrainJob
from ppls.parity.recording import RecordedTraining
from ppls.parity.reference.figures import difference, labels_of
from ppls.parity.reference.kinds import is_random
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import TRAINING_FLOAT32_LOSS, TRAINING_FLOAT32_NORM, TRAINING_TOLERANCE, VANISHING

StepT = TypeVar("StepT", bound=TrainingStep)


def compare_training(recorded: RecordedTraining, module: nn.Module, conversion: Conversion) -> Stage:
    """Trains two copies of the candidate on the same batches, one in float64, one in float32.

    A one-way map leaves only the losses to compare.
    """
    figures: list[TrainingFigures] = []
    failures: list[str] = []
    warnings: list[str] = []
    try:
        for step in _train(recorded, to_float64(copy.deepcopy(module)), recorded.result.steps, "float64"):
            figures += step.figures()
            step.update()  # the gradients stay
            try:
                mapped = _back(step.gradients, conversion)
                figures += _compare(recorded.folder, step.number, "gradient", step.expected.gradients, mapped)
                if step.expected.state:
                    mapped = _back(step.module.state_dict(), conversion)
                    figures += _compare_state(recorded.folder, step.number, step.expected.state, mapped)
            except OperationError as error:
                warnings = [f"gradients and parameters are not compared: {error}"]
        for narrow in _train(recorded, copy.deepcopy(module), recorded.result.float32, "float32"):
            figures += [*narrow.figures(TRAINING_FLOAT32_LOSS), narrow.norm()]
            narrow.update()
    except TrainingError as error:
        failures = [str(error)]
    return Stage(
        name="training",
        unit="steps",
        compared=len({found.step for found in figures}),
        expected=len(recorded.job.steps),
        why=next(iter([*failures, *warnings]), None),
        figures=tuple(figures),
        failures=tuple(failures),
        warnings=tuple(warnings),
    )


class TrainingError(Exception):
    """The candidate cannot be trained as the reference was; the message says why."""


@dataclass(frozen=True)
class _Step(Generic[StepT]):
    """One step of the candidate: the gradients are there, the update is not made yet."""

    number: int
    dtype: str
    module: nn.Module
    losses: list[float]
    expected: StepT
    update: Callable[[], None]

    @property
    def gradients(self) -> dict[str, torch.Tensor]:
        return {name: p.grad for name, p in self.module.named_parameters() if p.grad is not None}

    def figures(self, tolerance: float = TRAINING_TOLERANCE) -> list[TrainingFigures]:
        """The loss of each head."""
        return [
            _figure(self.number, "loss", f"head {head}", a, b, abs(a), tolerance, self.dtype)
            for head, (a, b) in enumerate(zip(self.expected.losses, self.losses, strict=True))
        ]

    def norm(self) -> TrainingFigures:
        """The norm of the whole gradient."""
        norms = [float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) for gradient in self.gradients.values()]
        a, b = self.expected.gradient_norm, float(np.linalg.norm(norms))
        return _figure(self.number, "gradient norm", "all parameters", a, b, a, TRAINING_FLOAT32_NORM, self.dtype)


def _train(
    recorded: RecordedTraining, module: nn.Module, expected: Sequence[StepT], dtype: str
) -> Iterator[_Step[StepT]]:
    """Trains `module`, which is changed; each step's update is for the caller to make."""
    module.train()
    for layer in module.modules():
        if is_random(layer):
            layer.eval()
    velocities: dict[str, torch.Tensor] = {}
    for number, (batch, record) in enumerate(zip(recorded.job.steps, expected, strict=True), 1):
        try:
            losses = _backward(module, recorded.folder, batch, dtype)
        except Exception as error:
            raise TrainingError(
                f"the candidate raised {type(error).__name__} in training step {number}, in {dtype}: {error}"
            ) from error
        if len(losses) != len(record.losses):
            raise TrainingError(
                f"the candidate returned {len(losses)} outputs in training, the reference {len(record.losses)}: "
                "steps are trained on the losses of all heads, so a port needs the auxiliary heads too; "
                "or leave out --train-steps"
            )
        yield _Step(number, dtype, module, losses, record, partial(_update, module, velocities, recorded.job))


def _backward(module: nn.Module, folder: Path, batch: Batch, dtype: str) -> list[float]:
    images = torch.from_numpy(np.load(folder / batch.images).astype(dtype))
    labels = torch.from_numpy(np.load(folder / batch.labels))
    losses = []
    for parameter in module.parameters():
        parameter.grad = None
    for logits in tensors_of(module(images)):
        wanted = labels_of(labels.numpy(), logits.shape)
        if logits.shape[1] == 1:  # a boundary: there or not
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        chosen = F.one_hot(torch.from_numpy(wanted), logits.shape[1]).permute(0, 3, 1, 2)
        losses.append(-(F.log_softmax(logits, dim=1) * chosen).sum() / wanted.size)
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    return [float(loss.detach()) for loss in losses]


def _update(module: nn.Module, velocities: dict[str, torch.Tensor], job: TrainJob) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.grad is None:
                continue
            gradient = parameter.grad + job.weight_decay * parameter
            velocities[name] = gradient if name not in velocities else job.momentum * velocities[name] + gradient
            parameter.sub_(job.rate * velocities[name])


def _back(tensors: Mapping[str, torch.Tensor], conversion: Conversion) -> dict[str, StoredTensor]:
    """The candidate's tensors under Paddle's names. Raises `OperationError` where the map leads one way only."""
    stored = {}
    for name, tensor in tensors.items():
        array = tensor.detach()
        stored[name] = StoredTensor(str(array.dtype).removeprefix("torch."), tuple(array.shape), array.numpy)
    return translate_back(stored, conversion.map, conversion.config).tensors


def _compare(
    folder: Path, step: int, what: str, expected: Mapping[str, StoredArray], found: Mapping[str, StoredTensor]
) -> list[TrainingFigures]:
    """Each tensor scaled by its own largest value; one that vanishes beside the largest of all, by that."""
    own = {name: float(np.abs(_load(folder, stored)).max(initial=0.0)) for name, stored in expected.items()}
    largest = max(own.values(), default=0.0)
    figures = []
    for name, stored in expected.items():
        if name not in found or found[name].shape != stored.shape:
            figures.append(TrainingFigures(step, what, name, None, False))
            continue
        scale = own[name] if own[name] > VANISHING * largest else largest
        figures.append(_figure(step, what, name, _load(folder, stored), found[name].load(), scale))
    return figures


def _load(folder: Path, stored: StoredArray) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = np.load(folder / stored.file, mmap_mode="r")
    return array


def _compare_state(
    folder: Path, step: int, expected: Mapping[str, StoredArray], found: Mapping[str, StoredTensor]
) -> list[TrainingFigures]:
    statistics = {name for name in expected if name.endswith(("._mean", "._variance"))}
    figures = []
    for what, names in (("parameter", expected.keys() - statistics), ("statistic", statistics)):
        figures += _compare(folder, step, what, {name: expected[name] for name in expected if name in names}, found)
    return figures


def _figure(
    step: int,
    what: str,
    name: str,
    a: np.ndarray[Any, Any] | float,
    b: np.ndarray[Any, Any] | float,
    scale: float,
    tolerance: float = TRAINING_TOLERANCE,
    dtype: str = "float64",
) -> TrainingFigures:
    found = difference(np.reshape(a, -1), np.reshape(b, -1))
    comparable = not (found.one_sided or found.undefined)
    scaled = found.max_abs / scale if scale > 0 else found.max_abs
    return TrainingFigures(step, what, name, scaled if comparable else None, comparable and scaled <= tolerance, dtype)
