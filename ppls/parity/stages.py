"""The stages of a verification: weights, outputs, layers; each compares a candidate with a recorded reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ppls.checkpoint.checkpoint import StoredTensor
from ppls.images.normalisation import pixels_of
from ppls.inference.modes import modules_in_training
from ppls.parity.candidate import (
    CandidateError,
    all_heads,
    dropouts,
    observed,
    run,
)
from ppls.parity.compare import Array, Comparison, argmax_agreement, compare
from ppls.parity.recording import RecordedOutput, Recording, Stored
from ppls.parity.reference.kinds import dropout_rate
from ppls.parity.report import Divergence, LayerFigures, OutputFigures, Picture, WeightFigures
from ppls.parity.tolerances import NUMERICS_TOLERANCE

_TORCH = {"epsilon": "eps", "momentum": "momentum"}


class Pair(Protocol):
    """A layer of the reference and its counterpart: `ppls.mappings.maps.ModulePair`, or one name on both sides."""

    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def output_comparable(self) -> bool: ...
    def input(self, activation: Array) -> Array: ...
    def output(self, activation: Array) -> Array: ...


def compare_weights(checkpoint: Mapping[str, StoredTensor], mapped_back: Mapping[str, StoredTensor]) -> WeightFigures:
    """Compares the candidate's tensors, mapped back to Paddle's names, with the checkpoint's, bit for bit.

    Tensors that the map drops (duplicates, dead ones) are in the checkpoint alone and are not compared.
    """
    common = [name for name in mapped_back if name in checkpoint]
    different = [name for name in common if not _same_bits(checkpoint[name], mapped_back[name])]
    return WeightFigures(len(common), tuple(different))


def compare_outputs(
    recording: Recording, module: nn.Module, tolerances: Mapping[str, float]
) -> tuple[list[OutputFigures], list[Picture], list[str]]:
    """Runs the candidate, as it is, on every input; returns the figures, the pictures, and what went wrong."""
    in_training = modules_in_training(module)
    if in_training:
        count = f"{len(in_training)} modules, {in_training[0]} first" if len(in_training) > 1 else in_training[0]
        return (
            [],
            [],
            [f"the candidate was left in training mode ({count}); it was not run: ppls never calls eval() on it"],
        )
    figures, pictures, failures = [], [], []
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for name in recording.inputs:
        expected = [output for output in recording.outputs if output.input == name]
        try:
            results = run(module, recording.input(name))
        except CandidateError as error:
            failures.append(f"the candidate {error} (input {name})")
            continue
        failures += _wrong_number(expected, results, f"input {name}")
        figures += _compare_each(recording, expected, results, tolerances)
        pictures += _picture(recording.input(name), expected, results)
    after = module.state_dict()
    changed = [name for name in before if name in after and not torch.equal(_bits(before[name]), _bits(after[name]))]
    if changed:
        failures.append(f"the candidate changes {len(changed)} of its own tensors in eval mode, {changed[0]} first")
    return figures, pictures, failures


def compare_layers(
    recording: Recording, module: nn.Module, pairs: Sequence[Pair], tolerances: Mapping[str, float]
) -> tuple[list[LayerFigures], list[OutputFigures], list[str], list[str]]:
    """Runs the candidate on the input whose layers were recorded; compares each layer as it runs.

    All heads run if the candidate has counterparts of those that only train mode runs, on strong inputs too.
    Returns the layers in the reference's order of execution, the outputs of the heads, what went wrong, and warnings:
    the rates of dropouts matter to training alone.
    """
    name = recording.layers_input
    modules = dict(module.named_modules())
    present = [pair for pair in pairs if pair.target in modules]
    if name is None or not present:
        return [], [], [], []
    train_only = {call.module for call in recording.calls if call.train_only}
    has_all_heads = not train_only or any(pair.source in train_only for pair in present)
    watch = _LayerWatch(recording, present, tolerances[name])
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
                results = run(module, recording.input(given))
        except CandidateError as error:
            failures.append(f"the candidate {error} (all heads, input {given})")
            continue
        if watched:
            failures += watch.never_run(skip=set() if has_all_heads else train_only)
            warnings = _other_dropouts(recording.dropout_rates(all_heads=has_all_heads), rates)
        if has_all_heads:
            expected = [output for output in recording.head_outputs if output.input == given]
            failures += _wrong_number(expected, results, f"all heads, input {given}")
            heads += _compare_each(recording, expected, results, tolerances)
    return watch.figures(), heads, failures, warnings


def compare_numerics(recording: Recording, module: nn.Module, pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """What no tensor shows of the candidate's normalisations beside the reference's.

    An epsilon may be too small to move an output by the tolerance, and is another function all the same: a failure.
    Momentum matters to training alone: a warning.
    """
    expected = {call.module: call.numerics for call in recording.calls}
    modules = dict(module.named_modules())
    found: dict[str, list[str]] = {"epsilon": [], "momentum": []}
    for pair in pairs:
        layer = modules[pair.target]
        epsilon, momentum = getattr(layer, "eps", None), getattr(layer, "momentum", None)
        own = {"epsilon": epsilon, "momentum": None if momentum is None else 1 - momentum}
        for name, value in expected.get(pair.source, {}).items():
            given = own[name]
            if given is not None and abs(given - value) > NUMERICS_TOLERANCE * value:
                theirs = value if name == "epsilon" else 1 - value  # in torch's terms
                found[name].append(f"{pair.target} has {name} {getattr(layer, _TORCH[name]):g}, not {theirs:.6g}")
    epsilons, momenta = (
        [f"{lines[0]} as the reference's{f' (and {len(lines) - 1} layers more)' if lines[1:] else ''}"] if lines else []
        for lines in found.values()
    )
    return epsilons, momenta


def _other_dropouts(expected: Sequence[float], found: Sequence[float]) -> list[str]:
    pairs = zip_longest(found, expected, fillvalue=0.0)
    different = [pair for pair in pairs if not np.isclose(*pair, rtol=NUMERICS_TOLERANCE, atol=0.0)]
    if not different:
        return []
    own, reference = different[0]
    line = f"dropouts in training: {len(different)} rates differ, the first is {own:g} where the reference's is "
    return [f"{line}{reference:g} (0: none), in order of execution"]


def find_first_divergence(layers: Sequence[LayerFigures], outputs: Sequence[OutputFigures]) -> Divergence | None:
    """The first layer that fails, else the first output, else the first of which nothing can be said."""
    for verdict in ("fail", "inconclusive"):
        for layer in layers:
            for at, comparison in (("input", layer.at_input), ("output", layer.at_output)):
                if comparison is not None and comparison.verdict == verdict:
                    return Divergence(layer.input, layer.source, layer.target, layer.kind, at, comparison)
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
                    self._input, pair.source, target, pair.kind, at_input, at_output
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


def _compare_each(
    recording: Recording, expected: Sequence[RecordedOutput], results: Sequence[Array], tolerances: Mapping[str, float]
) -> list[OutputFigures]:
    figures = []
    for output, array in zip(expected, results, strict=False):
        # the figures to reach in float64 are scaled ones
        absolute = recording.dtype == "float32" and not recording.is_strong(output.input)
        reference = output.stored.load()
        tolerance, floor = tolerances[output.input], output.stored.floor
        comparison = compare(reference, array, tolerance=tolerance, floor=floor, absolute=absolute)
        figures.append(OutputFigures(output.input, output.name, comparison, argmax_agreement(reference, array)))
    return figures


def _picture(image: Array, expected: Sequence[RecordedOutput], results: Sequence[Array]) -> list[Picture]:
    """The classes that the first output gives on both sides, where it is a map of logits as large as the image."""
    if not expected or not results or expected[0].stored.load().shape != results[0].shape:
        return []
    reference, candidate = expected[0].stored.load(), results[0]
    if reference.ndim != 4 or reference.shape[1] < 2 or reference.shape[2:] != image.shape[2:]:
        return []
    colours = image[0, np.arange(3) % image.shape[1]]
    classes = [logits[0].argmax(axis=0).astype(np.uint16) for logits in (reference, candidate)]
    return [Picture(expected[0].input, pixels_of(colours.transpose(1, 2, 0)), classes[0], classes[1])]


def _wrong_number(expected: Sequence[RecordedOutput], results: Sequence[Array], where: str) -> list[str]:
    if len(expected) == len(results):
        return []
    return [f"the candidate returned {len(results)} outputs, the reference {len(expected)} ({where})"]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _same_bits(a: StoredTensor, b: StoredTensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return np.ascontiguousarray(a.load()).tobytes() == np.ascontiguousarray(b.load()).tobytes()
