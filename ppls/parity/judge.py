"""Judges one candidate against a recorded run of the reference, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from ppls.converter.conversion import Conversion
from ppls.models.base import SegmentationModel
from ppls.models.digest import model_sha256
from ppls.parity.candidate import to_float64
from ppls.parity.causes import cause_in_training, cause_of
from ppls.parity.exported import RecordedExport
from ppls.parity.figures import LayerFigures, OutputFigures
from ppls.parity.global_state import global_state_kept
from ppls.parity.maxima import with_maxima_settled
from ppls.parity.pairing import Paired, pair_layers
from ppls.parity.progress import Progress, not_shown
from ppls.parity.randomness import all_heads, eager, find_quiet, small_inputs, witness_input
from ppls.parity.reference.machine import peak_memory
from ppls.parity.reference_run import RecordedTraining, Recording
from ppls.parity.report.data import Report
from ppls.parity.source import Say
from ppls.parity.stages.arrangement import Experiment, without_rearranged
from ppls.parity.stages.behaviour import compare_behaviour
from ppls.parity.stages.behaviour import not_compared as behaviour_not_compared
from ppls.parity.stages.export import compare_export
from ppls.parity.stages.layers import compare_layers, find_first_divergence
from ppls.parity.stages.numerics import compare_numerics
from ppls.parity.stages.outputs import compare_outputs
from ppls.parity.stages.stage import Stage
from ppls.parity.stages.training import compare_training
from ppls.parity.stages.weights import compare_weights
from ppls.parity.stages.witness import weigh_witness
from ppls.parity.state import copied, working_copy
from ppls.parity.tolerance import TOLERANCE, Tolerances, worst
from ppls.version import versions


@global_state_kept()  # a candidate may leave anything behind
@with_maxima_settled
def judge(
    recording: Recording,
    module: nn.Module,
    conversion: Conversion,
    *,
    training: RecordedTraining | None = None,
    export: RecordedExport | None = None,
    weights: bool = True,
    tolerance: float | Mapping[str, float] = TOLERANCE,
    own: bool = True,
    mapped: bool = False,
    strict: bool = False,
    embedded: bool = False,
    say: Say = lambda line: None,
    progress: Progress = not_shown,
    checkpoint_name: str = "",
    candidate_name: str = "",
) -> Report:
    """Judges a torch module against a recorded run of the reference: weights, then outputs, then layers.

    Args:
        recording: of a run on the conversion's checkpoint.
        module: the candidate, in the mode it is meant to be used in; it is run as it is.
        conversion: of the checkpoint; its map pairs tensors and layers.
        training: of a training of the same checkpoint.
        export: what the checkpoint computes itself, where it is an export.
        weights: compare the candidate's tensors with the checkpoint's.
        tolerance: the largest scaled error allowed, or that of outputs by name and the `default`.
        own: whether the module is ppls's own, so that every layer and tensor of the map must be there.
        mapped: whether the map was given for this candidate, which must then have every tensor of it.
        strict: whether what was assumed or not compared leaves the verdict inconclusive.
        embedded: whether PaddleSeg built the model on the spot, from a config that is known.
        say: called with one line of progress at a time.
        progress: called with how many are done, of how many, and of what: inputs, layers, training steps.
        checkpoint_name, candidate_name: what the report calls the two sides.
    """
    inexact = [name for name in recording.inputs if not recording.is_exact(name)]
    tolerances = Tolerances.given(tolerance).during(recording.dtype, inexact)
    tolerances.check(output.name for output in [*recording.outputs, *recording.head_outputs])
    sha256 = model_sha256(module) if own and isinstance(module, SegmentationModel) else None
    stages = [compare_weights(conversion, module, own=own, mapped=mapped)] if weights else []
    if training is not None:
        say(f"training the candidate for {len(training.job.steps)} steps, in float64 and float32")
    trained = (
        Stage(name="training", unit="steps", why="not asked for: --train-steps N", asked=False)
        if training is None
        else compare_training(training, module, conversion, own=own or mapped, progress=progress)
    )
    given = module
    with _in_double(given) if recording.dtype == "float64" else nullcontext(given) as module:
        fresh = copied(module)
        say(f"running the candidate on {len(recording.inputs)} inputs")
        outputs, pictures = compare_outputs(recording, module, tolerances, progress)
        stages.append(outputs)
        compared = [found for found in outputs.figures if isinstance(found, OutputFigures)]
        if export is not None:
            say("comparing the export")
            stages.append(compare_export(export, recording, module, tolerances, compared))
        paired, quiet = Paired([], [], []), None
        if not compared:
            why = "the outputs could not be compared"
            stages += [Stage(name=name, unit="", why=why) for name in ("layers", "heads", "numerics")]
        else:
            if recording.layers_input is not None:
                say(f"comparing layers on {recording.layers_input}")
                paired = pair_layers(recording, conversion, module, own=own)
            parts = dict(module.named_modules())
            quiet = find_quiet(module, small_inputs(recording), [parts[pair.target] for pair in paired.pairs])
            layers, heads = compare_layers(
                recording, module, paired, tolerances, quiet, compared, own=own, progress=progress
            )
            mode = partial(all_heads, module, quiet) if heads.compared else eager
            if weights and not (own or mapped):
                compared += [found for found in heads.figures if isinstance(found, OutputFigures)]
                experiment = Experiment(module, witness_input(recording), mode)
                stages[0] = without_rearranged(stages[0], compared, tolerances.default, conversion, experiment)
            stages += [layers, heads]
            asked = None if _differs(*stages) else mode
            numerics = compare_numerics(
                recording, conversion, module, paired.pairs, tolerances, asked, trained=training is not None
            )
            stages.append(numerics)
        stages.append(
            behaviour_not_compared("the candidate differs as it is")
            if _differs(*stages, trained) or not outputs.compared
            else compare_behaviour(recording, module, fresh, tolerances)
        )
        stages += [weigh_witness(recording, tolerances, conversion.map), trained]
        figures = [found for stage in stages for found in stage.figures]
        first = find_first_divergence(
            [found for found in figures if isinstance(found, LayerFigures)],
            [found for found in figures if isinstance(found, OutputFigures)],
        )
        if first is not None and first.comparison.verdict == "fail":
            say("looking for the cause")
            first = replace(first, cause=cause_of(first, recording, module, paired.pairs, quiet))
    training_cause = None
    if training is not None and trained.verdict == "fail":
        momenta = {
            call.module: 1 - call.numerics["momentum"] for call in recording.calls if "momentum" in call.numerics
        }
        say("looking for the cause in training")
        training_cause = cause_in_training(
            trained.figures,
            given,
            {pair.target: momenta[pair.source] for pair in paired.pairs if pair.source in momenta},
            lambda changed: compare_training(training, changed, conversion, own=own or mapped).figures,
        )
    return report_on(
        recording,
        conversion,
        tolerances,
        embedded=embedded,
        packages=("numpy", "torch"),
        checkpoint=checkpoint_name,
        candidate=candidate_name,
        candidate_sha256=sha256,
        stages=tuple(stages),
        first_divergence=first,
        training_cause=training_cause,
        pictures=tuple(pictures),
        strict=strict,
    )


def report_on(
    recording: Recording,
    conversion: Conversion,
    tolerances: Tolerances,
    *,
    embedded: bool,
    packages: Sequence[str],
    **found: Any,
) -> Report:
    """The report with what the recording and the conversion say; `found` are its other fields.

    Args:
        packages: of the candidate's side, whose versions are told.
    """
    return Report(
        sha256=recording.sha256,
        architecture=conversion.architecture,
        tolerance=min(map(tolerances.on, recording.inputs)),
        dtype=recording.dtype,
        inputs=tuple(recording.inputs),
        assumed={} if embedded else conversion.assumed_options,
        versions={
            **versions(*packages),
            **{f"reference {name}": number for name, number in recording.versions.items()},
        },
        remarks=(*conversion.warnings, *remarks(recording)),
        peak_memory={"reference": recording.result.peak_memory, "candidate": peak_memory()},
        **found,
    )


@contextmanager
def _in_double(module: nn.Module) -> Iterator[nn.Module]:
    with working_copy(module) as double:
        yield to_float64(double)


def _differs(*stages: Stage) -> bool:
    return worst(stage.verdict for stage in stages) == "fail"


def remarks(recording: Recording) -> list[str]:
    """What limits the proof on the reference's side."""
    found = []
    if recording.job.rewritten:
        found.append(
            f"PaddleSeg was given the weights as ppls read them ({recording.job.rewritten}): that they were read right "
            "is not proven by Paddle's own reading"
        )
    widened = recording.result.widened
    if widened:
        found.append(
            f"PaddleSeg creates {len(widened)} tensors as float32 even in float64 ({widened[0]}, ...); "
            "they were widened"
        )
    resizes = recording.result.resizes
    if resizes.recomputed:
        found.append(
            f"PaddleSeg's {resizes.recomputed} resizes by ratios that float32 does not hold were computed in "
            f"float64; Paddle's own differ by at most {resizes.rounding:.1e}, its rounding"
        )
    return [
        *found,
        *(f"on the reference's side an operator was replaced: {what}" for what in recording.result.replaced),
    ]
