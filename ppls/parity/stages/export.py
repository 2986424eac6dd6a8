"""The export itself, run by Paddle, beside the network that PaddleSeg builds with its options, and the candidate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from torch import nn

from ppls.models.modes import modules_in_training
from ppls.parity.answers import ExportOutput
from ppls.parity.array_file import load_array
from ppls.parity.candidate import CandidateError, run_by_place
from ppls.parity.classes import compare_classes, compare_probabilities
from ppls.parity.compare import Array, Compare, argmax_agreement, compare
from ppls.parity.exported import RecordedExport, shape_in_words
from ppls.parity.figures import ExportFigures, OutputFigures
from ppls.parity.global_state import global_state_kept
from ppls.parity.reference.structure import is_plain
from ppls.parity.reference_run import RecordedOutput, Recording
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import ENDING_TOLERANCE, Tolerances, worst

NAME, UNIT = "export", "outputs of the export"
_ENDINGS: Mapping[bool, Compare] = {True: compare_classes, False: compare_probabilities}  # by whether they are integers


def compare_export(
    export: RecordedExport,
    recording: Recording,
    module: nn.Module,
    tolerances: Tolerances,
    outputs: Sequence[OutputFigures] = (),
    by: Compare = compare,
) -> Stage:
    """Holds what the export computes against the network's outputs, and the candidate's against it.

    What it ends in, classes or probabilities, is held against its own logits.

    Args:
        export: of the recording's checkpoint, on inputs of the recording.
        module: the candidate, as it is.
        tolerances: the largest scaled errors allowed; the floor is the network's.
        outputs: how far the candidate is from the network.
        by: compares an output of the candidate, as `compare` does.
    """
    job, result = export.job, export.result
    if job is None or result is None:
        return Stage(name=NAME, unit=UNIT, expected=len(recording.outputs), why=export.why)
    if recording.result.resizes.recomputed:  # exact in the network; the export's are Paddle's
        tolerances = replace(tolerances, inexact=frozenset(recording.inputs))
    figures: list[ExportFigures] = []
    failures = []
    expected = compared = 0
    inputs = [given for given in job.inputs if given.name in recording.inputs]
    for given in inputs:
        network = [output for output in recording.outputs if output.input == given.name]
        own = [output for output in result.outputs if output.input == given.name]
        if len(network) != len(own):
            failures = [f"the export has {len(own)} outputs, the network that PaddleSeg builds {len(network)}"]
        candidate = _run(module, recording.input(given.name), [output.place for output in network])
        expected += max(len(network), len(own))
        for output, beside in zip(own, network, strict=False):
            compared += 1
            figures += _figures(export, output, beside, candidate.get(beside.place), recording, tolerances, by)
    on = tuple(given.name for given in inputs)
    left_out = [name for name in recording.inputs if name not in on]
    return Stage(
        name=NAME,
        unit=UNIT,
        on=on,
        compared=compared,
        expected=expected,
        why=None if inputs else "it takes none of the inputs that the candidate takes",
        figures=tuple(figures),
        failures=(*failures, *_told(figures, outputs)),
        scope=_left_out(job.shape, left_out),
    )


def _run(module: nn.Module, image: Array, places: Sequence[str]) -> Mapping[str, Array]:
    """The candidate's outputs by the network's places of them; none where it cannot be run, as its own stage tells."""
    if modules_in_training(module):
        return {}
    try:
        with global_state_kept():
            results = run_by_place(module, image)
    except CandidateError:
        return {}
    # a list of logits may come in any container
    return dict(zip(places, results.values(), strict=False)) if is_plain(places) else results


def _figures(
    export: RecordedExport,
    output: ExportOutput,
    network: RecordedOutput,
    candidate: Array | None,
    recording: Recording,
    tolerances: Tolerances,
    by: Compare,
) -> Iterator[ExportFigures]:
    """One output of the export beside the network's, the candidate's beside it, its ending beside its logits."""
    logits = load_array(export.folder / output.logits.file)
    itself = logits if output.itself is None else load_array(export.folder / output.itself.file)
    reference = network.stored.load()
    # a network may end in classes or probabilities, too
    found = [_beside(network, "network", reference, array, recording, tolerances) for array in (logits, itself)]
    nearer = min(found, key=_error)
    yield nearer
    if candidate is not None:
        own = logits if nearer is found[0] else itself
        yield _beside(network, "candidate", own, candidate, recording, tolerances, by)
    if output.itself is not None:
        comparison = _ENDINGS[itself.dtype.kind in "iu"](logits, itself, tolerance=ENDING_TOLERANCE)
        yield ExportFigures(network.input, network.name, "logits", comparison)


def _beside(
    output: RecordedOutput,
    against: Literal["network", "candidate"],
    reference: Array,
    array: Array,
    recording: Recording,
    tolerances: Tolerances,
    by: Compare = compare,
) -> ExportFigures:
    comparison = by(
        reference,
        array,
        tolerance=tolerances.on(output.input, output.name),
        floor=output.stored.floor,
        absolute=recording.dtype == "float32" and not recording.is_strong(output.input),
    )
    return ExportFigures(output.input, output.name, against, comparison, argmax_agreement(reference, array))


def _told(figures: Sequence[ExportFigures], outputs: Sequence[OutputFigures]) -> Iterator[str]:
    """What the figures that fail mean, a sentence for each side that the export is held against."""
    failed = {found.against: found for found in sorted(figures, key=_error) if found.verdict == "fail"}  # the worst
    if "network" in failed:
        as_network = worst(found.verdict for found in outputs if found.input in {each.input for each in figures})
        side = "neither" if "candidate" in failed else "the export"
        side = "the network" if as_network == "pass" else side
        agrees = f"; the candidate agrees with {side}" if any(found.against == "candidate" for found in figures) else ""
        yield (
            "the export is another function than the network that PaddleSeg builds with the options that its program "
            f"tells: {_by_how_much(failed['network'])}{agrees}"
        )
    elif "candidate" in failed:
        yield f"the candidate is another function than the export: {_by_how_much(failed['candidate'])}"
    if "logits" in failed:
        found = failed["logits"]
        yield f"the export does not make of its logits what it should: {_by_how_much(found)}"


def _error(found: ExportFigures) -> float:
    """Of the least first: what cannot be compared at all is the worst."""
    return math.inf if found.comparison.scaled is None else found.comparison.scaled


def _by_how_much(found: ExportFigures) -> str:
    comparison = found.comparison
    where = f"{found.name} on {found.input}"
    if comparison.scaled is None:
        return f"{where}: {comparison.problem}"
    agreement = found.argmax_agreement
    classes = "" if agreement is None else f", and the class of {1 - agreement:.2%} of the pixels"
    allowed = f"{comparison.tolerance:g}" if comparison.tolerance is not None else "nothing"
    return f"{where} differs by {comparison.scaled:.1e} scaled, where {allowed} is allowed{classes}"


def _left_out(shape: Sequence[int], names: Sequence[str]) -> str | None:
    if not names:
        return None
    return f"it takes {shape_in_words(shape)} alone; {len(names)} inputs of the run are otherwise: {', '.join(names)}"
