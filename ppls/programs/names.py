"""Names for the weights of a program that has none of its own but Paddle's: by the modules that the exporter names."""

from __future__ import annotations

import re
from collections import Counter

from ppls.programs.program import Program, Step

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
_ROLES = {"Mean": "running_mean", "Variance": "running_var", "Scale": "weight", "Bias": "bias", "Filter": "weight"}
_ENDS = {"w_0": "weight", "b_0": "bias"}
_LONGEST = 60


def named_by_layers(program: Program) -> dict[str, str]:
    """A name for each weight, `stdc_net.conv_bn_relu_1.conv2d.weight` for `conv2d_1.w_0`, by the one that it has.

    The exporter numbers modules of a kind that lie in one module. A weight keeps its name where nothing is said of it,
    or where two would have the same.
    """
    takers: dict[str, tuple[Step, str]] = {}
    for step in program.steps:
        for role, values in step.inputs.items():
            for value in values:
                if value in program.weights:
                    takers.setdefault(program.weights[value], (step, role))
    layers = [[part for part in step.layer.split("/") if part] for step, _ in takers.values()]
    roots = {layer[0] for layer in layers if layer}
    skipped = int(len(roots) == 1 and all(len(layer) > 1 for layer in layers))
    found = {
        name: ".".join([*map(_snake, layer[skipped:]), _end(name, step, role)])
        for (name, (step, role)), layer in zip(takers.items(), layers, strict=True)
        if layer
    }
    counts = Counter([*found.values(), *(name for name in takers if name not in found)])
    return {name: new for name, new in found.items() if counts[new] == 1}


def _snake(name: str) -> str:
    found = re.sub(r"_+", "_", _WORDS.sub("_", name)).strip("_").lower()[:_LONGEST]
    return found if found and not found[0].isdigit() else f"part_{found}"


def _end(name: str, step: Step, role: str) -> str:
    last = name.rpartition(".")[2]
    if step.kind.startswith(("batch_norm", "sync_batch_norm", "conv", "depthwise_conv")) and role in _ROLES:
        return _ROLES[role]
    return _ENDS.get(last) or _snake(last)
