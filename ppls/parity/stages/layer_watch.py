"""What the candidate's layers take and give, held against the reference's at the moment they run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import numpy as np

from ppls.parity.compare import Array, Comparison, compare
from ppls.parity.figures import LayerFigures
from ppls.parity.pairing import Pair
from ppls.parity.reference_run import RecordedCall, Recording, Stored


class LayerWatch:
    """Compares each call of a paired layer with the reference's; nothing is kept but figures.

    Attributes:
        extra: how often the candidate calls a paired layer beyond what the reference does, by the candidate's name.
    """

    def __init__(self, recording: Recording, pairs: Sequence[Pair], tolerance: float) -> None:
        self.extra: Counter[str] = Counter()
        self._input = recording.layers_input or ""
        self._tolerance = tolerance
        self._calls = {(call.module, call.call): call for call in recording.calls}
        self._takers = {call.input.path: call for call in recording.calls}
        self._pairs: dict[str, list[Pair]] = {}
        for pair in pairs:
            self._pairs.setdefault(pair.target, []).append(pair)
        incomparable = {pair.source for pair in pairs if not pair.output_comparable}
        self._incomparable = {call.output.path for call in recording.calls if call.module in incomparable}
        self._figures: dict[tuple[int, str], LayerFigures] = {}
        self._seen: set[tuple[str, int]] = set()

    def see(self, target: str, call: int, inputs: list[Array], results: list[Array]) -> None:
        """Of several inputs or results the one that agrees best counts: the reference's layers have one of each."""
        known = [(pair, recorded) for pair in self._pairs[target] if (recorded := self._calls.get((pair.source, call)))]
        self.extra[target] += not known
        for pair, recorded in known:
            self._seen.add((pair.source, call))
            at_input = self._compare(recorded.input, pair.input, inputs)
            at_output = self._compare(recorded.output, pair.output, results)
            if at_output and at_output.verdict == "fail":
                at_output = self._folded(recorded, pair, results) or at_output
            if at_input and at_input.verdict == "fail" and _is_identity(inputs, results):
                at_input = None  # what it was to do, the layer before has done
            if at_input or at_output:
                self._figures[recorded.position, target] = LayerFigures(
                    self._input, pair.source, target, pair.kind, at_input, at_output, call
                )

    def figures(self) -> list[LayerFigures]:
        """In the reference's order of execution."""
        return [self._figures[key] for key in sorted(self._figures)]

    def compared(self) -> int:
        """How many of the reference's calls were compared."""
        return len({position for position, _ in self._figures})

    def never_run(self, skip: Collection[str]) -> list[Pair]:
        """The pairs whose layer the reference alone runs, without those of the sources or targets to `skip`."""
        seen = {source for source, _ in self._seen}
        ran = {source for source, _ in self._calls} - seen
        pairs = [pair for pairs in self._pairs.values() for pair in pairs]
        return [pair for pair in pairs if pair.source in ran and not {pair.source, pair.target} & set(skip)]

    def missed(self) -> int:
        """How many calls of layers that both have the reference alone makes."""
        seen = {source for source, _ in self._seen}
        return sum(source in seen and (source, call) not in self._seen for source, call in self._calls)

    def _compare(
        self, stored: Stored, to_target: Callable[[Array], Array], arrays: Sequence[Array]
    ) -> Comparison | None:
        if stored.path in self._incomparable or not arrays:  # before a BatchNorm that took in this convolution's bias
            return None
        expected = to_target(stored.load())
        if stored.unordered:
            expected, arrays = np.sort(expected, axis=-1), [np.sort(array, axis=-1) for array in arrays]
        found = [compare(expected, array, tolerance=self._tolerance, floor=stored.floor) for array in arrays]
        return min(found, key=lambda one: np.inf if one.scaled is None else one.scaled)

    def _folded(self, recorded: RecordedCall, pair: Pair, results: Sequence[Array]) -> Comparison | None:
        """The figures of a layer that does what the reference has a normalisation of its own for, right behind it."""
        taker = self._takers.get(recorded.output.path)
        if taker is None or "epsilon" not in taker.numerics:
            return None
        found = self._compare(taker.output, pair.output, results)
        return found if found and found.verdict == "pass" else None


def _is_identity(inputs: Sequence[Array], results: Sequence[Array]) -> bool:
    return bool(inputs and results) and np.array_equal(inputs[0], results[0])
