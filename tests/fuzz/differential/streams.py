"""Pickles for the comparison: as Paddle writes them, as it never would, and changed at random.

A stream is put together opcode by opcode. Two kinds of beginnings: what CPython's picklers write of the objects that
Paddle saves, and what a `Scribe` writes. Then a few changes at random, frames, and a header.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.differential.changes import CHANGES
from tests.fuzz.differential.opcodes import Opcodes, split
from tests.fuzz.differential.scribe import Scribe


class _Named:
    """As Paddle pickles a tensor within other objects."""

    def __init__(self, name: str, array: Any) -> None:
        self._pair = (name, array)

    def __reduce__(self) -> tuple[object, ...]:
        return tuple, (self._pair,)


def _saved() -> list[object]:
    """Objects as Paddle saves them."""
    w, b = np.arange(6, dtype="f4").reshape(2, 3), np.array([1.5, -2.0], "f8")
    table = {"w": "linear_0.w_0", "b": "linear_0.b_0"}
    return [
        {"w": w, "b": b, "StructuredToParameterName@@": table},
        OrderedDict(w=w, b=b),
        {"model": {"w": w, "b": b}, "epoch": 3, "lr": np.float32(0.5), "best": 0.7, "done": True, "note": None},
        [_Named("linear_0.w_0", w), _Named("linear_0.b_0", b)],
        {"w": w, "tied": w, "none": np.zeros((0, 4)), "one": np.array(3, "u1"), "f": np.asfortranarray(w)},
        {"w": w.astype(">f4"), "text": np.array(["road", "car"]), "classes": {0: "road", 1: "car"}, "on": {1, 2}},
        {"w": np.arange(80, dtype="f8"), "x" * 300: "é" * 300, "LR_Scheduler": {"last_lr": 0.1, "steps": [1, 2, 3]}},
        {"w@@.0": b, "w@@.1": b, "UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 2), "slices": ["w@@.0", "w@@.1"]}}},
        (w, {"a": [w, (1, 2, 3, 4)], "b": 2**40, "c": -5, "d": b"\xff\x00", "e": "text"}),
    ]


def written_by_picklers() -> list[tuple[int, Opcodes]]:
    """Protocol and opcodes of what CPython's picklers, in C and in Python, make of Paddle's objects."""
    found = []
    for value in _saved():
        for protocol in (2, 3, 4, 5):
            for pickler in (pickle.Pickler, pickle._Pickler):  # type: ignore[attr-defined]
                file = io.BytesIO()
                pickler(file, protocol).dump(value)
                found.append((protocol, split(file.getvalue())))
    return found


def framed(random: Random, opcodes: Opcodes) -> bytes:
    """The opcodes in one frame or several, or in none; now and then one whose length is wrong."""
    if random.random() < 0.4:
        return b"".join(opcodes)
    content, at = b"", 0
    wrong = random.random() < 0.15
    while at < len(opcodes):
        end = min(len(opcodes), at + random.choice((1, 3, 20, 1000)))
        inside = b"".join(opcodes[at:end])
        length = len(inside)
        if wrong and random.random() < 0.5:
            length = max(0, length + random.choice((-1, 1, -5, 5, 100, 2**40)))
        content += b"\x95" + struct.pack("<Q", length) + inside if random.random() < 0.8 else inside
        at = end
    return content


class Streams:
    """Streams without end; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._written = written_by_picklers()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._stream()

    def _stream(self) -> bytes:
        random = self._random
        if random.random() < 0.3:
            protocol, written = random.choice(self._written)
            opcodes = list(written)
        else:
            scribe = Scribe(random, random.choice((2, 3, 4, 4)))
            beginnings = (scribe.dictionary, scribe.state_dict, scribe.state_dict, lambda: scribe.value(0))
            random.choice(beginnings)()
            protocol, opcodes = scribe.protocol, [*scribe.opcodes, b"."]
        for _ in range(random.choice((0, 0, 0, 1, 1, 2, 4))):
            if opcodes:
                random.choice(CHANGES)(random, opcodes, random.randrange(len(opcodes)))
        content = framed(random, opcodes) if protocol >= 4 or random.random() < 0.03 else b"".join(opcodes)
        if random.random() < 0.05:
            protocol = random.randrange(7)
        header = b"\x80" + bytes([protocol]) if random.random() < 0.99 else b""
        return header + content + (random.randbytes(3) if random.random() < 0.02 else b"")
