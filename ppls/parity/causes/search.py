"""The search for a cause: experiments that are guarded and timed, of which the one that mends most is believed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ppls.parity.candidate import run, tensors_of
from ppls.parity.causes.calls import CALL_CAUSES, Changed
from ppls.parity.causes.layers import LAYER_CAUSES, Known
from ppls.parity.causes.values import MISSING_BIAS, VALUE_CAUSES, ValueCause
from ppls.parity.compare import Array, Comparison, compare
from ppls.parity.pairing import Pair
from ppls.parity.reference_run import RecordedCall
from ppls.parity.state import working_copy
from ppls.parity.tolerance import MENDS

SECONDS = 20.0  # that all experiments of a report may take: none is begun later
RAISED = (Exception, SystemExit)  # what a module of a user's may do when something about it is changed

Mode = Callable[[nn.Module], AbstractContextManager[Any]]


def cause_in_layer(module: nn.Module, pair: Pair, call: RecordedCall, found: Comparison) -> str | None:
    """Why a layer whose input agrees has another output in this call; None where no known cause is proven.

    Args:
        module: the candidate's layer.
        call: of the reference's layer, the one that diverged.
        found: how it diverged.
    """
    value, expected = np.array(pair.input(call.input.load())), pair.output(call.output.load())

    def output(layer: nn.Module, changed: Changed | None = None) -> Array:
        with torch.no_grad(), changed or Changed():
            result: Array = tensors_of(layer(torch.from_numpy(value.copy())))[0].detach().numpy()
        return result

    def in_a_copy(changed: Changed) -> Array:
        with working_copy(module) as layer:
            return output(layer, changed)

    trace = Changed()
    try:
        unchanged = output(module, trace)
    except RAISED:
        return None
    search = _Search(expected, unchanged, found)
    if search.needless:
        return None
    known = Known(call.numerics, expected.shape)
    for cause in LAYER_CAUSES:
        with suppress(*RAISED):
            if cause.applies(module):
                with working_copy(module) as layer:
                    for sentence in cause.change(layer, known):
                        search.attempt(sentence, partial(output, layer))
    search.attempt_calls(trace, 0, in_a_copy)
    biasless = getattr(module, "weight", None) is not None and getattr(module, "bias", True) is None
    search.attempt_values(unchanged, (*([MISSING_BIAS] if biasless else []), *VALUE_CAUSES), of_image=False)
    return search.cause


def cause_before_layer(
    module: nn.Module,
    names: Iterable[str],
    place: tuple[str, int],
    image: Array,
    pair: Pair,
    call: RecordedCall,
    found: Comparison,
    mode: Mode,
) -> str | None:
    """Why the input of a layer differs though all before it agrees: what stands between is changed, and run again.

    Args:
        module: the whole candidate.
        names: of its layers that are compared.
        place: the name of the layer whose input differs, and which of its calls.
        image: the input of the run.
        pair, call: of the reference.
        found: how it diverged.
        mode: a context in which to run the candidate.
    """  # fmt: skip
    probe = _Probe(module, names, image, mode, place=place)
    return _cause_between(probe, pair.input(call.input.load()), found)


def cause_in_output(
    module: nn.Module, names: Iterable[str], index: int, image: Array, expected: Array, found: Comparison, mode: Mode
) -> str | None:
    """Why an output differs though all layers agree; arguments as of `cause_before_layer`."""
    return _cause_between(_Probe(module, names, image, mode, index=index), expected, found)


def _cause_between(probe: _Probe, expected: Array, found: Comparison) -> str | None:
    trace = Changed()
    try:
        unchanged = probe(trace)
    except RAISED:
        return None
    search = _Search(expected, unchanged, found)
    if search.needless:
        return None
    for start in dict.fromkeys([probe.last_end, 0]):
        search.attempt_calls(trace, start, probe)
    search.attempt_values(unchanged, VALUE_CAUSES, of_image=probe.last_end == 0)
    return search.cause


class _Search:
    """The experiment that mends most so far. What is changed more directly is tried first, and then believed unless
    another mends ten times more."""

    def __init__(self, expected: Array, unchanged: Array, found: Comparison) -> None:
        self.cause: str | None = None
        self._expected, self._found = expected, found
        self._until = time.monotonic() + SECONDS
        self._best = np.inf
        self._unchanged = self._error(unchanged)[0]

    @property
    def needless(self) -> bool:
        """Whether what was to be explained does not show when it is run alone."""
        return self._unchanged <= (self._found.tolerance or 0.0)

    def attempt(self, sentence: str, experiment: Callable[[], Array]) -> None:
        """Runs an experiment; believes it if it makes the error ten times smaller, so that it passes."""
        if time.monotonic() > self._until:
            return
        try:
            error, passes = self._error(experiment())
        except RAISED:
            return
        if passes and error <= self._unchanged / MENDS and error < self._best / MENDS:
            self._best, self.cause = error, sentence

    def attempt_calls(self, trace: Changed, start: int, run: Callable[[Changed], Array]) -> None:
        """Every other call in place of those that were made after number `start`."""
        if self.cause is not None:
            return
        made = set(trace.names[start:])
        for cause in CALL_CAUSES:
            if made.intersection(cause.functions):
                self.attempt(cause.name, partial(run, Changed(cause, start)))

    def attempt_values(self, found: Array, causes: Sequence[ValueCause], *, of_image: bool) -> None:
        """Every change of the array itself."""
        if self.cause is not None or found.shape != self._expected.shape:
            return
        for cause in causes:
            with suppress(*RAISED):
                if (of_image or not cause.of_image) and cause.applies(found):
                    for sentence, changed in cause.change(found, self._expected):
                        self.attempt(sentence, partial(changed.astype, found.dtype))

    def _error(self, array: Array) -> tuple[float, bool]:
        found = compare(self._expected, array, tolerance=self._found.tolerance or 0.0, floor=self._found.floor)
        return np.inf if found.scaled is None else found.scaled, found.verdict == "pass"


class _Seen(BaseException):
    """The run has come as far as it needs to."""


class _Probe:
    """Runs the candidate as far as a layer's input, or to the end for an output, with calls changed on the way.

    Attributes:
        last_end: how many calls had been made when the last of its layers had run, in the latest run.
    """

    def __init__(
        self, module: nn.Module, names: Iterable[str], image: Array, mode: Mode,
        *, place: tuple[str, int] | None = None, index: int = 0
    ) -> None:  # fmt: skip
        self._module, self._image, self._mode, self._place, self._index = module, image, mode, place, index
        modules = dict(module.named_modules())
        self._layers = [modules[name] for name in names if name in modules]
        self._target = None if place is None else modules[place[0]]
        self.last_end = 0

    def __call__(self, changed: Changed) -> Array:
        seen: list[Array] = []
        self.last_end = 0
        with self._watched(changed, seen), self._mode(self._module), changed:
            try:
                results = run(self._module, self._image)
            except _Seen:
                return seen[-1]
        if self._place is not None:
            raise LookupError("the layer did not run so often")
        return results[self._index]

    @contextmanager
    def _watched(self, changed: Changed, seen: list[Array]) -> Iterator[None]:
        def ended(*_: object) -> None:
            self.last_end = changed.count

        def before(layer: nn.Module, inputs: Any, options: Any) -> None:
            count[0] += 1
            if self._place is not None and count[0] > self._place[1]:
                seen.append(tensors_of([inputs, options])[0].detach().numpy().copy())
                raise _Seen

        count = [0]
        handles = [layer.register_forward_hook(ended) for layer in self._layers]
        if self._target is not None:
            handles.append(self._target.register_forward_pre_hook(before, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
