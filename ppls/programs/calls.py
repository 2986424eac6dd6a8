"""What runs when a module of a program is called: operations, one after the other, and loops of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ppls.checkpoint.operation import Guards
from ppls.programs.numbers import Numbers, number_of

Argument = int | tuple[int, ...] | None
MOST_ROUNDS = 10_000
FAILURES = (RuntimeError, ValueError, IndexError, TypeError, AttributeError, ArithmeticError)  # of what cannot be run


class OneCall(NamedTuple):
    """An operation as it is run."""

    run: Any
    arguments: tuple[Argument, ...]
    results: tuple[Argument, ...]
    tensors: tuple[bool, ...]  # whether each argument is one, where numbers may stand for it
    like: bool
    last: tuple[int, ...]
    place: int
    guards: Guards = ()

    def into(self, values: dict[int, Any], like: Tensor) -> None:
        """Adds what it gives to the values so far, and takes away what nothing needs any more."""
        if not self.guards or all(bool(number_of(values[value])) == truth for value, truth in self.guards):
            arguments = []
            for argument, tensor in zip(self.arguments, self.tensors, strict=False):
                given = values.get(argument) if type(argument) is int else _given(argument, values)
                arguments.append(as_tensors(given, like) if tensor and not isinstance(given, Tensor) else given)
            _keep(self.run(*arguments, like=like) if self.like else self.run(*arguments), self.results, values)
        for value in self.last:
            values.pop(value, None)


class Rounds:
    """How many rounds the loops of a network may still run, one within another or one after the other."""

    left = MOST_ROUNDS


class Loop:
    """Operations that run again and again.

    Args:
        rounds: what is left to all loops of the network.
        calls: the operations, in order.
        inputs: the values that a round begins with, and behind these what it takes from around the loop.
        outputs: whether another round follows, and what that begins with.
    """

    def __init__(self, rounds: Rounds, calls: Sequence[OneCall], inputs: Sequence[int], outputs: Sequence[int]) -> None:
        self._rounds, self._calls, self._inputs, self._outputs = rounds, calls, inputs, outputs

    def __call__(
        self, asked: Any, given: Sequence[Any] | None = None, around: Sequence[Any] | None = None, *, like: Tensor
    ) -> list[Any]:
        given, around = list(given or ()), list(around or ())
        while number_of(asked):
            self._rounds.left -= 1
            if self._rounds.left < 0:
                raise ValueError(f"it goes around more than {MOST_ROUNDS} times")
            values = dict(zip(self._inputs, [*given, *around], strict=True))
            for call in self._calls:
                call.into(values, like)
            asked, *given = (values[value] for value in self._outputs)
        return given


def values_in(arguments: Iterable[Argument]) -> Iterator[int]:
    """The values among arguments or results."""
    for argument in arguments:
        yield from argument if isinstance(argument, tuple) else () if argument is None else (argument,)


def as_tensors(given: Any, like: Tensor) -> Any:
    if isinstance(given, Numbers):
        return given.tensor(like)
    return [as_tensors(each, like) for each in given] if isinstance(given, list) else given


def _given(argument: Argument, values: Mapping[int, Any]) -> Any:
    if isinstance(argument, tuple):
        return [values[value] for value in argument]
    return None if argument is None else values.get(argument)  # nothing is there of a branch that did not run


def _keep(result: Any, places: tuple[Argument, ...], values: dict[int, Any]) -> None:
    for place, given in zip(places, result if len(places) > 1 else [result], strict=True):
        if isinstance(place, tuple):
            if len(given) < len(place):
                raise ValueError(f"{len(given)} results, where the program has {len(place)}")
            values.update(zip(place, given, strict=False))  # the program need not take the last ones
        elif place is not None:
            values[place] = given
