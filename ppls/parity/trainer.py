"""Trains the candidate on the batches that the reference was trained on, as it was trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppls.parity.candidate import tensors_of
from ppls.parity.draws import Draws, Replayed
from ppls.parity.jobs import Batch, TrainJob
from ppls.parity.reference.figures import labels_of
from ppls.parity.reference_run import RecordedTraining


class TrainingError(Exception):
    """The candidate cannot be trained as the reference was; the message says why."""


@dataclass(frozen=True)
class Step:
    """What the candidate did in a step: the loss of each head, the gradients of the update that was made, the draws."""

    number: int
    losses: list[float]
    gradients: dict[str, Tensor]
    draws: Draws

    @property
    def gradient_norm(self) -> float:
        """The norm of the whole gradient."""
        norms = [float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) for gradient in self.gradients.values()]
        return float(np.linalg.norm(norms))


def train(recorded: RecordedTraining, module: nn.Module, dtype: str, *, mirrored: bool = False) -> Iterator[Step]:
    """Trains `module`, which is changed; whatever it draws is what the reference drew (`mirrored`: see `Replayed`).

    Raises `TrainingError` where it raises.
    """
    module.train()
    velocities: dict[str, Tensor] = {}
    for number, batch in enumerate(recorded.job.steps):
        try:
            with Replayed(number, recorded.result.steps[number].draws, mirrored=mirrored) as replayed:
                losses = _backward(module, recorded.folder, batch, dtype)
        except Exception as error:
            raise TrainingError(
                f"the candidate raised {type(error).__name__} in training step {number + 1}, in {dtype}: {error}"
            ) from error
        gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
        _update(module, velocities, recorded.job, recorded.result.rate)
        yield Step(number + 1, losses, gradients, replayed.draws)


def _backward(module: nn.Module, folder: Path, batch: Batch, dtype: str) -> list[float]:
    images = torch.from_numpy(np.load(folder / batch.images).astype(dtype))
    labels = torch.from_numpy(np.load(folder / batch.labels))
    losses = []
    for parameter in module.parameters():
        parameter.grad = None
    for logits in tensors_of(module(images)):
        if not logits.requires_grad:  # points that were drawn
            continue
        wanted = labels_of(labels.numpy(), logits.shape)
        if logits.ndim < 4:
            logits = logits.reshape(*logits.shape[:2], 1, -1)
        if logits.shape[1] == 1:  # a boundary: there or not
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        chosen = F.one_hot(torch.from_numpy(wanted), logits.shape[1]).permute(0, 3, 1, 2)
        pixels = logits.numel() // logits.shape[1]
        losses.append(-(F.log_softmax(logits, dim=1) * chosen).sum() / pixels)
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    return [float(loss.detach()) for loss in losses]


def _update(module: nn.Module, velocities: dict[str, Tensor], job: TrainJob, rate: float) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.grad is None:
                continue
            gradient = parameter.grad + job.weight_decay * parameter
            velocities[name] = gradient if name not in velocities else job.momentum * velocities[name] + gradient
            parameter.sub_(rate * velocities[name])
