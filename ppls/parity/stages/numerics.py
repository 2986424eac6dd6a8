"""The numerics: what no tensor shows of the candidate's layers beside the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from torch import nn

from ppls.parity.pairing import Pair
from ppls.parity.randomness import Draw
from ppls.parity.reference_run import Recording
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import NUMERICS_TOLERANCE

_TORCH = {"epsilon": "eps", "momentum": "momentum"}


def compare_numerics(recording: Recording, module: nn.Module, pairs: Sequence[Pair]) -> Stage:
    """What no tensor shows of the candidate's normalisations beside the reference's.

    An epsilon may be too small to move an output by the tolerance, and is another function all the same: a failure.
    Momentum matters to training alone: a warning.
    """
    expected = {call.module: call.numerics for call in recording.calls}
    modules = dict(module.named_modules())
    found: dict[str, list[str]] = {"epsilon": [], "momentum": []}
    compared = 0
    for pair in pairs:
        layer = modules[pair.target]
        epsilon, momentum = getattr(layer, "eps", None), getattr(layer, "momentum", None)
        own = {"epsilon": epsilon, "momentum": None if momentum is None else 1 - momentum}
        for name, value in expected.get(pair.source, {}).items():
            given = own[name]
            compared += given is not None
            if given is not None and abs(given - value) > NUMERICS_TOLERANCE * value:
                theirs = value if name == "epsilon" else 1 - value  # in torch's terms
                found[name].append(f"{pair.target} has {name} {getattr(layer, _TORCH[name]):g}, not {theirs:.6g}")
    epsilons, momenta = (
        [f"{lines[0]} as the reference's{f' (and {len(lines) - 1} layers more)' if lines[1:] else ''}"] if lines else []
        for lines in found.values()
    )
    count = sum(map(len, expected.values()))
    return Stage(
        name="numerics",
        unit="epsilons and momenta",
        compared=compared,
        expected=count,
        why="no layer of the candidate has the rest as a number" if compared < count else None,
        failures=tuple(epsilons),
        warnings=tuple(momenta),
    )


def other_dropouts(expected: Sequence[float], draws: Sequence[Draw]) -> list[str]:
    """A warning of the dropouts that the candidate has otherwise; matters to training alone.

    Args:
        expected: the rates of the reference's, in order of execution.
        draws: the candidate's; where the rate cannot be told, the draw alone counts.
    """
    pairs = zip_longest([draw.rate for draw in draws], expected, fillvalue=0.0)
    different = [
        (own, theirs)
        for own, theirs in pairs
        if own is not None and not np.isclose(own, theirs, rtol=NUMERICS_TOLERANCE, atol=0.0)
    ]
    if not different:
        return []
    own, theirs = different[0]
    line = f"dropouts in training: {len(different)} rates differ, the first is {own:g} where the reference's is "
    return [f"{line}{theirs:g} (0: none), in order of execution"]
