"""The port, run once: before each of its layers the source's layer that saw this very input is taken and filled in.

Nothing is decided here that can be decided otherwise: what had more than one way is noted, for `ppls.drafting.search`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppls.drafting.arithmetic import (
    ELEMENTWISE,
    as_the_source_has_it,
    channel_dim,
    expected_output,
    fill,
    gives,
    mixes_channels,
    normalised,
    of_one_dilation,
)
from ppls.drafting.attempt import Attempt, Decision, FailedTrialError, Match
from ppls.drafting.comparing import APART, EXACT, NEAR, distance, error, order_of_channels, same_outputs
from ppls.drafting.layouts import laid_out
from ppls.drafting.multihead import run_as_layers
from ppls.drafting.recording import Call, Recording
from ppls.drafting.steady import steady, tensors_in
from ppls.drafting.units import OTHER, Unit


class Port:
    """A port and the source's recording, and how likely by its name each layer is another."""

    def __init__(
        self,
        model: nn.Module,
        units: Sequence[Unit],
        recording: Recording,
        prior: Callable[[Unit, Unit], float],
    ) -> None:
        self.model, self.units, self.recording, self.prior = model, list(units), recording, prior
        alike: dict[Any, list[Unit]] = defaultdict(list)
        for source in recording.units:
            alike[_form(source, source.shapes)].append(source)
            if "bias" in source.shapes and source.kind in ("conv", "linear"):
                without = {name: shape for name, shape in source.shapes.items() if name != "bias"}
                alike[_form(source, without)].append(source)
        self.alike = {
            unit: [each for each in alike[_form(unit, unit.shapes)] if unit.name or not each.is_recast]
            for unit in self.units
        }

    def attempt(
        self,
        decided: Mapping[Unit, Decision] | None = None,
        stop: Callable[[Unit], bool] | None = None,
    ) -> Attempt:
        """Runs the port.

        Args:
            decided: what is not left to the run.
            stop: whether to end it when this layer turns out to be at fault.
        """
        run = _Run(self, decided or {}, stop)
        try:
            run.all()
        except FailedTrialError:
            run.result.stopped = True
        return run.result


