"""An exported program written anew for Paddle to run: from what ppls read, and only if all of it is on a closed list.

Paddle is never given the user's own file: its parsers and its 2,000 operators are not made for files that somebody else
made. What ends in classes or probabilities gives what these are made of too, the logits, which tell more.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ppls.budget import Budget
from ppls.checkpoint.program import looks_like_pdmodel
from ppls.checkpoint.pure_operators import ATTRIBUTES, WITHOUT_EFFECT
from ppls.checkpoint.source import Source
from ppls.errors import first_line
from ppls.shown import shown

Value = Hashable  # a number in PIR, a name in a `.pdmodel`
Ending = Literal["argmax", "softmax"]

MOST_SIDE = 1 << 31
MOST_MADE = 1 << 24  # elements of a tensor that stands in the program itself
_ENDINGS: Mapping[str, Ending] = {"argmax": "argmax", "arg_max": "argmax", "softmax": "softmax"}
_MAKERS = ("full", "fill_constant", "assign_value", "assign_value_", "full_batch_size_like")
_SAME = ("assign", "cast", "scale")  # what an exporter puts behind those; the values are compared anyway
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_TEXT = re.compile(r"[A-Za-z0-9_,.>+\- ]{0,200}")


class Step(NamedTuple):
    """An operation, by its kind without a dialect: the values that it takes and gives."""

    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


class Form(NamedTuple):
    """A program of either form, read and found to be on the list.

    Attributes:
        fetched: the values that it returns, in order.
        parameters: the variables of the weights that it uses.
        write: the program anew, returning these values; in double precision where that is asked for.
    """

    suffix: Literal[".json", ".pdmodel"]
    input_name: str
    input_shape: tuple[int, ...]
    steps: Sequence[Step]
    fetched: Sequence[Value]
    parameters: Sequence[str]
    write: Callable[[Sequence[Value], bool], bytes]


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
    """

    content: bytes
    suffix: Literal[".json", ".pdmodel"]
    input_name: str
    input_shape: tuple[int, ...]
    outputs: tuple[Returned, ...]
    parameters: tuple[str, ...]

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether an input of this shape may be given to it."""
        known = self.input_shape
        return len(known) == len(shape) and all(side in (-1, given) for side, given in zip(known, shape, strict=True))


def rewrite(source: Source, *, double: bool = False) -> PureProgram:
    """Writes a program anew.

    Args:
        double: with float64 in the place of float32, everywhere.

    Raises:
        CheckpointError: it is damaged, or holds what is not on the list; the message says what.
    """
    from ppls.checkpoint import pure_pdmodel, pure_pir  # which use this file

    budget = Budget(source.size, source.error)  # of a pass of its own
    budget.take_bytes(source.size)
    content = source.read(0, source.size)
    read = pure_pdmodel.read if looks_like_pdmodel(content[:64]) else pure_pir.read
    try:
        form = read(content, budget)
        made = {value: step for step in form.steps for value in step.outputs}
        if sum(len(step.outputs) for step in form.steps) != len(made):
            made = {}  # under a name that is written twice another value may stand in the end
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


def _logits(value: Value, made: Mapping[Value, Step]) -> tuple[Value, Ending | None]:
    """What a value is made of by an argmax or a softmax at the end, and which of the two it is; else the value."""
    at, logits, ending = value, value, None
    while (step := made.get(at)) is not None and step.inputs and (step.kind in _SAME or step.kind in _ENDINGS):
        at = step.inputs[0]
        if step.kind in _ENDINGS:
            logits, ending = at, ending or _ENDINGS[step.kind]
    return logits, ending


def keeps(attribute: str, value: Any) -> bool:
    """Whether an attribute is written; False where it changes nothing.

    Raises:
        ValueError: it is not on the list, and says something.
    """
    if attribute in ATTRIBUTES:
        return True
    if attribute in WITHOUT_EFFECT or not value:
        return False
    raise ValueError(f"it has an attribute '{shown(attribute, 80)}', which is not on ppls's list")


def check_operator(kind: str, known: frozenset[str]) -> None:
    """Raises `ValueError` for an operator that is not on the list."""
    if kind not in known:
        name = kind.partition(".")[2] if "." in kind else kind
        raise ValueError(f"it runs '{shown(name, 80)}', which is not on ppls's list of pure operators")


def check_inference(kind: str, attributes: Mapping[str, Any]) -> None:
    """Raises `ValueError` where an operator does what it does in training: draws numbers, changes statistics."""
    in_training = attributes.get("is_test") is False and attributes.get("use_global_stats") is not True
    if in_training and kind.startswith(("batch_norm", "dropout", "instance_norm")):
        raise ValueError(f"it runs '{kind}' as in training")


def check_made(kind: str, shape: Any) -> None:
    """Raises `ValueError` where a tensor that the program itself makes is of an absurd size."""
    made = kind in _MAKERS and isinstance(shape, list)
    sides = [side for side in shape if type(side) is int and side > 0] if made else []
    if math.prod(sides) > MOST_MADE:
        raise ValueError(f"it makes a tensor of {shown(str(sides), 80)}, more than any network needs")


def text(value: Any) -> str:
    """A text of an attribute, of plain signs."""
    if not isinstance(value, str) or not _TEXT.fullmatch(value):
        raise ValueError(f"it has a text {shown(repr(value), 80)} in an attribute")
    return value


def word(value: Any) -> str:
    """The name of an operator's input, output or attribute."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"it has a name {shown(repr(value), 80)}")
    return value


def integer(value: Any, bits: int = 64) -> int:
    if type(value) is not int or not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f"it has {shown(repr(value), 80)} where an integer of {bits} bits belongs")
    return value


def number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"it has {shown(repr(value), 80)} where a number belongs")
    return float(value)


def truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"it has {shown(repr(value), 80)} where true or false belongs")
    return value


def sides(shape: Any) -> list[int]:
    """The shape of a value, -1 where a side may be any."""
    if not isinstance(shape, list) or len(shape) > 32:
        raise ValueError("it has a value without a shape")
    if any(not -1 <= integer(side) <= MOST_SIDE for side in shape):
        raise ValueError(f"it has a value of shape {shown(str(shape), 80)}")
    return shape


def input_shape(dtype: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Of the one input, an image."""
    if dtype != "float32" or len(shape) != 4:
        raise ValueError(f"it takes {dtype} {shown(str(list(shape)), 80)}, and no float32 images (N, C, H, W)")
    return tuple(shape)


def the_one_input(inputs: Sequence[Any]) -> Any:
    if len(inputs) != 1:
        raise ValueError(f"it takes {len(inputs)} inputs, where a network takes one image")
    return inputs[0]
