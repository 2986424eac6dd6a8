"""Finds what the port's layers are filled with so that as many as can be agree, and shows what cannot be otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations

from ppls.drafting.attempt import Attempt, Decision, Match
from ppls.drafting.matching import Port
from ppls.drafting.units import OTHER, Unit

Decisions = dict[Unit, Decision]

_MOST_ORDERS = 3  # of so many layers with one input every order is tried; of more, each two exchanged
_MOST_GROUPS = 6  # back from a fault, whose other orders are tried
_MOST_NEGATED = 6  # layers back from a fault, whose other signs are tried
_MOST_ALTERNATIVES = 12  # to a layer that was found by likeness


@dataclass(eq=False)
class Search:
    """The best that was found.

    Attributes:
        best: the run.
        alternatives: by layer of the port, other sources with which as many layers agree: it may be any of them.
        untried: layers of which not every alternative was tried.
        unproven: layers that change nothing, as far as the run shows.
        dependent: layers that are otherwise, or none of the source's, in another run in which as many agree.
        runs: of the port.
    """

    port: Port
    seconds: float
    best: Attempt = field(default_factory=Attempt)
    decided: Decisions = field(default_factory=dict)
    alternatives: dict[Unit, set[Unit]] = field(default_factory=dict)
    untried: set[Unit] = field(default_factory=set)
    unproven: set[Unit] = field(default_factory=set)
    dependent: set[Unit] = field(default_factory=set)
    runs: int = 0

    def run(self) -> None:
        """Searches, then tries every alternative."""
        self._end = time.monotonic() + self.seconds
        self.best = self._attempt({})
        self._mend()
        self._prove()

    def _attempt(self, decided: Mapping[Unit, Decision], accepted: set[Unit] | None = None) -> Attempt:
        self.runs += 1
        return self.port.attempt(decided, None if accepted is None else lambda unit: unit not in accepted)

    def _out_of_time(self) -> bool:
        return time.monotonic() > self._end

    def _mend(self) -> None:
        """Tries what may be at the bottom of each fault, from the first on; what nothing mends is gone past."""
        accepted: set[Unit] = set()
        while not self._out_of_time():
            faults = [unit for unit in self.best.faults() if unit not in accepted]
            if not faults:
                return
            first = _first(self.best, faults)
            if not self._mended(first, accepted):
                accepted.add(first)

    def _mended(self, fault: Unit, accepted: set[Unit]) -> bool:
        for proposal in self._proposals(fault):
            if self._out_of_time():
                return False
            trial = self._attempt({**self.decided, **proposal}, accepted)
            if trial.stopped:  # it may fail later than before
                trial = self._later(trial, fault, proposal)
            if trial.score > self.best.score and (_is_mended(trial, fault) or not _changes_signs(proposal, self.best)):
                self.best, self.decided = trial, {**self.decided, **proposal}
                return True
        return False

    def _later(self, trial: Attempt, fault: Unit, proposal: Decisions) -> Attempt:
        return self._attempt({**self.decided, **proposal}) if _is_mended(trial, fault) else trial

    def _proposals(self, fault: Unit) -> Iterator[Decisions]:
        before: list[Match] = []
        for unit, match in self.best.matches.items():
            if unit is fault:
                break
            before.append(match)
        for holder in self.best.lost.get(fault, []):
            yield {holder: Decision(None)}
        groups = _groups(before)
        for group in groups[: -_MOST_GROUPS - 1 : -1]:
            yield from _orders(group)
        for match in before[: -_MOST_GROUPS - 1 : -1]:
            for rival in match.rivals if not match.exact else ():
                if rival.pieces and {*rival.pieces} == {*match.source.pieces}:  # one layer, in another order
                    yield {match.target: Decision(rival)}
        signed = [match for match in before if match.target.kind in ("batch_norm", "conv", "linear") and match.exact]
        for match in signed[: -_MOST_NEGATED - 1 : -1]:
            yield {match.target: Decision(match.source, negated=not match.negated)}

    def _prove(self) -> None:
        """Shows of each layer that had more than one way that every other fails."""
        accepted = set(self.best.faults())
        for group in _groups(list(self.best.matches.values())):
            for proposal in _orders(group):
                if self._out_of_time():
                    self.untried |= {match.target for match in group}
                    break
                trial = self._attempt({**self.decided, **proposal}, accepted)
                if trial.score >= self.best.score:
                    self._as_good(trial)
        for match in list(self.best.matches.values()):
            if match.target.kind == OTHER:
                self._prove_tensors(match)
            elif not match.exact:
                self._prove_nearest(match)

    def _prove_tensors(self, match: Match) -> None:
        """Other values in a module's own tensors must show in what it gives."""
        if self._out_of_time():
            self.untried.add(match.target)
            return
        trial = self._attempt({**self.decided, match.target: Decision(match.source, noise=True)})
        if trial.score >= self.best.score:
            self.unproven.add(match.target)

    def _prove_nearest(self, match: Match) -> None:
        """What was found by likeness is certain only where no other, and not none either, goes on as well."""
        others = [*match.rivals, None]
        if len(others) > _MOST_ALTERNATIVES:
            self.untried.add(match.target)
            others = others[-_MOST_ALTERNATIVES:]
        for other in others:
            if self._out_of_time():
                self.untried.add(match.target)
                return
            proposal = {match.target: Decision(other)}
            holder = next((m for m in self.best.matches.values() if m.source is other), None) if other else None
            if holder is not None:
                proposal[holder.target] = Decision(match.source)
            trial = self._attempt({**self.decided, **proposal})
            if trial.score < self.best.score:
                continue
            if other is None:
                self.unproven.add(match.target)
            self._as_good(trial)

    def _as_good(self, trial: Attempt) -> None:
        """Notes what is otherwise in a run in which as many layers agree: what follows an open layer is no surer."""
        for unit, was in self.best.matches.items():
            now = trial.matches.get(unit)
            if now is not None and now.source is not was.source:
                self.alternatives.setdefault(unit, set()).add(now.source)
            elif now is None or (now.negated, now.order, now.folded) != (was.negated, was.order, was.folded):
                self.dependent.add(unit)


