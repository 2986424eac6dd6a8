"""Judges an exported file against a recorded run of the reference: by its outputs, and by what a file can be asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ppls.converter.conversion import Conversion
from ppls.errors import UsageError
from ppls.inference.loading import load
from ppls.parity.classes import compare_classes, compare_probabilities
from ppls.parity.compare import Compare, compare
from ppls.parity.exported import RecordedExport
from ppls.parity.figures import OutputFigures
from ppls.parity.files.candidate import FileCandidate, kind_of
from ppls.parity.files.ties import choosing_as
from ppls.parity.global_state import global_state_kept
from ppls.parity.judge import report_on
from ppls.parity.progress import Progress, not_shown
from ppls.parity.reference.structure import is_plain
from ppls.parity.reference_run import Recording
from ppls.parity.report.data import Report
from ppls.parity.source import Say
from ppls.parity.stages.asked import CROP
from ppls.parity.stages.behaviour import compare_behaviour
from ppls.parity.stages.behaviour import not_compared as behaviour_not_compared
from ppls.parity.stages.export import compare_export
from ppls.parity.stages.layers import find_first_divergence
from ppls.parity.stages.outputs import compare_outputs
from ppls.parity.stages.stage import Stage
from ppls.parity.stages.witness import weigh_witness
from ppls.parity.tolerance import TOLERANCE, Tolerances
from ppls.temporary import temporary_folder

_NOT_IN_A_FILE = {
    "weights": "a file shows no tensors by their names: its outputs decide",
    "layers": "a file shows no layers: its outputs decide",
    "heads": "a file has no training mode",
    "numerics": "a file shows no layers: its outputs decide",
    "training": "a file cannot be trained",
}
_COMPARED_BY: dict[str, Compare] = {
    "logits": compare,
    "softmax": compare_probabilities,
    "argmax": compare_classes,
}
_LESS_THAN_LOGITS = {
    "softmax": "the file gives probabilities, compared with the softmax of PaddleSeg's logits: where one class is "
    "certain, they hide what the logits are",
    "argmax": "the file gives classes, judged by the margin that PaddleSeg's logits give them: an error that moves no "
    "pixel to another class does not show",
}

_TIES = (
    "{} maxima of poolings that tie stand elsewhere in the file than in PaddleSeg: either choice is right, and what it "
    "changes, as ppls's own model shows it, is taken into account"
)


@global_state_kept()
def judge_file(
    recording: Recording,
    candidate: FileCandidate,
    conversion: Conversion,
    *,
    converted: Path | None = None,
    export: RecordedExport | None = None,
    tolerance: float | Mapping[str, float] = TOLERANCE,
    strict: bool = False,
    embedded: bool = False,
    say: Say = lambda line: None,
    progress: Progress = not_shown,
    checkpoint_name: str = "",
    candidate_name: str = "",
) -> Report:
    """Judges a file by its outputs, on the inputs of the recording that it takes.

    Args:
        converted: the converted file, where the conversion wrote none.
        export, tolerance, strict, embedded, say, progress, checkpoint_name, candidate_name: as of `judge`.

    Raises:
        UsageError: the recording is of float64, or the file takes none of its inputs.
    """
    if recording.dtype != "float32":
        raise UsageError(f"{candidate.path}: computes in a type of its own; it cannot be judged in {recording.dtype}")
    shapes = {name: recording.input(name).shape for name in recording.inputs}
    taken = [name for name, shape in shapes.items() if candidate.shape.takes(shape)]
    if not taken:
        size = _size_to_give(candidate)
        raise UsageError(
            f"{candidate.path}: takes {candidate.shape}, and no input of the run is like that"
            f"{f'; run PaddleSeg with --size {size}' if size else ''}"
        )
    recording = _only(recording, taken)
    tolerances = Tolerances.given(tolerance).during(recording.dtype, [])
    tolerances.check(output.name for output in recording.outputs)
    kind, count = _given(candidate, recording)
    recording, more = _first_outputs(recording, count)
    say(f"running {candidate.opened.runtime} on {len(taken)} inputs")
    with _choosing_as(recording, candidate, converted or conversion.destination) as (chosen, ties):
        outputs, pictures = compare_outputs(chosen, candidate, tolerances, progress, _COMPARED_BY[kind])
        behaviour = (
            behaviour_not_compared("the candidate differs as it is")
            if outputs.verdict == "fail" or not outputs.compared
            else compare_behaviour(
                chosen,
                candidate,
                candidate.again(),
                tolerances,
                names=_questions(candidate),
                image=_image(recording, candidate),
                by=_COMPARED_BY[kind],
            )
        )
    other = [name for name in shapes if name not in taken]
    warnings = (*outputs.warnings, *_warnings(candidate, kind), *ties)
    outputs = replace(outputs, scope=_scope(candidate, other, more), warnings=warnings)
    found = {name: Stage(name=name, unit="", scope=why) for name, why in _NOT_IN_A_FILE.items()}
    compared = [figures for figures in outputs.figures if isinstance(figures, OutputFigures)]
    if export is not None:
        say("comparing the export")
        beside = compare_export(export, recording, candidate, tolerances, compared, _COMPARED_BY[kind])
    return report_on(
        recording,
        conversion,
        tolerances,
        embedded=embedded,
        packages=("numpy", "torch", "onnxruntime", "openvino"),
        checkpoint=checkpoint_name,
        candidate=candidate_name or str(candidate.path),
        candidate_file=candidate.described(),
        stages=(
            found["weights"],
            outputs,
            *([] if export is None else [beside]),
            found["layers"],
            found["heads"],
            found["numerics"],
            behaviour,
            weigh_witness(recording, tolerances, conversion.map),
            found["training"],
        ),
        first_divergence=find_first_divergence([], compared),
        pictures=tuple(pictures),
        strict=strict,
    )


@contextmanager
def _choosing_as(
    recording: Recording, candidate: FileCandidate, converted: Path | None
) -> Iterator[tuple[Recording, list[str]]]:
    """The recording with maxima that tie chosen as the file chooses, while this lasts; and that in words."""
    if not recording.maxima or converted is None:
        yield recording, []
        return
    with temporary_folder() as folder:
        try:
            recording, moved = choosing_as(recording, candidate, load(converted), folder)
        except Exception:  # the runtimes raise what they like; so will the comparison's own run, and say it
            moved = 0
        yield recording, [_TIES.format(moved)] if moved else []


def _only(recording: Recording, names: Collection[str]) -> Recording:
    """A recording without the inputs of other names, and without what was recorded of train mode."""
    job, result = recording.job, recording.result
    return replace(
        recording,
        job=replace(job, inputs=tuple(given for given in job.inputs if given.name in names)),
        result=replace(result, outputs=tuple(output for output in result.outputs if output.input in names)),
    )


def _first_outputs(recording: Recording, count: int) -> tuple[Recording, str]:
    """A recording of so many outputs of each input, where the reference returned a list of more; and that in words.

    An export often has the logits alone, where PaddleSeg's model gives those of an auxiliary head as well, or, as
    GSCNN, a list of edges.
    """
    outputs = recording.result.outputs
    there = max(output.index for output in outputs) + 1
    kept = tuple(output for output in outputs if output.index < count)
    if not 0 < count < there or not is_plain(output.place for output in kept):
        return recording, ""
    what = "output alone" if count == 1 else f"{count} outputs"
    return (
        replace(recording, result=replace(recording.result, outputs=kept)),
        f"the file gives the first {what} of PaddleSeg's {there}",
    )


def _given(candidate: FileCandidate, recording: Recording) -> tuple[str, int]:
    """What the file gives, and how many of it, by runs on the smallest input; of one that raises: logits, none."""
    image = torch.from_numpy(min((recording.input(name) for name in recording.inputs), key=lambda array: array.size))
    try:
        with torch.no_grad():
            return kind_of(candidate, image), len(candidate(image))
    except Exception:  # the runtimes raise what they like; so will the comparison's own run, and say it
        return "logits", 0


def _scope(candidate: FileCandidate, other: Sequence[str], more: str) -> str | None:
    """What the file does not take, and does not give, in words."""
    left_out = f"; {len(other)} inputs of the run are otherwise: {', '.join(other)}" if other else ""
    said = [] if candidate.shape.is_any else [f"the file takes {candidate.shape} alone{left_out}"]
    return "; ".join([*said, more] if more else said) or None


def _warnings(candidate: FileCandidate, kind: str) -> list[str]:
    found = [_LESS_THAN_LOGITS[kind]] if kind in _LESS_THAN_LOGITS else []
    opened = candidate.opened
    types = {
        "takes images in": [opened.input_dtype],
        "holds weights in": list(opened.weights),
        "gives": [dtype for dtype in candidate.output_dtypes if "float" in dtype],
    }
    other = [f"{what} {', '.join(names)}" for what, names in types.items() if any(name != "float32" for name in names)]
    return [
        *found,
        *([f"the file {', '.join(other)}: it is held to PaddleSeg's float32 all the same"] if other else []),
    ]


def _questions(candidate: FileCandidate) -> list[str]:
    """Those that make sense for a file: not those about weights, copies, training, or, outside PyTorch, its modes."""
    names = ["the order of calls", "one call after another", "another image in the same tensor"]
    names.append("results that are written to")
    if candidate.opened.in_torch:
        names += ["grad mode", "the number of threads"]
        names += ["memory layout"] if 1 in candidate.shape.batch and 2 in candidate.shape.batch else []
    if all(count in candidate.shape.batch for count in (1, 2, 3, 4)):
        names.append("an image's place in its batch")
    return names


def _image(recording: Recording, candidate: FileCandidate) -> Tensor:
    """A small image that the file takes, to ask about."""
    arrays = [recording.input(name) for name in recording.inputs]
    smallest = torch.from_numpy(min(arrays, key=lambda array: array.size))
    parts = (smallest[:1, :, :CROP, :CROP], smallest[:1], smallest)
    return next(part for part in parts if candidate.shape.takes(part.shape)).clone()


def _size_to_give(candidate: FileCandidate) -> str | None:
    height, width = candidate.shape.height.fixed, candidate.shape.width.fixed
    return None if height is None or width is None else f"{height}x{width}"
