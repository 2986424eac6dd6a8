"""Changes of a stream at random, opcode by opcode: of any kind, and of the kinds that readers may take differently."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from tests.fuzz.differential.opcodes import (
    CODES,
    GLOBALS,
    INTEGERS,
    NAMES,
    TABLES,
    Opcodes,
    any_opcode,
    get,
    integer,
    put,
)


def _delete(random: Random, opcodes: Opcodes, at: int) -> None:
    del opcodes[at : at + random.choice((1, 1, 2, 5))]


def _repeat(random: Random, opcodes: Opcodes, at: int) -> None:
    opcodes[at:at] = opcodes[at : at + random.choice((1, 1, 2, 8))]


def _swap(random: Random, opcodes: Opcodes, at: int) -> None:
    other = min(len(opcodes) - 1, at + random.choice((1, 1, 3)))
    opcodes[at], opcodes[other] = opcodes[other], opcodes[at]


def _insert(random: Random, opcodes: Opcodes, at: int) -> None:
    opcodes.insert(at, any_opcode(random))


def _replace(random: Random, opcodes: Opcodes, at: int) -> None:
    opcodes[at] = any_opcode(random)


def _flip(random: Random, opcodes: Opcodes, at: int) -> None:
    changed = bytearray(opcodes[at])
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    opcodes[at] = bytes(changed)


def _of_kind(random: Random, opcodes: Opcodes, codes: bytes) -> int | None:
    places = [place for place, opcode in enumerate(opcodes) if opcode[0] in codes]
    return random.choice(places) if places else None


def _change_store(random: Random, opcodes: Opcodes, at: int) -> None:
    """A value is stored elsewhere, twice, or in another way."""
    place = _of_kind(random, opcodes, b"qr\x94")
    if place is None:
        return
    stores = [n for n, opcode in enumerate(opcodes) if opcode[0] in b"qr\x94"]
    number = stores.index(place)
    slot = random.choice((number, number, number + 1, max(0, number - 1), 0, 1, 2**20))
    changed = random.choice((b"\x94", put(random, slot), put(random, slot), opcodes[place] + b""))
    opcodes[place : place + 1] = [changed] if random.random() < 0.8 else [opcodes[place], changed]


def _change_recall(random: Random, opcodes: Opcodes, at: int) -> None:
    place = _of_kind(random, opcodes, b"hj")
    if place is None:
        _recall(random, opcodes, at)
        return
    slot = int.from_bytes(opcodes[place][1:], "little")
    opcodes[place] = get(random, max(0, slot + random.choice((-2, -1, 1, 2))))


def _shift_memo(random: Random, opcodes: Opcodes, at: int) -> None:
    """The first value is stored in slot 1, and what is recalled later is counted as with a hole before it."""
    place = next((n for n, opcode in enumerate(opcodes) if opcode[0] in b"qr\x94"), None)
    if place is None:
        return
    opcodes[place] = put(random, 1)
    for n, opcode in enumerate(opcodes):
        if opcode[0] in b"hj" and random.random() < 0.95:
            opcodes[n] = get(random, int.from_bytes(opcode[1:], "little") + 1)
        elif opcode[0] in b"qr" and n > place:
            opcodes[n] = put(random, int.from_bytes(opcode[1:], "little") + 1)


def _recall(random: Random, opcodes: Opcodes, at: int) -> None:
    """A value is replaced by another that was stored before, whatever that is."""
    stores = sum(opcode[0] in b"qr\x94" for opcode in opcodes[:at])
    if stores:
        opcodes[at] = get(random, random.randrange(stores))


def _drop(random: Random, opcodes: Opcodes, at: int) -> None:
    """Something is put on the stack and taken away again."""
    pair = random.choice(([b"N", b"0"], [b"(", b"1"], [b"(", b"0"], [b"(", b"K\x01", b"1"], [b"2", b"0"]))
    opcodes[at:at] = pair


def _group(random: Random, opcodes: Opcodes, at: int) -> None:
    """Values in a group that is closed again."""
    end = min(len(opcodes), at + random.choice((1, 2, 3)))
    opcodes[at:end] = [b"(", *opcodes[at:end], random.choice((b"t", b"l", b"d", b"e", b"u", b"\x90"))]


def _mark(random: Random, opcodes: Opcodes, at: int) -> None:
    """A mark comes or goes, above all where something takes what may lie below it."""
    place = _of_kind(random, opcodes, b"(")
    if place is not None and random.random() < 0.6:
        del opcodes[place]
        if random.random() < 0.7:
            return
    taking = _of_kind(random, opcodes, b"\x85\x86\x87sabR\x94q\x93.")
    opcodes.insert(at if taking is None or random.random() < 0.3 else taking, b"(")


def _twice(random: Random, opcodes: Opcodes, at: int) -> None:
    """A pair, or more of them, stands in a dictionary again."""
    end = _of_kind(random, opcodes, b"us")
    if end is None:
        return
    start = next((n for n in range(end, 0, -1) if opcodes[n][0] in b"X\x8cU"), end)
    pair = opcodes[start:end] if opcodes[end] == b"s" else [opcodes[start], b"N"]
    pair = [opcode for opcode in pair if opcode[0] not in b"qr\x94"]
    opcodes[end : end + 1] = [b"s", *pair, b"s"] if opcodes[end] == b"s" else [*pair, b"u"]


def _number(random: Random, opcodes: Opcodes, at: int) -> None:
    place = _of_kind(random, opcodes, b"KMJ\x8a")
    if place is not None:
        opcodes[place] = integer(random, random.choice(INTEGERS), random.random() < 0.5)


def _other_text(random: Random, opcodes: Opcodes, at: int) -> None:
    """Text is replaced by other text: a name, a type, an order of bytes, an expression."""
    place = _of_kind(random, opcodes, b"X\x8cUT")
    if place is not None:
        raw = random.choice((*NAMES, *CODES, *TABLES, ">", "b", "__import__('os')")).encode()
        opcodes[place] = b"X" + struct.pack("<I", len(raw)) + raw


def _other_global(random: Random, opcodes: Opcodes, at: int) -> None:
    """A global is replaced by another, as the protocol writes it."""
    module, name = random.choice(GLOBALS)
    place = _of_kind(random, opcodes, b"c\x93")
    if place is not None and opcodes[place] != b"\x93":
        opcodes[place] = f"c{module}\n{name}\n".encode()
    elif place is not None:
        texts = [n for n in range(place) if opcodes[n][0] in b"X\x8c"][-2:]
        for n, word in zip(texts, (module, name), strict=False):
            opcodes[n] = b"X" + struct.pack("<I", len(word)) + word.encode()


def _write_otherwise(random: Random, opcodes: Opcodes, at: int) -> None:
    """The same value by another opcode."""
    opcode = opcodes[at]
    code, rest = opcode[:1], opcode[1:]
    if code in (b"\x8c", b"X", b"U"):
        raw = rest[1:] if code != b"X" else rest[4:]
        ways = [b"X" + struct.pack("<I", len(raw)) + raw, b"\x8d" + struct.pack("<Q", len(raw)) + raw]
        if len(raw) < 256:
            ways += [b"\x8c" + bytes([len(raw)]) + raw, b"U" + bytes([len(raw)]) + raw]
        opcodes[at] = random.choice([*ways, b"T" + struct.pack("<i", len(raw)) + raw])
    elif code in (b"K", b"J", b"M"):
        value = int.from_bytes(rest, "little", signed=code == b"J")
        opcodes[at] = integer(random, value, True)
    elif code in (b"C", b"B"):
        raw = rest[1:] if code == b"C" else rest[4:]
        opcodes[at] = random.choice((b"B" + struct.pack("<I", len(raw)), b"\x8e" + struct.pack("<Q", len(raw)))) + raw
    elif code == b"c":
        opcodes[at] = random.choice((opcode.replace(b"\n", b"\r\n"), opcode.replace(b"builtins", b"__builtin__")))


CHANGES: tuple[Callable[[Random, Opcodes, int], None], ...] = (
    _delete, _repeat, _swap, _insert, _replace, _flip, _recall, _drop, _group, _number, _shift_memo,
    *2 * (_change_store, _change_recall, _twice, _other_text, _other_global),
    *3 * (_mark, _write_otherwise),
)  # fmt: skip
