"""Why the first divergence of a report is there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

from torch import nn

from ppls.parity.causes.search import Mode, cause_before_layer, cause_in_layer, cause_in_output
from ppls.parity.figures import Divergence
from ppls.parity.pairing import Pair
from ppls.parity.randomness import Quiet, all_heads
from ppls.parity.reference_run import Recording


def cause_of(
    first: Divergence, recording: Recording, module: nn.Module, pairs: Sequence[Pair], quiet: Quiet | None
) -> str | None:
    """The cause that an experiment proves, in words; None where no known one is proven."""
    names = [pair.target for pair in pairs]
    image = recording.input(first.input)
    heads: Mode = partial(all_heads, quiet=quiet) if quiet else nullcontext
    if first.kind == "output":
        output = next(
            output
            for output in [*recording.outputs, *recording.head_outputs]
            if (output.input, output.name) == (first.input, first.source)
        )
        mode = heads if output.all_heads else nullcontext
        return cause_in_output(module, names, output.index, image, output.stored.load(), first.comparison, mode)
    call = next(call for call in recording.calls if (call.module, call.call) == (first.source, first.call))
    pair = next(pair for pair in pairs if (pair.source, pair.target) == (first.source, first.target))
    if first.at == "output":
        return cause_in_layer(dict(module.named_modules())[first.target], pair, call, first.comparison)
    train_only = {call.module for call in recording.calls if call.train_only}
    compared_heads = not train_only or any(pair.source in train_only for pair in pairs)
    mode = heads if compared_heads else nullcontext
    place = first.target, first.call
    return cause_before_layer(module, names, place, image, pair, call, first.comparison, mode)
