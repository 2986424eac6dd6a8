"""What a branch ends in: of two results the one that was computed."""

from __future__ import annotations

from typing import Any

from ppls.programs.attributes import Attributes
from ppls.programs.numbers import Value, number_of
from ppls.programs.registry import Run, operator


@operator(pir="if", takes="Cond X Y", numbers=True)
def choice(attributes: Attributes) -> Run:
    """The operations of the branches stand before it, and ask for themselves whether they run."""

    def run(asked: Value, then: Any = None, other: Any = None) -> Any:
        return then if number_of(asked) else other

    return run
