"""Epsilon and momentum of a candidate's normalisations by what they do, wherever it has them written.

- An operator of torch's that normalises is told its epsilon.
- Of a layer whose variance `v` becomes 0 and whose weight `w` becomes `w * sqrt(e / (v + e))` nothing changes, if its
  epsilon is `e`: with any other it gives something else.
- A layer without statistics of its own divides what is small by its epsilon, what is large by its variance.
- A running statistic that is far off moves, in one run of train mode, by its momentum of the way back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ppls.converter.conversion import Conversion
from ppls.parity.candidate import CandidateError, run, tensors_of
from ppls.parity.compare import Array
from ppls.parity.operators import OperatorMode, named
from ppls.parity.state import state_kept

FAR = 2.0**30  # a statistic that no batch has: of a mean of 1,000 a billionth remains


@dataclass(frozen=True)
class Running:
    """The names of a normalisation's tensors in the candidate's state dict."""

    mean: str
    variance: str
    weight: str


def find_running(conversion: Conversion, layers: Iterable[str], state: Mapping[str, Tensor]) -> dict[str, Running]:
    """The reference's normalisations with running statistics whose tensors the candidate has, by the reference's names.

    Each tensor is found by the name that the map has for it, else as the only one of these values.
    """
    source = conversion.source_tensors
    by_name = {
        conversion.renamed.get(origins[0], origins[0]): name
        for name, origins in conversion.origins.items()
        if len(origins) == 1
    }
    by_value: dict[bytes, dict[int, str]] = defaultdict(dict)
    for name, tensor in state.items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            by_value[tensor.detach().double().numpy().tobytes()][tensor.data_ptr()] = name

    def find(name: str) -> str | None:
        if name not in source:
            return None
        named = by_name.get(name)
        if named is not None and named in state and tuple(state[named].shape) == source[name].shape:
            return named
        alike = by_value.get(source[name].load().astype(np.float64).tobytes(), {})
        return next(iter(alike.values())) if len(alike) == 1 else None

    found = {}
    for layer in layers:
        mean, variance, weight = (find(f"{layer}.{part}") for part in ("_mean", "_variance", "weight"))
        if mean and variance and weight:
            found[layer] = Running(mean, variance, weight)
    return found


def without_variance(
    norms: Mapping[str, Running], epsilons: Mapping[str, float], state: Mapping[str, Tensor], factor: float = 1.0
) -> dict[Tensor, Tensor]:
    """Tensors with which these normalisations give `factor` times what they give, without bias, if these are theirs."""
    values = {}
    for layer, norm in norms.items():
        variance, weight, epsilon = state[norm.variance], state[norm.weight], epsilons[layer]
        share = factor * torch.sqrt(epsilon / (variance.double() + epsilon))
        values[variance] = torch.zeros_like(variance)
        values[weight] = (weight.double() * share).to(weight.dtype)
    return values


def momenta(module: nn.Module, norms: Mapping[str, Running], image: Array) -> dict[str, tuple[float, float]]:
    """The weight of the new value in the running mean and in the running variance, where train mode can be run.

    Args:
        image: two images at least, since one value per channel moves nothing.
    """
    state = module.state_dict()
    statistics = dict.fromkeys(name for norm in norms.values() for name in (norm.mean, norm.variance))
    kept = {name: state[name].clone() for name in statistics}
    with state_kept(module), torch.no_grad():
        try:
            for name in statistics:
                state[name].fill_(FAR)
            module.train()
            run(module, image)
            after = module.state_dict()  # which may hold other tensors
            share = {name: 1.0 - after[name].double() / FAR for name in statistics}
        except (CandidateError, NotImplementedError, RuntimeError):
            return {}
        finally:
            for name, values in kept.items():
                state[name].copy_(values)
    found = {layer: (_only(share[norm.mean]), _only(share[norm.variance])) for layer, norm in norms.items()}
    return {layer: both for layer, both in found.items() if np.isfinite(both).all()}


def _only(values: Tensor) -> float:
    """The value that all have; NaN where they differ."""
    middle = float(values.median())
    return middle if bool(((values - middle).abs() < 1e-4).all()) else np.nan


def epsilons_of_operators(
    module: nn.Module, image: Array, mode: Callable[[], AbstractContextManager[Any]]
) -> dict[int, float]:
    """What each operator that normalises is told, by where its weight lies in memory."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):  # some calls are none of Python's
        return {}
    watch = _Epsilons()
    with watch, suppress(CandidateError), mode():
        run(module, image)
    return watch.found


class _Epsilons(OperatorMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, float] = {}

    def call(self, operator: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        given = named(operator, args, options)
        weight, epsilon = given.get("weight"), given.get("eps")
        if isinstance(weight, Tensor) and isinstance(epsilon, float):
            self.found[weight.data_ptr()] = epsilon
        return operator(*args, **options)


@torch.no_grad()
def epsilon_of_layer(layer: nn.Module, shape: Sequence[int], near: float) -> float | None:
    """Of a layer that normalises by the variance of what it is given; None where it does not.

    Args:
        shape: of what it takes: an even number of values along its last axis.
        near: what the epsilon should be: it is told best from there.
    """
    places = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).sum(0)
    signs = 1.0 - 2.0 * (places % 2)  # the mean is 0 and the variance 1, whichever axes are taken together
    like = next(layer.parameters(), signs)
    try:
        offset, small, large = (
            tensors_of(layer(scale * signs.to(like.dtype)))[0].double() for scale in (0.0, near**0.5, 1.0)
        )
    except Exception:  # it takes something else
        return None
    if shape[-1] % 2 or not near:
        return None
    of_small, of_large = (
        scale / max(float(torch.linalg.vector_norm(result - offset)) ** 2, 1e-300)
        for scale, result in ((near, small), (1.0, large))
    )  # each (scale + epsilon), up to a factor
    if not of_large > of_small * (1 + 1e-3):  # of what is linear they are equal but for rounding
        return None
    epsilon = (of_small - near * of_large) / (of_large - of_small)
    return epsilon if np.isfinite(epsilon) else None
