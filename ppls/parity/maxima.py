"""Maxima that tie stand where PaddleSeg's stand, in the candidate: either choice is right, and much hangs on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ppls.parity.compare import Array
from ppls.parity.reference.maxima import settled
from ppls.parity.reference_run import Recording

POOLING = torch.ops.aten.max_pool2d_with_indices
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Noted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types none of it
    """While active, notes the places of every pooling that says them: (N, C, h, w), within their channel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places: list[Array] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        if function.overloadpacket is POOLING:
            self.places.append(result[1].cpu().numpy())
        return result


class Settled(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, poolings that say where their maxima stand say where another's do, where these tie.

    Args:
        known: places that the other chose, in maps of any shape; within their channel, or counted on over all channels.

    Attributes:
        moved: how many maxima stood elsewhere, and were moved to where the other's stood.
    """

    def __init__(self, known: Sequence[Array]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = known
        self.moved = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        if function.overloadpacket is not POOLING:
            return result
        values, places = result
        x = arguments[0].detach().cpu()
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        own, pixels = places.cpu().numpy(), x.shape[2] * x.shape[3]
        chosen = settled(x.numpy(), own, [known % pixels for known in self._known if known.shape == own.shape])
        self.moved += int((chosen != own).sum())
        return values, torch.from_numpy(chosen).to(places.device)


def with_maxima_settled(
    judge: Callable[Concatenate[Recording, _P], _T],
) -> Callable[Concatenate[Recording, _P], _T]:
    """A function of a recording, all of whose runs of the candidate choose among maxima that tie as that one did."""

    @wraps(judge)
    def function(recording: Recording, /, *arguments: _P.args, **options: _P.kwargs) -> _T:
        if not recording.maxima:
            return judge(recording, *arguments, **options)
        with Settled(recording.maxima):
            return judge(recording, *arguments, **options)

    return function
