"""What a fault is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: what is wrong, for a reader.
        put: puts it into a model and returns what is to be judged.
        layer: the first layer that diverges, by PaddleSeg's name; a prefix ending in `*`; None where no layer does.
        at: `output` of that layer, or its `input` where a functional operation before it is at fault.
        by_weights: whether comparing the tensors finds it at once.
        failure: part of the message, where no figures tell but the candidate's behaviour.
    """

    name: str
    put: Callable[[nn.Module], nn.Module]
    layer: str | None = None
    at: str = "output"
    by_weights: bool = False
    failure: str | None = None


def put_into(model: nn.Module, fault: Fault | TrainingFault) -> nn.Module:
    """The faulty candidate; `model` stays right."""
    return fault.put(copy.deepcopy(model))


@dataclass(frozen=True)
class TrainingFault:
    """A fault that eval mode does not show.

    Attributes:
        name, put: as of `Fault`.
        what: what differs first: `gradient`, `statistic`, `loss`, `parameter`.
        where: the name of that, or how it begins.
        step: the training step in which it does.
        dtype: the type in which it does.
        failure: part of the message, where training does not come so far.
        twin: the fault of the same kind that is judged in every run of the tests; this one in the slow runs alone.
    """

    name: str
    put: Callable[[nn.Module], nn.Module]
    what: str | None = None
    where: str = ""
    step: int = 1
    dtype: str = "float64"
    failure: str | None = None
    twin: str | None = None
