"""Options that have a value for each level of a decoder."""

from __future__ import annotations

from collections.abc import Sequence

from ppls.errors import Error


def for_each_level(option: str, values: Sequence[int], levels: int) -> list[int]:
    """The values of an option, one for each level; where a single one was given, it serves all, as in PaddleSeg.

    Raises:
        Error: there are neither one nor as many values as levels.
    """
    if len(values) == 1:
        return list(values) * levels
    if len(values) != levels:
        raise Error(f"{option} has {len(values)} values for {levels} decoder levels; give one for each, or one for all")
    return list(values)
