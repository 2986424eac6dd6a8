"""JSON from a file as data, within the file's budget."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ppls.budget import Budget

_MOST_DIGITS = 40  # of a number: more are of no use, and Python takes long over them


def load_json(text: bytes, budget: Budget) -> Any:
    """A document as Python data; a name that stands twice in an object, NaN and infinity are refused.

    What it will take is counted before anything is made of it.

    Raises:
        ValueError: this is not JSON. The budget's own error where it is too much.
    """
    budget.take_bytes(len(text))
    budget.take_nodes(1 + sum(text.count(sign) for sign in (b",", b"[", b"{", b":")))
    budget.check_depth(_depth(text))
    return json.loads(
        text.decode("utf-8"), object_pairs_hook=_unique, parse_int=_integer, parse_constant=_refuse_constant
    )


def _depth(text: bytes) -> int:
    """The deepest nesting, or a little more where brackets stand in texts."""
    depth = deepest = 0
    if text.count(b"[") + text.count(b"{") <= 8:
        return 8
    for sign in text.translate(None, delete=_ALL_BUT_BRACKETS):
        depth += 1 if sign in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


_ALL_BUT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return entries


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
