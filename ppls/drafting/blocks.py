"""Layers that stand together again and again, as one block: `conv_bn`, and what is made of it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ppls.drafting.rows import LayerRow, common_prefix
from ppls.mappings.patterns import natural_key, shape_of_name

Entry = tuple[str, str, str, str]  # within a block: the source's name, the port's, kind or block, options
Block = tuple[Entry, ...]

PAIR = {"conv", "batch_norm"}


def with_blocks(
    rows: Sequence[LayerRow], taken: Collection[str], known: Mapping[str, Block]
) -> tuple[list[LayerRow], dict[str, Block]]:
    """The rows with what repeats as blocks, and the blocks.

    Args:
        taken: names that mean something else: kinds of layers.
        known: blocks that need not be said.
    """
    blocks: dict[str, Block] = {}
    current = list(rows)
    nodes = {".".join(parts[:n]) for row in rows for parts in [row.source.split(".")] for n in range(1, len(parts))}
    for depth in sorted({node.count(".") for node in nodes}, reverse=True):
        current = _level(current, [node for node in nodes if node.count(".") == depth], blocks, taken, known)
    if "conv_bn" not in blocks and "conv_bn_2" in blocks:  # every map's own is not used
        current = [replace(row, kind=_renumbered(row.kind)) for row in current]
        blocks = {
            _renumbered(name): tuple((*entry[:2], _renumbered(entry[2]), entry[3]) for entry in block)
            for name, block in blocks.items()
        }
    return current, {name: block for name, block in blocks.items() if known.get(name) != block}


def _renumbered(name: str) -> str:
    return "conv_bn" if name == "conv_bn_2" else name


def _level(
    rows: list[LayerRow],
    nodes: Sequence[str],
    blocks: dict[str, Block],
    taken: Collection[str],
    known: Mapping[str, Block],
) -> list[LayerRow]:
    inside: dict[str, list[LayerRow]] = defaultdict(list)
    wanted = set(nodes)
    depth = nodes[0].count(".") + 1
    for row in rows:
        node = ".".join(row.source.split(".")[:depth])
        if node in wanted and node != row.source:
            inside[node].append(row)
    at_node = {row.source for row in rows}
    signatures = {node: found for node, held in inside.items() if node not in at_node and (found := _block(held))}
    counts = Counter(signatures.values())
    merged = _merged(signatures, counts)
    uses = Counter(merged.values())
    named: dict[Block, str] = {}
    for signature, count in sorted(uses.items(), key=lambda item: (-item[1], item[0])):
        like_known = next((name for name, block in known.items() if block == signature), None)
        if count > 1 or like_known:
            example = next(node for node, block in merged.items() if block == signature)
            known_as = next((name for name, block in blocks.items() if block == signature), None)
            named[signature] = known_as or like_known or _name(signature, example, {*blocks, *taken, *known})
            blocks[named[signature]] = signature
    result = []
    done: set[str] = set()
    for row in rows:
        node = ".".join(row.source.split(".")[:depth])
        if node == row.source or merged.get(node) not in named:
            result.append(row)
        elif node not in done:
            done.add(node)
            target = common_prefix(held.target for held in inside[node])
            doubt = next((held.doubt for held in inside[node] if held.doubt), "")
            result.append(LayerRow(node, target, named[merged[node]], doubt=doubt))
    return result


def _block(rows: Sequence[LayerRow]) -> Block | None:
    """What these rows are within their module; None where they are no block."""
    if len(rows) < 2:
        return None
    source, target = common_prefix(row.source for row in rows), common_prefix(row.target for row in rows)
    if not target or any(row.target == target for row in rows):
        return None
    depth = rows[0].source.count(".") - rows[0].source.removeprefix(f"{source}.").count(".")
    if depth < 1 or len({(shape_of_name(row.source), row.kind) for row in rows}) < len(rows):
        return None  # those are counted
    return tuple(
        (row.source.removeprefix(f"{source}."), row.target.removeprefix(f"{target}."), row.kind, row.options)
        for row in rows
    )


def _merged(signatures: Mapping[str, Block], counts: Mapping[Block, int]) -> dict[str, Block]:
    """Blocks of one name of which some lack a layer are one: what is not there matches nothing."""
    result = dict(signatures)
    by_template: dict[str, list[str]] = defaultdict(list)
    for node in signatures:
        by_template[shape_of_name(node)].append(node)
    for nodes in by_template.values():
        every = {signatures[node] for node in nodes}
        if len(every) < 2:
            continue
        entries: dict[str, Entry] = {}
        for signature in sorted(every, key=len, reverse=True):
            for entry in signature:
                entries.setdefault(entry[0], entry)
        whole = tuple(entries.values())
        agree = all(entries[entry[0]] == entry for signature in every for entry in signature)
        longest = max(map(len, every))
        if agree and len({entry[1] for entry in whole}) == len(whole) and 2 * min(map(len, every)) >= longest:
            order = sorted(whole, key=lambda entry: _place(entry, every))
            result |= dict.fromkeys(nodes, tuple(order))
    return result


def _place(entry: Entry, signatures: Collection[Block]) -> tuple[float, list[tuple[int, int, str]]]:
    places = [signature.index(entry) / len(signature) for signature in signatures if entry in signature]
    return max(places), natural_key(entry[0])


def _name(block: Block, example: str, taken: Collection[str]) -> str:
    kinds = {entry[2] for entry in block}
    words = [word for word in re.split(r"[^A-Za-z]+", example.replace(".", " ")) if len(word) > 1]
    name = "conv_bn" if kinds == PAIR and len(block) == 2 else (words[-1].lower() if words else "block")
    number = 2
    candidate = name
    while candidate in taken:
        candidate = f"{name}_{number}"
        number += 1
    return candidate


def expanded(rows: Sequence[LayerRow], blocks: Mapping[str, Block]) -> list[LayerRow]:
    """The rows with every block as its layers again."""
    result: list[LayerRow] = []
    for row in rows:
        if row.kind not in blocks:
            result.append(row)
            continue
        inner = [
            replace(row, source=f"{row.source}.{source}", target=f"{row.target}.{target}", kind=kind, options=options)
            for source, target, kind, options in blocks[row.kind]
        ]
        result += expanded(inner, blocks)
    return result
