"""The layers: what goes into each and what comes out, beside the reference's, in order of execution."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch import nn

from ppls.parity.candidate import CandidateError, counted, observed, run_by_place
from ppls.parity.compare import Array
from ppls.parity.figures import Divergence, LayerFigures, OutputFigures
from ppls.parity.pairing import Pair, Paired
from ppls.parity.progress import Progress, not_shown
from ppls.parity.randomness import Quiet, all_heads, eager, witness_input
from ppls.parity.reference_run import Recording
from ppls.parity.stages.arrangement import Experiment, is_arranged_otherwise
from ppls.parity.stages.layer_watch import LayerWatch
from ppls.parity.stages.numerics import other_dropouts
from ppls.parity.stages.outputs import compare_each, wrong_structure
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Tolerances

UNIT = "calls of layers"


def compare_layers(
    recording: Recording,
    module: nn.Module,
    paired: Paired,
    tolerances: Tolerances,
    quiet: Quiet,
    outputs: Sequence[OutputFigures],
    *,
    own: bool,
    progress: Progress = not_shown,
) -> tuple[Stage, Stage]:
    """Runs the candidate on the input whose layers were recorded; compares each layer as it runs.

    All heads run if the candidate has as many in training as the reference, or layers of them by name, on strong inputs
    too. Returns the stage of the layers, in the reference's order of execution, and that of the heads' outputs.

    Args:
        paired: which layer answers which.
        quiet: how to run the heads of training.
        outputs: those of eval mode, which tell whether a candidate whose layers differ is the same function still.
        own: whether the candidate is ppls's own, whose layers must be the reference's, one by one.
    """
    name = recording.layers_input
    if name is None:
        why = "left out by --no-layers"
        return Stage(name="layers", unit=UNIT, why=why), Stage(name="heads", unit="outputs", why=why)
    no_heads = _why_no_heads(recording, paired.pairs, quiet, own=own)
    mode = eager if no_heads else partial(all_heads, module, quiet)
    modules = dict(module.named_modules())
    targets = {pair.target: modules[pair.target] for pair in paired.pairs}
    others = _like_layers(modules, targets, quiet) if paired.pairs and not own else {}
    watch = LayerWatch(recording, paired.pairs, tolerances.on(name))
    failures = list(paired.failures)
    heads: list[OutputFigures] = []
    calls = itertools.count(1)

    def see(target: str, call: int, inputs: list[Array], results: list[Array]) -> None:
        watch.see(target, call, inputs, results)
        progress(next(calls), len(recording.calls), "layers")

    with counted(others) as others_called, observed(targets, see) as hidden:
        results = _run(recording, module, name, mode, failures)
    if no_heads is None:
        heads += _compare_heads(recording, name, results, tolerances, failures)
        for given in dict.fromkeys(output.input for output in recording.head_outputs if output.input != name):
            results = _run(recording, module, given, mode, failures)
            heads += _compare_heads(recording, given, results, tolerances, failures)

    experiment = Experiment(module, witness_input(recording), mode)
    rest = _Rest(recording, paired, watch, experiment, hidden, no_heads is not None)
    figures = watch.figures()
    if own:
        failures += [line for pair in rest.never_run for line in _never_runs(pair)]
    else:
        failures += [line for pair in rest.dead for line in _never_runs(pair)]
        if is_arranged_otherwise(figures, [*outputs, *heads], tolerances.on(name), experiment.of_layer):
            figures = [layer for layer in figures if layer.verdict == "pass"]
    layers = Stage(
        name="layers",
        unit=UNIT,
        on=(name,) if paired.pairs else (),
        compared=len(figures),
        expected=len(recording.calls),
        why=None if len(figures) >= len(recording.calls) else rest.why(len(watch.figures()) - len(figures)),
        figures=tuple(figures),
        failures=tuple(failures),
        warnings=(
            *paired.warnings,
            *_other_calls(watch, others_called),
            *other_dropouts(recording.dropout_rates(all_heads=no_heads is None), quiet.training.draws),
        ),
    )
    return layers, Stage(
        name="heads",
        unit="outputs",
        on=tuple(dict.fromkeys(output.input for output in heads)),
        compared=len(heads),
        expected=len(recording.head_outputs),
        why=no_heads,
        figures=tuple(heads),
    )


def find_first_divergence(layers: Sequence[LayerFigures], outputs: Sequence[OutputFigures]) -> Divergence | None:
    """The first layer that fails, else the first output, else the first of which nothing can be said."""
    for verdict in ("fail", "inconclusive"):
        for layer in layers:
            for at, comparison in (("input", layer.at_input), ("output", layer.at_output)):
                if comparison is not None and comparison.verdict == verdict:
                    return Divergence(
                        layer.input, layer.source, layer.target, layer.kind, at, comparison, call=layer.call
                    )
        for output in outputs:
            if output.comparison.verdict == verdict:
                return Divergence(output.input, output.name, output.name, "output", "output", output.comparison)
    return None


def _why_no_heads(recording: Recording, pairs: Sequence[Pair], quiet: Quiet, *, own: bool) -> str | None:
    """Why the heads of training cannot be run as the reference's were; None where they can."""
    if recording.draws:
        return "PaddleSeg's model draws numbers in train mode: --train-steps N compares it with the draws fixed"
    if quiet.problem:
        return quiet.problem
    train_only = {call.module for call in recording.calls if call.train_only}
    heads = sum(output.input == recording.layers_input for output in recording.head_outputs)
    in_eval = sum(output.input == recording.layers_input for output in recording.outputs)
    found = quiet.training.outputs
    if not train_only or found == heads:
        return None
    if found == in_eval and not own:
        return "the candidate has no heads of training, or returns none"
    if any(pair.source in train_only for pair in pairs):
        return None  # which shows what is wrong
    return "the candidate raises in train mode" if found is None else "the candidate has no heads of training"


