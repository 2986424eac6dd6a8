"""What a layer took and gave, as a port has it that lays it out otherwise: a map as tokens, tokens in another shape."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from torch import Tensor

from ppls.drafting.recording import Call
from ppls.drafting.units import Unit

_CHANNELS_LAST = ("linear", "layer_norm")


def laid_out(call: Call, source: Unit, shape: tuple[int, ...]) -> Call | None:
    """A call of the source's layer as one with an input of this shape; None where it is no such call.

    A Linear sees tokens `(..., channels)` in any shape, a convolution `(N, channels, ...)`; one pixel is one token.
    """
    if not source.is_recast:
        if call.input.shape == shape:
            return call
        if source.kind not in _CHANNELS_LAST:
            return None
    was = source.whole.kind if source.is_recast and source.whole is not None else source.kind
    taken, given = (_tokens(x, was) for x in (call.input, call.output))
    if taken is None or given is None:
        return None
    if source.kind in _CHANNELS_LAST:
        fits = shape[-1:] == taken.shape[-1:] and prod(shape) == taken.numel()
        rest = shape[:-1]
        return replace(call, input=taken.reshape(shape), output=given.reshape(*rest, -1)) if fits else None
    if len(shape) < 3 or shape[0] != taken.shape[0] or shape[1] != taken.shape[2] or prod(shape) != taken.numel():
        return None
    maps = (x.transpose(1, 2).reshape(shape[0], -1, *shape[2:]) for x in (taken, given))
    return replace(call, input=next(maps), output=next(maps))


def _tokens(x: Tensor, kind: str) -> Tensor | None:
    """As `(N, tokens, channels)`."""
    if x.dim() < 2:
        return None
    if kind in _CHANNELS_LAST:
        return x.reshape(x.shape[0], -1, x.shape[-1])
    return x.flatten(2).transpose(1, 2) if x.dim() > 2 else None