def _first(attempt: Attempt, faults: Sequence[Unit]) -> Unit:
    order = {unit: at for at, unit in enumerate([*attempt.matches, *attempt.lost])}
    return min(faults, key=order.__getitem__)


def _is_mended(trial: Attempt, fault: Unit) -> bool:
    match = trial.matches.get(fault)
    return match is not None and match.good and fault not in trial.wrong_calls


def _changes_signs(proposal: Mapping[Unit, Decision], best: Attempt) -> bool:
    """Behind a fault that stays, another sign may look better by chance: it is to mend what it is tried for."""
    return any(
        unit in best.matches and decision.negated != best.matches[unit].negated for unit, decision in proposal.items()
    )


def _groups(matches: Sequence[Match]) -> list[list[Match]]:
    """Layers that saw one input and could be one another, with those that could be one more of the source's."""
    groups: list[list[Match]] = []
    sources: list[set[Unit]] = []
    for match in matches:
        if not match.rivals or not match.exact:
            continue
        possible = {match.source, *match.rivals}
        for at, known in enumerate(sources):
            if known & possible:
                groups[at].append(match)
                known |= possible
                break
        else:
            groups.append([match])
            sources.append(possible)
    return groups


def _orders(group: Sequence[Match]) -> Iterator[Decisions]:
    """Every other way to give a group's layers the sources that they could have."""
    taken = [match.source for match in group]
    free = list({rival: None for match in group for rival in match.rivals if rival not in taken})
    possible = {match.target: {match.source, *match.rivals} for match in group}
    pool = [*taken, *free]
    seen: set[tuple[Unit, ...]] = {tuple(taken)}
    if len(pool) <= _MOST_ORDERS:
        orders = list(permutations(pool, len(group)))
    else:
        orders = []
        for first, second in combinations(range(len(pool)), 2):
            swapped = list(pool)
            swapped[first], swapped[second] = swapped[second], swapped[first]
            orders.append(tuple(swapped[: len(group)]))
    for order in orders:
        if order in seen:
            continue
        seen.add(order)
        if all(source in possible[match.target] for match, source in zip(group, order, strict=True)):
            yield {
                match.target: Decision(source, negated=match.negated)
                for match, source in zip(group, order, strict=True)
            }
