"""What a draft runs as the source: a network whose layers can be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from ppls.drafting.steady import steady, tensors_in
from ppls.drafting.units import Unit, units_of

Seen = Callable[[Unit, Tensor], None]


class Network(Protocol):
    """A network of the source, in float64.

    Attributes:
        units: its layers; their tensors are the network's own.
    """

    units: list[Unit]

    def run(self, image: Tensor, training: bool, before: Seen, after: Seen) -> list[Tensor]:
        """Runs it on `(1, channels, height, width)`, nothing random and normalisations in eval mode.

        Args:
            training: as in train mode, as far as that decides which layers run.
            before, after: called with each layer that runs and what it takes, and what it gives.

        Returns:
            The outputs; none where there is nothing to run in this mode.
        """
        ...


class ModelNetwork:
    """A torch module as such a network: ppls's own model of an architecture."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.double()
        self.units = units_of(self.model)

    def run(self, image: Tensor, training: bool, before: Seen, after: Seen) -> list[Tensor]:
        def came(unit: Unit, args: Any, kwargs: Any) -> None:
            if tensors := tensors_in([args, kwargs]):
                before(unit, tensors[0])

        def gave(unit: Unit, result: Any) -> None:
            if tensors := tensors_in(result):
                after(unit, tensors[0])

        handles = []
        for unit in self.units:
            handles.append(
                unit.module.register_forward_pre_hook(
                    lambda _, args, kwargs, unit=unit: came(unit, args, kwargs), with_kwargs=True
                )
            )
            handles.append(unit.module.register_forward_hook(lambda _, args, result, unit=unit: gave(unit, result)))
        try:
            with steady(self.model, training):
                return tensors_in(self.model(image))
        finally:
            for handle in handles:
                handle.remove()
