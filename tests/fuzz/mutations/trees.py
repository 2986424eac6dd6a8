"""Documents as trees, JSON's and those like it: parts are exchanged, dropped, doubled, nested, or made hostile."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.fuzz.mutations import hostile
from tests.fuzz.mutations.hostile import Raw

_LONGEST = 1 << 20  # of what comes out, about


class Pairs(list[list[Any]]):
    """An object of JSON: `[name, value]` pairs, in which a name may stand twice."""


def mutate_json(random: Random, content: bytes) -> bytes:
    """A JSON text with a few values changed. Raises `ValueError` where it is none."""
    root = [json.loads(content, object_pairs_hook=lambda pairs: Pairs(map(list, pairs)))]
    if random.random() < 0.2:
        _rename_everywhere(random, root)
    else:
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            mutate_tree(random, root)
    text = dump(root[0], ascii=random.random() < 0.8)
    return text.encode("utf-8", "surrogatepass")


def mutate_tree(random: Random, root: list[Any]) -> None:
    """Changes one value within `root`, a list of one: the document."""
    slots = list(_slots(root))
    container, at = random.choice(slots)
    change = random.randrange(12)
    value = container[at]
    if change < 4:
        container[at] = _another(random, value)
    elif change == 4:
        container[at] = hostile.scalar(random)
    elif change == 5:
        other, index = random.choice(slots)
        container[at] = _copied(other[index])
    elif change == 6:
        container[at] = [value] if random.random() < 0.5 else Pairs([["a", value]])
    elif change == 7:
        container[at] = _deep(random.choice((2, 65, 130, 1200, 20_000)), random.random() < 0.5)
    else:
        _in_container(random, value if isinstance(value, list) else container, change)


def _rename_everywhere(random: Random, root: list[Any]) -> None:
    """One text in the place of another, wherever that stands: what refers to it by name still does."""
    texts = [(container, at) for container, at in _slots(root) if isinstance(container[at], str)]
    if texts:
        container, at = random.choice(texts)
        old = container[at]
        new = hostile.text(random, old)
        for container, at in texts:
            if container[at] == old:
                container[at] = new


def _in_container(random: Random, container: list[Any], change: int) -> None:
    if not container:
        container.append(["a", 1] if isinstance(container, Pairs) else 1)
        return
    at = random.randrange(len(container))
    if change == 8:
        if len(container) > 1 or not isinstance(container, list):
            del container[at]
    elif change == 9:
        container.insert(random.randrange(len(container) + 1), _copied(container[at]))
    elif change == 10:
        item = hostile.scalar(random)
        container.insert(at, [str(random.choice(hostile.TEXTS)), item] if isinstance(container, Pairs) else item)
    else:
        many = random.choice((2, 10, 300, 3000, 50_000))
        size = max(1, len(dump(container[at])))
        item = container[at]
        for number in range(min(many, _LONGEST // size)):
            container.append([f"{item[0]}{number}", item[1]] if isinstance(container, Pairs) else item)


def _slots(root: list[Any]) -> Any:
    """Every value and name: the list that it stands in, and where."""
    waiting = [root]
    while waiting:
        container = waiting.pop()
        for at, item in enumerate(container):
            if isinstance(container, Pairs):
                yield item, 0
                yield item, 1
                if isinstance(item[1], list):
                    waiting.append(item[1])
            else:
                yield container, at
                if isinstance(item, list):
                    waiting.append(item)


def _another(random: Random, value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return random.choice((True, False, None, 0, 1, "true"))
    if isinstance(value, str):
        return hostile.text(random, value)
    if isinstance(value, (int, float)):
        return hostile.number(random, value)
    return random.choice(([], Pairs(), value[:1], value[::-1], hostile.scalar(random)))


def _copied(value: Any) -> Any:
    if isinstance(value, Pairs):
        return Pairs([name, _copied(item)] for name, item in value)
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _deep(levels: int, objects: bool) -> Raw:
    return Raw('{"a":' * levels + "0" + "}" * levels if objects else "[" * levels + "]" * levels)


def dump(value: Any, *, ascii: bool = True) -> str:
    """`json.dumps` that writes names twice, NaN, and numbers of any length."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{_name(name, ascii)}:{dump(item, ascii=ascii)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dump(item, ascii=ascii) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii)


def _name(name: Any, ascii: bool) -> str:
    return json.dumps(
        name if isinstance(name, str) and not isinstance(name, Raw) else str(name)[:100], ensure_ascii=ascii
    )
