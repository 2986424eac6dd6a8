"""An exported program written anew for Paddle to run: from what ppls read, and only if all of it is on a closed list.

Paddle is never given the user's own file: its parsers and its 2,000 operators are not made for files that somebody else
made. What ends in classes or probabilities gives what these are made of too, the logits, which tell more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from ppls.budget import Budget
from ppls.checkpoint import pure_pdmodel, pure_pir
from ppls.checkpoint.program import looks_like_pdmodel
from ppls.checkpoint.pure_form import Form, Step, Value
from ppls.checkpoint.source import Source
from ppls.errors import first_line

Ending = Literal["argmax", "softmax"]

_ENDINGS: Mapping[str, Ending] = {"argmax": "argmax", "arg_max": "argmax", "softmax": "softmax"}
_SAME = ("assign", "cast", "scale")  # what an exporter puts behind those; the values are compared anyway


class Place(NamedTuple):
    """Of a value, the number of the operation that gives it, as `ppls.checkpoint.graph` counts, and which it is."""

    operation: int
    output: int


class Returned(NamedTuple):
    """One output of an export: the places of its logits and of itself in what the written program returns.

    `ending` is what the export makes of the logits; None where it returns them.
    """

    logits: int
    itself: int
    ending: Ending | None


class PureProgram(NamedTuple):
    """A program as ppls wrote it.

    Attributes:
        content: the file, of this suffix.
        input_name, input_shape: of its one input, float32; -1 where a side may be any.
        outputs: what the export returns.
        parameters: the variables of its weights, in the order in which their file has them.
        returned: of a program that was asked for values, those that it returns, in order, with their names in the file.
    """

    content: bytes
    suffix: Literal[".json", ".pdmodel"]
    input_name: str
    input_shape: tuple[int, ...]
    outputs: tuple[Returned, ...]
    parameters: tuple[str, ...]
    returned: Mapping[Place, str] = MappingProxyType({})

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an input of this shape may be given to it."""
        known = self.input_shape
        return len(known) == len(shape) and all(side in (-1, given) for side, given in zip(known, shape, strict=True))


def rewrite(source: Source, *, double: bool = False, returning: Iterable[Place] | None = None) -> PureProgram:
    """Writes a program anew.

    Args:
        double: with float64 in the place of float32, everywhere.
        returning: the values that it is to return in the place of its own, those of them that are there at the end.

    Raises:
        CheckpointError: it is damaged, or holds what is not on the list; the message says what.
    """
    budget = Budget(source.size, source.error)  # of a pass of its own
    budget.take_bytes(source.size)
    content = source.read(0, source.size)
    read = pure_pdmodel.read if looks_like_pdmodel(content[:64]) else pure_pir.read
    try:
        form = read(content, budget)
        made = {value: step for step in form.steps for value in step.outputs}
        if returning is None and sum(len(step.outputs) for step in form.steps) != len(made):
            made = {}  # under a name that is written twice another value may stand in the end
        if returning is not None:
            return _returning(form, made, returning, double)
        returned: list[Value] = []
        outputs = []
        for value in form.fetched:
            logits, ending = _logits(value, made)
            returned += [each for each in dict.fromkeys((logits, value)) if each not in returned]
            outputs.append(Returned(returned.index(logits), returned.index(value), ending))
        return PureProgram(
            form.write(returned, double),
            form.suffix,
            form.input_name,
            form.input_shape,
            tuple(outputs),
            tuple(sorted(form.parameters)),
        )
    except (ValueError, struct.error) as error:
        raise source.error(f"Paddle is not given this program to run: {first_line(error)}") from None


def _returning(form: Form, made: Mapping[Value, Step], places: Iterable[Place], double: bool) -> PureProgram:
    there = {
        Place(step.place, at): value
        for step in form.steps
        for at, value in enumerate(step.outputs)
        # under a name that is written again is another value in the end
        if made.get(value) is step and value not in form.hidden
    }
    values = {place: there[place] for place in places if place in there}
    return PureProgram(
        form.write(list(values.values()), double),
        form.suffix,
        form.input_name,
        form.input_shape,
        tuple(Returned(at, at, None) for at in range(len(values))),
        tuple(sorted(form.parameters)),
        {place: str(value) for place, value in values.items()},
    )


def _logits(value: Value, made: Mapping[Value, Step]) -> tuple[Value, Ending | None]:
    """What a value is made of by an argmax or a softmax at the end, and which of the two it is; else the value."""
    at, logits, ending = value, value, None
    while (step := made.get(at)) is not None and step.inputs and (step.kind in _SAME or step.kind in _ENDINGS):
        at = step.inputs[0]
        if step.kind in _ENDINGS:
            logits, ending = at, ending or _ENDINGS[step.kind]
    return logits, ending
