"""What both forms of a program have in common once they are read, and what is asked of each part of either."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ppls.checkpoint.pure_operators import ATTRIBUTES, WITHOUT_EFFECT
from ppls.shown import shown

Value = Hashable  # a number in PIR, a name in a `.pdmodel`

MOST_SIDE = 1 << 31
MOST_MADE = 1 << 24  # elements of a tensor that stands in the program itself
_MAKERS = ("full", "fill_constant", "assign_value", "assign_value_", "full_batch_size_like")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_TEXT = re.compile(r"[A-Za-z0-9_,.>+\- ]{0,200}")


class Step(NamedTuple):
    """An operation, by its kind without a dialect: the values that it takes and gives, and its number in the file."""

    place: int
    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


class Form(NamedTuple):
    """A program of either form, read and found to be on the list.

    Attributes:
        fetched: the values that it returns, in order.
        parameters: the variables of the weights that it uses.
        write: the program anew, returning these values; in double precision where that is asked for.
        hidden: values that it cannot return: lists, what is in blocks, what is written over.
    """

    suffix: Literal[".json", ".pdmodel"]
    input_name: str
    input_shape: tuple[int, ...]
    steps: Sequence[Step]
    fetched: Sequence[Value]
    parameters: Sequence[str]
    write: Callable[[Sequence[Value], bool], bytes]
    hidden: Collection[Value] = frozenset()


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
