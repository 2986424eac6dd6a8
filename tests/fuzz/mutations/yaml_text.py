"""YAML: nodes are exchanged, tagged, aliased and made hostile; or the text is, where a parser would not write it so."""

from __future__ import annotations

from random import Random
from typing import Any

import yaml

from tests.fuzz.mutations import hostile

_TAGS = (
    "!!bool", "!!int", "!!float", "!!null", "!!timestamp", "!!binary", "!!set", "!!omap", "!!pairs", "!!str", "!!seq",
    "!!map",
    "!!merge", "!!value", "!!python/object/apply:os.system", "!!python/name:os.system", "!!python/tuple", "!x",
    "!<tag:x>",
)  # fmt: skip
_PIECES = (
    "!!python/object/apply:os.system [touch pwned]", "&a [*a, *a]", "*a", "? ", "? [1]: 2", "<<: *a", "<<: 5", "{}",
    "[]", "{a: {a: {a: 1}}}",
    "[" * 300, "{a: " * 300, "- " * 300, "!!bool abc", "!!int ''", "!!timestamp x", "!!binary ==", "2024-13-45",
    "0b2", "1:60:99", ".inf", ".nan",
    "\t", "\0", "\x85", "\r", "\ufeff", "---\n", "...\n", "%YAML 9.9\n---\n", "%TAG ! x\n", "'", '"', "|\n  x",
    ">-9\n", "# ", ": ", ", ", "\n", "\n  ",
    "9" * 5000, "é", "\ud800", "=", "~", "!!set {a, b}", "[&x [], " + "*x, " * 2000 + "]", "&b b: *b",
)  # fmt: skip


def mutate_yaml(random: Random, content: bytes) -> bytes:
    """A YAML text with a few changes. Raises `ValueError` where it is none."""
    if random.random() < 0.2:
        return _mutate_text(random, content)
    try:
        root = yaml.compose(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if root is None:
            raise ValueError("empty")
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            _mutate_node(random, root)
        text = str(yaml.serialize(root, width=100_000, allow_unicode=True))
    except (yaml.YAMLError, RecursionError, AttributeError, TypeError) as error:
        raise ValueError(str(error)) from None
    return text.encode("utf-8", "surrogatepass")


def _mutate_text(random: Random, content: bytes) -> bytes:
    text = content.decode("utf-8", "replace")
    lines = text.split("\n")
    for _ in range(random.choice((1, 1, 2, 3))):
        line = random.randrange(len(lines))
        at = random.choice((random.randrange(len(lines[line]) + 1), lines[line].find(": ") + 1, len(lines[line])))
        change = random.randrange(6)
        if change < 2:
            lines[line] = lines[line][:at] + " " + random.choice(_PIECES)
        elif change == 2:
            lines[line] = lines[line][:at] + random.choice(_PIECES) + lines[line][at:]
        elif change == 3:
            lines[line] = f"{lines[line][:at]} {_scalar_text(random)}"
        elif change == 4:
            lines.insert(line, random.choice(lines))
        elif len(lines) > 1:
            del lines[line]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _scalar_text(random: Random) -> str:
    return str(hostile.scalar(random))


def _mutate_node(random: Random, root: yaml.Node) -> None:
    nodes = list(_nodes(root))
    node, other = random.choice(nodes), random.choice(nodes)
    change = random.randrange(10)
    if isinstance(node, yaml.ScalarNode):
        if change < 4:
            scalars = [node for node in nodes if isinstance(node, yaml.ScalarNode)]
            node.value = random.choice((random.choice(scalars).value, random.choice("0123456789ax_"), node.value[1:]))
        elif change < 9:
            node.value = hostile.text(random, node.value) if change < 7 else _scalar_text(random)
            node.style = random.choice((None, None, "'", '"'))
        else:
            node.tag = _tag(random)
    elif change == 0:
        node.tag = _tag(random)
    else:
        _mutate_collection(random, node.value, other, change, isinstance(node, yaml.MappingNode))


def _mutate_collection(random: Random, items: list[Any], other: yaml.Node, change: int, mapping: bool) -> None:
    fresh = random.choice((other, _new(random)))  # the same node in two places becomes an anchor and an alias
    if not items:
        items.append((_new(random), fresh) if mapping else fresh)
        return
    at = random.randrange(len(items))
    if change == 1:
        del items[at]
    elif change == 2:
        items.insert(at, items[random.randrange(len(items))])
    elif change == 3:
        items.insert(at, (_new(random), fresh) if mapping else fresh)
    elif change == 4:
        items += [items[at]] * random.choice((3, 300, 5000))
    elif change == 5 and mapping:
        items[at] = (_new(random), items[at][1])
    elif change == 6:
        deep: yaml.Node = fresh
        for _ in range(random.choice((1, 60, 120))):
            deep = yaml.SequenceNode("tag:yaml.org,2002:seq", [deep], flow_style=True)
        items[at] = (items[at][0], deep) if mapping else deep
    else:
        items[at] = (items[at][0], fresh) if mapping else fresh


def _new(random: Random) -> yaml.Node:
    kind = random.random()
    if kind < 0.75:
        value = _scalar_text(random)
        tag = "tag:yaml.org,2002:str"
        return yaml.ScalarNode(tag, value, style=random.choice(("'", '"'))) if kind < 0.3 else _plain(value)
    items: list[Any] = [_plain(_scalar_text(random)) for _ in range(random.choice((0, 1, 2, 4)))]
    if kind < 0.9:
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=True)
    return yaml.MappingNode("tag:yaml.org,2002:map", [(item, item) for item in items], flow_style=True)


def _plain(value: str) -> yaml.ScalarNode:
    """A scalar of whatever type its text reads as."""
    resolved = yaml.SafeLoader("").resolve(yaml.ScalarNode, value, (True, False))
    return yaml.ScalarNode(resolved, value)


def _tag(random: Random) -> str:
    tag = random.choice(_TAGS)
    return tag.replace("!!", "tag:yaml.org,2002:") if tag.startswith("!!") else tag


def _nodes(root: yaml.Node) -> Any:
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
