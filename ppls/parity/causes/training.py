"""Causes in training: what is changed of the candidate, to see whether it then trains as the reference did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ppls.parity.causes.search import RAISED
from ppls.parity.figures import Figures, TrainingFigures
from ppls.parity.state import working_copy
from ppls.parity.tolerance import MENDS

PADDLES_MOMENTUM = 0.9  # the weight of the old value; torch's is that of the new one
Train = Callable[[nn.Module], Sequence[Figures]]


@dataclass(frozen=True)
class TrainingCause:
    """One thing that may be wrong with how a module trains.

    Attributes:
        name: what it does and what the reference does.
        shows: in which figures first: a `statistic`, or whatever float32 alone shows.
        change: changes a module, given the momenta of its layers in torch's terms; says whether there was anything.
        during: what is undone while it trains.
    """

    name: str
    shows: Callable[[TrainingFigures], bool]
    change: Callable[[nn.Module, Mapping[str, float]], bool]
    during: Callable[[], Any] = nullcontext


def cause_in_training(
    figures: Sequence[Figures], module: nn.Module, momenta: Mapping[str, float], train: Train
) -> str | None:
    """Why training differs: what makes the figure that differs first ten times smaller, so that it passes.

    Args:
        figures: of the candidate's training.
        module: the candidate.
        momenta: of its normalisations by name, as the reference has them, in torch's terms.
        train: trains a module as the candidate was, and gives its figures.
    """
    first = next((found for found in _of_training(figures) if found.verdict == "fail"), None)
    if first is None or first.scaled is None:
        return None
    for cause in TRAINING_CAUSES:
        if not cause.shows(first):
            continue
        try:
            with working_copy(module) as changed:
                if not cause.change(changed, momenta):
                    continue
                with cause.during():
                    again = train(changed)
        except RAISED:
            continue
        same = next((found for found in _of_training(again) if _place(found) == _place(first)), None)
        if same is not None and same.passed and (same.scaled or 0.0) <= first.scaled / MENDS:
            return cause.name
    return None


def _of_training(figures: Sequence[Figures]) -> Iterator[TrainingFigures]:
    return (found for found in figures if isinstance(found, TrainingFigures))


def _place(found: TrainingFigures) -> tuple[str, int, str, str]:
    return found.dtype, found.step, found.what, found.name


def _normalisations(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in module.named_modules():
        if isinstance(getattr(layer, "running_var", None), torch.Tensor) and isinstance(layer.momentum, float):
            yield name, layer


def _momentum(module: nn.Module, momenta: Mapping[str, float]) -> bool:
    changed = False
    for name, layer in _normalisations(module):
        wanted = momenta.get(name, 1 - PADDLES_MOMENTUM)
        changed = changed or abs(layer.momentum - wanted) > 1e-3 * wanted
        layer.momentum = wanted
    return changed


def _biased_variance(module: nn.Module, momenta: Mapping[str, float]) -> bool:
    """Each layer's update of its running variance is made anew, with the biased one."""
    found = list(_normalisations(module))
    for _, layer in found:
        before: list[torch.Tensor] = []

        def keep(layer: Any, inputs: Any, before: list[torch.Tensor] = before) -> None:
            before[:] = [layer.running_var.clone()]

        def update(layer: Any, inputs: Any, output: Any, before: list[torch.Tensor] = before) -> None:
            x = inputs[0].detach()
            if layer.training and x.numel() > x.shape[1]:
                variance = x.transpose(0, 1).flatten(1).var(1, unbiased=False)
                layer.running_var.data.copy_(torch.lerp(before[0], variance.to(before[0].dtype), layer.momentum))

        layer.register_forward_pre_hook(keep)
        layer.register_forward_hook(update)
    return bool(found)


@contextmanager
def _without_autocast() -> Iterator[None]:
    right = torch.autocast.__enter__, torch.autocast.__exit__
    setattr(torch.autocast, "__enter__", lambda self: self)  # noqa: B010
    setattr(torch.autocast, "__exit__", lambda self, *raised: None)  # noqa: B010
    try:
        yield
    finally:
        for name, method in zip(("__enter__", "__exit__"), right, strict=True):
            setattr(torch.autocast, name, method)


TRAINING_CAUSES: tuple[TrainingCause, ...] = (
    TrainingCause(
        "BatchNorm's momentum: Paddle's is the weight of the old value, 0.9, torch's that of the new one, 0.1",
        lambda found: found.what == "statistic",
        _momentum,
    ),
    TrainingCause(
        "the running variance takes the unbiased variance of the batch; Paddle's takes the biased one",
        lambda found: found.what == "statistic",
        _biased_variance,
    ),
    TrainingCause(
        "in training it computes in a narrower type, under autocast",
        lambda found: found.dtype == "float32",
        lambda module, momenta: True,
        _without_autocast,
    ),
)
