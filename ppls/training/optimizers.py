"""Paddle's optimizers as `torch.optim.Optimizer`s, with its order of operations.

On a CPU they are bit for bit Paddle's, from the same gradients; `torch.optim`'s own round otherwise. What Paddle's
kernels keep in float32, whatever the weights are (a momentum, AdamW's decay), is rounded to it here, which shows in
float64. Every element is computed by itself, so that many tensors at once (foreach) have the bits of one by one.

A parameter that had a gradient once has one of zeros in Paddle afterwards, and is updated: call
`zero_grad(set_to_none=False)` to have it so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias, overload

import numpy as np
import torch
from torch import Tensor

from ppls.training.hyperparameters import checked, float32
from ppls.training.sharded import own_parts

Parameters: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]]


class Clip(Protocol):
    """What shortens the gradients of one group of parameters, in place; `ppls.training.clipping` has Paddle's."""

    def __call__(self, gradients: Sequence[Tensor]) -> None: ...


class PaddleOptimizer(torch.optim.Optimizer):
    """The part of an iteration that Paddle's optimizers have in common.

    Groups may have a rate `lr`, as everywhere in torch, an `lr_mult` that it is multiplied with, and options of their
    own; gradients are clipped group by group, as Paddle does, each by its own norm.
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any], clip: Clip | None) -> None:
        self.clip = clip
        super().__init__(params, {**checked(defaults), "lr_mult": 1.0})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with options of their own, which are checked as those given for all are."""
        checked(param_group)
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient.

        Args:
            closure: computes the loss once more, as `torch.optim` has it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            if self.clip is not None:
                self.clip(gradients)
            # Tensors of another dtype have constants of another rounding.
            for dtype in dict.fromkeys(parameter.dtype for parameter in parameters):
                same = [place for place, parameter in enumerate(parameters) if parameter.dtype == dtype]
                parts = own_parts([gradients[place] for place in same])
                self.update([parameters[place] for place in same], parts, group)
        return loss

    def update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Updates parameters of one dtype by their gradients, with the options of their group.

        Where a model is shared out, gradients and slots are the parts of this process; `own_parts` are those of the
        parameters.
        """
        raise NotImplementedError

    def slots(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        """What is kept of each parameter under a name, beginning with zeros."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return own_parts([self.state[parameter][name] for parameter in parameters])


def rate(group: dict[str, Any], dtype: torch.dtype) -> float:
    """The rate of a group as Paddle multiplies it: in the precision of the weights, at least float32."""
    real = np.float64 if dtype == torch.float64 else np.float32
    # Paddle multiplies what is not 1 in a tensor.
    return float(real(group["lr"]) * real(group["lr_mult"]))


def regularised(parameters: list[Tensor], gradients: list[Tensor], decay: float) -> list[Tensor]:
    """Gradients with weight decay as L2 in them: `p * decay + g`."""
    if not decay:
        return gradients
    terms = torch._foreach_mul(parameters, decay)
    torch._foreach_add_(terms, gradients)
    return list(terms)


def roots(tensors: list[Tensor]) -> list[Tensor]:
    """Square roots, rounded to the nearest as IEEE has it: on CPUs torch's own may be off by one unit."""
    if all(tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64) for tensor in tensors):
        return [torch.from_numpy(np.sqrt(tensor.numpy())) for tensor in tensors]
    return list(torch._foreach_sqrt(tensors))


class SGD(PaddleOptimizer):
    """`paddle.optimizer.SGD`: `p - lr * g`.

    Args:
        params: parameters, or groups of them.
        lr: the rate.
        weight_decay: as L2, added to the gradient after clipping.
        clip: see `ppls.training.clipping`.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(
        self, params: Parameters, lr: float = 1e-3, *, weight_decay: float = 0.0, clip: Clip | None = None
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay}, clip)

    def update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        parameters = own_parts(parameters)
        gradients = regularised(parameters, gradients, group["weight_decay"])
        torch._foreach_sub_(parameters, torch._foreach_mul(gradients, rate(group, parameters[0].dtype)))


class Momentum(PaddleOptimizer):
    """`paddle.optimizer.Momentum`: `v = v * mu + g`, `p - v * lr`; with Nesterov's, `p - (g + v * mu) * lr`.

    Each parameter's state has its `velocity`.

    Args:
        params: parameters, or groups of them.
        lr: the rate.
        momentum: rounded to float32, as in Paddle's kernel.
        use_nesterov: Nesterov's momentum.
        weight_decay: as L2, rounded to float32, added to the gradient after clipping.
        clip: see `ppls.training.clipping`.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        *,
        momentum: float = 0.9,
        use_nesterov: bool = False,
        weight_decay: float = 0.0,
        clip: Clip | None = None,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "use_nesterov": use_nesterov, "weight_decay": weight_decay}
        super().__init__(params, defaults, clip)

    def update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        velocities, parameters = self.slots("velocity", parameters), own_parts(parameters)
        gradients = regularised(parameters, gradients, float32(group["weight_decay"]))
        momentum = float32(group["momentum"])
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, gradients)
        steps = velocities
        if group["use_nesterov"]:
            steps = list(torch._foreach_mul(velocities, momentum))
            torch._foreach_add_(steps, gradients)
        torch._foreach_sub_(parameters, torch._foreach_mul(steps, rate(group, parameters[0].dtype)))


