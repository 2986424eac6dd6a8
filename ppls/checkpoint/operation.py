"""One operation of an exported program, as both forms of it tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Guards = tuple[tuple[int, bool], ...]  # values, each with what it must be for an operation to run
NOTHING = 0  # PIR's number for an input that is not given


class Fed(NamedTuple):
    """What goes into a program: its variable, its type, and its shape, -1 where a side may be any."""

    value: int
    dtype: str
    shape: tuple[int, ...]


class Operation(NamedTuple):
    """One operation.

    Attributes:
        kind: Paddle's name, without a dialect: `conv2d`, `bilinear_interp`, `pool2d`.
        attributes: numbers, texts, truth values and lists of them, by Paddle's names.
        inputs: the values that it takes, in the order of the file.
        outputs: the values that it gives.
        written: the kind as the file has it: `0.split`, `top_k_v2`.
        input_roles, output_roles: what a `.pdmodel` calls each input and output (`Filter`); PIR tells them by order.
        guards: of an operation in a branch what must be so for it to run.
        body: of a loop, what it runs again and again.
    """

    kind: str
    attributes: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    written: str = ""
    input_roles: tuple[str, ...] = ()
    output_roles: tuple[str, ...] = ()
    guards: Guards = ()
    body: Body | None = None


class Body(NamedTuple):
    """What a loop runs again and again.

    Attributes:
        arguments: the values that each round begins with; other values are those of the program around it.
        operations: in their order.
        ends: whether another round follows, and what that begins with.
    """

    arguments: tuple[int, ...]
    operations: tuple[Operation, ...]
    ends: tuple[int, ...]
