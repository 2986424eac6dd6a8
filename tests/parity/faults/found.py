"""Which stage of the verifier finds a fault: the stages are asked one by one, the cheapest first, until one fails."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from ppls.parity.figures import OutputFigures
from ppls.parity.global_state import global_state_kept
from ppls.parity.pairing import pair_layers
from ppls.parity.randomness import all_heads, eager, find_quiet, small_inputs
from ppls.parity.reference_run import Recording
from ppls.parity.stages.layers import compare_layers
from ppls.parity.stages.numerics import compare_numerics
from ppls.parity.stages.outputs import compare_outputs
from ppls.parity.tolerance import Tolerances
from tests.parity.conftest import Recorded


@global_state_kept()
def found_by(recorded: Recorded, model: nn.Module, *, own: bool = True) -> str | None:
    """The first of `outputs`, `layers`, `heads` and `numerics` that fails; None where none does.

    Outputs are asked input by input, small ones first; the others as `judge` asks them.
    """
    recording, conversion, tolerances = recorded.recording, recorded.conversion, Tolerances()
    compared: list[OutputFigures] = []
    for name in sorted(recording.inputs, key=lambda name: recording.input(name).size):
        outputs, _ = compare_outputs(on(recording, name), model, tolerances)
        if outputs.verdict == "fail":
            return "outputs"
        compared += [found for found in outputs.figures if isinstance(found, OutputFigures)]
    paired = pair_layers(recording, conversion, model, own=own)
    parts = dict(model.named_modules())
    quiet = find_quiet(model, small_inputs(recording), [parts[pair.target] for pair in paired.pairs])
    layers, heads = compare_layers(recording, model, paired, tolerances, quiet, compared, own=own)
    for stage in (layers, heads):
        if stage.verdict == "fail":
            return stage.name
    mode = partial(all_heads, model, quiet) if heads.compared else eager
    numerics = compare_numerics(recording, conversion, model, paired.pairs, tolerances, mode, trained=True)
    return "numerics" if numerics.verdict == "fail" else None


def on(recording: Recording, *names: str) -> Recording:
    """The recording without other inputs than these."""
    job, result = recording.job, recording.result
    return replace(
        recording,
        job=replace(
            job,
            inputs=tuple(given for given in job.inputs if given.name in names),
            gradient=job.gradient if job.gradient in names else None,
        ),
        result=replace(
            result,
            outputs=tuple(output for output in result.outputs if output.input in names),
            heads=tuple(head for head in result.heads if head.input in names),
        ),
    )
