"""Words that a row of a map lists: `head.<x:pam|cam>` on one side, `attention.<x:position|channel>` on the other.

The lists of one letter are paired by position, so that the row stands for one row for each word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from ppls.mappings.patterns import LETTER, PLACEHOLDER, PatternError, placeholders
from ppls.shown import shown

_LIST = re.compile(r"<([a-z]):([^<>]*\|[^<>]*)>")
_WORD = re.compile(r"[A-Za-z0-9_.-]*")
_MOST_ROWS = 256  # of one


def expanded(texts: Sequence[str]) -> list[list[str]]:
    """The texts of one row's patterns, once for each word of the lists in them: `<x:pam|cam>`.

    Lists of one letter are paired by position. `<x>` alone repeats the list of its own text, or the row's first.

    Raises:
        PatternError: lists that cannot be paired, a word that is none or stands twice, or too many rows.
    """
    if not any("|" in text for text in texts):
        return [list(texts)]
    lists: dict[str, list[str]] = {}
    for text in texts:
        placeholders(text)
        for letter, inside in _LIST.findall(text):
            words = _words(letter, inside)
            if len(lists.setdefault(letter, words)) != len(words):
                raise PatternError(f"<{letter}> has {len(lists[letter])} words in one list, {len(words)} in another")
    if prod(map(len, lists.values())) > _MOST_ROWS:
        raise PatternError(f"lists of words that make more than {_MOST_ROWS} rows")
    choices = [dict(zip(lists, at, strict=True)) for at in product(*(range(len(words)) for words in lists.values()))]
    return [[_chosen(text, lists, choice) for text in texts] for choice in choices]


def _words(letter: str, inside: str) -> list[str]:
    words = inside.split("|")
    for word in words:
        if not _WORD.fullmatch(word):
            raise PatternError(f"<{letter}:{shown(inside, 80)}>: {word!r} is no word of letters, digits, '_', '-', '.'")
    if len(set(words)) < len(words):
        raise PatternError(f"<{letter}:{shown(inside, 80)}> has a word twice")
    return words


def _chosen(text: str, lists: Mapping[str, list[str]], choice: Mapping[str, int]) -> str:
    """The text with the words at these places of the lists."""
    own = {letter: inside.split("|") for letter, inside in reversed(_LIST.findall(text))}

    def word(found: re.Match[str]) -> str:
        inside = found[1]
        if inside in choice:
            return (own.get(inside) or lists[inside])[choice[inside]]
        listed = _LIST.fullmatch(found[0])
        if listed:
            return listed[2].split("|")[choice[listed[1]]]
        for letter in choice.keys() & set(LETTER.findall(inside)):
            raise PatternError(f"<{shown(inside, 80)}> counts from {letter}, which is a word of a list in this row")
        return found[0]

    return PLACEHOLDER.sub(word, text)
