"""Changes the tensors of a model one by one, and asks whether the verifier would see it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppls.parity.compare import compare
from ppls.parity.judge import judge
from ppls.parity.pairing import Pair
from ppls.parity.reference_run import RecordedCall
from ppls.parity.tolerance import TOLERANCE

from .conftest import Recorded


def unseen(recorded: Recorded) -> list[str]:
    """The tensors of the right model of which a change by a tenth passes, the comparison of weights left out.

    What stands in a layer shows in that layer: it alone is run, on what the reference gave it. For all else the whole
    model is judged.
    """
    model = recorded.candidate()
    modules = dict(model.named_modules())
    calls = {call.module: call for call in recorded.recording.calls}
    pairs = {pair.target: pair for pair in recorded.conversion.map.pair_modules(calls) if pair.output_comparable}
    owners = {name.rpartition(".")[0] for name in recorded.conversion.checkpoint}
    never_run = {pair.target for pair in recorded.conversion.map.pair_modules(owners - calls.keys())}
    missed = []
    for name, tensor in model.state_dict().items():
        owner = name.rpartition(".")[0]
        if owner in never_run:  # upstream builds and saves it, and that is all
            continue
        before = tensor.clone()
        with torch.no_grad():
            tensor.mul_(1.1)
            if owner in pairs:
                found = shows_in(modules[owner], pairs[owner], calls[pairs[owner].source])
            else:
                found = shows_in_all(recorded, model)
            tensor.copy_(before)
        if not found:
            missed.append(name)
    return missed


def shows_in(layer: nn.Module, pair: Pair, call: RecordedCall) -> bool:
    """Whether the verdict on a layer's own output is that it fails."""
    given = pair.input(call.input.load()).copy()
    output: Tensor = layer(torch.from_numpy(given))
    expected = pair.output(call.output.load())
    return compare(expected, output.numpy(), tolerance=TOLERANCE, floor=call.output.floor).verdict == "fail"


def shows_in_all(recorded: Recorded, model: nn.Module) -> bool:
    report = judge(recorded.recording, model, recorded.conversion, weights=False)
    return any(stage.verdict == "fail" for stage in report.stages if stage.name in ("outputs", "layers", "heads"))
