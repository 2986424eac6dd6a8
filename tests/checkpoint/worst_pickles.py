"""Pickles of up to 1 MB that are made to cost as much as they can, plain and compressed."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator

from tests.checkpoint.pickles import array, dtype, function, text
from tests.checkpoint.worst_cases import LARGEST, Files

_LONG = 128 << 20  # bytes of what is compressed


def pickles(every: int = 1) -> Iterator[tuple[str, Files]]:
    """Every so many of them: as long as a file may be, then as much as one of 1 MB holds when it is compressed."""
    for name, head, unit, tail in list(_pickles())[::every]:
        most = LARGEST - len(head) - len(tail)
        content = head + b"".join(map(unit, range(most // len(unit(0)) - 1))) + tail
        yield name, {"m.pdparams": content}
        ratio = len(content) // len(gzip.compress(content, 6)) + 1
        longest = min(_LONG, ratio * most) // len(unit(0))
        packed = b""
        while not packed or len(packed) > LARGEST:
            packed = gzip.compress(head + b"".join(map(unit, range(min(longest, 900_000)))) + tail, 6)
            longest = longest * 9 // 10
        yield f"{name}, gz", {"m.pdparams.gz": packed}


def _key(index: int) -> bytes:
    return b"\x8c\5%05x" % (index % 16**5)


def _pickles() -> Iterator[tuple[str, bytes, Callable[[int], bytes], bytes]]:
    """A beginning, what is repeated, by its number, and an end."""
    start, tensor = b"\x80\4", array()
    for name, unit in (
        ("sets", b"\x8f"),
        ("dictionaries", b"}"),
        ("lists", b"]"),
        ("bytes", b"C\0"),
        ("numbers", b"G" + bytes(8)),
        ("text in four bytes per character", b"\x8c\xff" + b"a" * 251 + "\U0001f600".encode()),
        ("long texts", b"X" + struct.pack("<I", 300) + b"a" * 300),
        ("names of globals", function("A" * 500, "B" * 500)),
        ("short names of globals", function("A", "B")),
        ("frames", b"\x95\1" + bytes(7) + b"N"),
    ):
        yield name, start + b"(", lambda index, unit=unit: unit, b"t."
    yield "stored values", start + b"N", lambda index: b"\x94", b"."
    yield "recalled values", start + b"(N\x94", lambda index: b"h\0", b"t."
    yield "lists in lists", start, lambda index: b"](", b"."
    yield "keys", start + b"}(" + text("w") + tensor, lambda index: _key(index) + b"N", b"u."
    yield "long keys", start + b"(X" + struct.pack("<I", 4000) + b"a" * 4000 + b"\x94", lambda index: b"}h\0Ns", b"t."
    yield (
        "numbers as keys",
        start + b"}(" + text("w") + tensor,
        lambda index: b"J" + struct.pack("<i", index) + b"N",
        b"u.",
    )
    prime = 2**61 - 1  # Python's hash of a number is its remainder
    yield (
        "numbers of one hash as keys",
        start + b"}(" + text("w") + tensor,
        lambda index: (
            b"\x8a\x09" + (index * prime).to_bytes(9, "little", signed=True) + b"N"
            if index < 1024
            else _key(index) + b"N"
        ),
        b"u.",
    )
    yield (
        "pairs of one hash as keys",
        start + b"}(" + text("w") + tensor,
        lambda index: b"J" + struct.pack("<i", -1 - index % 2) + b"K\1\x86N",
        b"u.",
    )
    for name, value in (("tied tensors", b"h\0"), ("metadata", b"K\1")):
        yield name, start + b"(" + tensor + b"\x94}(", lambda index, value=value: _key(index) + value, b"ut."
    yield "tensors", start + b"}(", lambda index: _key(index) + tensor, b"u."
    made = b"cnumpy.core.multiarray\n_reconstruct\nq\0cnumpy\nndarray\nq\1K\0\x85q\2C\1bq\3h\1h\2h\3\x87q\4"
    made += dtype() + b"q\5C\0q\6K\0\x85q\7"
    again = b"h\0h\4R(K\1h\7h\5\x89h\6tb"
    yield (
        "tiny tensors",
        b"\x80\3}(K\0(" + made + b"tX\5\0\0\0names}(",
        lambda index: b"X\5\0\0\0%05x" % (index % 16**5) + again,
        b"uu.",
    )
    table = text("StructuredToParameterName@@") + b"}("
    yield "a table of names", start + b"}(" + text("w") + tensor + table, lambda index: _key(index) + b"\x8c\1a", b"uu."
    names = b"](" + text("w") * 30_000 + b"e\x94"
    chunk = b"}(" + text("OriginShape") + b"K\1\x85" + text("slices") + b"h\0u"
    yield (
        "chunks",
        start
        + b"}(K\0K\0"
        + text("w")
        + tensor
        + text("UnpackBigParamInfor@@")
        + b"}("
        + text("A")
        + (b"}(" + text("OriginShape") + b"K\1\x85" + text("slices") + names + b"u"),
        lambda index: _key(index) + chunk,
        b"uu.",
    )
    call = b"ccollections\nOrderedDict\nq\0](" + b"".join(b"](J" + struct.pack("<i", i) + b"Ne" for i in range(20_000))
    yield "dictionaries of items", b"\x80\2(" + call + b"eq\1", lambda index: b"h\0h\1\x85R", b"t."
    scalar = b"\x80\3(" + dtype() + b"q\0cnumpy.core.multiarray\nscalar\nq\1C\4abcdq\2"
    yield "scalars", scalar, lambda index: b"h\1h\0h\2\x86R", b"t."
    deep = b"".join(b"}\x8c\xfa" + b"a" * 250 for _ in range(3))
    yield "deep names", start + b"}(", lambda index: _key(index) + deep + tensor + b"sss", b"u."
