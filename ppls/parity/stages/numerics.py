"""The numerics: what no tensor shows of the candidate's layers beside the reference's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import zip_longest
from typing import Any

import numpy as np
from torch import nn

from ppls.converter.conversion import Conversion
from ppls.parity.normalisations import (
    Running,
    epsilon_of_layer,
    epsilons_of_operators,
    find_running,
    momenta,
    without_variance,
)
from ppls.parity.pairing import Pair
from ppls.parity.randomness import Draw, small_inputs
from ppls.parity.reference_run import Recording
from ppls.parity.stages.arrangement import Experiment
from ppls.parity.stages.stage import Stage
from ppls.parity.tolerance import NUMERICS_TOLERANCE, Tolerances, verdict_on


def compare_numerics(
    recording: Recording,
    conversion: Conversion,
    module: nn.Module,
    pairs: Sequence[Pair],
    tolerances: Tolerances,
    mode: Callable[[], AbstractContextManager[Any]] | None,
    *,
    trained: bool,
) -> Stage:
    """What no tensor shows of the candidate's normalisations beside the reference's.

    An epsilon may be too small to move an output by the tolerance, and is another function all the same: a failure.
    Momentum matters to training alone: a warning where the candidate is not trained.

    Args:
        mode: a context in which the candidate runs all of its heads, if it has any; with it, numbers are found out by
            what the candidate does, too, and not by attributes alone. None of a candidate that differs as it is.
        trained: whether training steps were asked for.
    """
    expected = {call.module: call.numerics for call in recording.calls if call.numerics}
    own = _Numerics(recording, conversion, module, pairs, expected)
    own.read_attributes()
    if mode is not None:
        own.find_out(tolerances, mode)
    epsilons, momenta = own.lines("epsilon"), own.lines("momentum")
    count = sum(map(len, expected.values()))
    return Stage(
        name="numerics",
        unit="epsilons and momenta",
        compared=own.compared,
        expected=count,
        why="the candidate has the rest neither as numbers nor where it shows" if own.compared < count else None,
        failures=(*epsilons, *(momenta if trained else ())),
        warnings=() if trained else tuple(momenta),
    )


class _Numerics:
    """What the candidate has for the reference's numbers, in torch's terms, by the reference's layers."""

    def __init__(
        self,
        recording: Recording,
        conversion: Conversion,
        module: nn.Module,
        pairs: Sequence[Pair],
        expected: Mapping[str, Mapping[str, float]],
    ) -> None:
        self._recording, self._module = recording, module
        self._expected = {
            layer: {name: value if name == "epsilon" else 1 - value for name, value in numbers.items()}
            for layer, numbers in expected.items()
        }
        modules = dict(module.named_modules())
        self._layers = {pair.source: (pair, modules[pair.target]) for pair in pairs if pair.source in expected}
        self._state = module.state_dict()
        self._running = find_running(
            conversion, [name for name in expected if "momentum" in expected[name]], self._state
        )
        self._found: dict[str, dict[str, list[float]]] = {layer: {} for layer in expected}
        self._wrong: dict[str, None] = {}  # those whose epsilon is another, whatever it is

    @property
    def compared(self) -> int:
        return sum(len(numbers) for numbers in self._found.values())

    def read_attributes(self) -> None:
        """As torch's own layers have them."""
        for source, (_, layer) in self._layers.items():
            for name, attribute in (("epsilon", "eps"), ("momentum", "momentum")):
                value = getattr(layer, attribute, None)
                if name in self._expected[source] and isinstance(value, float):
                    self._found[source][name] = [value]

    def find_out(self, tolerances: Tolerances, mode: Callable[[], AbstractContextManager[Any]]) -> None:
        """By what the candidate does; what is found so is believed."""
        pair_of_images, smallest = small_inputs(self._recording)
        by_weight = epsilons_of_operators(self._module, smallest, mode)
        for source in self._expected:
            seen = {by_weight[address] for address in self._addresses(source) if address in by_weight}
            if seen:
                self._found[source]["epsilon"] = sorted(seen)
            elif source in self._layers and source not in self._running:
                self._probe(source)
        self._exchange(Experiment(self._module, smallest, mode), tolerances)
        for source, both in momenta(self._module, self._running, pair_of_images).items():
            self._found[source]["momentum"] = list(both)

    def lines(self, name: str) -> list[str]:
        """A sentence, where numbers of this name are others than the reference's."""
        found = []
        for source, numbers in self._found.items():
            expected = self._expected[source].get(name, 0.0)
            # Paddle's momentum is the weight of the old value
            scale = expected if name == "epsilon" else 1 - expected
            others = [own for own in numbers.get(name, []) if abs(own - expected) > NUMERICS_TOLERANCE * scale]
            if others:
                found.append(f"{self._target(source)} has {name} {others[0]:.6g}, not {expected:.6g}")
            elif name == "epsilon" and source in self._wrong:
                found.append(f"{self._target(source)} has another epsilon than {expected:.6g}")
        if not found:
            return []
        more = f" (and {len(found) - 1} layers more)" if found[1:] else ""
        return [f"{found[0]} as the reference's{more}"]

    def _target(self, source: str) -> str:
        if source in self._layers:
            return self._layers[source][0].target
        return self._running[source].weight.rpartition(".")[0]

    def _addresses(self, source: str) -> list[int]:
        weights = list(self._layers[source][1].parameters()) if source in self._layers else []
        if source in self._running:
            weights.append(self._state[self._running[source].weight])
        return [weight.data_ptr() for weight in weights]

    def _probe(self, source: str) -> None:
        pair, layer = self._layers[source]
        call = next(call for call in self._recording.calls if call.module == source)
        shape = pair.input(call.input.load()).shape
        found = epsilon_of_layer(layer, shape, self._expected[source]["epsilon"])
        if found is not None:
            self._found[source]["epsilon"] = [found]

    def _exchange(self, experiment: Experiment, tolerances: Tolerances) -> None:
        """The variances for what makes no difference, of all layers at once and, if it does, of each."""
        floors = [output.stored.floor for output in self._recording.outputs]
        floor = max((floor for floor in floors if floor is not None and np.isfinite(floor)), default=None)
        epsilons = {source: self._expected[source]["epsilon"] for source in self._running}

        def moves(norms: Mapping[str, Running], factor: float = 1.0) -> bool:
            moved = experiment.of_values(without_variance(norms, epsilons, self._state, factor))
            return bool(np.isfinite(moved)) and verdict_on(moved, tolerances.default, floor) == "fail"

        left = {s: norm for s, norm in self._running.items() if not self._is_other(s)}
        if left and moves(left):
            self._wrong = {source: None for source, norm in left.items() if moves({source: norm})}
        for source in self._wrong:
            self._found[source].setdefault("epsilon", [])
        for source, norm in left.items():  # what nothing reads, or nothing shows, was not compared
            if "epsilon" not in self._found[source] and moves({source: norm}, 2.0):
                self._found[source]["epsilon"] = []

    def _is_other(self, source: str) -> bool:
        own = self._found[source].get("epsilon", [])
        return any(abs(each - self._expected[source]["epsilon"]) > NUMERICS_TOLERANCE * each for each in own)


def other_dropouts(expected: Sequence[float], draws: Sequence[Draw]) -> list[str]:
    """A warning of the dropouts that the candidate has otherwise; matters to training alone.

    Args:
        expected: the rates of the reference's, in order of execution.
        draws: the candidate's; where the rate cannot be told, the draw alone counts.
    """
    pairs = zip_longest([draw.rate for draw in draws], expected, fillvalue=0.0)
    different = [
        (own, theirs)
        for own, theirs in pairs
        if own is not None and not np.isclose(own, theirs, rtol=NUMERICS_TOLERANCE, atol=0.0)
    ]
    if not different:
        return []
    own, theirs = different[0]
    line = f"dropouts in training: {len(different)} rates differ, the first is {own:g} where the reference's is "
    return [f"{line}{theirs:g} (0: none), in order of execution"]
