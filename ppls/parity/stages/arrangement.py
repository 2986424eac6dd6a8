"""The same function, arranged otherwise: layers that hold something else than the reference's, and leave no trace.

A candidate may fold a normalisation, permute channels together with the weights that read them, or resize before a
projection: what its layers hold is then another thing, and all that follows agrees to rounding. A fault does not look
like that: it fades from layer to layer, and some show what is neither agreement nor another thing altogether. Nor is
excused what the outputs could not have told from a fault: an experiment shows whether they depend on it by that much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppls.converter.conversion import Conversion
from ppls.models.stored import to_torch
from ppls.parity.candidate import CandidateError, run
from ppls.parity.compare import Array, Comparison
from ppls.parity.figures import DifferentTensor, LayerFigures, OutputFigures
from ppls.parity.reference.figures import difference
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import FLOORS_ALLOWED

ANOTHER_THING = 1e-2  # scaled: faults that fade pass through what lies between this and agreement
AGREEMENT = 0.25  # of the tolerance: a correct port stays under a fifth


class Experiment:
    """How far the outputs of all heads go, scaled, when something of the candidate is changed; it is put back.

    NaN where that cannot be tried.

    Args:
        module: the candidate.
        image: what it is run on.
        mode: a context in which it runs all of its heads, if it has any.
    """

    def __init__(self, module: nn.Module, image: Array, mode: Callable[[], AbstractContextManager[Any]]) -> None:
        self._module, self._image, self._mode = module, image, mode
        self._parts = dict(module.named_modules())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The candidate's state dict."""
        return self._module.state_dict()

    def of_layer(self, name: str, error: float) -> float:
        """With the parameters of a layer off by this much of each; infinite where it has none."""
        parameters = [p for p in self._parts[name].parameters() if p.is_floating_point()]
        return self.of_values({p: _off(p, error) for p in parameters}) if parameters else np.inf

    def of_tensor(self, name: str, values: Tensor) -> float:
        """With these values in a tensor of the state dict; with noise where their shape is another."""
        tensor = self.tensors[name]
        return self.of_values({tensor: values if values.shape == tensor.shape else _off(tensor, 1.0)})

    @cached_property
    def _before(self) -> list[Array]:
        return self._outputs()

    def _outputs(self) -> list[Array]:
        with self._mode():
            return [array.copy() for array in run(self._module, self._image)]

    @torch.no_grad()
    def of_values(self, values: Mapping[Tensor, Tensor]) -> float:
        """With these values in the place of each tensor's own."""
        kept = {tensor: tensor.detach().clone() for tensor in values}
        try:
            before = self._before
            for tensor, value in values.items():
                tensor.copy_(value)
            after = self._outputs()
        except (CandidateError, RuntimeError):
            return np.nan
        finally:
            for tensor, value in kept.items():
                tensor.copy_(value)
        errors = [difference(a, b).scaled for a, b in zip(before, after, strict=True)]
        return max((np.inf if np.isnan(error) else error for error in errors), default=0.0)


def _off(tensor: Tensor, error: float) -> Tensor:
    signs = torch.randint(0, 2, tensor.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return tensor.detach() * (1 + error * signs)


def is_arranged_otherwise(
    layers: Sequence[LayerFigures],
    outputs: Iterable[OutputFigures],
    tolerance: float,
    moved: Callable[[str, float], float],
) -> bool:
    """Whether the layers that diverge do so because the candidate is arranged otherwise, not because it is wrong.

    Args:
        layers, outputs: all that was compared.
        tolerance: what they were held to.
        moved: how far the outputs go when the layer of this name is off by so much (see `Experiment`).
    """
    if not all(_agrees(output.comparison, tolerance) for output in outputs):
        return False
    diverging: dict[str, float] = {}
    for layer in layers:
        for comparison in (layer.at_input, layer.at_output):
            if comparison and not (_agrees(comparison, tolerance) or _is_another_thing(comparison)):
                return False
            if comparison and comparison.verdict != "pass":
                error = 1.0 if comparison.scaled is None else min(1.0, comparison.scaled)
                diverging[layer.target] = max(error, diverging.get(layer.target, 0.0))
    return all(moved(name, error) > tolerance for name, error in diverging.items())


def without_rearranged(
    weights: Stage, outputs: Sequence[OutputFigures], tolerance: float, conversion: Conversion, experiment: Experiment
) -> Stage:
    """The stage of the weights without tensors that are another thing altogether, where all that is computed agrees.

    Args:
        outputs: all of them, those of the heads of training too.
        tolerance: what they were held to.
        conversion: which has the tensors as they should be: what they would change in the outputs is excused, no more.
    """
    different = {figures.name: figures for figures in weights.figures if isinstance(figures, DifferentTensor)}
    if not different or not all(_agrees(output.comparison, tolerance) for output in outputs):
        return weights
    if any(figures.scaled is not None and figures.scaled < ANOTHER_THING for figures in different.values()):
        return weights
    if not _all_show(different.keys(), tolerance, conversion, experiment):
        return weights
    line = (
        f"{len(weights.figures)} tensors are others than the checkpoint's, and all that is computed of them agrees: "
        "arranged otherwise, or folded"
    )
    return replace(
        weights,
        figures=(),
        compared=weights.compared - len(weights.figures),
        why="; ".join(filter(None, [weights.why, line])),
        warnings=(*weights.warnings, line),
    )


def _all_show(different: Set[str], tolerance: float, conversion: Conversion, experiment: Experiment) -> bool:
    """Whether each of the checkpoint's tensors, in the place of the candidate's own, would be seen."""
    own = experiment.tensors
    for name, stored in conversion.tensors.items():
        origins = [conversion.renamed.get(origin, origin) for origin in conversion.origins.get(name, ())]
        if name not in own or not different & set(origins):
            continue
        values = to_torch({name: stored})[name]
        if values.shape == own[name].shape and torch.equal(own[name].to(values.dtype), values):
            continue  # in another type, or another tensor of the same origin
        if experiment.of_tensor(name, values) <= tolerance:
            return False
    return True


def _agrees(comparison: Comparison, tolerance: float) -> bool:
    bound = max(AGREEMENT * tolerance, FLOORS_ALLOWED * (comparison.floor or 0.0))
    return comparison.scaled is not None and comparison.scaled <= bound


def _is_another_thing(comparison: Comparison) -> bool:
    if comparison.scaled is None:
        return comparison.problem is not None and comparison.problem.startswith(("shape", "dtype"))
    return comparison.scaled >= ANOTHER_THING
