"""Training steps: the same batches through both frameworks in float64, from the same weights.

What eval mode cannot show: BatchNorm's momentum, the biased running variance, batches of one image, gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ppls.converter.checkpoint import StoredTensor
from ppls.converter.convert import Conversion
from ppls.converter.operations import OperationError
from ppls.converter.translate import translate_back
from ppls.parity.candidate import tensors_of, to_float64
from ppls.parity.recording import RecordedTraining
from ppls.parity.reference.figures import difference, labels_of
from ppls.parity.report import TrainingFigures

TOLERANCE = 1e-6  # scaled: Paddle's AvgPool2D has a gradient that is 1.6e-8 off in float64
RESIZED_TOLERANCE = 2e-5  # where a resize is not by a power of two: Paddle computes its ratio in float32
VANISHING = 1e-9  # of the largest: what is smaller is zero in exact arithmetic, and both sides hold noise


def compare_training(
    recorded: RecordedTraining, module: nn.Module, conversion: Conversion
) -> tuple[list[TrainingFigures], list[str], list[str]]:
    """Trains a copy of the candidate on the same batches.

    Returns the figures of each step, failures, and warnings (a one-way map leaves only the losses to compare).
    """
    module = to_float64(copy.deepcopy(module)).train()
    for layer in module.modules():
        if "Drop" in type(layer).__name__:
            layer.eval()
    figures: list[TrainingFigures] = []
    warnings: list[str] = []
    velocities: dict[str, torch.Tensor] = {}
    for number, (batch, expected) in enumerate(zip(recorded.job["steps"], recorded.result["steps"], strict=True), 1):
        try:
            losses = _backward(module, recorded.folder, batch)
        except Exception as error:
            return (
                figures,
                [f"the candidate raised {type(error).__name__} in training step {number}: {error}"],
                warnings,
            )
        if len(losses) != len(expected["losses"]):
            message = (
                f"the candidate returned {len(losses)} outputs in training, the reference {len(expected['losses'])}"
            )
            return figures, [message], warnings
        for head, (a, b) in enumerate(zip(expected["losses"], losses, strict=True)):
            figures.append(_figure(number, "loss", f"head {head}", np.array(a), np.array(b), abs(a)))
        try:
            gradients = {
                name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None
            }
            mapped = _back(gradients.items(), conversion)
            figures += _compare(recorded.folder, number, "gradient", expected["gradients"], mapped)
            _update(module, velocities, recorded.job)
            if expected["state"]:
                mapped = _back(module.state_dict().items(), conversion)
                figures += _compare_state(recorded.folder, number, expected["state"], mapped)
        except OperationError as error:
            _update(module, velocities, recorded.job)
            warnings = [f"gradients and parameters are not compared: {error}"]
    if not recorded.result["dyadic"]:
        figures = [
            replace(figure, passed=figure.passed or (figure.scaled or np.inf) <= RESIZED_TOLERANCE)
            for figure in figures
        ]
    return figures, [], warnings


def _backward(module: nn.Module, folder: Path, batch: Mapping[str, str]) -> list[float]:
    images = torch.from_numpy(np.load(folder / batch["images"]).astype(np.float64))
    labels = torch.from_numpy(np.load(folder / batch["labels"]))
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


def _update(module: nn.Module, velocities: dict[str, torch.Tensor], job: Mapping[str, Any]) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.grad is None:
                continue
            gradient = parameter.grad + job["weight_decay"] * parameter
            velocities[name] = gradient if name not in velocities else job["momentum"] * velocities[name] + gradient
            parameter.sub_(job["rate"] * velocities[name])


def _back(tensors: Iterable[tuple[str, torch.Tensor]], conversion: Conversion) -> dict[str, StoredTensor]:
    """The candidate's tensors under Paddle's names. Raises `OperationError` where the map leads one way only."""
    stored = {}
    for name, tensor in tensors:
        array = tensor.detach()
        stored[name] = StoredTensor(str(array.dtype).removeprefix("torch."), tuple(array.shape), array.numpy)
    return translate_back(stored, conversion.map, conversion.config).tensors


def _compare(
    folder: Path, step: int, what: str, expected: Mapping[str, Any], found: Mapping[str, StoredTensor]
) -> list[TrainingFigures]:
    """Each tensor scaled by its own largest value; one that vanishes beside the largest of all, by that."""
    arrays = {name: np.load(folder / entry["file"]) for name, entry in expected.items()}
    largest = max((float(np.abs(array).max(initial=0.0)) for array in arrays.values()), default=0.0)
    figures = []
    for name, array in arrays.items():
        if name not in found or found[name].shape != array.shape:
            figures.append(TrainingFigures(step, what, name, None, False))
            continue
        own = float(np.abs(array).max(initial=0.0))
        figures.append(
            _figure(step, what, name, array, found[name].load(), own if own > VANISHING * largest else largest)
        )
    return figures


def _compare_state(
    folder: Path, step: int, expected: Mapping[str, Any], found: Mapping[str, StoredTensor]
) -> list[TrainingFigures]:
    statistics = {name for name in expected if name.endswith(("._mean", "._variance"))}
    figures = []
    for what, names in (("parameter", expected.keys() - statistics), ("statistic", statistics)):
        figures += _compare(folder, step, what, {name: expected[name] for name in expected if name in names}, found)
    return figures


def _figure(
    step: int, what: str, name: str, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], scale: float
) -> TrainingFigures:
    found = difference(a.reshape(-1), b.reshape(-1))
    scaled = found.max_abs / scale if scale > 0 else found.max_abs
    passed = not (found.one_sided or found.undefined) and scaled <= TOLERANCE
    return TrainingFigures(step, what, name, None if found.one_sided or found.undefined else scaled, passed)
