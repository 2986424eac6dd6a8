"""A network of the source that is an exported program, which is run in torch, operator by operator."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from ppls.drafting.networks import Seen
from ppls.drafting.program_layers import ProgramLayer, layers_of
from ppls.drafting.steady import steady
from ppls.drafting.units import Unit
from ppls.programs.module import ProgramModule


class ProgramNetwork:
    """A program as `Network`; it has no form for training.

    Attributes:
        layers: with what the checkpoint calls their weights.
    """

    def __init__(self, module: ProgramModule) -> None:
        self.module = module.double()
        self.layers: list[ProgramLayer] = layers_of(self.module)
        self.units = [layer.unit for layer in self.layers]
        self._begin: dict[int, list[tuple[Unit, int]]] = defaultdict(list)
        self._end: dict[int, list[tuple[Unit, int]]] = defaultdict(list)
        for layer in self.layers:
            for first, taken, last, given in layer.calls:
                self._begin[first].append((layer.unit, taken))
                self._end[last].append((layer.unit, given))

    def run(self, image: Tensor, training: bool, before: Seen, after: Seen) -> list[Tensor]:
        if training:
            return []
        module = self.module
        values: dict[int, Any] = {module.program.inputs[0].value: image}
        for weight in module.weights():
            values[weight.value] = getattr(weight.owner, weight.name)
        with steady(module, False):
            for call in module.calls():
                for unit, value in self._begin.get(call.place, ()):
                    if isinstance(given := values.get(value), Tensor):  # not there where a branch did not run
                        before(unit, given)
                call._replace(last=()).into(values, module.like)
                for unit, value in self._end.get(call.place, ()):
                    if isinstance(given := values.get(value), Tensor):
                        after(unit, given)
                for value in call.last:
                    values.pop(value, None)
            return [found for found in module.outputs(values, module.like) if isinstance(found, torch.Tensor)]
