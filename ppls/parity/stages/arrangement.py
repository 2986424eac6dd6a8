"""The same function, arranged otherwise: layers that hold something else than the reference's, and leave no trace.

A candidate may fold a normalisation, permute channels together with the weights that read them, or resize before a
projection: what its layers hold is then another thing, and all that follows agrees to rounding. A fault does not look
like that: it fades from layer to layer, and some show what is neither agreement nor another thing altogether.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppls.parity.candidate import tensors_of
from ppls.parity.compare import Array, Comparison
from ppls.parity.figures import DifferentTensor, LayerFigures, OutputFigures
from ppls.parity.pairing import Pair
from ppls.parity.randomness import Quiet, all_heads, eager, witness_input
from ppls.parity.reference_run import Recording
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import FLOORS_ALLOWED

ANOTHER_THING = 1e-2  # scaled: faults that fade pass through what lies between this and agreement
AGREEMENT = 0.25  # of the tolerance: a correct port stays under a fifth
INFLUENCE = 1e-7  # of the outputs' size: what moves them less is behind a gate that is closed


def is_arranged_otherwise(
    layers: Sequence[LayerFigures], outputs: Iterable[OutputFigures], tolerance: float, seen: Callable[[str], bool]
) -> bool:
    """Whether the layers that diverge do so because the candidate is arranged otherwise, not because it is wrong.

    Args:
        layers, outputs: all that was compared.
        tolerance: what the layers were held to.
        seen: whether the outputs depend on the layer of this name.
    """
    if not all(_agrees(output.comparison, tolerance) for output in outputs):
        return False
    diverging = [layer for layer in layers if layer.verdict != "pass"]
    for layer in layers:
        for comparison in (layer.at_input, layer.at_output):
            if comparison and not (_agrees(comparison, tolerance) or _is_another_thing(comparison)):
                return False
    return all(seen(layer.target) for layer in diverging)


def without_rearranged(
    weights: Stage, outputs: Sequence[OutputFigures], tolerance: float, seen: Callable[[], Collection[str]]
) -> Stage:
    """The stage of the weights without tensors that are another thing altogether, where all that is computed agrees.

    Args:
        outputs: all of them, those of the heads of training too.
        tolerance: what they were held to.
        seen: gives the reference's layers that the outputs depend on: what no output shows is not excused.
    """
    if not weights.figures or not all(_agrees(output.comparison, tolerance) for output in outputs):
        return weights
    sources = seen()
    kept = [
        figures
        for figures in weights.figures
        if not isinstance(figures, DifferentTensor)
        or figures.name.rpartition(".")[0] not in sources
        or (figures.scaled is not None and figures.scaled < ANOTHER_THING)
    ]
    if kept:
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


def seen_sources(recording: Recording, module: nn.Module, pairs: Sequence[Pair], quiet: Quiet | None) -> set[str]:
    """The reference's layers whose counterparts the outputs depend on; with `quiet`, those of all heads."""
    mode = all_heads(module, quiet) if quiet else eager()
    found = influences(module, [pair.target for pair in pairs], witness_input(recording), mode) or {}
    return {pair.source for pair in pairs if found.get(pair.target, 0.0) > INFLUENCE}


def _agrees(comparison: Comparison, tolerance: float) -> bool:
    bound = max(AGREEMENT * tolerance, FLOORS_ALLOWED * (comparison.floor or 0.0))
    return comparison.scaled is not None and comparison.scaled <= bound


def _is_another_thing(comparison: Comparison) -> bool:
    if comparison.scaled is None:
        return comparison.problem is not None and comparison.problem.startswith(("shape", "dtype"))
    return comparison.scaled >= ANOTHER_THING


def influences(
    module: nn.Module, names: Iterable[str], image: Array, mode: AbstractContextManager[Any]
) -> dict[str, float] | None:
    """How much the outputs depend on the parameters of these layers, relative to their size; one backward pass.

    A layer without parameters is not in the result; it is None where no gradient comes back.
    """
    modules = dict(module.named_modules())
    of = {name: [p for p in modules[name].parameters() if p.is_floating_point()] for name in names}
    parameters = list({id(p): p for found in of.values() for p in found}.values())
    wanted = [(p, p.requires_grad) for p in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        with torch.enable_grad(), mode:
            results = [tensor.double() for tensor in tensors_of(module(torch.from_numpy(image.copy())))]
            generator = torch.Generator().manual_seed(0)
            signs = [torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1 for tensor in results]
            total = sum((tensor * sign).sum() for tensor, sign in zip(results, signs, strict=True))
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)  # type: ignore[arg-type]
    except Exception:  # a forward under no_grad, or one that raises
        return None
    finally:
        for parameter, required in wanted:
            parameter.requires_grad_(required)
    size = float(np.sqrt(sum(float((tensor.detach() ** 2).sum()) for tensor in results))) or 1.0
    moved = {id(p): _change(p, g) for p, g in zip(parameters, gradients, strict=True)}
    return {name: max(moved[id(p)] for p in found) / size for name, found in of.items() if found}


def _change(parameter: Tensor, gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else float(torch.linalg.vector_norm((gradient * parameter).detach().double()))
