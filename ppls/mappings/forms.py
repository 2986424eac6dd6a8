"""What values the options of a model may have: plain ones, within bounds, and nothing that anybody would call."""

from __future__ import annotations

import functools
import math
import operator
import re
from typing import Annotated, Any

from ppls.errors import Error
from ppls.schema import Node, between, build, describe
from ppls.shown import shown

MOST = 100_000  # of a number, whatever it counts
_MOST_ENTRIES, _MOST_LEVELS = 1000, 4
_TEXT = re.compile(r"[A-Za-z0-9_-]{0,100}")  # PaddleSeg gives some texts to `eval`


def plain_value(value: Any) -> Any:
    """A check: numbers, words, truth values, nothing, and lists and tables of them.

    Raises:
        ValueError: it is none, or of a size that no model has.
    """
    _check(value, 0)
    return value


def key_value(text: str) -> Any:
    """What a key of a table of values stands for: a number, a truth value, nothing, or the word that it is."""
    if re.fullmatch(r"-?[0-9]{1,9}", text):
        return int(text)
    if re.fullmatch(r"-?[0-9]{1,9}\.[0-9]{1,9}", text):
        return float(text)
    return plain_value({"true": True, "false": False, "null": None}.get(text, text))


Value = Annotated[Any, plain_value]
Size = Annotated[int, between(1, MOST)]
Number = Annotated[int, between(0, MOST)]
Whole = Annotated[int, between(-MOST, MOST)]


def form_like(*values: Any) -> Any:
    """The type of values that are like these: a whole number for a whole number, a list of them for a list of them."""
    forms = list(dict.fromkeys(map(_form, values)))
    return Any if Any in forms or not forms else functools.reduce(operator.or_, forms)


def accepted(value: Any, form: Any) -> Any:
    """A user's value, as the type that an option's values have. Raises `ValueError`, which says what that is."""
    try:
        return build(Node.of(value, lambda place, why: Error(why)), form)
    except Error:
        raise ValueError(f"expected {describe(form)}") from None


def _form(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return list[_form(value[0])] if value else list[Any]  # type: ignore[misc]
    return {bool: bool, int: Whole, float: float, str: str}.get(type(value), Any)


def _check(value: Any, level: int) -> None:
    if isinstance(value, str):
        if not _TEXT.fullmatch(value):
            raise ValueError(f"{shown(repr(value), 80)} is no word of letters, digits, _ and -")
    elif isinstance(value, (dict, list, tuple)):
        if len(value) > _MOST_ENTRIES or level == _MOST_LEVELS:
            raise ValueError(f"more than {_MOST_ENTRIES:,} entries, or nested more than {_MOST_LEVELS} deep")
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(item, level + 1)
    elif isinstance(value, bool) or value is None:
        pass
    elif type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"expected a number, a word, a list or a table, found {shown(repr(value), 80)}")
    elif abs(value) > MOST:
        raise ValueError(f"{value:,} is beyond {MOST:,}, which no option needs")
