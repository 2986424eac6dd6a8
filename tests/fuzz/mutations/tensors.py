"""Files that are a header and numbers: safetensors, Paddle's tensor streams, and .npy."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any

from tests.fuzz.mutations import hostile, protobuf, raw, trees
from tests.fuzz.mutations.trees import Pairs


def mutate_safetensors(random: Random, content: bytes) -> bytes:
    """Another header before the same numbers; of the documents within its metadata, too."""
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length]
    root = [json.loads(header, object_pairs_hook=lambda pairs: Pairs(map(list, pairs)))]
    inner = [pair for name, value in _pairs(root[0]) if name == "__metadata__" for pair in _pairs(value)]
    documents = [pair for pair in inner if isinstance(pair[1], str) and pair[1][:1] == "{"]
    if documents and random.random() < 0.8:
        pair = random.choice(documents)
        pair[1] = trees.mutate_json(random, pair[1].encode()).decode("utf-8", "surrogatepass")
    elif inner and random.random() < 0.3:
        pair = random.choice(inner)
        pair[1] = hostile.text(random, str(pair[1]))
    else:
        for _ in range(random.choice((1, 1, 2))):
            trees.mutate_tree(random, root)
    text = trees.dump(root[0]).encode("utf-8", "surrogatepass")
    size = len(text) + random.choice((0,) * 12 + (1, -1, 1 << 40))
    numbers = content[8 + length :]
    if random.random() < 0.05:
        numbers = raw.mutate_bytes(random, numbers)
    return struct.pack("<Q", size % (1 << 64)) + text + numbers


def _pairs(value: Any) -> list[list[Any]]:
    return value if isinstance(value, Pairs) else []


def mutate_stream(random: Random, content: bytes) -> bytes:
    """Paddle's binary tensors: other descriptions, levels and lengths. Raises `ValueError` where there is none."""
    pieces = _stream_pieces(content)
    at = random.randrange(len(pieces))
    version, levels, description, numbers = pieces[at]
    change = random.randrange(8)
    if change < 3:
        description = protobuf.mutate_protobuf(random, description)
    elif change == 3:
        levels = (
            struct.pack("<Q", random.choice((1, 2, 64, 1 << 40)))
            + struct.pack("<Q", random.choice((0, 8, 1 << 60)))
            + b"\0" * 8
        )
    elif change == 4:
        version = struct.pack("<I", random.choice((1, 2, 1 << 31)))
    elif change == 5:
        numbers = numbers[: random.randrange(len(numbers) + 1)]
    elif change == 6:
        pieces += pieces[at : at + 1] * random.choice((1, 2, 300, 5000))
    else:
        pieces[at : at + 1] = []
    if change < 6:
        pieces[at] = (version, levels, description, numbers)
    lie = random.choice((0,) * 9 + (1, -1, 1 << 30))
    return b"".join(v + lod + v + struct.pack("<i", len(d) + lie) + d + n for v, lod, d, n in pieces)


def _stream_pieces(content: bytes) -> list[tuple[bytes, bytes, bytes, bytes]]:
    pieces = []
    at = 0
    while at < len(content):
        try:
            (count,) = struct.unpack_from("<Q", content, at + 4)
            end = at + 12
            for _ in range(min(count, 8)):
                end += 8 + struct.unpack_from("<Q", content, end)[0]
            (size,) = struct.unpack_from("<i", content, end + 4)
        except struct.error:
            raise ValueError("no tensor stream") from None
        description = content[end + 8 : end + 8 + size]
        sides = [value for number, _, value in protobuf.parse(description) if number == 2]
        code = next((value for number, _, value in protobuf.parse(description) if number == 1), 5)
        nbytes = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2}.get(code, 4)
        for side in sides:
            nbytes *= side if isinstance(side, int) else 1
        stop = end + 8 + size + nbytes
        if size < 0 or stop > len(content):
            raise ValueError("no tensor stream")
        pieces.append((content[at : at + 4], content[at + 4 : end], description, content[end + 8 + size : stop]))
        at = stop
    if not pieces:
        raise ValueError("no tensor stream")
    return pieces


def mutate_npy(random: Random, content: bytes) -> bytes:
    """Another header of a .npy."""
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length].decode("latin1").rstrip()
    change = random.randrange(6)
    if change == 0:
        header = hostile.text(random, header)
    elif change == 1:
        codes = (
            "|O",
            "<U9",
            "<f3",
            ">f4",
            "<M8[s]",
            "|V8",
            "<c16",
            "|b1",
            "<f2",
            "')+x('",
            "<f4', 'shape': (2**40,), 'x': '",
        )
        header = header.replace("<f4", random.choice(codes))
    elif change == 2:
        shapes = (
            "(2**40,)",
            "(-1,)",
            "(1099511627776,)",
            "(0, 1152921504606846976)",
            "()",
            "(1,)" * 99,
            "[1]",
            "(True,)",
            "(1.0,)",
            "None",
        )
        start, end = header.find("(") % (len(header) + 1), header.find(")") + 1
        header = header[:start] + random.choice((*shapes, "(" * 300 + ")" * 300)) + header[end:]
    elif change == 3:
        header = header.replace("False", random.choice(("True", "1", "'x'", "__import__('os')", "[[]]")))
    elif change == 4:
        header += " " * random.choice((1, 1000, 60_000))
    else:
        content = raw.mutate_bytes(random, content[:10]).ljust(10, b"\0")[:10] + content[10:]
    text = header.encode("utf-8", "surrogatepass") + b"\n"
    if len(text) > 65_535:
        return content[:6] + b"\2\0" + struct.pack("<I", len(text)) + text + content[10 + length :]
    return content[:8] + struct.pack("<H", len(text)) + text + content[10 + length :]