def _form(unit: Unit, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    if unit.kind == OTHER:  # two authors call them otherwise
        return unit.kind, tuple(sorted(shapes.values()))
    return unit.kind, tuple(sorted(shapes.items()))


class _Run:
    def __init__(self, port: Port, decided: Mapping[Unit, Decision], stop: Callable[[Unit], bool] | None) -> None:
        self.port, self.decided, self.stop = port, decided, stop
        self.result = Attempt()
        self.taken: dict[Unit, Unit] = {}
        self.held: dict[Unit, list[tuple[int, int]]] = defaultdict(list)  # parts of the source's layers
        self.calls: dict[Unit, Call] = {}
        self.settled: set[Unit] = set()  # in eval mode: what is random in training does not count against them
        self.runs: Counter[Unit] = Counter()  # in this mode
        self.training = False

    def all(self) -> None:
        recording = self.port.recording
        handles = []
        for unit in self.port.units:
            handles.append(
                unit.module.register_forward_pre_hook(
                    lambda _, args, kwargs, unit=unit: self._before(unit, args, kwargs), with_kwargs=True
                )
            )
            handles.append(
                unit.module.register_forward_hook(lambda _, args, result, unit=unit: self._after(unit, args, result))
            )
        try:
            for self.training in (False, True):
                with steady(self.port.model, self.training), run_as_layers(unit.module for unit in self.port.units):
                    try:
                        found = tensors_in(self.port.model(recording.image.clone()))
                    except FailedTrialError:
                        raise
                    except Exception:
                        if not self.training:
                            raise
                        continue
                if not self.training:
                    self.result.outputs = same_outputs(found, recording.outputs)
                    self.settled = {*self.result.matches}
                    self.runs.clear()
                    for match in self.result.matches.values():  # `steady` took the statistics back
                        with torch.no_grad():
                            fill(match, self._noisy(match))
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, unit: Unit, args: Any, kwargs: Any) -> Any:
        tensors = tensors_in([args, kwargs])
        if not tensors:
            return None
        x = tensors[0]
        match = self.result.matches.get(unit)
        if match is None:
            if unit in self.result.lost:
                return None
            match = self._choose(unit, x)
            if match is None:
                return None
            self.result.matches[unit] = match
            self.taken[match.source] = unit
            for base, part in match.source.covered:
                self.held[base].append(part)
            self.runs[unit] = 1
        else:
            found = self._call(match.source, as_the_source_has_it(match, x))
            self.runs[unit] += 1
            if found is None:
                self.calls.pop(unit, None)
                return None
            self.calls[unit], match_error = found
            calls = self.port.recording.calls[match.source]
            once_more = self.runs[unit] > sum(call.training == self.training for call in calls)
            if match_error > NEAR if match.exact and unit not in self.settled else once_more:
                self.result.wrong_calls.add(unit)
            if unit in self.result.wrong_calls:  # what it gives is not what the source's gave
                self.calls.pop(unit)
                self._failed(unit)
                return None
        if not match.exact and unit.kind != OTHER and args and args[0] is x and unit in self.calls:
            return (self.calls[unit].input.clone(), *args[1:]), kwargs
        return None

    def _after(self, unit: Unit, args: Any, result: Any) -> Any:
        match, call = self.result.matches.get(unit), self.calls.get(unit)
        if match is None or call is None or not isinstance(result, Tensor):
            return None
        expected = expected_output(match, call.output)
        off = error(result, expected)
        if off > NEAR and args and (plain := normalised(unit, args[0])) is not None:
            off, match.activates = min((off, match.activates), (error(plain, expected), True))
        if unit not in self.settled:
            match.output_error = max(match.output_error, off)
        if not match.good:
            self._failed(unit)
        if match.lacks_bias or match.activates or off == float("inf") or (unit.kind == OTHER and not match.exact):
            return None
        return expected.clone() if off > EXACT else None

    def _noisy(self, match: Match) -> bool:
        decision = self.decided.get(match.target)
        return decision is not None and decision.noise

    def _failed(self, unit: Unit) -> None:
        if self.stop is not None and self.stop(unit):
            raise FailedTrialError

    def _choose(self, unit: Unit, x: Tensor) -> Match | None:
        """What a layer is filled with that sees `x`."""
        decision = self.decided.get(unit)
        if decision is not None and decision.source is None:
            self.result.lost[unit] = []
            return None
        alike = self.port.alike[unit]
        seen = {source: found for source in alike if (found := self._call(source, x)) is not None}
        near = {source: off for source, (_, off) in seen.items() if off <= NEAR}
        if near:
            bound = max(min(near.values()) * APART, EXACT)
            near = {source: off for source, off in near.items() if off <= bound}
        if decision is not None and decision.source is not None:
            source = decision.source
            call, off = seen.get(source, (None, float("inf")))
            match = self._special(unit, x, [source]) if off > NEAR else None
            if match is None:
                match = Match(unit, source, exact=off <= NEAR, input_error=off, negated=decision.negated)
                if call is not None:
                    self.calls[unit] = call
                    match.input_error = off if match.exact else distance(x, call.input)
            match.negated = decision.negated
            match.rivals = tuple(rival for rival in near if rival is not source)
            fill(match, self._noisy(match))
            return match
        if len(near) > 1 and unit.kind != OTHER and unit.tensors:
            near = {s: off for s, off in near.items() if gives(unit, s, x, seen[s][0].output)} or near
            near = {s: off for s, off in near.items() if of_one_dilation(unit, s)} or near
        free = [source for source in near if not self._is_taken(source)]
        if free:
            source = max(free, key=lambda each: self.port.prior(unit, each))
            self.calls[unit] = seen[source][0]
            rivals = tuple(rival for rival in near if rival is not source)
            match = Match(unit, source, rivals, input_error=near[source])
            fill(match)
            return match
        left = [source for source in alike if not self._is_taken(source)]
        match = self._special(unit, x, [source for source in left if not source.pieces])
        if match is not None:
            fill(match)
            return match
        if not unit.tensors:  # a pooling need not have its like
            return None
        return self._nearest(unit, x, left, list(near))

    def _nearest(self, unit: Unit, x: Tensor, left: list[Unit], holders: list[Unit]) -> Match | None:
        """Where nothing saw this input: the layer that saw one most like it, gone on with from the source's own."""
        found = {}
        for source in left:
            calls = self._of_mode(source, x)
            if calls:
                call = min(calls, key=lambda each: distance(x, each.input))
                found[source] = (distance(x, call.input), call)
        possible = [source for source in found if found[source][0] < float("inf")]
        if not possible or (unit.kind != OTHER and holders):
            self.result.lost[unit] = [self.taken[each] for each in holders if each in self.taken]
            self._failed(unit)
            return None
        source = min(possible, key=lambda each: found[each][0] - 0.3 * self.port.prior(unit, each))
        off, self.calls[unit] = found[source]
        match = Match(unit, source, tuple(s for s in possible if s is not source), exact=False, input_error=off)
        fill(match)
        self._failed(unit)
        return match

    def _special(self, unit: Unit, x: Tensor, sources: Sequence[Unit]) -> Match | None:
        """A layer that saw these channels in another order, or before a bias was added that the port folds."""
        dim = channel_dim(unit.kind)
        for source in sources:
            for call in self._of_mode(source, x):
                if unit.kind == "batch_norm":
                    for before in [
                        m.source for m in self.result.matches.values() if m.lacks_bias and not m.source.pieces
                    ]:
                        bias = before.tensors["bias"]
                        if bias.shape == (x.shape[1],):
                            off = error(x + bias.view(1, -1, *[1] * (x.dim() - 2)), call.input)
                            if off <= NEAR and not any(m.folded is before for m in self.result.matches.values()):
                                self.calls[unit] = call
                                return Match(unit, source, folded=before, input_error=off)
                if unit.kind in ("conv", "linear", *ELEMENTWISE) and mixes_channels(unit):
                    order = order_of_channels(x, call.input, dim)
                    if order is not None:
                        self.calls[unit] = call
                        return Match(unit, source, order=order)
        return None

    def _is_taken(self, source: Unit) -> bool:
        """Whether it, or what it is part of or made of, is already what another layer is filled with."""
        return any(
            count != part[1] or at == part[0] for base, part in source.covered for at, count in self.held.get(base, ())
        )

    def _of_mode(self, source: Unit, x: Tensor) -> list[Call]:
        """The calls of the source's layer in this mode that have an input like this, as the port lays it out."""
        calls = (call for call in self.port.recording.calls[source] if call.training == self.training)
        return [found for call in calls if (found := laid_out(call, source, tuple(x.shape))) is not None]

    def _call(self, source: Unit, x: Tensor) -> tuple[Call, float] | None:
        calls = self._of_mode(source, x)
        if not calls:
            return None
        errors = [error(x, call.input) for call in calls]
        best = min(range(len(calls)), key=errors.__getitem__)
        return calls[best], errors[best]