class Adam(PaddleOptimizer):
    """`paddle.optimizer.Adam`, with weight decay as L2.

    Each parameter's state has its `moment1`, `moment2` and, as Paddle keeps them, the powers of the betas
    (`beta1_pow`, `beta2_pow`, of one value, in the precision of the weights), which in float32 stick near zero after
    some ten thousand steps.

    Args:
        params: parameters, or groups of them.
        lr: the rate.
        beta1: of the first moment.
        beta2: of the second.
        epsilon: added to the root of the second moment, as Paddle scales it.
        weight_decay: as L2, added to the gradient after clipping.
        clip: see `ppls.training.clipping`.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        clip: Clip | None = None,
    ) -> None:
        defaults = {"lr": lr, "beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(params, defaults, clip)

    def update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        together: dict[tuple[float, float], list[int]] = {}
        for place, parameter in enumerate(parameters):  # one that had no gradient for a while stays behind the others
            powers = self._power(parameter, "beta1", group), self._power(parameter, "beta2", group)
            together.setdefault(powers, []).append(place)
        for powers, places in together.items():
            self._update([parameters[place] for place in places], [gradients[place] for place in places], group, powers)

    def _update(
        self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any], powers: tuple[float, float]
    ) -> None:
        """Updates parameters that have made as many steps as one another.

        In float32 Paddle's kernel, and `alpha` here, multiply and add in one rounding; in float64 neither does.
        """
        dtype = parameters[0].dtype
        double = dtype == torch.float64
        real: type[np.floating[Any]] = np.float64 if double else np.float32
        lr, decay = real(rate(group, dtype)), group["weight_decay"]
        first, second = self.slots("moment1", parameters), self.slots("moment2", parameters)
        parameters = own_parts(parameters)
        if not self.decoupled:
            gradients = regularised(parameters, gradients, decay)
        elif decay:
            shrink = float(lr * real(float32(decay)))
            if double:
                torch._foreach_sub_(parameters, torch._foreach_mul(parameters, shrink))
            else:
                torch._foreach_sub_(parameters, parameters, alpha=shrink)
        beta1, beta2, epsilon, power1, power2 = map(real, (group["beta1"], group["beta2"], group["epsilon"], *powers))
        root = np.sqrt(real(1) - power2)
        terms = torch._foreach_mul(gradients, float(real(1) - beta1))
        if double:
            squares = torch._foreach_mul(gradients, float(real(1) - beta2))
            torch._foreach_mul_(squares, gradients)
        else:
            squares = torch._foreach_mul(gradients, gradients)
            torch._foreach_mul_(squares, float(real(1) - beta2))
        for kept, new, beta in ((first, terms, beta1), (second, squares, beta2)):
            if double:
                torch._foreach_mul_(kept, float(beta))
                torch._foreach_add_(kept, new)
            else:
                torch._foreach_add_(new, kept, alpha=float(beta))
                torch._foreach_copy_(kept, new)
        denominators = roots(second)
        torch._foreach_add_(denominators, float(epsilon * root))
        steps = torch._foreach_div(first, denominators)
        length = float(lr * (root / (real(1) - power1)))
        if double:
            torch._foreach_sub_(parameters, torch._foreach_mul(steps, length))
        else:
            torch._foreach_sub_(parameters, steps, alpha=length)

    def _power(self, parameter: Tensor, name: str, group: dict[str, Any]) -> float:
        """The power of a beta that this step uses; the next one's is kept."""
        state, key = self.state[parameter], f"{name}_pow"
        kept = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        if key not in state:
            state[key] = torch.full((1,), group[name], dtype=kept)
        power = float(state[key])
        state[key] = state[key] * group[name]
        return power


class AdamW(Adam):
    """`paddle.optimizer.AdamW`: `Adam`, with the weight decay apart from the gradient, `p - lr * wd * p` before it.

    Args:
        params: parameters, or groups of them.
        lr: the rate.
        beta1: of the first moment.
        beta2: of the second.
        epsilon: added to the root of the second moment, as Paddle scales it.
        weight_decay: of the weights themselves, rounded to float32.
        clip: see `ppls.training.clipping`.

    Raises:
        ppls.UsageError: an option that cannot be.
    """

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        clip: Clip | None = None,
    ) -> None:
        super().__init__(params, lr, beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay, clip=clip)
