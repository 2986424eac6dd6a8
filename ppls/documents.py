"""JSON from a file as data, within the file's budget."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from ppls.budget import Budget

_MANY_DIGITS = re.compile(rb"[0-9]{41}")  # of no use in a number, and Python takes long over them
_BLOCK = 1 << 20
_ALL_BUT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


def load_json(text: bytes, budget: Budget, *, needed: Callable[[dict[str, Any]], bool] | None = None) -> Any:
    """A document as Python data; a name that stands twice in an object, NaN and infinity are refused.

    What it will take is counted before anything is made of it; who read the text has counted its bytes.

    Args:
        needed: told of every object, the inner ones first; None takes the place of those for which it is false, so that
            a long document takes little memory.

    Raises:
        ValueError: this is not JSON. The budget's own error where it is too much.
    """
    budget.take_bytes(len(text) if text.isascii() else 8 * len(text))  # Python may keep 4 bytes for each, twice
    # a value stands behind each of these signs; a text is a value or a key, and has two quotation marks
    budget.take_nodes(1 + max(sum(map(text.count, (b",", b"[", b"{"))), text.count(b'"') // 4))
    outside = _without_texts(text)
    budget.check_depth(_depth(outside))
    if _MANY_DIGITS.search(outside):
        raise ValueError("a number of more than 40 digits")

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise ValueError("a name stands twice in one object")
        return entries if needed is None or needed(entries) else None

    return json.loads(
        text.decode("utf-8"), object_pairs_hook=make, parse_float=_finite, parse_constant=_refuse_constant
    )


def _without_texts(text: bytes) -> bytes:
    """What of a document stands outside its texts."""
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside, inside = [], 0
    for start in range(0, len(text), _BLOCK):  # the pieces of all at once would take ten times the text
        pieces = text[start : start + _BLOCK].split(b'"')
        outside.append(b"".join(pieces[inside::2]))
        inside = (inside + len(pieces) - 1) % 2
    return b"".join(outside)


def _depth(brackets: bytes) -> int:
    depth = deepest = 0
    for sign in brackets.translate(None, delete=_ALL_BUT_BRACKETS):
        if sign in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:40]} is more than a number holds")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
