"""The layers: what goes into each and what comes out, beside the reference's, in order of execution."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from torch import nn

from ppls.parity.candidate import CandidateError, all_heads, dropouts, observed, run_by_place
from ppls.parity.compare import Array, Comparison, compare
from ppls.parity.figures import Divergence, LayerFigures, OutputFigures
from ppls.parity.pairing import Pair, Paired
from ppls.parity.recording import Recording, Stored
from ppls.parity.reference.kinds import dropout_rate
from ppls.parity.stages.numerics import other_dropouts
from ppls.parity.stages.outputs import compare_each, wrong_structure
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import Tolerances


def compare_layers(
    recording: Recording, module: nn.Module, paired: Paired, tolerances: Tolerances
) -> tuple[Stage, Stage]:
    """Runs the candidate on the input whose layers were recorded; compares each layer as it runs.

    All heads run if the candidate has counterparts of those that only train mode runs, on strong inputs too.
    Returns the stage of the layers, in the reference's order of execution, and that of the heads' outputs.
    """
    name = recording.layers_input
    if name is None:
        why = "left out by --no-layers"
        return Stage(name="layers", unit="calls of layers", why=why), Stage(name="heads", unit="outputs", why=why)
    expected_calls, expected_heads = len(recording.calls), len(recording.head_outputs)
    modules = dict(module.named_modules())
    present = [pair for pair in paired.pairs if pair.target in modules]
    if not present:
        why = "no layer of the candidate is known by name"
        return (
            Stage(
                name="layers",
                unit="calls of layers",
                expected=expected_calls,
                why=why,
                failures=tuple(paired.failures),
                warnings=tuple(paired.warnings),
            ),
            Stage(name="heads", unit="outputs", expected=expected_heads, why=why),
        )
    train_only = {call.module for call in recording.calls if call.train_only}
    has_all_heads = not train_only or any(pair.source in train_only for pair in present)
    watch = _LayerWatch(recording, present, tolerances.on(name))
    failures: list[str] = []
    warnings: list[str] = []
    heads: list[OutputFigures] = []
    found = dropouts(module)
    rates: list[float] = []
    targets = {pair.target: modules[pair.target] for pair in present}
    others = [output.input for output in recording.head_outputs if has_all_heads]
    for given in dict.fromkeys([name, *others]):
        watched = given == name
        try:
            with (
                observed(targets if watched else {}, watch.see),
                observed(found if watched else {}, lambda name, *_: rates.append(dropout_rate(found[name]))),
                all_heads(module) if has_all_heads else nullcontext(),
            ):
                results = run_by_place(module, recording.input(given))
        except CandidateError as error:
            failures.append(f"the candidate {error} (all heads, input {given})")
            continue
        if watched:
            failures += watch.never_run(skip=set() if has_all_heads else train_only)
            warnings = other_dropouts(recording.dropout_rates(all_heads=has_all_heads), rates)
        if has_all_heads:
            expected = [output for output in recording.head_outputs if output.input == given]
            failures += wrong_structure(expected, results, f"all heads, input {given}")
            heads += compare_each(recording, expected, results, tolerances)
    figures = watch.figures()
    layers = Stage(
        name="layers",
        unit="calls of layers",
        on=(name,),
        compared=len(figures),
        expected=expected_calls,
        why=None if len(figures) >= expected_calls else "the rest has no counterpart that could be watched",
        figures=tuple(figures),
        failures=(*paired.failures, *failures),
        warnings=(*paired.warnings, *warnings),
    )
    return layers, Stage(
        name="heads",
        unit="outputs",
        on=tuple(dict.fromkeys(output.input for output in heads)),
        compared=len(heads),
        expected=expected_heads,
        why=None if has_all_heads else "the candidate has no heads of training",
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


class _LayerWatch:
    """Compares the candidate's layers with the reference's at the moment they run; nothing is kept but figures."""

    def __init__(self, recording: Recording, pairs: Sequence[Pair], tolerance: float) -> None:
        self._input = recording.layers_input or ""
        self._tolerance = tolerance
        self._calls = {(call.module, call.call): call for call in recording.calls}
        self._pairs: dict[str, list[Pair]] = {}
        for pair in pairs:
            self._pairs.setdefault(pair.target, []).append(pair)
        incomparable = {pair.source for pair in pairs if not pair.output_comparable}
        self._incomparable = {call.output.path for call in recording.calls if call.module in incomparable}
        self._figures: dict[tuple[int, str], LayerFigures] = {}
        self._seen: set[str] = set()

    def see(self, target: str, call: int, value: Array, result: Array) -> None:
        for pair in self._pairs[target]:
            recorded = self._calls.get((pair.source, call))
            if recorded is None:
                continue
            self._seen.add(pair.source)
            at_input = self._compare(recorded.input, pair.input, value)
            at_output = self._compare(recorded.output, pair.output, result)
            if at_input or at_output:
                self._figures[recorded.position, target] = LayerFigures(
                    self._input, pair.source, target, pair.kind, at_input, at_output, call
                )

    def figures(self) -> list[LayerFigures]:
        return [self._figures[key] for key in sorted(self._figures)]

    def never_run(self, skip: set[str]) -> list[str]:
        pairs = [pair for pairs in self._pairs.values() for pair in pairs]
        ran = {source for source, _ in self._calls}
        return [
            f"the candidate never runs {pair.target}, where the reference runs {pair.source}"
            for pair in pairs
            if pair.source in ran and pair.source not in self._seen and pair.source not in skip
        ]

    def _compare(self, stored: Stored, to_target: Any, array: Array) -> Comparison | None:
        if stored.path in self._incomparable:  # before a BatchNorm that took in this convolution's bias
            return None
        return compare(to_target(stored.load()), array, tolerance=self._tolerance, floor=stored.floor)