def _run(
    recording: Recording,
    module: nn.Module,
    name: str,
    mode: Callable[[], AbstractContextManager[Any]],
    failures: list[str],
) -> Mapping[str, Array] | None:
    try:
        with mode():
            return run_by_place(module, recording.input(name))
    except CandidateError as error:
        failures.append(f"the candidate {error} (all heads, input {name})")
        return None


def _compare_heads(
    recording: Recording,
    name: str,
    results: Mapping[str, Array] | None,
    tolerances: Tolerances,
    failures: list[str],
) -> list[OutputFigures]:
    if results is None:
        return []
    expected = [output for output in recording.head_outputs if output.input == name]
    failures += wrong_structure(expected, results, f"all heads, input {name}")
    return compare_each(recording, expected, results, tolerances)


def _like_layers(modules: Mapping[str, nn.Module], targets: Collection[str], quiet: Quiet) -> dict[str, nn.Module]:
    """The modules that are layers as the reference counts them and answer none of its: with a weight, or statistics."""
    return {
        name: module
        for name, module in modules.items()
        if name not in targets
        and not list(module.children())
        and (module in quiet.training.updated or any(parameter.ndim > 1 for parameter in module.parameters()))
    }


def _other_calls(watch: LayerWatch, others: Mapping[str, int]) -> list[str]:
    """The calls that one side alone makes."""
    alone = {name: count for name, count in [*watch.extra.items(), *others.items()] if count}
    lines = []
    if alone:
        lines.append(f"{sum(alone.values())} calls of layers are the candidate's alone, {next(iter(alone))} first")
    if watch.missed():
        lines.append(f"{watch.missed()} calls of layers that both sides have are the reference's alone")
    return lines


def _never_runs(pair: Pair) -> list[str]:
    return [f"the candidate never runs {pair.target}, where the reference runs {pair.source}"]


class _Rest:
    """The layers of the reference that were not compared, and why."""

    def __init__(
        self,
        recording: Recording,
        paired: Paired,
        watch: LayerWatch,
        experiment: Experiment,
        hidden: Collection[str],
        without_heads: bool,
    ) -> None:
        self._paired, self._hidden, self._experiment = paired, hidden, experiment
        train_only = {call.module for call in recording.calls if call.train_only and without_heads}
        self.never_run = watch.never_run(skip={*hidden, *train_only})

    @property
    def dead(self) -> list[Pair]:
        """Those that never run and whose tensors nothing else uses: a convolution may be called as a function."""
        return [pair for pair in self.never_run if self._experiment.of_layer(pair.target, 1.0) == 0.0]

    def why(self, arranged: int) -> str:
        """Why not every call was compared, in a sentence."""
        if not self._paired.pairs:
            return "no layer of the candidate is known by name"
        reasons = [
            f"{len(self._hidden)} layers are TorchScript, which cannot be watched" if self._hidden else "",
            f"{len(self.never_run)} layers are never called as modules" if self.never_run else "",
            f"{arranged} calls hold something else and leave no trace in what follows: arranged otherwise"
            if arranged
            else "",
        ]
        return "; ".join(filter(None, reasons)) or "the rest has no counterpart in the candidate"
