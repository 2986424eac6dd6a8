"""The outputs: what the candidate returns on every input beside what the reference returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from ppls.images.normalisation import pixels_of
from ppls.models.modes import modules_in_training
from ppls.parity.candidate import CandidateError, run_by_place
from ppls.parity.compare import Array, Compare, argmax_agreement, classes_of, compare
from ppls.parity.distribution import heatmap
from ppls.parity.figures import OutputFigures, Picture
from ppls.parity.global_state import described, global_state_kept
from ppls.parity.progress import Progress, not_shown
from ppls.parity.reference.figures import without_farthest
from ppls.parity.reference.structure import is_plain
from ppls.parity.reference_run import RecordedOutput, Recording
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Tolerances
from ppls.shown import shown


def compare_outputs(
    recording: Recording,
    module: nn.Module,
    tolerances: Tolerances,
    progress: Progress = not_shown,
    by: Compare = compare,
) -> tuple[Stage, list[Picture]]:
    """Runs the candidate, as it is, on every input; beside the stage, pictures of what both sides make of them.

    `by` compares an output, as `compare` does.
    """
    in_training = modules_in_training(module)
    if in_training:
        count = f"{len(in_training)} modules, {in_training[0]} first" if len(in_training) > 1 else in_training[0]
        why = f"the candidate was left in training mode ({count}); it was not run: ppls never calls eval() on it"
        return Stage(name="outputs", unit="outputs", expected=len(recording.outputs), why=why, failures=(why,)), []
    figures: list[OutputFigures] = []
    pictures: list[Picture] = []
    failures = []
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for done, name in enumerate(recording.inputs):
        progress(done, len(recording.inputs), "inputs")
        expected = [output for output in recording.outputs if output.input == name]
        try:
            with global_state_kept() as left:
                results = run_by_place(module, recording.input(name))
        except CandidateError as error:
            failures.append(f"the candidate {error} (input {name})")
            continue
        failures += [f"the candidate leaves {described(part, *left[part])} changed (input {name})" for part in left]
        failures += wrong_structure(expected, results, f"input {name}")
        figures += compare_each(recording, expected, results, tolerances, by)
        if expected and results:
            first = expected[0].stored.load()
            pictures += picture(expected[0].input, recording.input(name), first, next(iter(results.values())))
    left_out = recording.job.left_out
    after = module.state_dict()
    changed = [name for name in before if name in after and not torch.equal(_bits(before[name]), _bits(after[name]))]
    if changed:
        failures.append(f"the candidate changes {len(changed)} of its own tensors in eval mode, {changed[0]} first")
    stage = Stage(
        name="outputs",
        unit="outputs",
        on=tuple(recording.inputs),
        compared=len(figures),
        expected=len(recording.outputs),
        why=f"--only left out {len(left_out)} default inputs: {', '.join(left_out)}" if left_out else None,
        figures=tuple(figures),
        failures=tuple(failures),
        warnings=tuple(
            f"PaddleSeg's choice of points hangs on a tie (input {output.input}, {output.name}): the "
            f"{output.undecided} pixels that differ most are left out"
            for output in recording.outputs
            if output.undecided
        ),
    )
    return stage, pictures


def compare_each(
    recording: Recording,
    expected: Sequence[RecordedOutput],
    results: Mapping[str, Array],
    tolerances: Tolerances,
    by: Compare = compare,
) -> list[OutputFigures]:
    figures = []
    if is_plain(output.place for output in expected):
        pairs = list(zip(expected, results.values(), strict=False))
    else:
        pairs = [(output, results[output.place]) for output in expected if output.place in results]
    for output, array in pairs:
        # the figures to reach in float64 are scaled ones
        absolute = recording.dtype == "float32" and not recording.is_strong(output.input)
        reference = output.stored.load()
        if output.undecided and array.shape == reference.shape:
            array = without_farthest(reference, array, output.undecided)
        tolerance, floor = tolerances.on(output.input, output.name), output.stored.floor
        comparison = by(reference, array, tolerance=tolerance, floor=floor, absolute=absolute, distributed=True)
        figures.append(OutputFigures(output.input, output.name, comparison, argmax_agreement(reference, array)))
    return figures


def picture(name: str, image: Array, reference: Array, candidate: Array) -> list[Picture]:
    """The classes that an output gives on both sides, where it is a map of logits as large as the image of an input."""
    own = classes_of(reference, candidate)
    if own is None or reference.shape[2:] != image.shape[2:]:
        return []
    colours = image[0, np.arange(3) % image.shape[1]]
    classes = [found[0].astype(np.uint16) for found in (reference.argmax(axis=1), own)]
    heat = heatmap(reference, candidate) if reference.shape == candidate.shape else None
    return [Picture(name, pixels_of(colours.transpose(1, 2, 0)), classes[0], classes[1], heat)]


def wrong_structure(expected: Sequence[RecordedOutput], results: Mapping[str, Array], where: str) -> list[str]:
    """What is wrong with what the candidate returned, beyond figures.

    The logits of a list may come in any container, in order. What is no such list must be built as the reference's.
    """
    if is_plain(output.place for output in expected):
        if len(expected) == len(results):
            return []
        return [f"the candidate returned {len(results)} outputs, the reference {len(expected)} ({where})"]
    places = [output.place for output in expected]
    lacking = [f"has no {shown(place, 80)}" for place in places if place not in results]
    unexpected = [f"has {shown(place, 80)}, too" for place in results if place not in places]
    if not lacking and not unexpected:
        return []
    first = (lacking + unexpected)[0]
    return [f"what the candidate returned is not built as what the reference did: it {first} ({where})"]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
